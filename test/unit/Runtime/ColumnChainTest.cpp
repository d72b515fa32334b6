//===- ColumnChainTest.cpp - steps that run range of columns by range of columns -===//
#include "runtime/Core/ColumnChain.h"
#include "RuntimeTest.h"

using namespace comm::test;
using comm::rt::ColumnChain;
using comm::rt::ColumnStep;
using comm::rt::findColumnChains;
using comm::rt::KernelParts;

namespace {
constexpr int64_t size = 4096; ///< bytes of each buffer

ColumnStep product(int64_t in, int64_t out, int64_t columns = 256) {
  ColumnStep s;
  s.rows = columns;
  s.productRows = 1;
  s.step = 32;
  s.inputs = {{0, in, size}};
  s.outputs = {{0, out, size}};
  s.readsOwnPart = [](size_t, int64_t) { return false; };
  return s;
}
ColumnStep loop(std::vector<int64_t> ins, int64_t out, int64_t columns = 256) {
  ColumnStep s;
  s.rows = columns;
  for (int64_t in : ins)
    s.inputs.push_back({0, in, size});
  s.outputs = {{0, out, size}};
  s.readsOwnPart = [columns](size_t, int64_t units) { return units == columns; };
  return s;
}
constexpr int64_t at(int64_t buffer) { return buffer * size; }

std::string text(const std::vector<ColumnChain> &chains) {
  std::string out;
  for (const ColumnChain &c : chains)
    out += std::to_string(c.first) + "+" + std::to_string(c.count) + " ";
  return out;
}

TEST(ColumnChain, GateAndUpAndWhatFollows) {
  std::vector<ColumnStep> steps = {product(at(0), at(1)), product(at(0), at(2)), loop({at(1), at(2)}, at(3)),
                                   product(at(3), at(4))}; // needs all columns
  EXPECT_EQ(text(findColumnChains(steps, 2)), "0+3 ");
  steps.push_back(loop({at(4), at(0)}, at(5)));
  EXPECT_EQ(text(findColumnChains(steps, 2)), "0+3 3+2 ");
}

TEST(ColumnChain, OnlyWhereItIsRight) {
  auto two = [](ColumnStep a, ColumnStep b) { return text(findColumnChains({std::move(a), std::move(b)}, 2)); };
  EXPECT_EQ(two(product(at(0), at(1)), loop({at(1)}, at(2))), "0+2 ");
  EXPECT_EQ(two(product(at(0), at(1)), loop({at(1)}, at(0))), ""); // writes over what other columns still need
  EXPECT_EQ(two(product(at(0), at(1)), loop({at(1)}, at(0) + 64)), "");
  EXPECT_EQ(two(product(at(0), at(1)), loop({at(1)}, at(2), 128)), ""); // other columns
  EXPECT_EQ(two(product(at(0), at(1)), loop({at(1) + 64}, at(2))), "");
  EXPECT_EQ(two(loop({at(0)}, at(1)), loop({at(1)}, at(2))), ""); // no product
  EXPECT_EQ(two(product(at(0), at(1)), product(at(1), at(2))), "");
  EXPECT_EQ(two(product(at(0), at(1)), product(at(0), at(1))), "0+2 "); // its own columns again
  EXPECT_EQ(two(product(at(0), at(1)), product(at(0), at(1), 64)), "");
  ColumnStep none = loop({at(1)}, at(2));
  none.rows = 0;
  EXPECT_EQ(two(product(at(0), at(1)), none), "");
  EXPECT_EQ(text(findColumnChains({product(at(0), at(1), 64), loop({at(1)}, at(2), 64)}, 3)), ""); // work for two
  EXPECT_EQ(text(findColumnChains({product(at(0), at(1), 64), loop({at(1)}, at(2), 64)}, 2)), "0+2 ");
}

TEST(ColumnChain, RangesCoverAllColumnsOnce) {
  for (int64_t columns : {1, 31, 32, 100, 384, 1000})
    for (int64_t blocks : {1, 2, 3, 7}) {
      ColumnChain chain{0, 2, 32, blocks};
      EXPECT_EQ(chain.begin(columns, 0), 0);
      EXPECT_EQ(chain.begin(columns, blocks), columns);
      for (int64_t b = 0; b < blocks; ++b) {
        EXPECT_LE(chain.begin(columns, b), chain.begin(columns, b + 1));
        EXPECT_TRUE(chain.begin(columns, b) % 32 == 0 || chain.begin(columns, b) == columns);
      }
    }
}

KernelStep kernelStep(const std::string &op, std::vector<int32_t> operands, Shape shape, Attrs attrs = {}) {
  return {op, std::move(operands), std::move(attrs), DType::F32, std::move(shape)};
}

TEST(ColumnChain, WhichInputsAreReadColumnByColumn) {
  Kernel bias; // gelu(x + b) + r
  bias.inputs = {{DType::F32, {2, 8, 384}}, {DType::F32, {384}}, {DType::F32, {2, 8, 384}}};
  bias.steps = {kernelStep("broadcast", {1}, {2, 8, 384}, {{"dims", std::vector<int64_t>{0, 1}}}),
                kernelStep("addf", {0, 3}, {2, 8, 384}), kernelStep("addf", {4, 2}, {2, 8, 384})};
  bias.outputs = {5};
  KernelParts parts(bias);
  EXPECT_EQ(parts.columns(), 384);
  EXPECT_EQ(parts.rowsOfColumns(), 16);
  EXPECT_TRUE(parts.readsOwnColumns(0));
  EXPECT_FALSE(parts.readsOwnColumns(1)); // another shape
  EXPECT_TRUE(parts.readsOwnColumns(2));

  Kernel norm;
  norm.inputs = {{DType::F32, {8, 384}}, {DType::F32, {384}}};
  norm.steps = {kernelStep("rms_norm", {0, 1}, {8, 384}, {{"epsilon", 1e-5}})};
  norm.outputs = {2};
  EXPECT_FALSE(KernelParts(norm).readsOwnColumns(0));

  Kernel two = bias; // results of different shapes
  two.outputs = {5, 1};
  two.inputs[1].shape = {384};
  EXPECT_EQ(KernelParts(two).columns(), 0);
}
} // namespace
