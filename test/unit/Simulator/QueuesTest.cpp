//===- QueuesTest.cpp - two queues of a rank, computed by hand ------------===//
#include "SimTest.h"

namespace comm::test {
namespace {

TEST(SimQueues, ComputeIsASum) {
  SimBuilder b;
  b.compute(10);
  b.compute(5);
  sim::SimResult r = simulateOk(b.program);
  EXPECT_DOUBLE_EQ(r.stepUs, 15);
  EXPECT_DOUBLE_EQ(r.critical().computeUs, 15);
  EXPECT_EQ(r.classes.size(), 1u);
}

TEST(SimQueues, SynchronousCollectiveIsExposed) {
  SimBuilder b;
  b.compute(10);
  b.sync(7);
  b.compute(1);
  sim::SimResult r = simulateOk(b.program);
  EXPECT_DOUBLE_EQ(r.stepUs, 18);
  EXPECT_DOUBLE_EQ(r.critical().exposedUs, 7);
  EXPECT_DOUBLE_EQ(r.critical().hiddenUs, 0);
}

// 10 | start, 4 beside 7 | wait 3 more.
TEST(SimQueues, StartHidesWhatComputeCovers) {
  SimBuilder b;
  b.compute(10);
  int64_t t = b.begin(7);
  b.compute(4);
  b.wait(t);
  b.compute(1);
  sim::SimResult r = simulateOk(b.program);
  EXPECT_DOUBLE_EQ(r.stepUs, 18);
  ASSERT_EQ(r.critical().collectives.size(), 1u);
  EXPECT_DOUBLE_EQ(r.critical().collectives[0].beginUs, 10);
  EXPECT_DOUBLE_EQ(r.critical().collectives[0].endUs, 17);
  EXPECT_DOUBLE_EQ(r.critical().hiddenUs, 4);
  EXPECT_DOUBLE_EQ(r.critical().exposedUs, 3);
}

// The communication queue is one queue: the second begins when the first is done, and a synchronous one queues too.
TEST(SimQueues, CollectivesRunInOrderOfIssue) {
  SimBuilder b;
  int64_t first = b.begin(10), second = b.begin(5);
  b.compute(2);
  b.sync(1);
  b.wait(second);
  b.wait(first);
  sim::SimResult r = simulateOk(b.program);
  EXPECT_DOUBLE_EQ(r.stepUs, 16);
  const auto &c = r.critical().collectives;
  ASSERT_EQ(c.size(), 3u);
  EXPECT_DOUBLE_EQ(c[1].beginUs, 10);
  EXPECT_DOUBLE_EQ(c[2].beginUs, 15);
  // Compute stood still from 2 on, behind all three.
  EXPECT_DOUBLE_EQ(c[0].exposedUs, 8);
  EXPECT_DOUBLE_EQ(c[1].exposedUs, 5);
  EXPECT_DOUBLE_EQ(c[2].exposedUs, 1);
  EXPECT_DOUBLE_EQ(r.critical().hiddenUs, 2);
}

// A start finds the queue full and waits for room.
TEST(SimQueues, FullQueueBlocksTheStart) {
  SimBuilder b;
  int64_t first = b.begin(10), second = b.begin(10);
  b.compute(5);
  b.wait(first);
  b.wait(second);
  sim::SimOptions options;
  options.queueDepth = 1;
  EXPECT_DOUBLE_EQ(simulateOk(b.program).stepUs, 20);
  sim::SimResult r = simulateOk(b.program, {}, options);
  EXPECT_DOUBLE_EQ(r.stepUs, 20);
  EXPECT_DOUBLE_EQ(r.critical().collectives[1].beginUs, 10);
  EXPECT_DOUBLE_EQ(r.critical().exposedUs, 15); // 10 for room, then 5 that compute did not cover
}

// Compute of 10 beside a collective of 4 goes at half speed for 4, which leaves 8.
TEST(SimQueues, ContentionSlowsComputeWhileItOverlaps) {
  SimBuilder b;
  int64_t t = b.begin(4);
  b.compute(10);
  b.wait(t);
  sim::SimResult r = simulateOk(b.program, {0.5, 1});
  EXPECT_DOUBLE_EQ(r.stepUs, 12);
  EXPECT_DOUBLE_EQ(r.critical().computeUs, 12);
  EXPECT_DOUBLE_EQ(r.critical().hiddenUs, 4);
}

// The collective of 4 goes at half speed while the 2 of compute last (4 at half speed): 2 left, alone.
TEST(SimQueues, ContentionSlowsTheCollectiveToo) {
  SimBuilder b;
  int64_t t = b.begin(4);
  b.compute(2);
  b.wait(t);
  sim::SimResult r = simulateOk(b.program, {0.5, 0.5});
  EXPECT_DOUBLE_EQ(r.stepUs, 6);
  EXPECT_DOUBLE_EQ(r.critical().movedUs, 6);
  EXPECT_DOUBLE_EQ(r.critical().exposedUs, 2);
}

// Compute that gets nothing meanwhile goes on afterwards.
TEST(SimQueues, ComputeMayStandStill) {
  SimBuilder b;
  int64_t t = b.begin(4);
  b.compute(2);
  b.wait(t);
  EXPECT_DOUBLE_EQ(simulateOk(b.program, {0, 1}).stepUs, 6);
}

// What the cost model says of one pair is what the engine makes of it.
TEST(SimQueues, AgreesWithTheCostModelOnAPair) {
  cost::Topology topology;
  std::string error;
  ASSERT_TRUE(cost::loadTopology("h100_sxm", topology, error)) << error;
  ProgramBuilder b({{"tp", 8}});
  int32_t x = b.comm({1024, 1024}, DType::BF16), y = b.comm({1024, 1024}, DType::BF16);
  int32_t a = b.arena({4096, 4096}, DType::BF16), c = b.arena({4096, 4096}, DType::BF16),
          d = b.arena({4096, 4096}, DType::BF16);
  int64_t t = b.start("all_reduce", x, y, {"tp"}, {{"reduce", std::string("sum")}});
  b.command("matmul", {a, c}, {d});
  b.wait(t);
  auto costs = sim::ModelCosts::create(b.program, {}, topology, "", error);
  ASSERT_TRUE(costs) << error;
  sim::SimOptions options;
  options.ranksPerNode = topology.ranksPerNode;
  sim::SimResult r;
  ASSERT_TRUE(sim::simulate(b.program, *costs, options, r, error)) << error;
  double compute = costs->computeUs(1), collective = costs->collectiveUs(0, {8, 1, 8});
  ASSERT_GT(compute, collective); // the pair is one in which all can be hidden
  cost::OverlapCost pair = cost::CostModel(topology).overlap({compute, collective, false});
  EXPECT_NEAR(r.stepUs, pair.totalUs + costs->handOverUs(), 1e-9 * pair.totalUs);
  EXPECT_NEAR(r.critical().hiddenUs, collective, 1e-9 * collective);
}

} // namespace
} // namespace comm::test
