//===- Prove.cpp - what the checker says about an executable --------------===//
#include "tools/Driver/Prove.h"
#include "comm/Proof/Certificate.h"

namespace proof = ::comm::proof;

std::vector<std::string> commc::proveEntries(const ::comm::exe::Executable &executable,
                                             std::vector<std::string> &problems) {
  std::vector<std::string> lines;
  for (const ::comm::exe::Entry &entry : executable.entries) {
    proof::Facts facts, ignored;
    std::vector<std::string> found;
    for (const proof::Finding &finding : proof::checkSchedule(entry.split, facts))
      found.push_back(finding.text);
    if (std::string wrong = proof::verify(entry.split, entry.certificate, facts); !wrong.empty() && found.empty())
      found.push_back(wrong);
    for (const proof::Finding &finding : proof::checkSchedule(entry.reference, ignored))
      found.push_back("the unsplit program: " + finding.text);
    proof::EqualityResult equal;
    std::string differs = proof::verifyEqual(executable, entry, equal);
    lines.push_back("'" + entry.name + "': " +
                    (found.empty() ? "proved: " + proof::factsText(facts, entry.split.arenaBytes)
                                   : "not proved: " + found.front()));
    lines.push_back("'" + entry.name + "': equal to the unsplit model: " + proof::equalityText(equal));
    if (!differs.empty())
      found.push_back(differs);
    for (const std::string &text : found)
      problems.push_back("entry '" + entry.name + "': " + text);
  }
  return lines;
}
