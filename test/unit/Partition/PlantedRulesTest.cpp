//===- PlantedRulesTest.cpp - the comparison notices wrong rules ----------===//
#include "RandomGraph.h"
#include "SplitCase.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/Partition/Graph.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace mlir::comm;
using namespace commtest;

namespace {
struct Planted {
  const char *name;
  partition::RuleHook hook;
  const char *text = nullptr; ///< a module that must fail; null: one of many random graphs must
};

// Demands that hold only with the wrong rule without a sum in between.
const char *kGeluOfPartial = R"(comm.grid @grid ["a"] = [2]
func.func @main(%x: tensor<4x6xf64>) -> tensor<4x6xf64> {
  %w = comm.weight "w" in "m" at 0 : tensor<6x6xf64> -> tensor<6x6xf64>
  %y = comm.matmul %x, %w {comm.layout = #comm.layout<[[], []] partial ["a"]>} : tensor<4x6xf64>, tensor<6x6xf64> -> tensor<4x6xf64>
  %z = comm.gelu erf %y {comm.layout = #comm.layout<[[], []] partial ["a"]>} : tensor<4x6xf64>
  return %z : tensor<4x6xf64>
})";
const char *kProductOfPartials = R"(comm.grid @grid ["a"] = [2]
func.func @main(%x: tensor<4x6xf64>) -> tensor<4x6xf64> {
  %w = comm.weight "w" in "m" at 0 : tensor<6x6xf64> -> tensor<6x6xf64>
  %y = comm.matmul %x, %w {comm.layout = #comm.layout<[[], []] partial ["a"]>} : tensor<4x6xf64>, tensor<6x6xf64> -> tensor<4x6xf64>
  %z = arith.mulf %y, %y {comm.layout = #comm.layout<[[], []] partial ["a"]>} : tensor<4x6xf64>
  return %z : tensor<4x6xf64>
})";

template <typename Op> void freeFactors(Operation *op, ShardingRule &rule) {
  if (isa<Op>(op))
    for (Factor &factor : rule.factors)
      if (factor.kind == FactorKind::Whole)
        factor.kind = FactorKind::Parallel;
}

const Planted kPlanted[] = {
    {"the norm's last dimension may be split", freeFactors<RMSNormOp>},
    {"rotary's head may be split", freeFactors<RotaryOp>},
    {"gelu is linear",
     [](Operation *op, ShardingRule &rule) {
       if (isa<GeluOp>(op))
         rule.linearIn = {true};
     },
     kGeluOfPartial},
    {"a sum takes one partial operand",
     [](Operation *op, ShardingRule &rule) {
       if (isa<arith::AddFOp>(op))
         rule.linearIn = {true, false};
     }},
    {"a product takes two partial operands",
     [](Operation *op, ShardingRule &rule) {
       if (isa<arith::MulFOp>(op))
         rule.linearInAny = false;
     },
     kProductOfPartials},
    {"a maximum goes through partial sums",
     [](Operation *op, ShardingRule &rule) {
       if (isa<linalg::ReduceOp>(op))
         rule.linearIn = {true, false};
     }},
    {"heads and head size swap",
     [](Operation *op, ShardingRule &rule) {
       if (isa<tensor::CollapseShapeOp>(op))
         for (DimFactors &dim : rule.results[0])
           if (dim.size() == 2)
             std::swap(dim[0], dim[1]);
     }},
};

TEST(PlantedRules, EachIsNoticed) {
  for (const Planted &planted : kPlanted) {
    partition::RuleHook before = partition::setRuleHook(planted.hook);
    bool noticed = false;
    // Free axes and demands bring the wrong factor into use soon.
    if (planted.text)
      noticed = !compareSplit(planted.text, 1, {}).empty();
    for (uint32_t seed = 1; !planted.text && !noticed && seed <= 600; ++seed) {
      TestGrid grid{{seed % 2 ? "a" : "tp"}, {2 + static_cast<int64_t>(seed % 3)}};
      PartitionOptions options;
      options.latencyUs = 0.001;
      noticed = !compareSplit(RandomGraph(seed, grid, true).module(), seed, options).empty();
    }
    partition::setRuleHook(before);
    EXPECT_TRUE(noticed) << "not noticed: " << planted.name;
    if (planted.text) // and with the right rule it is fine
      EXPECT_EQ(compareSplit(planted.text, 1, {}), "") << planted.name;
  }
}
} // namespace
