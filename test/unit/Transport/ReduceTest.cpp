//===- ReduceTest.cpp - accumulation, order, NaNs, overflow ---------------===//
#include "runtime/Transport/Reduce.h"
#include "runtime/Kernels/Convert.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

using namespace comm;
using namespace comm::rt;

namespace {
template <class T> std::vector<T> reduce(exe::DType t, ReduceKind kind, const std::vector<std::vector<T>> &ins) {
  std::vector<const void *> pointers;
  for (const auto &in : ins)
    pointers.push_back(in.data());
  std::vector<T> out(ins[0].size());
  reduceInOrder(t, kind, pointers.data(), pointers.size(), out.data(), static_cast<int64_t>(out.size()));
  return out;
}

// 256 + 1 is no bf16: rounding after each step would lose every 1.
TEST(Reduce, Bf16AccumulatesInF32) {
  std::vector<std::vector<uint16_t>> ins(9, {toBF16(1.0f)});
  ins[0] = {toBF16(256.0f)};
  EXPECT_EQ(fromBF16(reduce(exe::DType::BF16, ReduceKind::Sum, ins)[0]), 264.0f);
}

// 2048 + 1 is no f16, and 40000 * 4 is past its largest value until it is halved again.
TEST(Reduce, F16AccumulatesInF32) {
  std::vector<std::vector<uint16_t>> ins(5, {toF16(1.0f), toF16(0.5f)});
  ins[0] = {toF16(2048.0f), toF16(40000.0f)};
  ins[1] = {toF16(1.0f), toF16(4.0f)};
  EXPECT_EQ(fromF16(reduce(exe::DType::F16, ReduceKind::Sum, ins)[0]), 2052.0f);
  EXPECT_EQ(fromF16(reduce(exe::DType::F16, ReduceKind::Prod, ins)[1]), 20000.0f);
}

// Left to right: another order gives other bits.
TEST(Reduce, KeepsTheOrder) {
  std::vector<std::vector<float>> ins = {{1e8f}, {1.0f}, {-1e8f}, {1.0f}};
  EXPECT_EQ(reduce(exe::DType::F32, ReduceKind::Sum, ins)[0], ((1e8f + 1.0f) - 1e8f) + 1.0f);
  std::swap(ins[1], ins[2]);
  EXPECT_EQ(reduce(exe::DType::F32, ReduceKind::Sum, ins)[0], 2.0f);
}

TEST(Reduce, NaNsStay) {
  float nan = std::numeric_limits<float>::quiet_NaN();
  for (ReduceKind kind : {ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod})
    for (size_t where = 0; where < 3; ++where) {
      std::vector<std::vector<float>> ins = {{1}, {2}, {3}};
      ins[where][0] = nan;
      EXPECT_TRUE(std::isnan(reduce(exe::DType::F32, kind, ins)[0]));
      std::vector<std::vector<uint16_t>> halves;
      for (const auto &in : ins)
        halves.push_back({toF16(in[0])});
      EXPECT_TRUE(std::isnan(fromF16(reduce(exe::DType::F16, kind, halves)[0])));
    }
}

TEST(Reduce, IntegersWrap) {
  EXPECT_EQ(reduce<int8_t>(exe::DType::I8, ReduceKind::Sum, {{127}, {1}})[0], -128);
  EXPECT_EQ(reduce<uint16_t>(exe::DType::U16, ReduceKind::Prod, {{65535}, {65535}})[0], 1);
  int64_t most = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(reduce<int64_t>(exe::DType::I64, ReduceKind::Sum, {{most}, {1}})[0], std::numeric_limits<int64_t>::min());
  EXPECT_EQ(reduce<int32_t>(exe::DType::I32, ReduceKind::Min, {{-1}, {1}})[0], -1);
  EXPECT_EQ(reduce<uint32_t>(exe::DType::U32, ReduceKind::Min, {{0xffffffffu}, {1}})[0], 1u);
}

TEST(Reduce, BoolIsAndOr) {
  std::vector<std::vector<uint8_t>> ins = {{0, 0, 1}, {0, 1, 1}};
  using V = std::vector<uint8_t>;
  EXPECT_EQ(reduce(exe::DType::Bool, ReduceKind::Sum, ins), (V{0, 1, 1}));
  EXPECT_EQ(reduce(exe::DType::Bool, ReduceKind::Max, ins), (V{0, 1, 1}));
  EXPECT_EQ(reduce(exe::DType::Bool, ReduceKind::Prod, ins), (V{0, 0, 1}));
  EXPECT_EQ(reduce(exe::DType::Bool, ReduceKind::Min, ins), (V{0, 0, 1}));
}

// Longer than a block, into one of the operands.
TEST(Reduce, IntoAnOperand) {
  std::vector<double> a(5003), b(a.size()), c(a.size(), 0.5), expected(a.size());
  std::iota(a.begin(), a.end(), 0.0);
  std::iota(b.begin(), b.end(), 100.0);
  for (size_t i = 0; i < a.size(); ++i)
    expected[i] = a[i] + b[i] + c[i];
  const void *ins[] = {a.data(), b.data(), c.data()};
  reduceInOrder(exe::DType::F64, ReduceKind::Sum, ins, 3, b.data(), static_cast<int64_t>(b.size()));
  EXPECT_EQ(b, expected);
}
} // namespace
