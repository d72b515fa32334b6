//===- ListSchedulingTest.cpp - the scheduler against brute force ---------===//
#include "RandomProblem.h"
#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <limits>

using namespace comm::solver;

namespace {
/// Fastest and smallest of all orders, by trying each.
struct BruteForce {
  double makespan = std::numeric_limits<double>::infinity(); ///< within the limits
  int64_t peak = std::numeric_limits<int64_t>::max();
};
BruteForce bruteForce(const OverlapProblem &problem) {
  BruteForce best;
  std::vector<Step> all = programOrder(problem), order;
  std::vector<bool> used(all.size(), false), complete(problem.ops.size(), false), started(problem.ops.size(), false);
  std::function<void()> descend = [&] {
    if (order.size() == all.size()) {
      OverlapTimes times = evaluate(problem, order);
      best.peak = std::min(best.peak, times.peakBytes);
      if ((problem.memoryLimit <= 0 || times.peakBytes <= problem.memoryLimit) &&
          (problem.maxInFlight <= 0 || times.mostInFlight <= problem.maxInFlight))
        best.makespan = std::min(best.makespan, times.makespanUs);
      return;
    }
    for (size_t i = 0; i < all.size(); ++i) {
      Step step = all[i];
      bool ready = step.kind == StepKind::Wait
                       ? started[step.op]
                       : std::all_of(problem.ops[step.op].needs.begin(), problem.ops[step.op].needs.end(),
                                     [&](int32_t need) { return complete[need]; });
      if (used[i] || !ready)
        continue;
      used[i] = true;
      order.push_back(step);
      std::vector<bool>::reference flag = step.kind == StepKind::Start ? started[step.op] : complete[step.op];
      flag = true;
      descend();
      flag = false;
      order.pop_back();
      used[i] = false;
    }
  };
  descend();
  return best;
}

TEST(Exact, EqualsBruteForce) {
  std::mt19937 random(1);
  int limited = 0;
  for (int i = 0; i < 250; ++i) {
    OverlapProblem problem = randomProblem(random, 2 + i % 5);
    problem.oneQueue = random() % 2;
    problem.issueUs = random() % 2;
    problem.maxInFlight = static_cast<int32_t>(random() % 3);
    if (random() % 2)
      problem.memoryLimit = bruteForce(problem).peak + static_cast<int64_t>(random() % 10);
    limited += problem.memoryLimit > 0;
    ASSERT_EQ(check(problem), "");
    BruteForce best = bruteForce(problem);
    OverlapSchedule exact = solveExact(problem);
    ASSERT_EQ(exact.status, OverlapStatus::Ok);
    ASSERT_EQ(verify(problem, exact), "");
    ASSERT_NEAR(exact.times.makespanUs, best.makespan, 1e-6) << "problem " << i;
    ASSERT_GE(exact.times.makespanUs, lowerBoundUs(problem) - 1e-6);
    OverlapSchedule found = solve(problem);
    ASSERT_EQ(verify(problem, found), "");
    if (found.status == OverlapStatus::Ok) {
      ASSERT_GE(found.times.makespanUs, best.makespan - 1e-6);
    } else {
      ASSERT_GE(found.times.peakBytes, best.peak);
    }
  }
  EXPECT_GT(limited, 50);
}

TEST(Exact, RefusesLargeProblems) {
  std::mt19937 random(1);
  EXPECT_EQ(solveExact(randomProblem(random, 15)).status, OverlapStatus::TooLarge);
  EXPECT_EQ(solveExact(randomProblem(random, 4), 3).status, OverlapStatus::TooLarge);
}

TEST(Solve, NeverSlowerThanTheProgram) {
  std::mt19937 random(2);
  for (int i = 0; i < 400; ++i) {
    OverlapProblem problem = randomProblem(random, 1 + static_cast<int>(random() % 60));
    problem.issueUs = static_cast<double>(random() % 4);
    OverlapSchedule schedule = solve(problem);
    ASSERT_EQ(verify(problem, schedule), "");
    ASSERT_LE(schedule.times.makespanUs, evaluate(problem, programOrder(problem)).makespanUs + 1e-9);
    ASSERT_EQ(solve(problem).order, schedule.order) << "the same problem, another order";
  }
}

// On average within a few percent of the optimum; the bench prints the distribution.
TEST(Solve, IsNearTheOptimum) {
  std::mt19937 random(3);
  double found = 0, best = 0;
  for (int i = 0; i < 80; ++i) {
    OverlapProblem problem = randomProblem(random, 10);
    found += solve(problem).times.makespanUs;
    best += solveExact(problem).times.makespanUs;
  }
  EXPECT_LT(found, best * 1.03);
}

// Limits of one, two and many collectives under way on a wide graph: kept, never an abort.
TEST(Solve, KeepsTheInFlightLimitOnAWideGraph) {
  OverlapProblem problem;
  for (int32_t i = 0; i < 32; ++i) {
    problem.ops.push_back({3, Resource::Compute, {}, 1, 1});
    problem.ops.push_back({5, Resource::ScaleUp, {2 * i}, 1, 1});
  }
  std::vector<int32_t> all;
  for (int32_t i = 0; i < 32; ++i)
    all.push_back(2 * i + 1);
  problem.ops.push_back({1, Resource::Compute, all, 1, 1});
  double last = std::numeric_limits<double>::infinity();
  for (int32_t limit : {1, 2, 8, 0}) {
    problem.maxInFlight = limit;
    OverlapSchedule schedule = solve(problem);
    ASSERT_EQ(verify(problem, schedule), "");
    EXPECT_LE(schedule.times.makespanUs, last + 1e-9);
    last = schedule.times.makespanUs;
    if (limit) {
      EXPECT_LE(schedule.times.mostInFlight, limit);
    }
  }
  EXPECT_GT(solve(problem).times.mostInFlight, 8);
}

// 32 and 80 layers: under every limit that the program itself keeps there is a schedule within it, and more memory is
// never slower by much; below the smallest peak there is a status with that peak.
TEST(Solve, MemoryIsAHardLimit) {
  for (int layers : {32, 80})
    for (int streams : {1, 2}) {
      OverlapProblem problem = layeredProblem(layers, streams, 100, 40, 1000);
      int64_t least = evaluate(problem, programOrder(problem)).peakBytes, wanted = solve(problem).times.peakBytes;
      for (int64_t limit : {least, least + 200, (least + wanted) / 2, wanted}) {
        problem.memoryLimit = limit;
        OverlapSchedule schedule = solve(problem);
        ASSERT_EQ(schedule.status, OverlapStatus::Ok) << layers << " layers, limit " << limit;
        ASSERT_EQ(verify(problem, schedule), "");
        ASSERT_LE(schedule.times.peakBytes, limit);
      }
      problem.memoryLimit = 500;
      OverlapSchedule schedule = solve(problem);
      EXPECT_EQ(schedule.status, OverlapStatus::MemoryInfeasible);
      EXPECT_EQ(verify(problem, schedule), "");
      EXPECT_GT(schedule.times.peakBytes, 500);
      // What it says is the smallest peak is one that works.
      problem.memoryLimit = schedule.times.peakBytes;
      EXPECT_EQ(solve(problem).status, OverlapStatus::Ok);
    }
}

// Small graphs: an order is found whenever there is one, and the smallest peak that is named is the smallest there is.
TEST(Solve, FindsTheSmallestPeakOfSmallGraphs) {
  std::mt19937 random(5);
  int refused = 0;
  for (int i = 0; i < 200; ++i) {
    OverlapProblem problem = randomProblem(random, 2 + i % 5);
    problem.maxInFlight = static_cast<int32_t>(random() % 3);
    int64_t least = bruteForce(problem).peak;
    problem.memoryLimit = least;
    OverlapSchedule schedule = solve(problem);
    ASSERT_EQ(schedule.status, OverlapStatus::Ok);
    ASSERT_EQ(schedule.times.peakBytes, least);
    problem.memoryLimit = least - 1;
    if (problem.memoryLimit < 1)
      continue;
    schedule = solve(problem);
    ASSERT_EQ(schedule.status, OverlapStatus::MemoryInfeasible);
    ASSERT_EQ(schedule.times.peakBytes, least);
    ++refused;
  }
  EXPECT_GT(refused, 100);
}

// Nine tenths of the program's memory: what the exact search can schedule is scheduled.
TEST(Solve, RefusesNothingThatTheExactSearchSchedules) {
  std::mt19937 random(6);
  int feasible = 0;
  for (int i = 0; i < 60; ++i) {
    OverlapProblem problem = randomProblem(random, 10);
    problem.memoryLimit = evaluate(problem, programOrder(problem)).peakBytes * 9 / 10;
    if (problem.memoryLimit < 1 || solveExact(problem).status != OverlapStatus::Ok)
      continue;
    ++feasible;
    OverlapSchedule schedule = solve(problem);
    ASSERT_EQ(schedule.status, OverlapStatus::Ok);
    ASSERT_EQ(verify(problem, schedule), "");
  }
  EXPECT_GT(feasible, 20);
}

// Bytes have to be spent in every layer before more come back; the limit leaves no other order.
TEST(Solve, SpendsFirstWhereThatNeedsLess) {
  for (int layers : {1, 32, 80}) {
    OverlapProblem problem = spendFirstProblem(layers);
    int64_t program = evaluate(problem, programOrder(problem)).peakBytes;
    problem.memoryLimit = program - 10;
    OverlapSchedule schedule = solve(problem);
    ASSERT_EQ(schedule.status, OverlapStatus::Ok) << layers << " layers";
    ASSERT_EQ(verify(problem, schedule), "");
    // What it needs at least is found too.
    problem.memoryLimit = 1;
    schedule = solve(problem);
    EXPECT_EQ(schedule.status, OverlapStatus::MemoryInfeasible);
    EXPECT_EQ(schedule.times.peakBytes, layers > 1 ? 200 : 190);
  }
}

// Larger graphs: what one of many random orders needs is enough.
TEST(Solve, NeedsNoMoreThanRandomOrders) {
  std::mt19937 random(7);
  for (int i = 0; i < 15; ++i) {
    OverlapProblem problem = randomProblem(random, 60);
    problem.memoryLimit = randomPeak(problem, random, 200);
    OverlapSchedule schedule = solve(problem);
    ASSERT_EQ(schedule.status, OverlapStatus::Ok) << i;
    ASSERT_EQ(verify(problem, schedule), "");
  }
}

TEST(Solve, RandomLimitsAreKept) {
  std::mt19937 random(4);
  int infeasible = 0;
  for (int i = 0; i < 600; ++i) {
    OverlapProblem problem = randomProblem(random, 2 + static_cast<int>(random() % 40));
    int64_t program = evaluate(problem, programOrder(problem)).peakBytes;
    problem.memoryLimit = 1 + static_cast<int64_t>(static_cast<double>(program) * (0.5 + 0.1 * (random() % 8)));
    problem.maxInFlight = static_cast<int32_t>(random() % 4);
    OverlapSchedule schedule = solve(problem);
    ASSERT_EQ(verify(problem, schedule), "");
    infeasible += schedule.status != OverlapStatus::Ok;
    if (program <= problem.memoryLimit) {
      ASSERT_EQ(schedule.status, OverlapStatus::Ok);
    }
  }
  EXPECT_GT(infeasible, 20);
  EXPECT_LT(infeasible, 400);
}

// Two parts of the tokens hide each other's collectives; one alone has nothing to hide behind.
TEST(Solve, InterleavesIndependentStreams) {
  OverlapSchedule one = solve(layeredProblem(8, 1, 100, 30, 1000)), two = solve(layeredProblem(8, 2, 100, 30, 1000));
  EXPECT_LT(one.times.hiddenUs, 0.2 * (one.times.hiddenUs + one.times.exposedUs));
  EXPECT_GT(two.times.hiddenUs, 0.8 * (two.times.hiddenUs + two.times.exposedUs));
}

// A start goes up to its operands even when its only user follows at once in the program.
TEST(Solve, HoistsStartsToTheirOperands) {
  OverlapProblem problem;
  problem.ops = {{1, Resource::Compute, {}, 1, 1},
                 {20, Resource::Compute, {0}, 1, 1},
                 {15, Resource::ScaleUp, {0}, 1, 1},
                 {1, Resource::Compute, {1, 2}, 1, 1}};
  OverlapSchedule schedule = solve(problem);
  EXPECT_EQ(schedule.order[1], (Step{2, StepKind::Start}));
  EXPECT_DOUBLE_EQ(schedule.times.exposedUs, 0);
}

TEST(Solve, EmptyAndTrivial) {
  OverlapProblem problem;
  EXPECT_EQ(check(problem), "");
  EXPECT_EQ(verify(problem, solve(problem)), "");
  EXPECT_EQ(verify(problem, solveExact(problem)), "");
  problem.ops = {{0, Resource::ScaleUp, {}, 1, 1}};
  EXPECT_EQ(verify(problem, solve(problem)), "");
}
} // namespace
