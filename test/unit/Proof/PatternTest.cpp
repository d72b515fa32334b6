//===- PatternTest.cpp - strided writes against marking every byte --------===//
#include "lib/Proof/Pattern.h"
#include "lib/Proof/ByteMap.h"
#include <gtest/gtest.h>
#include <random>

using namespace comm::proof;

namespace {
void mark(const Pattern &p, std::vector<char> &bytes) {
  std::vector<int64_t> starts = {p.base};
  for (auto [count, stride] : p.dims) {
    std::vector<int64_t> more;
    for (int64_t s : starts)
      for (int64_t i = 0; i < count; ++i)
        more.push_back(s + i * stride);
    starts = more;
  }
  for (int64_t s : starts)
    for (int64_t i = 0; i < p.run; ++i)
      bytes.at(static_cast<size_t>(s + i)) = 1;
}
} // namespace

TEST(Pattern, NormalFormTouchesTheSameBytes) {
  std::mt19937 random(1);
  auto pick = [&](int64_t most) { return static_cast<int64_t>(random() % static_cast<uint64_t>(most + 1)); };
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<std::pair<int64_t, int64_t>> dims;
    int64_t width = pick(2) + 1;
    for (int64_t d = pick(3); d > 0; --d)
      dims.emplace_back(pick(3) + 1, pick(8));
    Pattern plain{pick(4), width, dims}, normal = makePattern(plain.base, width, dims);
    std::vector<char> a(200, 0), b(200, 0);
    mark(plain, a);
    mark(normal, b);
    ASSERT_EQ(a, b);
    EXPECT_LE(normal.dims.size(), dims.size());
  }
}

TEST(Pattern, CoversIffEveryByteIsMarked) {
  std::mt19937 random(2);
  auto pick = [&](int64_t most) { return static_cast<int64_t>(random() % static_cast<uint64_t>(most + 1)); };
  int covered = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    // Parts of a small tensor, as concatenations on any dimension leave them; sometimes one is missing or moved.
    int64_t a = pick(2) + 1, b = pick(2) + 1, c = pick(2) + 1, size = a * b * c, cut = pick(b);
    std::vector<Pattern> parts = {makePattern(0, 1, {{a, b * c}, {cut, c}, {c, 1}}),
                                  makePattern(cut * c, 1, {{a, b * c}, {b - cut, c}, {c, 1}})};
    if (pick(3) == 0)
      parts[static_cast<size_t>(pick(1))].base += pick(2);
    if (pick(5) == 0)
      parts.pop_back();
    std::vector<char> bytes(100, 0);
    for (const Pattern &p : parts)
      if (p.run > 0)
        mark(p, bytes);
    bool whole = std::all_of(bytes.begin(), bytes.begin() + size, [](char x) { return x; });
    covered += whole;
    int64_t budget = 1000;
    ASSERT_EQ(covers(parts, 0, size, budget), whole) << a << " " << b << " " << c << " cut " << cut;
  }
  EXPECT_GT(covered, 5000);
}

TEST(Pattern, LargeTensorsAreNotWalked) {
  // [64, 32, 4096, 128] concatenated on the third dimension: 268 million elements, two patterns.
  int64_t rows = 64 * 32, width = 4096 * 128, part = 1000 * 128;
  std::vector<Pattern> parts = {makePattern(0, 4, {{64, 32 * width * 4}, {32, width * 4}, {1000, 512}, {128, 4}}),
                                makePattern(part * 4, 4, {{rows, width * 4}, {width - part, 4}})};
  int64_t budget = 100;
  EXPECT_TRUE(covers(parts, 0, rows * width * 4, budget));
  EXPECT_EQ(budget, 98);
  parts[1].base += 4;
  EXPECT_FALSE(covers(parts, 0, rows * width * 4, budget));
  parts[1].dims[0].second += 4; // no common period: every run would have to be looked at
  EXPECT_FALSE(covers(parts, 0, rows * width * 4, budget));
  EXPECT_GE(budget, 0);
}

TEST(ByteMap, AgreesWithAnArray) {
  std::mt19937 random(3);
  ByteMap<int> map;
  std::vector<int> bytes(40, -1);
  for (int trial = 0; trial < 20000; ++trial) {
    int64_t begin = random() % 40, end = begin + random() % (41 - begin);
    int what = static_cast<int>(random() % 4), value = static_cast<int>(random() % 5);
    if (what == 0) {
      map.assign(begin, end, value);
      std::fill(bytes.begin() + begin, bytes.begin() + end, value);
    } else if (what == 1) {
      map.erase(begin, end);
      std::fill(bytes.begin() + begin, bytes.begin() + end, -1);
    } else if (what == 2) {
      map.update(begin, end, 7, [](int &v) { v = (v + 1) % 9; });
      for (int64_t i = begin; i < end; ++i)
        bytes[static_cast<size_t>(i)] =
            ((bytes[static_cast<size_t>(i)] < 0 ? 7 : bytes[static_cast<size_t>(i)]) + 1) % 9;
    }
    int64_t at = begin;
    map.visit(begin, end, [&](int64_t from, int64_t to, const int *v) {
      ASSERT_EQ(from, at);
      for (; at < to; ++at)
        ASSERT_EQ(bytes[static_cast<size_t>(at)], v ? *v : -1);
    });
    ASSERT_EQ(at, end);
  }
}
