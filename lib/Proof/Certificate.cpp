//===- Certificate.cpp - the proof that travels with a program ------------===//
#include "comm/Proof/Certificate.h"
#include "Steps.h"
#include <numeric>

namespace comm::proof {
namespace {
constexpr int64_t certificateVersion = 1;
constexpr size_t columns = 5; // of the matching table

/// Consecutive numbers as (first, how many).
std::vector<int64_t> toRuns(const std::vector<int64_t> &order) {
  std::vector<int64_t> runs;
  for (int64_t v : order)
    if (!runs.empty() && runs[runs.size() - 2] + runs.back() == v)
      ++runs.back();
    else
      runs.insert(runs.end(), {v, 1});
  return runs;
}

/// Position of each of `count` vertices in the order; false when it is not a permutation of them.
bool positionsOf(const std::vector<int64_t> &runs, int64_t count, std::vector<int64_t> &out) {
  out.assign(static_cast<size_t>(count), -1);
  int64_t at = 0;
  for (size_t i = 0; i + 1 < runs.size(); i += 2) {
    int64_t first = runs[i], length = runs[i + 1];
    if (first < 0 || length < 1 || first >= count || length > count - first)
      return false;
    for (int64_t v = first; v < first + length; ++v) {
      if (out[static_cast<size_t>(v)] >= 0)
        return false;
      out[static_cast<size_t>(v)] = at++;
    }
  }
  return runs.size() % 2 == 0 && at == count;
}

/// One row per collective in the order of issue: number in the plan, command, command that waits (-1: itself), number
/// of groups, members of each.
std::vector<int64_t> matchingOf(const Steps &steps) {
  std::vector<int64_t> table;
  int64_t ranks = steps.program->grid.ranks();
  for (const Call &c : steps.calls) {
    int64_t members = steps.program->grid.shards(c.axes);
    table.insert(table.end(), {c.planId, c.issue, c.wait, ranks / members, members});
  }
  return table;
}

std::string wrongRow(const Steps &steps, const std::vector<int64_t> &table) {
  std::vector<int64_t> expected = matchingOf(steps);
  if (table.size() != expected.size())
    return "its matching table has " + std::to_string(table.size()) + " numbers, the program has " +
           std::to_string(steps.calls.size()) + " collectives";
  for (size_t i = 0; i < table.size(); ++i)
    if (table[i] != expected[i])
      return "its matching table says something else about " + steps.calls[i / columns].text(*steps.program);
  return "";
}

} // namespace

std::vector<Finding> certify(const exe::Program &program, exe::Certificate &out, Facts &facts) {
  std::vector<int64_t> order;
  std::vector<Finding> found = checkSchedule(program, facts, &order);
  out = {};
  if (!found.empty())
    return found;
  Findings none;
  Steps steps;
  readSteps(program, 0, "every rank", steps, none);
  out.version = certificateVersion;
  out.order = toRuns(order);
  out.matching = matchingOf(steps);
  out.peakBytes = facts.peakBytes;
  return found;
}
std::string verify(const exe::Program &program, const exe::Certificate &certificate, Facts &facts) {
  facts = {};
  if (certificate.version == 0)
    return "it carries no certificate";
  if (certificate.version != certificateVersion)
    return "its certificate has version " + std::to_string(certificate.version) + ", this program checks version " +
           std::to_string(certificateVersion);
  Findings findings;
  Steps steps;
  std::string who = "every rank";
  if (readSteps(program, 0, who, steps, findings))
    matchAlike(steps, findings);
  if (!findings.list.empty())
    return findings.list.front().text;
  if (std::string wrong = wrongRow(steps, certificate.matching); !wrong.empty())
    return wrong;
  std::vector<int64_t> position;
  auto vertices = static_cast<int64_t>(steps.steps.size() + steps.calls.size());
  if (!positionsOf(certificate.order, vertices, position))
    return "its order is no order of the " + std::to_string(vertices) + " steps of the program";
  if (std::string wrong = edgeAgainst(steps, position, facts.edges); !wrong.empty())
    return wrong;
  checkMemory(steps, 0, who, findings, facts.accesses, facts.peakBytes);
  if (!findings.list.empty())
    return findings.list.front().text;
  if (facts.peakBytes != certificate.peakBytes)
    return "it says that " + std::to_string(certificate.peakBytes) + " bytes are alive at one time, it is " +
           std::to_string(facts.peakBytes);
  countCommands(steps, program.grid.ranks(), facts);
  return "";
}

std::vector<std::string> certifyAll(exe::Executable &executable) {
  std::vector<std::string> problems;
  for (exe::Entry &entry : executable.entries) {
    Facts facts;
    for (const Finding &f : certify(entry.split, entry.certificate, facts))
      problems.push_back("entry " + quoted(entry.name) + ": " + f.text);
    for (const Finding &f : checkSchedule(entry.reference, facts))
      problems.push_back("the unsplit program of entry " + quoted(entry.name) + ": " + f.text);
  }
  return problems;
}

EqualityResult certifyEqual(const exe::Executable &executable, exe::Entry &entry) {
  EqualityResult result = proveEqual(executable, entry);
  entry.certificate.equal = result.verdict == Equality::Proved ? result.operations : 0;
  return result;
}

std::string verifyEqual(const exe::Executable &executable, const exe::Entry &entry, EqualityResult &result,
                        exe::DataView data) {
  result = proveEqual(executable, entry, data);
  int64_t claim = entry.certificate.equal;
  if (result.verdict == Equality::Wrong)
    return "its outputs are not those of the unsplit program: " + result.reason;
  if (claim != 0 && result.verdict != Equality::Proved)
    return "its certificate says that its outputs are those of the unsplit program, which is not shown: " +
           result.reason;
  if (claim != 0 && claim != result.operations)
    return "its certificate says that " + std::to_string(claim) + " operations were followed to its outputs, it has " +
           std::to_string(result.operations);
  return "";
}

std::string verifyAll(const exe::Executable &executable, exe::DataView data) {
  for (const exe::Entry &entry : executable.entries) {
    Facts facts;
    if (std::string wrong = verify(entry.split, entry.certificate, facts); !wrong.empty())
      return "the schedule of entry " + quoted(entry.name) + " is not proved: " + wrong;
    if (std::vector<Finding> found = checkSchedule(entry.reference, facts); !found.empty())
      return "the unsplit program of entry " + quoted(entry.name) + " is not sound: " + found.front().text;
    EqualityResult equal;
    if (std::string wrong = verifyEqual(executable, entry, equal, data); !wrong.empty())
      return "entry " + quoted(entry.name) + " is not proved: " + wrong;
  }
  return "";
}

} // namespace comm::proof
