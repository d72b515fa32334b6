//===- SplitEqualsWholeTest.cpp - the phase against the unsplit model -----===//
// Random graphs x grids x fixed layouts, in the integers modulo a prime: sums in any order are equal bit for bit.
//===----------------------------------------------------------------------===//
#include "RandomGraph.h"
#include "SplitCase.h"
#include "comm/Analysis/Explain.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Lower/Passes.h"
#include "passes/Optimize/Passes.h"
#include "passes/Schedule/Passes.h"
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

/// Everything that may be done about communication behind the phase, with the smallest thresholds.
void weave(mlir::OpPassManager &manager, uint32_t seed) {
  mlir::OpPassManager &function = manager.nest<mlir::func::FuncOp>();
  mlir::comm::FuseAllReduceNormPassOptions fuse;
  fuse.settle = seed % 2 == 0;
  function.addPass(mlir::comm::createFuseAllReduceNormPass(fuse));
  mlir::comm::SplitTokensPassOptions split;
  split.minRows = 2;
  split.tile = 1;
  split.cut = seed % 5 == 0 ? 1 : 0;
  if (seed % 4 != 3)
    function.addPass(mlir::comm::createSplitTokensPass(split));
  mlir::comm::PipelineMatmulsPassOptions chunks;
  chunks.chunks = 1 + seed % 3;
  chunks.order = seed % 2 ? "ring" : "direct";
  chunks.tile = 1;
  chunks.minRows = 2;
  function.addPass(mlir::comm::createPipelineMatmulsPass(chunks));
  function.addPass(mlir::comm::createShardResidualPass());
  function.addPass(mlir::createCanonicalizerPass());
  function.addPass(mlir::createCSEPass());
  function.addPass(mlir::comm::createMakeAsyncPass());
  function.addPass(mlir::comm::createSinkWaitsPass());
  function.addPass(mlir::comm::createDecomposeCollectivesPass());
}

TEST(SplitEqualsWhole, Woven) {
  int inParts = 0, inChunks = 0, inRings = 0, fused = 0;
  for (int i = 0; i < cases(); ++i) {
    uint32_t seed = 200001 + static_cast<uint32_t>(i);
    // Fixed layouts and residuals by tokens: more gathers and scatters of rows.
    std::string text = RandomGraph(seed, kGrids[static_cast<size_t>(i) % std::size(kGrids)], i % 4 == 0).module();
    mlir::comm::PartitionOptions options;
    options.latencyUs = i % 2 ? 0.001 : 5;
    options.sequenceParallel = i % 3 == 0;
    mlir::OwningOpRef<mlir::ModuleOp> module;
    std::string problem =
        compareSplit(text, seed, options, &module, [&](mlir::OpPassManager &manager) { weave(manager, seed); });
    ASSERT_EQ(problem, "") << "seed " << seed << "\n" << text;
    std::string said;
    for (const std::string &line : mlir::comm::getExplanations(*module))
      said += line + "\n";
    inParts += said.find("runs in two parts") != std::string::npos;
    inChunks += said.find(" chunks of ") != std::string::npos;
    inRings += said.find(" run in ring order") != std::string::npos;
    fused += said.find("are one op") != std::string::npos;
  }
  RecordProperty("in_parts", inParts);
  RecordProperty("in_chunks", inChunks);
  RecordProperty("in_rings", inRings);
  if (cases() >= 1000) { // the passes fire
    EXPECT_GT(inParts, cases() / 50);
    EXPECT_GT(inChunks, cases() / 50);
    EXPECT_GT(inRings, cases() / 50);
    EXPECT_GT(fused, 0);
  }
}

TEST(SplitEqualsWhole, FreeSearch) { runCases(false, 1); }
TEST(SplitEqualsWhole, FixedLayouts) { runCases(true, 100001); }
} // namespace
