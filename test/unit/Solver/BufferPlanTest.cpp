//===- BufferPlanTest.cpp - the planner against brute force ---------------===//
#include "comm/Solver/BufferPlan.h"
#include <algorithm>
#include <chrono>
#include <functional>
#include <gtest/gtest.h>
#include <numeric>
#include <random>

using namespace comm::solver;

namespace {
std::vector<BufferRequest> randomRequests(std::mt19937 &random, int count, int times, int maxBytes, bool shared) {
  std::vector<BufferRequest> requests;
  for (int i = 0; i < count; ++i) {
    int64_t a = random() % times, b = std::min<int64_t>(times - 1, a + random() % 5);
    requests.push_back({static_cast<int64_t>(random() % maxBytes), a, b, shared && random() % 4 == 0});
  }
  return requests;
}

/// Smallest arena over all orders of first-fit placement: optimal for these small cases.
int64_t bruteForce(const std::vector<BufferRequest> &requests) {
  std::vector<int> order(requests.size());
  std::iota(order.begin(), order.end(), 0);
  auto up = [](int64_t bytes) { return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment; };
  int64_t best = INT64_MAX;
  do {
    std::vector<int64_t> offset(requests.size(), -1);
    int64_t top = 0;
    for (int id : order) {
      int64_t at = 0;
      for (bool moved = true; moved;) {
        moved = false;
        for (size_t other = 0; other < requests.size(); ++other) {
          const BufferRequest &a = requests[id], &b = requests[other];
          if (offset[other] < 0 || a.last < b.first || b.last < a.first || at + up(a.bytes) <= offset[other] ||
              offset[other] + up(b.bytes) <= at)
            continue;
          at = offset[other] + up(b.bytes);
          moved = true;
        }
      }
      offset[id] = at;
      top = std::max(top, at + up(requests[id].bytes));
    }
    best = std::min(best, top);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

TEST(BufferPlan, EmptyAndZeroSized) {
  EXPECT_EQ(planBuffers({}).arenaBytes, 0);
  std::vector<BufferRequest> requests{{0, 0, 4, false}, {0, 1, 2, true}};
  BufferPlan plan = planBuffers(requests);
  EXPECT_EQ(plan.arenaBytes, 0);
  EXPECT_EQ(verify(requests, plan), "");
}

TEST(BufferPlan, ReusesBytesAfterTheLastUse) {
  std::vector<BufferRequest> requests{{256, 0, 1, false}, {256, 1, 2, false}, {256, 2, 3, false}};
  BufferPlan plan = planBuffers(requests);
  EXPECT_EQ(plan.arenaBytes, 512);
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
  EXPECT_NE(plan.offsets[0], plan.offsets[1]);
}

TEST(BufferPlan, SharedBuffersLieInFront) {
  std::vector<BufferRequest> requests{{1000, 0, 9, false}, {64, 2, 3, true}, {128, 3, 4, true}};
  BufferPlan plan = planBuffers(requests);
  EXPECT_EQ(verify(requests, plan), "");
  EXPECT_EQ(plan.sharedBytes, 192);
  EXPECT_GE(plan.offsets[0], 192);
}

TEST(BufferPlan, PrivateBuffersUseFreeSharedBytes) {
  std::vector<BufferRequest> requests{{128, 0, 1, true}, {128, 2, 3, false}};
  EXPECT_EQ(planBuffers(requests).arenaBytes, 128);
}

TEST(BufferPlan, CloseToBruteForce) {
  std::mt19937 random(7);
  int64_t planned = 0, optimal = 0;
  for (int round = 0; round < 60; ++round) {
    auto requests = randomRequests(random, 7, 8, 1024, false);
    BufferPlan plan = planBuffers(requests);
    ASSERT_EQ(verify(requests, plan), "");
    int64_t best = bruteForce(requests);
    ASSERT_LE(plan.lowerBound, best);
    ASSERT_GE(plan.arenaBytes, best);
    planned += plan.arenaBytes;
    optimal += best;
  }
  EXPECT_LE(static_cast<double>(planned), 1.03 * static_cast<double>(optimal));
}

// Under a limit the quick orders are not the last word: what the best order of all reaches is reached nearly always.
TEST(BufferPlan, SqueezesUnderALimit) {
  std::mt19937 random(8);
  int tight = 0, reached = 0;
  for (int round = 0; round < 100; ++round) {
    auto requests = randomRequests(random, 7, 8, 1024, false);
    int64_t best = bruteForce(requests), quick = planBuffers(requests).arenaBytes;
    BufferPlan plan = planBuffers(requests, best);
    ASSERT_EQ(verify(requests, plan), "");
    ASSERT_LE(plan.arenaBytes, quick);
    tight += quick > best;
    reached += quick > best && plan.arenaBytes == best;
  }
  EXPECT_GT(tight, 2);
  EXPECT_GE(reached, tight - 1);
  // With operands of collectives, which lie in front.
  int squeezed = 0;
  for (int round = 0; round < 60; ++round) {
    auto requests = randomRequests(random, 40, 30, 4096, true);
    BufferPlan quick = planBuffers(requests), plan = planBuffers(requests, quick.lowerBound);
    ASSERT_EQ(verify(requests, plan), "");
    ASSERT_LE(plan.arenaBytes, quick.arenaBytes);
    squeezed += quick.arenaBytes > quick.lowerBound && plan.arenaBytes == plan.lowerBound;
  }
  EXPECT_GT(squeezed, 5);
}

TEST(BufferPlan, SoundOnManyRandomProblems) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    auto requests = randomRequests(random, 40, 30, 4096, true);
    ASSERT_EQ(check(requests), "");
    BufferPlan plan = planBuffers(requests);
    ASSERT_EQ(verify(requests, plan), "");
    ASSERT_GE(plan.arenaBytes, plan.lowerBound);
  }
}

TEST(BufferPlan, VerifyFindsWhatIsWrong) {
  std::vector<BufferRequest> requests{{128, 0, 2, false}, {128, 2, 3, true}};
  BufferPlan plan = planBuffers(requests);
  ASSERT_EQ(verify(requests, plan), "");
  BufferPlan overlap = plan, misaligned = plan, outside = plan, unshared = plan;
  overlap.offsets = {64, 0};
  misaligned.offsets[1] = 8;
  outside.offsets[0] = plan.arenaBytes;
  unshared.offsets = {0, 128};
  EXPECT_NE(verify(requests, overlap).find("share bytes"), std::string::npos);
  EXPECT_NE(verify(requests, misaligned), "");
  EXPECT_NE(verify(requests, outside), "");
  EXPECT_NE(verify(requests, unshared), "");
  plan.offsets.pop_back();
  EXPECT_NE(verify(requests, plan), "");
}

TEST(BufferPlan, CheckRefusesMalformedRequests) {
  EXPECT_NE(check({{-1, 0, 0, false}}), "");
  EXPECT_NE(check({{1, 2, 1, false}}), "");
  EXPECT_NE(check({{INT64_MAX / 2, 0, 0, false}, {INT64_MAX / 2 + 2, 0, 0, false}}), "");
}

// 80 layers are about 2,000 buffers; ten times as many must not take ten times ten as long.
TEST(BufferPlan, LargeProgramsAreQuick) {
  std::mt19937 random(3);
  std::vector<BufferRequest> requests;
  for (int i = 0; i < 20000; ++i)
    requests.push_back(
        {static_cast<int64_t>(1 + random() % 100000), i, i + static_cast<int64_t>(1 + random() % 6), i % 9 == 0});
  for (int i = 0; i < 20; ++i)
    requests.push_back({4096, 0, 20000, false}); // alive throughout
  auto begin = std::chrono::steady_clock::now();
  BufferPlan plan = planBuffers(requests);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(verify(requests, plan), "");
  EXPECT_LT(seconds, 5.0);
  EXPECT_LE(static_cast<double>(plan.arenaBytes), 1.6 * static_cast<double>(plan.lowerBound));
}
} // namespace
