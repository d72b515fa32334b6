//===- OverlapProblemTest.cpp - virtual time, checks and their messages ---===//
#include "RandomProblem.h"
#include <gtest/gtest.h>

using namespace comm::solver;

namespace {
constexpr Resource kLink = Resource::ScaleUp;

Step run(int32_t op) { return {op, StepKind::Run}; }
Step start(int32_t op) { return {op, StepKind::Start}; }
Step wait(int32_t op) { return {op, StepKind::Wait}; }

/// Op 0 makes what collective 1 sends; op 2 is independent, op 3 needs 1 and 2.
OverlapProblem diamond(double collectiveUs, double computeRate = 1, double linkRate = 1) {
  OverlapProblem problem;
  problem.ops = {{10, Resource::Compute, {}, 1, 1},
                 {collectiveUs, kLink, {0}, 1, 1},
                 {20, Resource::Compute, {0}, computeRate, linkRate},
                 {5, Resource::Compute, {1, 2}, 1, 1}};
  problem.values = {{100, 0, {1, 2}, false}, {100, 1, {3}, false}, {40, 2, {3}, false}, {7, 3, {}, true}};
  return problem;
}

TEST(Evaluate, AwaitedAtOnceNothingIsHidden) {
  OverlapProblem problem = diamond(15);
  OverlapTimes times = evaluate(problem, programOrder(problem));
  EXPECT_DOUBLE_EQ(times.makespanUs, 50);
  EXPECT_DOUBLE_EQ(times.exposedUs, 15);
  EXPECT_DOUBLE_EQ(times.collectives[0].stallUs, 15);
  EXPECT_EQ(times.peakBytes, 240);
}

TEST(Evaluate, HidesBehindIndependentWork) {
  OverlapProblem problem = diamond(15);
  OverlapTimes times = evaluate(problem, {run(0), start(1), run(2), wait(1), run(3)});
  EXPECT_DOUBLE_EQ(times.makespanUs, 35);
  EXPECT_DOUBLE_EQ(times.hiddenUs, 15);
  ASSERT_EQ(times.collectives[0].behind.size(), 1u);
  EXPECT_EQ(times.collectives[0].behind[0].first, 2);
  EXPECT_DOUBLE_EQ(times.collectives[0].beginUs, 10);
  EXPECT_DOUBLE_EQ(times.collectives[0].endUs, 25);
  // Longer than the work beside it: the rest is a stall.
  problem = diamond(30);
  times = evaluate(problem, {run(0), start(1), run(2), wait(1), run(3)});
  EXPECT_DOUBLE_EQ(times.makespanUs, 45);
  EXPECT_DOUBLE_EQ(times.collectives[0].stallUs, 10);
}

TEST(Evaluate, SlowNeighboursEarnLess) {
  // 15 us at half speed on both sides: compute needs 30 for 15 of its 20, nothing is gained.
  OverlapProblem problem = diamond(15, 0.5, 0.5);
  OverlapTimes times = evaluate(problem, {run(0), start(1), run(2), wait(1), run(3)});
  EXPECT_NEAR(times.makespanUs, 50, 1e-9);
  EXPECT_NEAR(times.hiddenUs, 0, 1e-9);
  EXPECT_NEAR(times.exposedUs, 15, 1e-9);
  EXPECT_NEAR(times.collectives[0].stallUs, 0, 1e-9);
  // Compute at 0.8 beside 15 us of link: 12 us of work done, 3 lost.
  times = evaluate(diamond(15, 0.8), {run(0), start(1), run(2), wait(1), run(3)});
  EXPECT_NEAR(times.makespanUs, 38, 1e-9);
  EXPECT_NEAR(times.hiddenUs, 12, 1e-9);
}

TEST(Evaluate, IssueIsPaidOnlyWhenNotAwaitedAtOnce) {
  OverlapProblem problem = diamond(15);
  problem.issueUs = 2;
  EXPECT_DOUBLE_EQ(evaluate(problem, programOrder(problem)).makespanUs, 50);
  EXPECT_DOUBLE_EQ(evaluate(problem, {run(0), start(1), run(2), wait(1), run(3)}).makespanUs, 37);
}

TEST(Evaluate, QueuesAreFirstInFirstOut) {
  OverlapProblem problem;
  problem.ops = {{10, Resource::ScaleUp, {}, 1, 1}, {4, Resource::ScaleOut, {}, 1, 1}};
  problem.values = {{1, 0, {}, true}, {1, 1, {}, true}};
  std::vector<Step> order{start(0), start(1), wait(1), wait(0)};
  EXPECT_DOUBLE_EQ(evaluate(problem, order).makespanUs, 14);
  problem.oneQueue = false; // two links at once
  EXPECT_DOUBLE_EQ(evaluate(problem, order).makespanUs, 10);
  EXPECT_EQ(evaluate(problem, order).mostInFlight, 2);
}

TEST(Evaluate, MakespanIsComputeExposedAndIssue) {
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    OverlapProblem problem = randomProblem(random, 3 + static_cast<int>(random() % 30));
    problem.oneQueue = random() % 2;
    OverlapSchedule schedule = solve(problem);
    ASSERT_NEAR(schedule.times.makespanUs, schedule.times.computeUs + schedule.times.exposedUs, 1e-6);
    for (const CollectiveTime &collective : schedule.times.collectives) {
      ASSERT_NEAR(collective.hiddenUs + collective.exposedUs, problem.ops[collective.op].us, 1e-6);
      double behind = 0;
      for (auto [op, us] : collective.behind)
        behind += us;
      if (problem.oneQueue) { // else also behind other collectives
        ASSERT_NEAR(behind, collective.hiddenUs, 1e-6);
      }
      ASSERT_GE(collective.endUs, collective.beginUs);
    }
  }
}

TEST(Check, NamesWhatIsWrong) {
  auto bad = [](auto change) {
    OverlapProblem problem = diamond(15);
    change(problem);
    return check(problem);
  };
  EXPECT_EQ(check(diamond(15)), "");
  EXPECT_EQ(bad([](auto &p) { p.ops[1].us = -1; }), "op 1: its time is negative or not finite");
  EXPECT_EQ(bad([](auto &p) { p.ops[2].computeRate = 0; }), "op 2: a rate is not in (0, 1]");
  EXPECT_EQ(bad([](auto &p) { p.ops[1].needs = {3}; }), "op 1 needs op 3, which does not stand before it");
  EXPECT_EQ(bad([](auto &p) { p.values[0].users = {3}; }), "value 0: its user 3 does not need its producer");
  EXPECT_EQ(bad([](auto &p) { p.values[1].bytes = INT64_MAX; }),
            "value 1: its size is negative or the sum of sizes overflows");
  EXPECT_EQ(bad([](auto &p) { p.values[1].producer = 9; }), "value 1: no op 9 produces it");
  EXPECT_NE(bad([](auto &p) { p.memoryLimit = -1; }), "");
}

TEST(Verify, RejectsWrongSchedules) {
  OverlapProblem problem = diamond(15);
  auto with = [&](std::vector<Step> order) {
    OverlapSchedule schedule;
    schedule.order = std::move(order);
    schedule.times = solve(problem).times;
    return verify(problem, schedule);
  };
  EXPECT_EQ(verify(problem, solve(problem)), "");
  EXPECT_EQ(with({run(0), start(1), wait(1), run(3), run(2)}), "step 3 (op 3) comes before op 2 is complete");
  EXPECT_EQ(with({run(0), start(1), run(2), run(3), wait(1)}), "step 3 (op 3) comes before op 1 is complete");
  EXPECT_EQ(with({run(0), wait(1), start(1), run(2), run(3)}),
            "step 1 (op 1) waits for a collective that was not started");
  EXPECT_EQ(with({run(0), start(1), run(2), run(2), wait(1)}), "step 3 (op 2) is taken twice");
  EXPECT_EQ(with({run(0), run(1), run(2), wait(1), run(3)}), "step 1 (op 1) does not exist or is of the wrong kind");
  EXPECT_EQ(with({run(0)}), "the order has 1 steps, the problem 5");
  EXPECT_EQ(with(programOrder(problem)), "the times or the peak of the schedule are not those of its order");
  OverlapSchedule schedule = solve(problem);
  problem.memoryLimit = schedule.times.peakBytes - 1;
  EXPECT_NE(verify(problem, schedule), "");
}
} // namespace
