//===- CountersTest.cpp - hidden, exposed and late ------------------------===//
#include "runtime/Core/Counters.h"
#include <gtest/gtest.h>

using namespace comm::rt;

namespace {
std::vector<CollectiveTimes> split(const std::vector<CollectiveSpan> &spans, const std::vector<Interval> &waits) {
  std::vector<CollectiveTimes> out;
  splitTimes(spans, waits, out);
  return out;
}
void expectTimes(const CollectiveTimes &t, int64_t hidden, int64_t exposed, int64_t late) {
  EXPECT_EQ(t.hiddenNs(), hidden);
  EXPECT_EQ(t.exposedNs, exposed);
  EXPECT_EQ(t.lateNs, late);
}

TEST(Counters, WaitAtTheEnd) {
  auto t = split({{100, 120, 200, 64}}, {{170, 205}});
  expectTimes(t[0], 50, 30, 0);
  EXPECT_EQ(t[0].sentBytes, 64);
}

TEST(Counters, LateRanksAreNoCommunication) { expectTimes(split({{100, 180, 200, 0}}, {{90, 210}})[0], 0, 20, 80); }

TEST(Counters, AllHidden) { expectTimes(split({{100, 100, 200, 0}}, {{50, 60}, {200, 201}})[0], 100, 0, 0); }

// Compute waits for the second one while the first one moves: that is exposed time of the first.
TEST(Counters, WaitBehindAnother) {
  auto t = split({{0, 0, 100, 0}, {100, 110, 150, 0}, {150, 150, 160, 0}}, {{40, 145}, {155, 165}});
  expectTimes(t[0], 40, 60, 0);
  expectTimes(t[1], 5, 35, 10);
  expectTimes(t[2], 5, 5, 0);
}

TEST(Counters, MeetingsOutsideOfTheSpanAreCut) {
  expectTimes(split({{100, 90, 200, 0}}, {{0, 300}})[0], 0, 100, 0);
  expectTimes(split({{100, 250, 200, 0}}, {{0, 300}})[0], 0, 0, 100);
  expectTimes(split({{100, 0, 200, 0}}, {{150, 300}})[0], 50, 50, 0); // not known
}

TEST(Counters, MeanOverRanks) {
  std::vector<CollectiveTimes> mean;
  addMean({{3, 10, 4, 2, 100}}, 2, mean);
  addMean({{3, 20, 8, 0, 300}}, 2, mean);
  ASSERT_EQ(mean.size(), 1u);
  EXPECT_EQ(mean[0].command, 3);
  expectTimes(mean[0], 9, 6, 1);
  EXPECT_EQ(mean[0].sentBytes, 200);
}
} // namespace
