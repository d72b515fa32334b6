//===- RankClasses.cpp - ranks that behave alike --------------------------===//
// Refinement: begin with what a rank is by itself, then split classes whose ranks have different groups, until nothing
// splits any more.
//===----------------------------------------------------------------------===//
#include "RankClasses.h"
#include <algorithm>
#include <map>

namespace comm::sim {
namespace {
/// Numbers things in the order in which they first appear.
template <class Key> class Numbering {
public:
  int32_t operator()(const Key &key) {
    return numbers.emplace(key, static_cast<int32_t>(numbers.size())).first->second;
  }
  size_t size() const { return numbers.size(); }

private:
  std::map<Key, int32_t> numbers;
};

/// All groups over one list of axes.
struct Groups {
  std::vector<int32_t> of; ///< by rank
  std::vector<std::vector<int32_t>> members;
  std::vector<GroupPlace> places;
};

Groups groupsOver(const exe::Grid &grid, const std::vector<std::string> &axes, int64_t ranks, int64_t perNode) {
  Groups g;
  g.of.assign(static_cast<size_t>(ranks), -1);
  for (int64_t r = 0; r < ranks; ++r) {
    if (g.of[static_cast<size_t>(r)] >= 0)
      continue;
    auto number = static_cast<int32_t>(g.members.size());
    g.members.push_back(grid.members(r, axes));
    std::map<int64_t, int64_t> nodes;
    for (int32_t member : g.members.back()) {
      g.of[static_cast<size_t>(member)] = number;
      ++nodes[member / perNode];
    }
    GroupPlace place{static_cast<int64_t>(g.members.back().size()), static_cast<int64_t>(nodes.size()), 0};
    for (const auto &[node, count] : nodes)
      place.perNode = std::max(place.perNode, count);
    g.places.push_back(place);
  }
  return g;
}
} // namespace

Partition partitionRanks(const exe::Grid &grid, const std::vector<std::vector<std::string>> &axes,
                         const std::vector<int64_t> &kinds, int64_t ranksPerNode) {
  auto ranks = static_cast<int64_t>(kinds.size());
  std::vector<Groups> all;
  for (const auto &list : axes)
    all.push_back(groupsOver(grid, list, ranks, std::max<int64_t>(1, ranksPerNode)));

  Partition p;
  Numbering<int64_t> start;
  for (int64_t kind : kinds)
    p.classOf.push_back(start(kind));
  size_t classes = start.size();
  std::vector<std::vector<int32_t>> looks(all.size()); // by axes, by group: what it looks like
  using Look = std::tuple<size_t, GroupPlace, std::vector<int32_t>>;
  for (;;) {
    Numbering<Look> look;
    p.groups.clear();
    for (size_t a = 0; a < all.size(); ++a) {
      looks[a].clear();
      for (size_t g = 0; g < all[a].members.size(); ++g) {
        std::vector<int32_t> members;
        for (int32_t r : all[a].members[g])
          members.push_back(p.classOf[static_cast<size_t>(r)]);
        std::sort(members.begin(), members.end());
        looks[a].push_back(look({a, all[a].places[g], members}));
        if (look.size() > p.groups.size()) {
          members.erase(std::unique(members.begin(), members.end()), members.end());
          p.groups.push_back({all[a].places[g], std::move(members)});
        }
      }
    }
    Numbering<std::vector<int32_t>> refined;
    std::vector<int32_t> next;
    for (size_t r = 0; r < kinds.size(); ++r) {
      std::vector<int32_t> key{p.classOf[r]};
      for (size_t a = 0; a < all.size(); ++a)
        key.push_back(looks[a][static_cast<size_t>(all[a].of[r])]);
      next.push_back(refined(key));
    }
    bool stable = refined.size() == classes;
    classes = refined.size();
    p.classOf = std::move(next);
    if (stable)
      break; // the numbers are the same as before: both count first appearances
  }

  p.first.assign(classes, -1);
  p.count.assign(classes, 0);
  p.groupOf.assign(all.size(), std::vector<int32_t>(classes, -1));
  for (size_t r = 0; r < kinds.size(); ++r) {
    auto c = static_cast<size_t>(p.classOf[r]);
    if (p.first[c] < 0)
      p.first[c] = static_cast<int64_t>(r);
    ++p.count[c];
    for (size_t a = 0; a < all.size(); ++a)
      p.groupOf[a][c] = looks[a][static_cast<size_t>(all[a].of[r])];
  }
  return p;
}

} // namespace comm::sim
