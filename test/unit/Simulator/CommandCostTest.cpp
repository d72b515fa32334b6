//===- CommandCostTest.cpp - commands become questions --------------------===//
#include "comm/Simulator/CommandCost.h"
#include "SimTest.h"

namespace comm::test {
namespace {
struct CommandCost : testing::Test {
  void SetUp() override {
    std::string error;
    ASSERT_TRUE(cost::loadTopology("h100_sxm", topology, error)) << error;
  }
  sim::ComputeQuery last() { return sim::computeQuery(b.program, b.program.commands.back()); }
  cost::Topology topology;
  ProgramBuilder b{{{"tp", 4}}};
};

TEST_F(CommandCost, MatmulByShapes) {
  // A weight is one matrix: the batch becomes rows.
  int32_t x = b.arena({2, 8, 32}, DType::BF16), w = b.arena({32, 16}, DType::BF16),
          y = b.arena({2, 8, 16}, DType::BF16);
  b.command("matmul", {x, w}, {y});
  sim::ComputeQuery q = last();
  ASSERT_EQ(q.kind, sim::ComputeQuery::Gemm);
  EXPECT_EQ(q.gemm.m, 16);
  EXPECT_EQ(q.gemm.n, 16);
  EXPECT_EQ(q.gemm.k, 32);
  EXPECT_EQ(q.gemm.batch, 1);
  EXPECT_EQ(q.gemm.dtype, "bf16");
  // Batched on both sides, transposed.
  int32_t a = b.arena({2, 3, 32, 8}), c = b.arena({2, 3, 16, 32}), d = b.arena({2, 3, 8, 16});
  b.command("matmul", {a, c}, {d}, {{"transpose_a", int64_t(1)}, {"transpose_b", int64_t(1)}});
  q = last();
  EXPECT_EQ(q.gemm.batch, 6);
  EXPECT_EQ(q.gemm.m, 8);
  EXPECT_EQ(q.gemm.n, 16);
  EXPECT_EQ(q.gemm.k, 32);
  // A small product moves bytes most of its time, a large one computes.
  cost::CostModel model(topology);
  auto bound = [&](int64_t size) {
    int32_t e = b.arena({size, size}, DType::BF16), f = b.arena({size, size}, DType::BF16),
            g = b.arena({size, size}, DType::BF16);
    b.command("matmul", {e, f}, {g});
    return model.isMemoryBound(static_cast<double>(last().bytes), sim::computeUs(model, last()));
  };
  EXPECT_FALSE(bound(8192));
  EXPECT_TRUE(model.isMemoryBound(1e9, 1e9 / topology.device.memoryBytesPerUs));
}

TEST_F(CommandCost, AttentionSeesThePast) {
  int32_t q = b.arena({1, 8, 4, 64}), k = b.arena({1, 2, 20, 64}), v = b.arena({1, 2, 20, 64}),
          y = b.arena({1, 8, 4, 64});
  b.command("attention", {q, k, v}, {y}, {{"causal", int64_t(1)}, {"causal_offset", int64_t(16)}});
  sim::ComputeQuery query = last();
  ASSERT_EQ(query.kind, sim::ComputeQuery::Attention);
  EXPECT_EQ(query.attention.newTokens, 4);
  EXPECT_EQ(query.attention.pastTokens, 16);
  EXPECT_EQ(query.attention.heads, 8);
  EXPECT_EQ(query.attention.kvHeads, 2);
  EXPECT_TRUE(query.attention.causal);
  // A prefix of a longer sequence: keys after it are masked.
  b.command("attention", {q, k, v}, {y}, {{"causal", int64_t(1)}});
  EXPECT_EQ(last().attention.pastTokens, 0);
  b.command("attention", {q, k, v}, {y});
  EXPECT_EQ(last().attention.pastTokens, 16);
}

TEST_F(CommandCost, BytesOfTheRest) {
  int32_t x = b.arena({8, 4}), y = b.arena({8, 4});
  b.command("kernel", {x, x}, {y}, {{"symbol", std::string("f")}});
  EXPECT_EQ(last().memory.bytes, 3 * 128);
  b.command("copy", {x}, {y}, {{"dims", std::vector<int64_t>{2, 2}}});
  EXPECT_EQ(last().memory.bytes, 2 * 16);
  int32_t table = b.arena({50000, 4}), ids = b.arena({8}, DType::I64);
  b.command("embedding", {table, ids}, {y});
  EXPECT_EQ(last().memory.bytes, 2 * 128 + 64);
  b.command("an_op_of_tomorrow", {x}, {y});
  EXPECT_EQ(last().memory.bytes, 256);
  int32_t empty = b.arena({0, 4});
  b.command("kernel", {empty}, {empty});
  EXPECT_EQ(last().kind, sim::ComputeQuery::None);
}

// What a native kernel computes counts as the ops did from which the compiler made it.
TEST_F(CommandCost, OperationsOfKernels) {
  exe::Kernel kernel;
  kernel.symbol = "f";
  kernel.inputs = {{DType::F32, {8, 16}}, {DType::F32, {16}}};
  kernel.steps = {{"rms_norm", {0, 1}, {}, DType::F32, {8, 16}},
                  {"silu", {2}, {}, DType::F32, {8, 16}},
                  {"mulf", {2, 3}, {}, DType::F32, {8, 16}},
                  {"constant", {}, {{"value", 1.0}}, DType::F32, {8, 16}},
                  {"reduce", {4}, {}, DType::F32, {8}}};
  EXPECT_EQ(sim::kernelFlops(kernel), (4 + 5 + 1 + 0 + 1) * 8 * 16);
  int32_t x = b.arena({8, 16}), w = b.arena({16}), y = b.arena({8});
  b.command("kernel", {x, w}, {y}, {{"symbol", std::string("f")}});
  EXPECT_EQ(last().memory.flops, 0);
  sim::ComputeQuery q = sim::computeQuery(b.program, b.program.commands.back(), &kernel);
  EXPECT_EQ(q.memory.flops, 11 * 8 * 16);
  EXPECT_EQ(q.memory.bytes, (8 * 16 + 16 + 8) * 4);
  // Hostile sizes count nothing rather than overflow.
  kernel.steps[0].shape = {INT64_MAX / 2, 2};
  EXPECT_EQ(sim::kernelFlops(kernel), 0);
  kernel.steps[0].shape = {1};
  kernel.steps[4].operands = {77};
  EXPECT_EQ(sim::kernelFlops(kernel), 0);
}

// nccl-tests' sizes: the whole buffer of one rank.
TEST_F(CommandCost, CollectiveSizes) {
  int32_t part = b.comm({4}), whole = b.comm({4, 4});
  auto bytes = [&](const char *op, int32_t in, int32_t out) {
    b.collective(op, in, out, {"tp"});
    sim::CollectiveCost c = sim::collectiveCost(b.program, b.program.commands.back(), 4);
    EXPECT_EQ(c.steps.size(), 1u);
    EXPECT_EQ(c.steps[0].op, op);
    EXPECT_EQ(c.steps[0].ranks, 4);
    EXPECT_EQ(c.local.bytes, 0);
    return c.steps[0].bytes;
  };
  EXPECT_EQ(bytes("all_reduce", whole, whole), 64);
  EXPECT_EQ(bytes("all_gather", part, whole), 64);
  EXPECT_EQ(bytes("reduce_scatter", whole, part), 64);
  EXPECT_EQ(bytes("all_to_all", whole, whole), 64);
  // Alone it is a copy, in place nothing.
  EXPECT_EQ(sim::collectiveCost(b.program, b.program.commands.back(), 1).local.bytes, 0);
  EXPECT_TRUE(sim::collectiveCost(b.program, b.program.commands.back(), 1).steps.empty());
  b.start("all_reduce", whole, b.comm({4, 4}), {"tp"});
  EXPECT_EQ(sim::collectiveCost(b.program, b.program.commands.back(), 1).local.bytes, 128);
}

// A group with one member in each node pays for the link between nodes, also where it is small.
TEST_F(CommandCost, GroupsAcrossNodesAreSlower) {
  int32_t x = b.comm({1024, 1024}), y = b.comm({1024, 1024});
  b.collective("all_reduce", x, y, {"tp"}, {{"reduce", std::string("sum")}});
  std::string error;
  auto costs = sim::ModelCosts::create(b.program, {}, topology, "", error);
  ASSERT_TRUE(costs) << error;
  double near = costs->collectiveUs(0, {4, 1, 4}), mixed = costs->collectiveUs(0, {4, 2, 2}),
         far = costs->collectiveUs(0, {4, 4, 1});
  EXPECT_GT(mixed, near);
  EXPECT_GT(far, near);
}

} // namespace
} // namespace comm::test
