//===- RankClasses.h - ranks that behave alike ------------------*- C++ -*-===//
#pragma once
#include "comm/Simulator/Simulator.h"

namespace comm::sim {

/// Groups of ranks that look alike: the same classes of members at the same kind of place.
struct GroupClass {
  GroupPlace place;
  std::vector<int32_t> members; ///< classes, each once, sorted
};

struct Partition {
  std::vector<int32_t> classOf;      ///< by rank
  std::vector<int64_t> first, count; ///< by class
  std::vector<GroupClass> groups;
  std::vector<std::vector<int32_t>> groupOf; ///< [axes number][class]
};

/// The coarsest partition in which all ranks of a class have the same kind and, over each list of axes, groups with the
/// same members by class at the same kind of place. Ranks of a class then do the same at the same time.
/// `kinds`: by rank, what a rank is by itself; equal numbers behave alike.
Partition partitionRanks(const exe::Grid &, const std::vector<std::vector<std::string>> &axes,
                         const std::vector<int64_t> &kinds, int64_t ranksPerNode);

} // namespace comm::sim
