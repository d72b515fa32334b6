//===- Match.cpp - which collectives of which ranks belong together -------===//
// A meeting is one number of the plan in one group. Every member of the group must issue it once, with the same
// signature and the same idea of who belongs to the group.
//===----------------------------------------------------------------------===//
#include "Steps.h"
#include <algorithm>
#include <set>
#include <tuple>

namespace comm::proof {
namespace {
std::string at(int64_t rank) { return "rank " + std::to_string(rank); }

class Matcher {
public:
  Matcher(const std::vector<const Steps *> &ranks, Meetings &out, Findings &findings)
      : ranks(ranks), out(out), findings(findings), byPlan(ranks.size()) {}

  void run() {
    for (size_t r = 0; r < ranks.size(); ++r)
      index(r);
    if (!findings.list.empty())
      return;
    out.instance.assign(ranks.size(), {});
    std::map<std::pair<int64_t, int32_t>, int32_t> numbers; // plan number, first member
    for (size_t r = 0; r < ranks.size(); ++r)
      for (size_t n = 0; n < ranks[r]->calls.size() && !findings.full(); ++n) {
        const std::vector<int32_t> &group = groupOf(r, n);
        if (group.front() == static_cast<int32_t>(r))
          compare(r, n, group);
        else if (!knows(static_cast<size_t>(group.front()), r, n))
          missing(group.front(), r, n, group);
        auto key = std::make_pair(ranks[r]->calls[n].planId, group.front());
        auto [it, isNew] = numbers.try_emplace(key, out.count);
        out.count += isNew;
        out.instance[r].push_back(it->second);
      }
  }

private:
  void index(size_t r) {
    const Steps &s = *ranks[r];
    for (size_t n = 0; n < s.calls.size(); ++n) {
      auto [it, isNew] = byPlan[r].try_emplace(s.calls[n].planId, n);
      if (!isNew)
        findings.add(Rule::Match, static_cast<int64_t>(r),
                     at(static_cast<int64_t>(r)) + ": number " + std::to_string(s.calls[n].planId) +
                         " of the plan is issued twice, by " + s.calls[it->second].text(*s.program) + " and by " +
                         s.calls[n].text(*s.program));
    }
  }

  const std::vector<int32_t> &groupOf(size_t r, size_t n) {
    const Steps &s = *ranks[r];
    auto [it, isNew] = groups.try_emplace({r, s.calls[n].axes});
    if (isNew)
      it->second = s.program->grid.members(static_cast<int64_t>(r), s.calls[n].axes);
    return it->second;
  }

  /// Rank `other` has the collective that rank r issues as its n-th, over a group with r.
  bool knows(size_t other, size_t r, size_t n) {
    auto it = byPlan[other].find(ranks[r]->calls[n].planId);
    if (it == byPlan[other].end())
      return false;
    const std::vector<int32_t> &group = groupOf(other, it->second);
    return std::find(group.begin(), group.end(), static_cast<int32_t>(r)) != group.end();
  }

  /// Rank `member` of `group` does not take part in what rank r issues.
  void missing(int32_t member, size_t r, size_t n, const std::vector<int32_t> &group) {
    const Steps &s = *ranks[r], &theirs = *ranks[static_cast<size_t>(member)];
    std::string text = at(static_cast<int64_t>(r)) + " issues " + s.calls[n].text(*s.program) + " over ranks " +
                       rankList(group) + ", but " + at(member);
    auto it = byPlan[static_cast<size_t>(member)].find(s.calls[n].planId);
    if (it == byPlan[static_cast<size_t>(member)].end())
      text += " never issues it";
    else
      text += " issues " + theirs.calls[it->second].text(*theirs.program) + " over ranks " +
              rankList(groupOf(static_cast<size_t>(member), it->second));
    findings.add(Rule::Match, static_cast<int64_t>(r), text);
  }

  /// Rank r is the first member: the others must say the same.
  void compare(size_t r, size_t n, const std::vector<int32_t> &group) {
    const Steps &s = *ranks[r];
    const Call &mine = s.calls[n];
    for (int32_t member : group) {
      auto m = static_cast<size_t>(member);
      if (ranks[m] == &s && m == r)
        continue;
      auto it = byPlan[m].find(mine.planId);
      if (it == byPlan[m].end() || groupOf(m, it->second) != group) {
        missing(member, r, n, group);
        continue;
      }
      if (ranks[m] == &s)
        continue;
      const Call &theirs = ranks[m]->calls[it->second];
      if (std::string a = mine.signature(*s.program), b = theirs.signature(*ranks[m]->program); a != b)
        findings.add(Rule::Match, static_cast<int64_t>(r),
                     at(static_cast<int64_t>(r)) + " issues " + mine.text(*s.program) + " as " + a + ", but " +
                         at(member) + " issues " + theirs.text(*ranks[m]->program) + " as " + b);
    }
  }

  const std::vector<const Steps *> &ranks;
  Meetings &out;
  Findings &findings;
  std::vector<std::map<int64_t, size_t>> byPlan; ///< per rank: number of the plan -> call
  std::map<std::pair<size_t, std::vector<std::string>>, std::vector<int32_t>> groups;
};
} // namespace

void matchCalls(const std::vector<const Steps *> &ranks, Meetings &out, Findings &findings) {
  Matcher(ranks, out, findings).run();
}

/// The same commands everywhere: members issue the same by construction, provided that they agree who the members are.
void matchAlike(const Steps &steps, Findings &findings) {
  const exe::Grid &grid = steps.program->grid;
  std::map<int64_t, size_t> seen;
  std::set<std::vector<std::string>> groups;
  for (size_t n = 0; n < steps.calls.size(); ++n) {
    const Call &call = steps.calls[n];
    auto [it, isNew] = seen.try_emplace(call.planId, n);
    if (!isNew)
      findings.add(Rule::Match, 0,
                   "every rank: number " + std::to_string(call.planId) + " of the plan is issued twice, by " +
                       steps.calls[it->second].text(*steps.program) + " and by " + call.text(*steps.program));
    if (!groups.insert(call.axes).second)
      continue;
    for (int64_t rank = 0, ranks = grid.ranks(); rank < ranks; ++rank) {
      std::vector<int32_t> group = grid.members(rank, call.axes);
      auto place = static_cast<size_t>(std::max<int64_t>(grid.coordinate(rank, call.axes), 0));
      // Each rank need only compare with the next member: round the ring all are equal.
      bool inside = place < group.size() && group[place] == rank;
      if (!inside || grid.members(group[(place + 1) % group.size()], call.axes) != group) {
        findings.add(Rule::Match, rank,
                     at(rank) + " and " + at(group[(place + 1) % group.size()]) + " see other groups in " +
                         call.text(*steps.program));
        return;
      }
    }
  }
}

} // namespace comm::proof
