//===- PlanLimitsTest.cpp - the ladder of limits --------------------------===//
#include "comm/Solver/PlanLimits.h"
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <vector>

using comm::solver::PlanLimits;

namespace {
/// What is tried until nothing is left; `least` as the plan for 1 needs it.
std::vector<int64_t> all(int64_t limit, int64_t held, int64_t least) {
  PlanLimits limits(limit, held);
  std::vector<int64_t> tried;
  while (int64_t next = limits.next()) {
    tried.push_back(next);
    if (next == 1)
      limits.setLeast(least);
  }
  return tried;
}

TEST(PlanLimits, FirstTryIsNear) {
  for (int64_t limit : {100100, 101000, 123456, 200000, 100000000}) {
    int64_t first = PlanLimits(limit, 100000).next();
    EXPECT_LE(first, limit);
    EXPECT_GE(first, 100000 + (limit - 100000) * 97 / 100 - 64);
  }
}

// Nothing is left for a schedule: only the smallest one is tried.
TEST(PlanLimits, LessThanIsHeld) { EXPECT_EQ(all(1000, 100000, 0), std::vector<int64_t>{1}); }

// No plan is made twice, none for more than the limit, and few for less than the smallest schedule needs. When that is
// too much there is nothing left to try.
TEST(PlanLimits, TriesDiffer) {
  std::vector<int64_t> tried = all(200000, 100000, 190000);
  EXPECT_EQ(std::set<int64_t>(tried.begin(), tried.end()).size(), tried.size());
  EXPECT_EQ(tried[3], 1);
  for (size_t i = 4; i < tried.size(); ++i) {
    EXPECT_LE(tried[i], 200000);
    EXPECT_GE(tried[i], 180000);
  }
  EXPECT_LE(tried.size(), 14u);
  EXPECT_GT(tried.size(), 4u);
  EXPECT_EQ(all(200000, 100000, 200001).size(), 4u);
}

// Whatever buffers the schedules need: what is accepted under a limit is accepted under every larger one.
TEST(PlanLimits, LargerLimitIsNotRefused) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    constexpr int64_t held = 50000, least = held + 10000;
    unsigned seed = random();
    // Schedules for about the same limit need quite different buffers.
    auto needs = [&](int64_t planned) {
      std::mt19937 own(seed + static_cast<unsigned>(planned));
      return std::max(planned, least) + static_cast<int64_t>(own() % 6000);
    };
    bool wasAccepted = false;
    for (int64_t limit = held; limit < held + 25000; limit += 37) {
      PlanLimits limits(limit, held);
      bool accepted = false;
      while (int64_t planned = accepted ? 0 : limits.next()) {
        accepted = needs(planned) <= limit;
        if (planned == 1)
          limits.setLeast(least);
      }
      ASSERT_TRUE(accepted || !wasAccepted) << limit;
      wasAccepted = accepted;
    }
    EXPECT_TRUE(wasAccepted);
  }
}
} // namespace
