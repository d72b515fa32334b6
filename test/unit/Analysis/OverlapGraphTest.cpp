//===- OverlapGraphTest.cpp - functions as overlap problems ---------------===//
#include "comm/Analysis/OverlapGraph.h"
#include "comm/Analysis/Verdict.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

using namespace mlir;
using namespace mlir::comm;
namespace solver = ::comm::solver;

namespace {
struct OverlapGraphTest : testing::Test {
  OverlapGraphTest() {
    context.loadDialect<CommDialect, arith::ArithDialect, func::FuncDialect, linalg::LinalgDialect, math::MathDialect,
                        tensor::TensorDialect>();
  }
  /// The problem of `body`, a function of x: 64x64 and w: 64x64, on a grid of 2 x 4.
  OverlapGraph build(const std::string &body, OverlapGraphOptions options = {}, const char *topology = "cpu") {
    std::string text =
        "comm.grid @grid [\"dp\", \"tp\"] = [2, 4]\nfunc.func @f(%x: tensor<64x64xf32>, %w: tensor<64x64xf32>) "
        "-> tensor<64x64xf32> {\n" +
        body + "}\n";
    module = parseSourceString<ModuleOp>(text, &context);
    std::string error;
    auto model = loadCostModel({topology, "", ""}, error);
    if (!module || !model) {
      ADD_FAILURE() << error;
      return {};
    }
    OpTimes times(model, getGrid(*module));
    OverlapGraph graph = buildOverlapGraph(*module->getOps<func::FuncOp>().begin(), times, options);
    EXPECT_EQ(solver::check(graph.problem), "");
    return graph;
  }
  func::FuncOp function() { return *module->getOps<func::FuncOp>().begin(); }
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

// What one loop nest will compute is one op; weights and views cost nothing; values inside a nest take no memory.
TEST_F(OverlapGraphTest, GroupsLoopNests) {
  OverlapGraph graph = build(R"(
    %m = comm.matmul %x, %w : tensor<64x64xf32>, tensor<64x64xf32> -> tensor<64x64xf32>
    %a = math.tanh %m : tensor<64x64xf32>
    %b = arith.addf %a, %x : tensor<64x64xf32>
    %c = arith.mulf %b, %a : tensor<64x64xf32>
    %n = comm.matmul %c, %w : tensor<64x64xf32>, tensor<64x64xf32> -> tensor<64x64xf32>
    return %n : tensor<64x64xf32>
)");
  ASSERT_EQ(graph.members.size(), 3u);
  EXPECT_EQ(graph.members[1].size(), 3u);
  ASSERT_EQ(graph.problem.values.size(), 3u); // m, c, and the result, which is computed in place of the output
  EXPECT_EQ(graph.problem.values[0].bytes, 64 * 64 * 4);
  EXPECT_EQ(graph.problem.values[2].bytes, 0);
  EXPECT_EQ(graph.fixedBytes, 3 * 64 * 64 * 4);
}

// Work in front of a wait does not become part of the nest behind it: it can run meanwhile.
TEST_F(OverlapGraphTest, DoesNotGroupAcrossAWait) {
  OverlapGraph graph = build(R"(
    %a = math.tanh %w : tensor<64x64xf32>
    %t = comm.start order 0 : !comm.token<tensor<64x64xf32>> {
      %r = comm.all_reduce sum %x over @grid["tp"] : tensor<64x64xf32>
      comm.yield %r : tensor<64x64xf32>
    }
    %y = comm.wait %t : !comm.token<tensor<64x64xf32>>
    %b = arith.addf %a, %y : tensor<64x64xf32>
    return %b : tensor<64x64xf32>
)");
  ASSERT_EQ(graph.members.size(), 3u);
  EXPECT_EQ(graph.problem.ops[2].needs, (std::vector<int32_t>{0, 1}));
  solver::OverlapSchedule schedule = solver::solve(graph.problem);
  graph.apply(schedule.order, function().getBody().front());
  EXPECT_TRUE(succeeded(module->verify()));
  EXPECT_EQ(graph.blockOrder(), schedule.order);
}

// An all_reduce that alone reads a value works in its place: one buffer from the product to the readers of the sum.
TEST_F(OverlapGraphTest, ReducesInPlace) {
  OverlapGraph graph = build(R"(
    %m = comm.matmul %x, %w : tensor<64x64xf32>, tensor<64x64xf32> -> tensor<64x64xf32>
    %y = comm.all_reduce sum %m over @grid["tp"] : tensor<64x64xf32>
    %n = comm.matmul %y, %w : tensor<64x64xf32>, tensor<64x64xf32> -> tensor<64x64xf32>
    return %n : tensor<64x64xf32>
)");
  solver::OverlapTimes times = solver::evaluate(graph.problem, graph.blockOrder());
  EXPECT_EQ(times.peakBytes, 64 * 64 * 4);
  EXPECT_DOUBLE_EQ(times.hiddenUs, 0); // synchronous: started and awaited at once
}

// Ranks are numbered node by node, the last axis first.
TEST_F(OverlapGraphTest, KnowsWhichLinkCarriesAGroup) {
  auto resource = [&](const char *axes, const char *topology) {
    OverlapGraph graph = build("%y = comm.all_reduce sum %x over @grid[" + std::string(axes) +
                                   "] : tensor<64x64xf32>\nreturn %y : tensor<64x64xf32>\n",
                               {}, topology);
    return graph.problem.ops[0].resource;
  };
  EXPECT_EQ(resource("\"tp\"", "cpu:4@1Gbit,50us"), solver::Resource::ScaleUp);
  EXPECT_EQ(resource("\"dp\"", "cpu:4@1Gbit,50us"), solver::Resource::ScaleOut);
  EXPECT_EQ(resource("\"dp\", \"tp\"", "cpu:4@1Gbit,50us"), solver::Resource::ScaleOut);
  EXPECT_EQ(resource("\"dp\", \"tp\"", "cpu"), solver::Resource::ScaleUp);
}

TEST_F(OverlapGraphTest, KeepsTheOrderOfComputeWhenAsked) {
  OverlapGraphOptions options;
  options.keepComputeOrder = true;
  OverlapGraph graph = build(R"(
    %a = comm.matmul %x, %w : tensor<64x64xf32>, tensor<64x64xf32> -> tensor<64x64xf32>
    %b = comm.matmul %w, %x : tensor<64x64xf32>, tensor<64x64xf32> -> tensor<64x64xf32>
    %c = comm.matmul %a, %b : tensor<64x64xf32>, tensor<64x64xf32> -> tensor<64x64xf32>
    return %c : tensor<64x64xf32>
)",
                             options);
  EXPECT_EQ(graph.problem.ops[1].needs, (std::vector<int32_t>{0}));
}

// The closed list: names are unique, and the page that users read explains each.
TEST(Verdict, EveryReasonIsDocumented) {
  std::ifstream file(COMM_EXPLAIN_PAGE);
  std::stringstream page;
  page << file.rdbuf();
  std::set<std::string> names;
  for (Reason reason : getReasons()) {
    std::string name = getReasonName(reason).str();
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_NE(page.str().find("`" + name + "`"), std::string::npos) << name << " is not explained";
  }
  EXPECT_EQ(names.size(), 11u);
}
} // namespace
