//===- ConformanceTest.cpp - every collective gives the right numbers -----===//
#include "test/runtime/Conformance/Cases.h"
#include "test/runtime/Conformance/Requests.h"
#include <fstream>
#include <gtest/gtest.h>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;

namespace {
struct Setting {
  RanksAs as;
  int32_t ranks;
  bool linked = false; ///< over an emulated link, fast enough for a test
};
std::ostream &operator<<(std::ostream &os, const Setting &s) {
  return os << s.ranks << (s.as == RanksAs::Threads ? " threads" : " processes") << (s.linked ? ", linked" : "");
}

std::unique_ptr<RankGroup> startGroup(const Setting &setting, size_t arenaBytes, size_t slotBytes = 0) {
  RankGroupOptions options;
  options.as = setting.as;
  options.ranks = setting.ranks;
  options.arenaBytes = arenaBytes;
  options.slotBytes = slotBytes;
  options.setup = "60000 " + std::to_string(arenaBytes);
  options.program = "/proc/self/exe";
  if (setting.linked) {
    options.link.bytesPerSecond = 10e9;
    options.link.latencyNs = 1000;
    options.link.chunkBytes = 4000; // many pieces, no power of two
  }
  std::unique_ptr<RankGroup> group;
  Status s = RankGroup::start(options, conformanceRank(), group);
  EXPECT_TRUE(s) << s.text;
  return group;
}

/// All ranks answer this request with the same text.
void expectAnswer(RankGroup &group, const std::string &request, const std::string &answer) {
  std::vector<std::string> replies;
  Status s = group.call(request, replies);
  ASSERT_TRUE(s) << s.text;
  for (const std::string &r : replies)
    EXPECT_EQ(r, answer);
}

class Conformance : public testing::TestWithParam<Setting> {};

TEST_P(Conformance, EveryType) {
  auto group = startGroup(GetParam(), arenaFor(8 * 1021 + 64));
  expectAnswer(*group, "types", "");
}

TEST_P(Conformance, LargeAndStaged) {
  // 16 KiB slots: large private operands take many rounds.
  auto group = startGroup(GetParam(), arenaFor(8 * 65600), 16 << 10);
  expectAnswer(*group, "sizes", "");
}

// Equal bits on all ranks and in every repeat; every collective was executed.
TEST_P(Conformance, RepeatsAreEqual) {
  auto group = startGroup(GetParam(), arenaFor(8 * 30100));
  std::vector<std::string> first, again, counts;
  ASSERT_TRUE(group->call("hash", first));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(group->call("hash", again));
    EXPECT_EQ(first, again);
  }
  ASSERT_TRUE(group->call("count", counts));
  int32_t ranks = GetParam().ranks;
  for (int32_t r = 0; r < ranks; ++r) { // send and recv have nobody for a single rank, nor for the last of an odd group
    bool paired = (r ^ 1) < ranks;
    EXPECT_EQ(counts[static_cast<size_t>(r)], std::to_string(4 * (8 + 4 + 2 + 4 + (paired ? 2 : 0))));
  }
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (RanksAs as : {RanksAs::Threads, RanksAs::Processes})
    for (int32_t ranks : {1, 2, 3, 4, 8})
      if (!sanitized || (as == RanksAs::Threads ? ranks <= 4 : ranks == 2)) // it would take minutes
        all.push_back({as, ranks});
  for (int32_t ranks : {2, 3})
    all.push_back({RanksAs::Threads, ranks, true});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Ranks, Conformance, testing::ValuesIn(settings()));

class Grids : public testing::TestWithParam<RanksAs> {};

// Groups along an axis of a grid are those and no others.
TEST_P(Grids, TwoByTwo) {
  auto group = startGroup({GetParam(), 4}, arenaFor(4 * 40100));
  expectAnswer(*group, "axes 2 2", "");
}

TEST_P(Grids, TwoByThree) {
  auto group = startGroup({GetParam(), 6}, arenaFor(6 * 40100), 32 << 10);
  expectAnswer(*group, "axes 2 3", "");
}

INSTANTIATE_TEST_SUITE_P(As, Grids, testing::Values(RanksAs::Threads, RanksAs::Processes));

// Counts are 64 bits wide everywhere.
TEST(Huge, MoreThanTwoToThe31Bytes) {
  std::ifstream meminfo("/proc/meminfo");
  size_t availableKiB = 0;
  for (std::string line; std::getline(meminfo, line);)
    if (line.rfind("MemAvailable:", 0) == 0)
      availableKiB = std::stoull(line.substr(13));
  if (availableKiB < (size_t(9) << 20))
    GTEST_SKIP() << "needs 9 GiB of free memory";
  if (sanitized)
    GTEST_SKIP() << "too slow under sanitizers";
  auto group = startGroup({RanksAs::Processes, 2}, (size_t(1) << 31) + (1 << 20), 1 << 20);
  expectAnswer(*group, "huge", "");
}
} // namespace
