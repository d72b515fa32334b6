//===- GridTest.cpp - coordinates, groups and shards ----------------------===//
#include "comm/Executable/Executable.h"
#include <gtest/gtest.h>

using namespace comm::exe;

namespace {
const Grid grid{{{"dp", 2}, {"tp", 3}}};

// Rank order is mixed radix with the first axis major.
TEST(Grid, Coordinates) {
  EXPECT_EQ(grid.ranks(), 6);
  for (int64_t rank = 0; rank < 6; ++rank) {
    EXPECT_EQ(grid.coordinate(rank, {"dp"}), rank / 3);
    EXPECT_EQ(grid.coordinate(rank, {"tp"}), rank % 3);
    EXPECT_EQ(grid.coordinate(rank, {"dp", "tp"}), rank);
    EXPECT_EQ(grid.coordinate(rank, {"tp", "dp"}), rank % 3 * 2 + rank / 3);
    EXPECT_EQ(grid.coordinate(rank, {}), 0);
    EXPECT_EQ(grid.coordinate(rank, {"pp"}), -1);
  }
  EXPECT_EQ(grid.shards({"dp", "tp"}), 6);
  EXPECT_EQ(grid.shards({"pp"}), 1);
}

// A group never spans the whole world when only one axis is named.
TEST(Grid, Members) {
  EXPECT_EQ(grid.members(4, {"tp"}), (std::vector<int32_t>{3, 4, 5}));
  EXPECT_EQ(grid.members(4, {"dp"}), (std::vector<int32_t>{1, 4}));
  EXPECT_EQ(grid.members(4, {"tp", "dp"}), (std::vector<int32_t>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(grid.members(4, {}), (std::vector<int32_t>{4}));
  for (int64_t rank = 0; rank < 6; ++rank)
    EXPECT_EQ(grid.members(rank, {"tp", "dp"})[grid.coordinate(rank, {"tp", "dp"})], rank);
}

// Every element belongs to somebody, local sizes are equal, replicated blocks repeat.
TEST(ShardRange, CoversEverySize) {
  for (int64_t ranks = 1; ranks <= 7; ++ranks)
    for (int64_t grain = 1; grain <= 3; ++grain)
      for (int64_t blocks = 0; blocks <= 15; ++blocks) {
        Grid g{{{"tp", ranks}}};
        int64_t size = blocks * grain, covered = 0;
        bool replicated = ranks > 1 && blocks > 0 && blocks < ranks && ranks % blocks == 0;
        for (int64_t r = 0; r < ranks; ++r) {
          ShardRange s = shardRange(size, {{"tp"}, grain}, g, r);
          EXPECT_EQ(s.local, shardRange(size, {{"tp"}, grain}, g, 0).local);
          EXPECT_LE(s.count, s.local);
          EXPECT_GE(s.start, 0);
          EXPECT_LE(s.start + s.count, size);
          if (replicated) {
            EXPECT_EQ(s.start, r * blocks / ranks * grain);
            EXPECT_EQ(s.count, grain);
          } else {
            EXPECT_EQ(s.start, covered);
            covered += s.count;
          }
        }
        if (!replicated) {
          EXPECT_EQ(covered, size);
        }
      }
}

TEST(ShardRange, UnknownAxisSplitsNothing) {
  ShardRange s = shardRange(10, {{"tp"}, 1}, Grid{}, 0);
  EXPECT_EQ(s.start, 0);
  EXPECT_EQ(s.count, 10);
  EXPECT_EQ(s.local, 10);
}

TEST(Types, NumElementsRefusesOverflow) {
  EXPECT_EQ(numElements({}), 1);
  EXPECT_EQ(numElements({2, 3}), 6);
  EXPECT_EQ(numElements({2, 0}), 0);
  EXPECT_EQ(numElements({-1}), -1);
  EXPECT_EQ(numElements({int64_t(1) << 62, 2}), -1);
  EXPECT_EQ(numElements({0, int64_t(1) << 62, 4}), -1);
  EXPECT_EQ(byteSize(DType::F64, {int64_t(1) << 60}), -1);
  DType t;
  for (int i = 0; i <= static_cast<int>(DType::Bool); ++i) {
    ASSERT_TRUE(parseDType(dtypeName(static_cast<DType>(i)), t));
    EXPECT_EQ(t, static_cast<DType>(i));
  }
  EXPECT_FALSE(parseDType("float", t));
}
} // namespace
