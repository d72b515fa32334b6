//===- ArenaScheduleTest.cpp - schedules whose buffers fit too ------------===//
#include "RandomProblem.h"
#include "comm/Solver/BufferPlan.h"
#include <gtest/gtest.h>

using namespace comm::solver;

namespace {
/// Values of whole alignments, so that bytes alive and bytes of buffers are the same.
OverlapProblem alignedProblem(std::mt19937 &random, int ops) {
  OverlapProblem problem = randomProblem(random, ops);
  for (OverlapValue &value : problem.values)
    value.bytes *= kBufferAlignment;
  return problem;
}

TEST(BufferRequests, LiveFromStartToTheLastWait) {
  OverlapProblem problem;
  problem.ops = {{1, Resource::Compute, {}, 1, 1},
                 {1, Resource::ScaleUp, {0}, 1, 1},
                 {1, Resource::Compute, {0}, 1, 1},
                 {1, Resource::Compute, {1, 2}, 1, 1}};
  problem.values = {{128, 0, {1, 2}, false}, {64, 1, {3}, false}, {0, 2, {3}, false}, {64, 3, {}, true}};
  std::vector<Step> order{
      {0, StepKind::Run}, {1, StepKind::Start}, {2, StepKind::Run}, {1, StepKind::Wait}, {3, StepKind::Run}};
  std::vector<BufferRequest> requests = bufferRequests(problem, order);
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].first, 0);
  EXPECT_EQ(requests[0].last, 3); // the wait
  EXPECT_TRUE(requests[0].shared);
  EXPECT_EQ(requests[1].first, 1);
  EXPECT_EQ(requests[1].last, 4);
  EXPECT_EQ(requests[2].last, 4);
  EXPECT_FALSE(requests[2].shared);
}

// The most bytes alive are within the limit; the buffers are not, at first.
TEST(SolveInArena, TakesAnotherScheduleWhereBuffersDoNotFit) {
  std::mt19937 random(9);
  int first = 0, placed = 0;
  for (int i = 0; i < 60; ++i) {
    OverlapProblem problem = alignedProblem(random, 24);
    int64_t limit = evaluate(problem, programOrder(problem)).peakBytes * 19 / 20;
    problem.memoryLimit = limit;
    OverlapSchedule plain = solve(problem);
    if (plain.status != OverlapStatus::Ok ||
        planBuffers(bufferRequests(problem, plain.order), limit).arenaBytes <= limit)
      continue;
    ++first;
    PlacedSchedule found = solveInArena(problem, limit);
    ASSERT_EQ(verify(problem, found.schedule), "");
    placed += found.arenaBytes <= limit;
  }
  EXPECT_GT(first, 3);
  EXPECT_GT(2 * placed, first);
}

TEST(SolveInArena, EqualsSolveWithoutALimit) {
  std::mt19937 random(10);
  for (int i = 0; i < 20; ++i) {
    OverlapProblem problem = alignedProblem(random, 20);
    EXPECT_EQ(solveInArena(problem, 0).schedule.order, solve(problem).order);
  }
}
} // namespace
