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

/// Two products, the second along what the first has split, in every form of the operands.
std::string quantizedModule(const TestGrid &grid, int64_t bits, bool kMajor, const char *zeros, bool oneScale,
                            int64_t hidden) {
  auto tensor = [](std::initializer_list<int64_t> shape, const char *element) {
    std::string text = "tensor<";
    for (int64_t size : shape)
      text += std::to_string(size) + "x";
    return text + element + ">";
  };
  std::string body;
  int64_t offset = 0, number = 0;
  auto weight = [&](const std::string &type) {
    std::string name = "%w" + std::to_string(number++);
    body += "  " + name + " = comm.weight \"" + name.substr(1) + "\" in \"m\" at " + std::to_string(offset += 65536) +
            " : " + type + " -> " + type + "\n";
    return name;
  };
  auto product = [&](const std::string &x, const char *y, int64_t k, int64_t n) {
    int64_t blocks = (k + 15) / 16, rows = kMajor ? blocks : n, columns = kMajor ? n : blocks;
    (kMajor ? rows : columns) = oneScale ? 1 : blocks;
    std::string w = kMajor ? tensor({blocks, 16, n * bits / 8}, "i8") : tensor({n, blocks, 2 * bits}, "i8");
    std::string s = tensor({rows, columns}, "f32");
    std::string z = zeros == std::string("packed") ? tensor({rows, (columns * bits + 7) / 8}, "i8") : s;
    std::string wName = weight(w), sName = weight(s), zName = *zeros ? weight(z) : "";
    body += "  " + std::string(y) + " = comm.quantized_matmul " + x + ", " + wName + " scales " + sName + " : " + s +
            (*zeros ? " zero_points " + zName + " : " + z : "") + " bits " + std::to_string(bits) + " block 16" +
            (bits == 8 ? " signed" : "") + (kMajor ? " k_major" : "") + (n == 10 && bits == 8 ? " int8" : "") + " : " +
            tensor({3, k}, "f32") + ", " + w + " -> " + tensor({3, n}, "f32") + "\n";
  };
  product("%x", "%h", 32, hidden);
  body += "  %g = comm.silu %h : " + tensor({3, hidden}, "f32") + "\n";
  product("%g", "%y", hidden, 10);
  return grid.text() + "func.func @main(%x: tensor<3x32xf32>) -> tensor<3x10xf32> {\n" + body +
         "  return %y : tensor<3x10xf32>\n}\n";
}

TEST(SplitEqualsWhole, QuantizedProducts) {
  uint32_t seed = 1;
  for (const TestGrid &grid : kGrids)
    for (int64_t bits : {4, 8})
      for (bool kMajor : {false, true})
        for (const char *zeros : {"", "packed", "floats"})
          for (bool oneScale : {false, true})
            for (int64_t hidden : {96, 80, 90}) {
              if (kMajor && hidden % 16 != 0)
                continue;
              std::string text = quantizedModule(grid, bits, kMajor, zeros, oneScale, hidden);
              mlir::comm::PartitionOptions options;
              options.latencyUs = ++seed % 2 ? 0.001 : 5;
              ASSERT_EQ(compareSplit(text, seed, options), "") << text;
            }
}

TEST(SplitEqualsWhole, FreeSearch) { runCases(false, 1); }
TEST(SplitEqualsWhole, FixedLayouts) { runCases(true, 100001); }
} // namespace
