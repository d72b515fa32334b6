//===- ComputeTest.cpp - rooflines, waves, overlap ------------------------===//
#include "comm/Cost/CostModel.h"
#include "lib/Cost/Prior.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace comm::cost;

namespace {

Topology load(const std::string &name) {
  Topology t;
  std::string error;
  EXPECT_TRUE(loadTopology(name, t, error)) << error;
  return t;
}

GemmQuery gemm(int64_t m, int64_t n, int64_t k, const char *dtype = "bf16", int64_t taken = 0) {
  GemmQuery q;
  q.dtype = dtype;
  q.m = m;
  q.n = n;
  q.k = k;
  q.unitsTaken = taken;
  return q;
}

// max(2mnk / (0.75 * 989e6), bytes / (0.8 * 4800e3)) + 3, by hand.
TEST(Gemm, RooflineOfH200) {
  Topology t = load("h200_sxm");
  double compute = 2.0 * 8192 * 8192 * 8192 / (0.75 * 989e6);
  EXPECT_NEAR(gemmPrior(t, gemm(8192, 8192, 8192)), compute + 3, 1e-6 * compute);
  double bytes = 2.0 * (1 * 8192 + 8192.0 * 8192 + 8192);
  EXPECT_NEAR(gemmPrior(t, gemm(1, 8192, 8192)), bytes / (0.8 * 4800e3) + 3, 1e-6);
}

// A product on all units takes whole waves more when something holds a few of them: counted tile by tile.
TEST(Gemm, TakenUnitsCostWholeWaves) {
  Topology t = load("h200_sxm");
  auto waves = [](int64_t tiles, int64_t units) {
    int64_t count = 0;
    for (int64_t left = tiles; left > 0; left -= units)
      ++count;
    return static_cast<double>(count);
  };
  for (int64_t m : {1024, 1536, 4096, 8448, 16384})
    for (int64_t taken : {1, 8, 16, 66}) {
      int64_t tiles = (m / 128) * (4096 / 128);
      double whole = gemmPrior(t, gemm(m, 4096, 8192)) - 3, less = gemmPrior(t, gemm(m, 4096, 8192, "bf16", taken)) - 3;
      EXPECT_NEAR(less / whole, std::max(1.0, waves(tiles, 132 - taken) / waves(tiles, 132)), 1e-6)
          << m << " " << taken;
    }
  // One tile per unit: a second wave, twice the time.
  double whole = gemmPrior(t, gemm(12 * 128, 11 * 128, 8192)) - 3;
  EXPECT_NEAR((gemmPrior(t, gemm(12 * 128, 11 * 128, 8192, "bf16", 8)) - 3) / whole, 2, 1e-6);
}

TEST(Gemm, TakenCoresOfACpu) {
  Topology t = load("cpu");
  t.device.units = 4;
  double whole = gemmPrior(t, gemm(512, 1024, 1024, "f32")), less = gemmPrior(t, gemm(512, 1024, 1024, "f32", 2));
  EXPECT_NEAR(less / whole, 2, 0.02);
}

TEST(Attention, PairsByBruteForce) {
  Topology t = load("h200_sxm");
  t.device.memoryBytesPerUs = 1e15; // compute alone
  for (int64_t past : {0, 100})
    for (int64_t window : {0, 64, 150, 400, 1000}) {
      AttentionQuery q;
      q.dtype = "bf16";
      q.newTokens = 300;
      q.pastTokens = past;
      q.heads = q.kvHeads = 512;
      q.headDim = 128;
      q.window = window;
      double pairs = 0;
      for (int64_t row = 0; row < 300; ++row)
        pairs += static_cast<double>(window ? std::min(window, past + row + 1) : past + row + 1);
      EXPECT_NEAR(attentionPrior(t, q), 4 * 512 * 128 * pairs / (0.55 * 989e6) + 6, 0.02) << past << " " << window;
    }
}

TEST(Compute, SizesThatAreNotThereCostNothing) {
  for (const std::string &name : topologyNames()) {
    CostModel model(load(name));
    EXPECT_EQ(model.gemmUs(gemm(0, 5, 5)), 0);
    EXPECT_EQ(model.gemmUs(gemm(-1, 5, 5)), 0);
    EXPECT_EQ(model.attentionUs({}), 0);
    EXPECT_EQ(model.moeUs({}), 0);
    int64_t huge = std::numeric_limits<int64_t>::max();
    for (const char *dtype : {"f32", "bf16", "f16", "i8", "i4", "fp8", "fp8_block", "fp4", "f64", "martian", ""}) {
      for (int64_t size : {int64_t(1), int64_t(4096), huge}) {
        double us = model.gemmUs(gemm(size, size, size, dtype, 3));
        EXPECT_TRUE(std::isfinite(us) && us > 0) << name << " " << dtype << " " << us;
      }
      MemoryQuery memory{huge, huge, dtype};
      EXPECT_TRUE(std::isfinite(model.memoryUs(memory)));
    }
    MoeQuery moe{"bf16", 4096, 4096, 14336, 2, 8, 1, 1};
    EXPECT_TRUE(std::isfinite(model.moeUs(moe)) && model.moeUs(moe) > 0) << name;
  }
}

TEST(Overlap, NeverWorseThanOneAfterTheOther) {
  for (const char *name : {"h200_sxm", "cpu", "1gbe"}) {
    CostModel model(load(name));
    for (double compute : {0.0, 1.0, 50.0, 100.0, 1e4})
      for (double collective : {0.0, 2.0, 60.0, 100.0, 5e3})
        for (bool memoryBound : {false, true}) {
          OverlapCost cost = model.overlap({compute, collective, memoryBound});
          EXPECT_LE(cost.totalUs, compute + collective + 1e-9);
          EXPECT_GE(cost.totalUs, std::max(compute, collective) - 1e-9);
          EXPECT_NEAR(cost.hiddenUs + cost.exposedUs, collective, 1e-9);
          EXPECT_NEAR(cost.totalUs, compute + cost.exposedUs, 1e-9);
          EXPECT_GE(cost.exposedUs, -1e-9);
        }
  }
}

TEST(Overlap, KernelsSlowByTheirShare) {
  CostModel model(load("h200_sxm"));
  EXPECT_NEAR(model.overlap({100, 100, false}).totalUs, 119, 1e-9);
  EXPECT_NEAR(model.overlap({100, 50, false}).totalUs, 109.5, 1e-9); // slowed only while it runs
  EXPECT_NEAR(model.overlap({100, 300, false}).totalUs, 300, 1e-9);
  // Behind a memory-bound kernel little is gained.
  EXPECT_GT(model.overlap({100, 100, true}).totalUs, 185);
}

} // namespace
