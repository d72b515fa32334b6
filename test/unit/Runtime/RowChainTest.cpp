//===- RowChainTest.cpp - steps that run block of rows by block of rows ---===//
#include "runtime/Core/RowChain.h"
#include "RuntimeTest.h"
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

using namespace comm::test;
using comm::rt::ChainStep;
using comm::rt::findRowChains;
using comm::rt::KernelParts;
using comm::rt::OperandRange;
using comm::rt::RowChain;

namespace {
bool ownPart(size_t, int64_t) { return true; }
bool whole(size_t, int64_t) { return false; }

/// 1,024 rows of 4 bytes from `in` to `out`, in the arena.
ChainStep step(int64_t in, int64_t out, bool product = false) {
  return {1024, product ? 1024 : 0, {{0, in, 4096}}, {{0, out, 4096}}, ownPart};
}

std::string text(const std::vector<RowChain> &chains) {
  std::string out;
  for (const RowChain &c : chains)
    out += std::to_string(c.first) + "+" + std::to_string(c.count) + " " + std::to_string(c.units) + "/" +
           std::to_string(c.blocks) + " ";
  return out;
}

TEST(RowChain, ProductsTakeTheirNeighboursAlong) {
  std::vector<ChainStep> steps = {step(0, 4096, true), step(4096, 8192), step(8192, 12288, true)};
  EXPECT_EQ(text(findRowChains(steps, 1)), "0+3 1024/7 ");
  EXPECT_EQ(text(findRowChains(steps, 2)), "0+3 1024/8 "); // as many blocks for each thread
  steps[1].rows = 8;                                       // whole entries of a batch
  EXPECT_EQ(text(findRowChains(steps, 2)), "0+3 8/8 ");
  EXPECT_EQ(text(findRowChains(steps, 3)), ""); // 8 parts do not go round
}

TEST(RowChain, OnlyWhereItPays) {
  std::vector<ChainStep> steps = {step(0, 4096), step(4096, 8192)};
  EXPECT_EQ(text(findRowChains(steps, 2)), ""); // no product
  steps[0].productRows = 168;
  EXPECT_EQ(text(findRowChains(steps, 2)), ""); // one block holds it
  steps[0].productRows = 1024;
  EXPECT_EQ(text(findRowChains(steps, 2)), "0+2 1024/8 ");
  EXPECT_EQ(text(findRowChains(steps, 64)), ""); // 16 rows for each
  steps[1].rows = 0;
  EXPECT_EQ(text(findRowChains(steps, 2)), ""); // alone
}

TEST(RowChain, StopsBeforeWhatNeedsOtherRows) {
  std::vector<ChainStep> steps = {step(0, 4096, true), step(4096, 8192), step(8192, 12288)};
  steps[2].readsOwnPart = whole;
  EXPECT_EQ(text(findRowChains(steps, 1)), "0+2 1024/7 ");
  steps[2].inputs[0].begin = 20480; // it reads all of something that was there before
  EXPECT_EQ(text(findRowChains(steps, 1)), "0+3 1024/7 ");
  steps[2].outputs[0] = {0, 2048, 4096}; // over rows that others still read
  EXPECT_EQ(text(findRowChains(steps, 1)), "0+2 1024/7 ");
  steps[2].outputs[0] = {0, 0, 4096}; // over its own row of what is not needed any more
  EXPECT_EQ(text(findRowChains(steps, 1)), "0+3 1024/7 ");
  steps[0].readsOwnPart = whole;
  EXPECT_EQ(text(findRowChains(steps, 1)), "0+2 1024/7 ");
  steps[2].outputs[0].space = 1; // another memory
  EXPECT_EQ(text(findRowChains(steps, 1)), "0+3 1024/7 ");
}

// Steps on random places of a small memory: whatever is chained gives what the steps one by one give, in any order of
// the blocks.
TEST(RowChain, ChainsComputeTheSame) {
  std::mt19937 random(7);
  auto below = [&](int n) { return static_cast<int64_t>(random() % static_cast<uint32_t>(n)); };
  constexpr int64_t units = 8;
  struct Moves {
    std::vector<bool> own;
  };
  int chained = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<ChainStep> steps;
    std::vector<Moves> moves;
    size_t count = 2 + static_cast<size_t>(below(4));
    for (size_t i = 0; i < count; ++i) {
      Moves m;
      ChainStep s;
      s.rows = units;
      s.productRows = 4096;
      for (int64_t n = 1 + below(2); n-- > 0;) {
        s.inputs.push_back({0, below(6) * 16, below(3) ? 16 : 32});
        m.own.push_back(below(4) != 0);
      }
      s.outputs = {{0, below(6) * 16, below(3) ? 16 : 32}};
      s.readsOwnPart = [own = m.own](size_t input, int64_t) { return own[input]; };
      steps.push_back(s);
      moves.push_back(m);
    }
    std::vector<uint32_t> before(128), memory;
    std::iota(before.begin(), before.end(), 1u);
    // Part `part` of step i. A kernel reads what it needs before it writes: results of a part come from memory as it
    // was.
    auto run = [&](size_t i, int64_t part) {
      const ChainStep &s = steps[i];
      const OperandRange &out = s.outputs[0];
      uint32_t sum = static_cast<uint32_t>(i) + 11;
      for (size_t in = 0; in < s.inputs.size(); ++in) {
        const OperandRange &r = s.inputs[in];
        int64_t size = moves[i].own[in] ? r.bytes / units : r.bytes,
                at = r.begin + (moves[i].own[in] ? part * size : 0);
        for (int64_t b = at; b < at + size; ++b)
          sum = sum * 31 + memory[static_cast<size_t>(b)];
      }
      for (int64_t b = 0; b < out.bytes / units; ++b)
        memory[static_cast<size_t>(out.begin + part * (out.bytes / units) + b)] = sum + static_cast<uint32_t>(b);
    };
    // A step that writes over what its own other parts read is no step of a program.
    bool program = true;
    for (const ChainStep &s : steps)
      for (const OperandRange &in : s.inputs)
        program &= in.begin >= s.outputs[0].begin + s.outputs[0].bytes || s.outputs[0].begin >= in.begin + in.bytes;
    if (!program)
      continue;
    memory = before;
    for (size_t i = 0; i < count; ++i)
      for (int64_t part = 0; part < units; ++part)
        run(i, part);
    std::vector<uint32_t> expected = memory;
    memory = before;
    std::vector<RowChain> chains = findRowChains(steps, 1 + below(2), 1024);
    auto chain = chains.begin();
    for (size_t i = 0; i < count;) {
      if (chain == chains.end() || chain->first != i) {
        for (int64_t part = 0; part < units; ++part)
          run(i, part);
        ++i;
        continue;
      }
      std::vector<int64_t> blocks(static_cast<size_t>(chain->blocks));
      std::iota(blocks.begin(), blocks.end(), 0);
      std::shuffle(blocks.begin(), blocks.end(), random);
      for (int64_t block : blocks)
        for (size_t j = 0; j < chain->count; ++j)
          for (int64_t part = chain->begin(block); part < chain->begin(block + 1); ++part)
            run(i + j, part);
      i += chain->count;
      ++chain;
      ++chained;
    }
    ASSERT_EQ(memory, expected) << "round " << round << " chains " << text(chains);
  }
  EXPECT_GT(chained, 100);
}

KernelStep kernelStep(const std::string &op, std::vector<int32_t> operands, Shape shape, Attrs attrs = {}) {
  return {op, std::move(operands), std::move(attrs), DType::F32, std::move(shape)};
}

TEST(RowChain, DependencesOfDeclaredKernels) {
  Kernel bias; // x + b along the last dimension
  bias.inputs = {{DType::F32, {8, 128, 384}}, {DType::F32, {384}}};
  bias.steps = {kernelStep("broadcast", {1}, {8, 128, 384}, {{"dims", std::vector<int64_t>{0, 1}}}),
                kernelStep("addf", {0, 2}, {8, 128, 384})};
  bias.outputs = {3};
  KernelParts parts(bias);
  EXPECT_TRUE(parts.cutsResults(1024));
  EXPECT_FALSE(parts.cutsResults(384)); // loops in another order
  for (int64_t units : {8, 16, 1024})
    EXPECT_TRUE(parts.readsOwnPart(0, units));
  EXPECT_FALSE(parts.readsOwnPart(1, 8)); // every row reads all of the bias
  EXPECT_FALSE(parts.readsOwnPart(0, 3)); // 3 parts of 8 entries are no boxes

  Kernel norm;
  norm.inputs = {{DType::F32, {8, 128, 384}}, {DType::F32, {384}}};
  norm.steps = {kernelStep("rms_norm", {0, 1}, {8, 128, 384}, {{"epsilon", 1e-5}})};
  norm.outputs = {2};
  EXPECT_TRUE(KernelParts(norm).cutsResults(1024));
  EXPECT_TRUE(KernelParts(norm).readsOwnPart(0, 1024));

  Kernel columns; // less the mean of a column: every row needs all others
  columns.inputs = {{DType::F32, {4, 4}}};
  columns.steps = {kernelStep("reduce", {0}, {4},
                              {{"dims", std::vector<int64_t>{0}}, {"combine", std::string("addf")}, {"init", 0.0}}),
                   kernelStep("broadcast", {1}, {4, 4}, {{"dims", std::vector<int64_t>{0}}}),
                   kernelStep("subf", {0, 2}, {4, 4})};
  columns.outputs = {3};
  EXPECT_FALSE(KernelParts(columns).cutsResults(4));
  EXPECT_FALSE(KernelParts(columns).readsOwnPart(0, 4));
}

/// y = transpose(x w) v for every entry of a batch, whose rows are more than a block.
Executable makeChain(int64_t batch, int64_t rows) {
  Executable exe;
  exe.compilerVersion = exe.modelName = "chain";
  std::vector<float> w, v;
  for (int64_t i = 0; i < 6 * 40; ++i)
    w.push_back(static_cast<float>(i % 5 - 2));
  for (int64_t i = 0; i < rows * 3; ++i)
    v.push_back(static_cast<float>(i % 7 - 3));
  addWeight(exe, "w", {6, 40}, w);
  addWeight(exe, "v", {rows, 3}, v);
  ProgramBuilder b({});
  int32_t h = b.arena({batch, rows, 40}), t = b.arena({batch, 40, rows});
  int32_t x = b.input("x", {batch, rows, 6}), y = b.output("y", {batch, 40, 3});
  b.command("matmul", {x, b.weight(0, {6, 40})}, {h});
  b.command("copy", {h}, {t},
            {{"dims", std::vector<int64_t>{batch, 40, rows}},
             {"in_strides", std::vector<int64_t>{rows * 40, 1, 40}},
             {"out_strides", std::vector<int64_t>{40 * rows, rows, 1}}});
  b.command("matmul", {t, b.weight(1, {rows, 3})}, {y});
  Entry entry;
  entry.name = "main";
  entry.split = entry.reference = b.program;
  exe.entries.push_back(std::move(entry));
  return exe;
}

TEST(RowChain, ThreadsGiveTheSameNumbers) {
  TemporaryFolder folder;
  constexpr int64_t batch = 8, rows = 70;
  ExecutableHandle e = load(saveExecutable(makeChain(batch, rows), folder / "c.commx"));
  std::vector<float> expected(batch * 40 * 3, 0);
  Floats x = floats("x", {batch, rows, 6}, -5);
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < 40; ++c) {
        float h = 0;
        for (int64_t k = 0; k < 6; ++k)
          h += x.data[static_cast<size_t>((n * rows + r) * 6 + k)] * static_cast<float>((k * 40 + c) % 5 - 2);
        for (int64_t j = 0; j < 3; ++j)
          expected[static_cast<size_t>((n * 40 + c) * 3 + j)] += h * static_cast<float>((r * 3 + j) % 7 - 3);
      }
  for (int threads : {1, 2, 3, 4}) {
    comm_session_options options = defaults();
    options.threads = threads;
    options.trace = 1;
    SessionHandle s = open(e, options);
    Floats y = floats("y", {batch, 40, 3}, NAN);
    comm_tensor in = x.view(), out = y.view();
    ASSERT_EQ(comm_session_run(s.get(), 0, &in, 1, &out, 1), COMM_OK) << comm_last_error();
    EXPECT_EQ(y.data, expected) << threads << " threads";
    // Four blocks go through the whole program; with three threads, which 8 sequences do not suit, nothing is chained.
    std::string trace = comm_session_trace(s.get());
    size_t products = 0;
    for (size_t at = trace.find("\"matmul\""); at != std::string::npos; at = trace.find("\"matmul\"", at + 1))
      ++products;
    EXPECT_EQ(products, threads == 3 ? 2u : 8u / static_cast<size_t>(threads)) << trace;
  }
}
} // namespace
