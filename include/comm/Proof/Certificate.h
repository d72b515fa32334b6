//===- Certificate.h - the proof that travels with a program ----*- C++ -*-===//
// commc proves each entry and leaves a certificate in the executable; the runtime checks it again before it runs
// anything. A certificate is no claim to be believed: every line of it is compared with the commands, and what it does
// not carry (races, lifetimes, equality) is shown again. Format: exe::Certificate and docs/proof.md.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Proof/Equality.h"
#include "comm/Proof/Schedule.h"

namespace comm::proof {

/// Proves the program that every rank runs and describes the proof. Findings: what is wrong; `out` is empty then.
std::vector<Finding> certify(const exe::Program &, exe::Certificate &out, Facts &facts);

/// Checks a certificate against its program. Empty when it holds, else one sentence.
std::string verify(const exe::Program &, const exe::Certificate &, Facts &facts);

/// certify() for every entry of an executable; the unsplit programs are checked as well. One sentence per finding, with
/// the entry's name.
std::vector<std::string> certifyAll(exe::Executable &);
/// Completes the certificate of an entry whose executable validate() accepts with what is shown about its outputs.
EqualityResult certifyEqual(const exe::Executable &, exe::Entry &);
/// Shows it again. Empty when the certificate holds, else one sentence: outputs are known to differ, or the certificate
/// says more than is shown.
std::string verifyEqual(const exe::Executable &, const exe::Entry &, EqualityResult &, exe::DataView data = {});
/// verify() and verifyEqual() for every entry of an executable that readExecutable accepted. Empty when all hold, else
/// one sentence.
std::string verifyAll(const exe::Executable &, exe::DataView data = {});

} // namespace comm::proof
