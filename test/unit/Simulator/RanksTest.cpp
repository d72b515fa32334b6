//===- RanksTest.cpp - many ranks, alike and not --------------------------===//
#include "SimTest.h"

namespace comm::test {
namespace {

void fill(SimBuilder &b, int layers) {
  for (int i = 0; i < layers; ++i) {
    b.compute(10);
    int64_t t = b.begin(7);
    b.compute(4);
    b.wait(t);
    b.sync(2);
  }
}

// Ranks that behave alike are simulated once: thousands cost what two cost, and give the same.
TEST(SimRanks, ThousandsEqualTwoWhenSymmetric) {
  SimBuilder two({{"tp", 2}}), many({{"dp", 2048}, {"tp", 2}});
  fill(two, 50);
  fill(many, 50);
  sim::SimResult a = simulateOk(two.program), b = simulateOk(many.program);
  EXPECT_EQ(b.ranks, 4096);
  EXPECT_EQ(b.classes.size(), 1u);
  EXPECT_EQ(b.classes[0].count, 4096);
  EXPECT_EQ(a.stepUs, b.stepUs);
  EXPECT_EQ(a.critical().hiddenUs, b.critical().hiddenUs);
  EXPECT_EQ(a.critical().exposedUs, b.critical().exposedUs);
}

// Every rank by itself gives what classes give.
TEST(SimRanks, SymmetryChangesNothing) {
  for (int64_t perNode : {3, 4, 16}) {
    SimBuilder b({{"dp", 4}, {"tp", 4}});
    for (int i = 0; i < 5; ++i) {
      b.compute(3);
      int64_t t = b.begin(4, {"tp"});
      b.compute(2);
      b.sync(5, {"dp"});
      b.wait(t);
    }
    sim::SimOptions options;
    options.ranksPerNode = perNode;
    options.slowRanks = {{6, 1.25}};
    sim::SimResult classes = simulateOk(b.program, {0.75, 0.75}, options);
    options.symmetry = false;
    sim::SimResult each = simulateOk(b.program, {0.75, 0.75}, options);
    EXPECT_LT(classes.classes.size(), each.classes.size());
    EXPECT_EQ(each.classes.size(), 16u);
    EXPECT_DOUBLE_EQ(classes.stepUs, each.stepUs);
    for (size_t rank = 0; rank < 16; ++rank) {
      const sim::RankClass &a = classes.classes[static_cast<size_t>(classes.classOf[rank])],
                           &b = each.classes[static_cast<size_t>(each.classOf[rank])];
      EXPECT_DOUBLE_EQ(a.endUs, b.endUs) << rank;
      EXPECT_DOUBLE_EQ(a.hiddenUs, b.hiddenUs) << rank;
      EXPECT_DOUBLE_EQ(a.lateUs, b.lateUs) << rank;
    }
  }
}

// Whether a group crosses nodes depends on the axes it spans and on how many ranks a node holds.
TEST(SimRanks, PlaceOfAGroupFollowsItsAxes) {
  SimBuilder b({{"dp", 2}, {"tp", 4}});
  b.sync(1, {"tp"});
  b.sync(1, {"dp"});
  sim::SimOptions options;
  options.ranksPerNode = 4;
  sim::SimResult r = simulateOk(b.program, {}, options);
  const auto &c = r.critical().collectives;
  EXPECT_EQ(c[0].place.nodes, 1);
  EXPECT_EQ(c[0].place.perNode, 4);
  EXPECT_EQ(c[1].place.nodes, 2);
  EXPECT_EQ(c[1].place.perNode, 1);
  EXPECT_DOUBLE_EQ(r.stepUs, 11); // AttrCosts: ten times the time across nodes
  // Three ranks in a node cut one group of four and not the other; the ranks are of several kinds then.
  options.ranksPerNode = 5;
  EXPECT_GT(simulateOk(b.program, {}, options).classes.size(), 1u);
}

// Only the own group waits at first; the group of the others waits once an axis joins them.
TEST(SimRanks, StragglerHoldsUpItsGroup) {
  SimBuilder b({{"dp", 2}, {"tp", 2}});
  b.compute(10);
  b.sync(1, {"tp"});
  sim::SimOptions options;
  options.slowRanks = {{3, 2.0}};
  sim::SimResult r = simulateOk(b.program, {}, options);
  auto of = [&](size_t rank) { return r.classes[static_cast<size_t>(r.classOf[rank])]; };
  EXPECT_EQ(r.classes.size(), 3u); // the slow one, its neighbour, the others
  EXPECT_DOUBLE_EQ(of(0).endUs, 11);
  EXPECT_DOUBLE_EQ(of(2).endUs, 21);
  EXPECT_DOUBLE_EQ(of(2).lateUs, 10);
  EXPECT_DOUBLE_EQ(of(2).exposedUs, 1);
  EXPECT_DOUBLE_EQ(of(3).lateUs, 0);
  EXPECT_EQ(r.critical().first, 3);
  b.sync(1, {"dp"});
  EXPECT_DOUBLE_EQ(simulateOk(b.program, {}, options).stepUs, 22);
}

TEST(SimRanks, JitterFollowsItsSeed) {
  SimBuilder b({{"tp", 8}});
  fill(b, 10);
  sim::SimOptions options;
  options.jitter = 0.2;
  options.seed = 1;
  sim::SimResult one = simulateOk(b.program, {}, options), again = simulateOk(b.program, {}, options);
  options.seed = 2;
  sim::SimResult other = simulateOk(b.program, {}, options);
  EXPECT_EQ(one.stepUs, again.stepUs);
  EXPECT_NE(one.stepUs, other.stepUs);
  double quiet = simulateOk(b.program).stepUs;
  EXPECT_GT(one.stepUs, quiet);
  EXPECT_LT(one.stepUs, quiet * 1.2);
}

TEST(SimRanks, ReplicasJoinOrTheBatchGrows) {
  std::string error;
  SimBuilder plain;
  fill(plain, 1);
  ASSERT_TRUE(sim::replicate(plain.program, 64, error)) << error;
  EXPECT_EQ(plain.program.grid.ranks(), 64);
  EXPECT_EQ(plain.program.grid.members(5, {"tp"}), (std::vector<int32_t>{4, 5}));
  EXPECT_FALSE(sim::replicate(plain.program, 63, error));
  EXPECT_NE(error.find("63"), std::string::npos);

  SimBuilder batch({{"dp", 2}, {"tp", 2}});
  batch.sync(1, {"dp"});
  ASSERT_TRUE(sim::replicate(batch.program, 16, error)) << error;
  EXPECT_EQ(simulateOk(batch.program).critical().collectives[0].place.members, 8);
  // The gathered batch has one part per member: another number needs another program.
  int32_t part = batch.comm({4}), all = batch.comm({32});
  batch.collective("all_gather", part, all, {"dp"});
  EXPECT_FALSE(sim::replicate(batch.program, 32, error));
  EXPECT_NE(error.find("all_gather"), std::string::npos);
}

} // namespace
} // namespace comm::test
