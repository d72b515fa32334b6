//===- Schedule.cpp - are the final command lists safe? -------------------===//
#include "Steps.h"
#include <algorithm>
#include <cstdio>
#include <numeric>

namespace comm::proof {

const char *ruleName(Rule rule) {
  static const char *const names[] = {"form",      "token", "match", "deadlock", "race",
                                      "unwritten", "reuse", "lost",  "memory"};
  return names[static_cast<size_t>(rule)];
}

void countCommands(const Steps &s, int64_t ranks, Facts &facts) {
  facts.ranks = ranks;
  facts.commands = static_cast<int64_t>(s.steps.size());
  facts.collectives = static_cast<int64_t>(s.calls.size());
  facts.started = std::count_if(s.calls.begin(), s.calls.end(), [](const Call &c) { return c.token >= 0; });
}

namespace {
std::string human(int64_t bytes) {
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto v = static_cast<double>(bytes);
  int u = 0;
  for (; v >= 1024 && u < 4; ++u)
    v /= 1024;
  char text[48];
  std::snprintf(text, sizeof(text), u == 0 ? "%.0f %s" : "%.2f %s", v, units[u]);
  return text;
}

bool sameGrid(const exe::Grid &a, const exe::Grid &b) {
  return std::equal(a.axes.begin(), a.axes.end(), b.axes.begin(), b.axes.end(),
                    [](const exe::Axis &x, const exe::Axis &y) { return x.name == y.name && x.size == y.size; });
}

/// The distinct programs and, per rank, which one it runs.
struct Classes {
  std::vector<Steps> steps;
  std::vector<size_t> ofRank;
};

/// Programs of all ranks -> their classes; false when they cannot be understood.
bool readAll(const std::vector<const exe::Program *> &ranks, bool alike, Classes &classes, Findings &findings) {
  std::map<const exe::Program *, size_t> known;
  std::vector<const exe::Program *> programs;
  for (const exe::Program *program : ranks) {
    auto [it, isNew] = known.try_emplace(program, programs.size());
    if (isNew)
      programs.push_back(program);
    classes.ofRank.push_back(it->second);
  }
  classes.steps.resize(programs.size());
  bool ok = true;
  for (size_t c = 0; c < programs.size(); ++c) {
    auto rank =
        static_cast<int64_t>(std::find(classes.ofRank.begin(), classes.ofRank.end(), c) - classes.ofRank.begin());
    std::string who = alike ? "every rank" : "rank " + std::to_string(rank);
    if (!sameGrid(programs[c]->grid, programs[0]->grid) || programs[c]->arenaBytes != programs[0]->arenaBytes) {
      findings.add(Rule::Form, rank, who + " has another grid or another arena than rank 0");
      ok = false;
    }
    ok &= readSteps(*programs[c], rank, who, classes.steps[c], findings);
  }
  return ok;
}

std::vector<Finding> check(const std::vector<const exe::Program *> &ranks, int64_t rankCount, Facts &facts,
                           std::vector<int64_t> *order) {
  Findings findings;
  facts = {};
  if (order)
    order->clear();
  bool alike = std::all_of(ranks.begin(), ranks.end(), [&](const exe::Program *p) { return p == ranks[0]; });
  Classes classes;
  if (!readAll(ranks, alike, classes, findings))
    return std::move(findings.list);
  countCommands(classes.steps[0], rankCount, facts);
  std::vector<const Steps *> members;
  Meetings meetings;
  if (alike) {
    // Numbers of commands rise along every edge of every rank, and a meeting has one number on all ranks: a cycle of
    // the whole graph would be one of the graph of a single rank.
    members = {&classes.steps[0]};
    matchAlike(classes.steps[0], findings);
    meetings.count = static_cast<int32_t>(classes.steps[0].calls.size());
    meetings.instance.emplace_back(classes.steps[0].calls.size());
    std::iota(meetings.instance[0].begin(), meetings.instance[0].end(), 0);
  } else {
    for (size_t c : classes.ofRank)
      members.push_back(&classes.steps[c]);
    matchCalls(members, meetings, findings);
  }
  if (findings.list.empty())
    checkOrder(members, meetings, findings, facts.edges, order);
  for (size_t c = 0; c < classes.steps.size(); ++c) {
    auto rank =
        static_cast<int64_t>(std::find(classes.ofRank.begin(), classes.ofRank.end(), c) - classes.ofRank.begin());
    int64_t accesses = 0, peak = 0;
    checkMemory(classes.steps[c], rank, alike ? "every rank" : "rank " + std::to_string(rank), findings, accesses,
                peak);
    facts.accesses = std::max(facts.accesses, accesses);
    facts.peakBytes = std::max(facts.peakBytes, peak);
  }
  return std::move(findings.list);
}
} // namespace

std::vector<Finding> checkSchedule(const std::vector<const exe::Program *> &ranks, Facts &facts,
                                   std::vector<int64_t> *order) {
  if (ranks.empty() || static_cast<int64_t>(ranks.size()) != ranks[0]->grid.ranks()) {
    facts = {};
    return {{Rule::Form, 0,
             "there are programs for " + std::to_string(ranks.size()) + " ranks, the grid has another number"}};
  }
  return check(ranks, static_cast<int64_t>(ranks.size()), facts, order);
}

std::vector<Finding> checkSchedule(const exe::Program &program, Facts &facts, std::vector<int64_t> *order) {
  return check({&program}, program.grid.ranks(), facts, order);
}

std::string factsText(const Facts &f, int64_t arenaBytes) {
  auto number = [](int64_t n, const char *what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); };
  return number(f.ranks, "rank") + ": " + number(f.collectives, "collective") + " match (" + std::to_string(f.started) +
         " started ahead), no deadlock (" + number(f.edges, "edge") + ", no buffering), no race (" +
         std::to_string(f.accesses) + " accesses), at most " + human(f.peakBytes) + " of " + human(arenaBytes) +
         " alive";
}

} // namespace comm::proof
