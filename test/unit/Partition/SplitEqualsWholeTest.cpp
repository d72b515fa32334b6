//===- SplitEqualsWholeTest.cpp - the phase against the unsplit model -----===//
// Random graphs x grids x fixed layouts, in the integers modulo a prime: sums in any order are equal bit for bit.
//===----------------------------------------------------------------------===//
#include "RandomGraph.h"
#include "SplitCase.h"
#include <cstdlib>
#include <gtest/gtest.h>

using namespace commtest;

namespace {
const TestGrid kGrids[] = {{{"tp"}, {2}},        {{"tp"}, {3}},          {{"tp"}, {4}},          {{"a"}, {2}},
                           {{"a"}, {3}},         {{"a"}, {4}},           {{"dp", "tp"}, {2, 2}}, {{"a", "b"}, {2, 2}},
                           {{"a", "b"}, {2, 3}}, {{"tp", "sp"}, {2, 2}}, {{"a", "tp"}, {3, 2}},  {{"sp"}, {2}},
                           {{"dp", "a"}, {2, 3}}};

int cases() {
  const char *text = std::getenv("COMM_PARTITION_CASES");
  return text ? std::atoi(text) : 1000;
}

void runCases(bool fixedLayouts, uint32_t base) {
  for (int i = 0; i < cases(); ++i) {
    uint32_t seed = base + i;
    const TestGrid &grid = kGrids[i % std::size(kGrids)];
    mlir::comm::PartitionOptions options;
    options.sequenceParallel = i % 3 == 0;
    // Cheap messages on some, so that plans with many conversions are met.
    options.latencyUs = i % 2 ? 0.001 : 5;
    std::string text = RandomGraph(seed, grid, fixedLayouts).module();
    std::string problem = compareSplit(text, seed, options);
    ASSERT_EQ(problem, "") << "seed " << seed << "\n" << text;
  }
}

TEST(SplitEqualsWhole, FreeSearch) { runCases(false, 1); }
TEST(SplitEqualsWhole, FixedLayouts) { runCases(true, 100001); }
} // namespace
