//===- RankMemoryTest.cpp - what one rank holds ---------------------------===//
#include "comm/Executable/RankMemory.h"
#include <gtest/gtest.h>

using namespace comm::exe;

namespace {
const Grid two{{{"tp", 2}}};

Weight stored(DType dtype, Shape shape, std::vector<Split> split = {}) {
  Weight w;
  w.dtype = dtype;
  w.shape = std::move(shape);
  w.layout.dims = std::move(split);
  return w;
}

/// Inputs by hand: null for what is no weight; equal weights have equal numbers.
struct Held : HeldWeights {
  void use(const std::string &op, const std::vector<const Weight *> &inputs, Attrs attrs = {}, const Grid &grid = two,
           int64_t offset = 0) {
    std::vector<WeightInput> list;
    for (const Weight *w : inputs)
      list.push_back(w ? WeightInput{w, reinterpret_cast<intptr_t>(w), offset, w->dtype,
                                     localShape(slicedShape(*w), w->layout, grid)}
                       : WeightInput{nullptr, -1, 0, DType::F32, {4, 4}});
    add({op, {}, {}, std::move(attrs), ""}, list, grid);
  }
};

// Right operands of products are held as panels of 32 columns, in the type in which they are multiplied.
TEST(HeldWeights, ProductsArePacked) {
  Weight f32 = stored(DType::F32, {10, 33}), bf16 = stored(DType::BF16, {10, 33}), f64 = stored(DType::F64, {10, 33});
  Held plain, turned, rounded, narrow, half, wide;
  plain.use("matmul", {nullptr, &f32});
  EXPECT_EQ(plain.packed, 10 * 64 * 4);
  turned.use("matmul", {nullptr, &f32}, {{"transpose_b", int64_t(1)}});
  EXPECT_EQ(turned.packed, 33 * 32 * 4);
  rounded.use("matmul", {nullptr, &f32}, {{"precision", std::string("bf16")}});
  EXPECT_EQ(rounded.packed, 32 * 64 * 2); // whole steps of the unit that multiplies them
  half.use("matmul", {nullptr, &f32}, {{"precision", std::string("f16")}});
  EXPECT_EQ(half.packed, 10 * 64 * 2);
  narrow.use("matmul", {nullptr, &bf16});
  EXPECT_EQ(narrow.packed, 32 * 64 * 2);
  // Products of f64 read what is stored, and left operands are never packed.
  wide.use("matmul", {nullptr, &f64});
  wide.use("matmul", {&f32, nullptr});
  EXPECT_EQ(wide.packed, 0);
  EXPECT_EQ(wide.mapped, 330 * 8 + 330 * 4);
}

TEST(HeldWeights, ExpertsAndIntegersArePacked) {
  Weight experts = stored(DType::F32, {3, 10, 33});
  Held dense, integers, offsets, partly;
  dense.use("expert_matmul", {nullptr, nullptr, &experts});
  EXPECT_EQ(dense.packed, 3 * 10 * 64 * 4);
  Weight numbers = stored(DType::U8, {20, 2, 16}), scales = stored(DType::F32, {20, 2}),
         zeros = stored(DType::U8, {20, 1});
  Attrs four{{"bits", int64_t(4)}, {"block", int64_t(32)}};
  // Two panels of 16 columns, two blocks of 16 bytes and a scale each.
  integers.use("quantized_matmul", {nullptr, &numbers, &scales}, four);
  EXPECT_EQ(integers.packed, 2 * 16 * 2 * (16 + 4));
  offsets.use("quantized_matmul", {nullptr, &numbers, &scales, &zeros}, four);
  EXPECT_EQ(offsets.packed, 2 * 16 * 2 * (16 + 4 + 4));
  partly.use("quantized_matmul", {nullptr, &numbers, nullptr}, four);
  EXPECT_EQ(partly.packed, 0);
  EXPECT_EQ(partly.mapped, 20 * 2 * 16);
  Held byK;
  Weight turned = stored(DType::U8, {2, 32, 10});
  four["k_major"] = int64_t(1);
  byK.use("quantized_matmul", {nullptr, &turned, &scales}, four);
  EXPECT_EQ(byK.packed, integers.packed);
}

// What several commands use is there once in each form.
TEST(HeldWeights, UsesAreJoined) {
  Weight w = stored(DType::F32, {32, 32}), split = stored(DType::F32, {32, 64}, {{}, {{"tp"}, 1}});
  Held held;
  held.use("matmul", {nullptr, &w});
  held.use("matmul", {nullptr, &w});
  EXPECT_EQ(held.packed, 4096);
  held.use("matmul", {nullptr, &w}, {{"transpose_b", int64_t(1)}});
  EXPECT_EQ(held.packed, 2 * 4096);
  held.use("gather", {&w, nullptr});
  held.use("kernel", {nullptr, &w});
  EXPECT_EQ(held.mapped, 4096);
  // A part of a weight is another one on another grid; a whole one is not.
  Grid four{{{"tp", 4}}};
  held.use("matmul", {nullptr, &w}, {}, four);
  EXPECT_EQ(held.packed, 2 * 4096);
  held.use("matmul", {nullptr, &split});
  held.use("matmul", {nullptr, &split}, {}, four);
  EXPECT_EQ(held.packed, 2 * 4096 + 32 * 32 * 4 + 32 * 32 * 4);
}

// Columns are copied out of the rows of a file; while they are packed both exist.
TEST(HeldWeights, PartsAreCopied) {
  Weight columns = stored(DType::F32, {32, 64}, {{}, {{"tp"}, 1}}),
         rows = stored(DType::F32, {64, 32}, {{{"tp"}, 1}, {}});
  EXPECT_FALSE(isReadInPlace(columns, two));
  EXPECT_TRUE(isReadInPlace(rows, two));
  EXPECT_TRUE(isReadInPlace(columns, {}));
  Weight uneven = stored(DType::F32, {63, 32}, {{{"tp"}, 1}, {}}), shifted = rows;
  EXPECT_FALSE(isReadInPlace(uneven, two)); // the last rank fills up
  shifted.offset = 2;
  EXPECT_FALSE(isReadInPlace(shifted, two));
  shifted.offset = 4;
  shifted.slices = {{1, 0, 16}};
  EXPECT_FALSE(isReadInPlace(shifted, two));
  Held held;
  held.use("matmul", {nullptr, &columns});
  EXPECT_EQ(held.copied, 0);
  EXPECT_EQ(held.most, 2 * 4096);
  held.use("matmul", {nullptr, &rows});
  EXPECT_EQ(held.most, 2 * 4096);
  held.use("gather", {&columns, nullptr});
  EXPECT_EQ(held.copied, 4096);
  EXPECT_EQ(held.mapped, 0);
  EXPECT_EQ(held.most, 3 * 4096);
}

// Sizes from a file are not trusted.
TEST(HeldWeights, HugeShapes) {
  EXPECT_EQ(panelBytes(1, 1, INT64_MAX, 32, 4), -1);
  EXPECT_EQ(panelBytes(INT64_MAX, 2, 32, 32, 4), -1);
  Weight w = stored(DType::BF16, {INT64_MAX, 1});
  Held held;
  held.use("matmul", {nullptr, &w});
  EXPECT_EQ(held.packed, 0);
}

TEST(RankMemory, CountsEntriesTogether) {
  Executable exe;
  exe.weights = {stored(DType::F32, {32, 32})};
  Program one;
  one.arenaBytes = 100;
  one.values = {{Storage::Input, 0, 0, DType::F32, {4, 32}, ""},
                {Storage::Weight, 0, 0, DType::F32, {32, 32}, ""},
                {Storage::Output, 0, 0, DType::F32, {4, 32}, ""}};
  one.commands = {{"matmul", {0, 1}, {2}, {}, ""}};
  one.inputs = {{"x", DType::F32, {4, 32}, {}, 0, "", {}}};
  one.outputs = {{"y", DType::F32, {4, 32}, {}, 2, "", {}}};
  Program other = one;
  other.arenaBytes = 300;
  RankMemory memory = rankMemory(exe, {&one, &other});
  EXPECT_EQ(memory.packed, 4096);
  EXPECT_EQ(memory.arena, 300);
  EXPECT_EQ(memory.ports, 2 * 512);
  EXPECT_EQ(memory.peak(), 4096 + 300 + 1024);
  // A part of its own beside the whole.
  one.grid = two;
  one.inputs[0].layout.dims = {{}, {{"tp"}, 1}};
  EXPECT_EQ(rankMemory(exe, {&one}).ports, 256 + 256 + 512);
}
} // namespace
