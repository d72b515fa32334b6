//===- Prove.h - what the checker says about an executable ------*- C++ -*-===//
#ifndef TOOLS_DRIVER_PROVE_H
#define TOOLS_DRIVER_PROVE_H
#include "comm/Executable/Executable.h"

namespace commc {
/// Two lines per entry, "'main': proved: ..." or "'main': not proved: ..." about its schedule and "'main': equal to the
/// unsplit model: ..." about its outputs; adds every finding to `problems`. The entries must carry their certificates.
std::vector<std::string> proveEntries(const comm::exe::Executable &, std::vector<std::string> &problems);
} // namespace commc
#endif
