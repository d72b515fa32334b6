//===- PlacementTest.cpp - which CPUs the threads of a rank run on --------===//
#include "runtime/Core/Placement.h"
#include "runtime/Core/Team.h"
#include <gtest/gtest.h>

using namespace comm::rt;
using Cpus = std::vector<int>;

namespace {
Cpus placed(Pinning pinning, int64_t rank, int64_t ranks, int64_t threads, const Cpus &cpus) {
  return placeRank(pinning, rank, ranks, threads, cpus).cpus;
}

TEST(Placement, AutoPinsWhatFillsTheMachine) {
  const Cpus two = {4, 7}, eight = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(placed(Pinning::Auto, 0, 1, 2, two), two);
  EXPECT_EQ(placed(Pinning::Auto, 1, 2, 1, two), Cpus{7});
  EXPECT_EQ(placed(Pinning::Auto, 1, 2, 3, eight), (Cpus{3, 4, 5}));
  EXPECT_EQ(placed(Pinning::Auto, 0, 1, 4, eight), Cpus()); // half of the CPUs: the system finds an idle one
  EXPECT_EQ(placed(Pinning::Auto, 0, 1, 1, {4}), Cpus());   // one thread has nobody to run into
  EXPECT_EQ(placed(Pinning::Auto, 0, 2, 2, two), Cpus());   // two threads per CPU
}

TEST(Placement, OnAndOff) {
  const Cpus two = {4, 7};
  EXPECT_EQ(placed(Pinning::On, 0, 1, 1, two), Cpus{4});
  EXPECT_EQ(placed(Pinning::On, 0, 3, 1, two), Cpus());
  EXPECT_EQ(placed(Pinning::Off, 0, 1, 2, two), Cpus());
}

TEST(Placement, SharedCpusAreNotBurnt) {
  EXPECT_GT(placeRank(Pinning::Auto, 0, 2, 1, {0, 1}).spinNs, 0);
  EXPECT_EQ(placeRank(Pinning::Auto, 0, 2, 2, {0, 1}).spinNs, 0);
}

TEST(Placement, PinnedHereGoesBack) {
  Cpus before = allowedCpus();
  ASSERT_FALSE(before.empty());
  {
    PinnedHere nowhere(-1);
    EXPECT_EQ(allowedCpus(), before);
    PinnedHere pinned(before.back());
    EXPECT_EQ(allowedCpus(), Cpus{before.back()});
  }
  EXPECT_EQ(allowedCpus(), before);
}

// Members run where they are told to, and the caller where it likes.
TEST(Placement, TeamMembersStayOnTheirCpus) {
  Cpus before = allowedCpus();
  Placement placement;
  placement.cpus = {before.front(), before.back()};
  Team team(2, placement);
  std::vector<Cpus> seen(2);
  Status s = team.run(2, [&](int64_t begin, int64_t) {
    seen[static_cast<size_t>(begin)] = allowedCpus();
    return Status::ok();
  });
  ASSERT_TRUE(bool(s));
  EXPECT_EQ(seen[0], before);
  EXPECT_EQ(seen[1], Cpus{before.back()});
}
} // namespace
