//===- TeamTest.cpp - the compute threads of a rank -----------------------===//
#include "runtime/Core/Team.h"
#include "runtime/Core/Step.h"
#include <atomic>
#include <gtest/gtest.h>
#include <vector>

using comm::rt::Code;
using comm::rt::Status;
using comm::rt::Team;

namespace {
// Every iteration once, whatever the numbers; jobs follow each other without mixing.
TEST(Team, CoversEveryIterationOnce) {
  for (int threads : {1, 2, 3, 5}) {
    Team team(threads);
    EXPECT_EQ(team.size(), threads);
    for (int repeat = 0; repeat < 200; ++repeat)
      for (int64_t n : {0, 1, 2, 3, 7, 64}) {
        std::vector<int> seen(static_cast<size_t>(n), 0);
        Status s = team.run(n, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i)
            ++seen[static_cast<size_t>(i)];
          return Status::ok();
        });
        ASSERT_TRUE(bool(s));
        ASSERT_EQ(seen, std::vector<int>(static_cast<size_t>(n), 1));
      }
  }
}

TEST(Team, ReportsTheLowestFailure) {
  Team team(4);
  for (int repeat = 0; repeat < 50; ++repeat) {
    Status s = team.run(4, [&](int64_t begin, int64_t) {
      return begin >= 1 ? Status{Code::InvalidArgument, std::to_string(begin)} : Status::ok();
    });
    EXPECT_EQ(s.text, "1");
    EXPECT_TRUE(bool(team.run(4, [](int64_t, int64_t) { return Status::ok(); })));
  }
}

// A short loop is one call of the caller; another is dealt out.
TEST(Step, ShortLoopsAreNotDealtOut) {
  struct Seen {
    std::atomic<int64_t> calls{0}, iterations{0};
  };
  for (bool isShort : {true, false}) {
    Team team(3);
    Seen seen;
    comm::rt::Step step;
    step.kind = comm::rt::StepKind::Native;
    step.operands = {&seen};
    step.iterations = 6;
    step.isShort = isShort;
    step.native = [](void *const *buffers, int64_t begin, int64_t end) {
      auto *seen = static_cast<Seen *>(buffers[0]);
      ++seen->calls;
      seen->iterations += end - begin;
    };
    EXPECT_TRUE(bool(step.run(team)));
    EXPECT_EQ(seen.calls, isShort ? 1 : 3);
    EXPECT_EQ(seen.iterations, 6);
  }
}
} // namespace
