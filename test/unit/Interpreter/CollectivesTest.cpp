//===- CollectivesTest.cpp - ops in which ranks differ --------------------===//
#include "TestSupport.h"

using namespace testing_interpreter;

namespace {
/// Data of all ranks for a function of one argument.
std::vector<Args> ranks(const Args &perRank) {
  std::vector<Args> out;
  for (const Numbers &numbers : perRank)
    out.push_back({numbers});
  return out;
}
std::string grid(int n) { return "comm.grid @grid [\"tp\"] = [" + std::to_string(n) + "]\n"; }
const std::string kGrid22 = "comm.grid @grid [\"dp\", \"tp\"] = [2, 2]\n";
const std::string kGrid23 = "comm.grid @grid [\"dp\", \"tp\"] = [2, 3]\n";
const std::string kTP = " over @grid[\"tp\"]";
} // namespace

TEST(AllReduce, EachKindOnTwoThreeAndFourRanks) {
  auto text = [](int n, const std::string &kind) {
    return grid(n) +
           oneOp("tensor<2xf32>", "tensor<2xf32>", "comm.all_reduce " + kind + " %a" + kTP + " : tensor<2xf32>");
  };
  EXPECT_EQ(runRanks(text(2, "sum"), ranks({{1, 2}, {10, 20}})), Args(2, {11, 22}));
  EXPECT_EQ(runRanks(text(3, "sum"), ranks({{1, 2}, {10, 20}, {100, 200}})), Args(3, {111, 222}));
  EXPECT_EQ(runRanks(text(4, "max"), ranks({{1, -2}, {5, -20}, {3, -1}, {4, -4}})), Args(4, {5, -1}));
  EXPECT_EQ(runRanks(text(3, "min"), ranks({{1, -2}, {5, -20}, {3, -1}})), Args(3, {1, -20}));
  EXPECT_EQ(runRanks(text(3, "prod"), ranks({{2, -2}, {5, 3}, {3, -1}})), Args(3, {30, 6}));
  // A NaN of any rank stays.
  for (const Numbers &row : runRanks(text(3, "max"), ranks({{1, kNaN}, {kNaN, 3}, {3, 3}})))
    expectNear(row, {kNaN, kNaN});
}

TEST(AllReduce, OneAxisOfAGrid) {
  auto text = [](const std::string &axes) {
    return kGrid23 +
           oneOp("tensor<1xi32>", "tensor<1xi32>", "comm.all_reduce sum %a over @grid[" + axes + "] : tensor<1xi32>");
  };
  // rank = 3 dp + tp.
  Args data = {{1}, {2}, {4}, {10}, {20}, {40}};
  EXPECT_EQ(runRanks(text("\"tp\""), ranks(data)), Args({{7}, {7}, {7}, {70}, {70}, {70}}));
  EXPECT_EQ(runRanks(text("\"dp\""), ranks(data)), Args({{11}, {22}, {44}, {11}, {22}, {44}}));
  EXPECT_EQ(runRanks(text("\"dp\", \"tp\""), ranks(data)), Args(6, {77}));
  EXPECT_EQ(runRanks(text(""), ranks(data)), data);
}

TEST(AllReduce, NarrowTypesAreSummedWideAndRoundedOnce) {
  // bf16 has 8 bits: 256 + 1 + 1 is 258, but 256 when each step is rounded.
  std::string text =
      grid(3) + oneOp("tensor<1xbf16>", "tensor<1xbf16>", "comm.all_reduce sum %a" + kTP + " : tensor<1xbf16>");
  EXPECT_EQ(runRanks(text, ranks({{256}, {1}, {1}})), Args(3, {258}));
  // f32 is its own accumulator, in the order of the ranks: (2^24 + 1) + 1 loses both ones.
  std::string wide =
      grid(3) + oneOp("tensor<1xf32>", "tensor<1xf32>", "comm.all_reduce sum %a" + kTP + " : tensor<1xf32>");
  EXPECT_EQ(runRanks(wide, ranks({{16777216}, {1}, {1}})), Args(3, {16777216}));
  EXPECT_EQ(runRanks(wide, ranks({{1}, {1}, {16777216}})), Args(3, {16777218}));
  std::string wraps =
      grid(2) + oneOp("tensor<2xi8>", "tensor<2xi8>", "comm.all_reduce sum %a" + kTP + " : tensor<2xi8>");
  EXPECT_EQ(runRanks(wraps, ranks({{100, -128}, {100, -1}})), Args(2, {-56, 127}));
  std::string whole =
      grid(2) + oneOp("tensor<1xi64>", "tensor<1xi64>", "comm.all_reduce prod %a" + kTP + " : tensor<1xi64>");
  EXPECT_EQ(runRanks(whole, ranks({{4611686018427387904.0}, {4}})), Args(2, {0}));
}

TEST(ReduceScatter, EvenUnevenAndGrain) {
  auto text = [](int n, const std::string &in, const std::string &out, const std::string &more = "") {
    return grid(n) + oneOp(in, out, "comm.reduce_scatter sum %a dim 0" + kTP + more + " : " + in + " -> " + out);
  };
  EXPECT_EQ(runRanks(text(2, "tensor<2xf32>", "tensor<1xf32>"), ranks({{1, 2}, {10, 20}})), Args({{11}, {22}}));
  // 5 on 2 ranks: 3 and 2 with a zero behind. 4 on 3: 2, 2 and nothing but zeros.
  EXPECT_EQ(runRanks(text(2, "tensor<5xf32>", "tensor<3xf32>"), ranks({{1, 2, 3, 4, 5}, {10, 20, 30, 40, 50}})),
            Args({{11, 22, 33}, {44, 55, 0}}));
  EXPECT_EQ(runRanks(text(3, "tensor<4xf32>", "tensor<2xf32>"), ranks({{1, 2, 3, 4}, {0, 0, 0, 0}, {1, 1, 1, 1}})),
            Args({{2, 3}, {4, 5}, {0, 0}}));
  // Blocks of 2 in 6: 3 blocks on 2 ranks are 2 and 1; on 4 ranks (3 does not divide 4) one each and a rank of zeros.
  Numbers six = counting(6), zero(6, 0);
  EXPECT_EQ(runRanks(text(2, "tensor<6xf32>", "tensor<4xf32>", " {grain = 2 : i64}"), ranks({six, zero})),
            Args({{1, 2, 3, 4}, {5, 6, 0, 0}}));
  EXPECT_EQ(runRanks(text(4, "tensor<6xf32>", "tensor<2xf32>", " {grain = 2 : i64}"), ranks({six, zero, zero, zero})),
            Args({{1, 2}, {3, 4}, {5, 6}, {0, 0}}));
  // 2 blocks of 3 on 4 ranks: each block twice.
  EXPECT_EQ(runRanks(text(4, "tensor<6xf32>", "tensor<3xf32>", " {grain = 3 : i64}"), ranks({six, zero, zero, zero})),
            Args({{1, 2, 3}, {1, 2, 3}, {4, 5, 6}, {4, 5, 6}}));
}

TEST(ReduceScatter, InnerDimensionOnOneAxis) {
  std::string text =
      kGrid22 + oneOp("tensor<2x2xf32>", "tensor<2x1xf32>",
                      "comm.reduce_scatter max %a dim 1 over @grid[\"tp\"] : tensor<2x2xf32> -> tensor<2x1xf32>");
  EXPECT_EQ(runRanks(text, ranks({{1, 2, 3, 4}, {4, 3, 2, 1}, {10, 20, 30, 40}, {0, 50, 0, 50}})),
            Args({{4, 3}, {3, 4}, {10, 30}, {50, 50}}));
}

TEST(AllGather, EvenUnevenAndGrain) {
  auto text = [](int n, const std::string &in, const std::string &out, const std::string &more = "") {
    return grid(n) + oneOp(in, out, "comm.all_gather %a dim 0" + kTP + more + " : " + in + " -> " + out);
  };
  EXPECT_EQ(runRanks(text(4, "tensor<1xf32>", "tensor<4xf32>"), ranks({{1}, {2}, {3}, {4}})), Args(4, {1, 2, 3, 4}));
  // Fill is trimmed, whatever it holds.
  EXPECT_EQ(runRanks(text(2, "tensor<3xf32>", "tensor<5xf32>"), ranks({{1, 2, 3}, {4, 5, 99}})),
            Args(2, {1, 2, 3, 4, 5}));
  EXPECT_EQ(runRanks(text(3, "tensor<2xf32>", "tensor<4xf32>"), ranks({{1, 2}, {3, 4}, {99, 99}})),
            Args(3, {1, 2, 3, 4}));
  EXPECT_EQ(
      runRanks(text(2, "tensor<4xf32>", "tensor<6xf32>", " {grain = 2 : i64}"), ranks({{1, 2, 3, 4}, {5, 6, 99, 99}})),
      Args(2, counting(6)));
  EXPECT_EQ(runRanks(text(4, "tensor<3xf32>", "tensor<6xf32>", " {grain = 3 : i64}"),
                     ranks({{1, 2, 3}, {1, 2, 3}, {4, 5, 6}, {4, 5, 6}})),
            Args(4, counting(6)));
}

TEST(AllGather, AxisOrderIsMajorFirst) {
  auto text = [](const std::string &axes, int size) {
    std::string out = "tensor<1x" + std::to_string(size) + "xi64>";
    return kGrid23 + oneOp("tensor<1x1xi64>", out,
                           "comm.all_gather %a dim 1 over @grid[" + axes + "] : tensor<1x1xi64> -> " + out);
  };
  Args data = {{0}, {1}, {2}, {10}, {11}, {12}};
  EXPECT_EQ(runRanks(text("\"dp\", \"tp\"", 6), ranks(data)), Args(6, {0, 1, 2, 10, 11, 12}));
  EXPECT_EQ(runRanks(text("\"tp\", \"dp\"", 6), ranks(data)), Args(6, {0, 10, 1, 11, 2, 12}));
  EXPECT_EQ(runRanks(text("\"dp\"", 2), ranks(data)), Args({{0, 10}, {1, 11}, {2, 12}, {0, 10}, {1, 11}, {2, 12}}));
}

TEST(AllToAll, MovesASplit) {
  auto text = [](int n, const std::string &in, const std::string &out, const std::string &more = "") {
    return grid(n) + oneOp(in, out, "comm.all_to_all %a split 1 concat 0" + kTP + more + " : " + in + " -> " + out);
  };
  EXPECT_EQ(runRanks(text(2, "tensor<1x2xf32>", "tensor<2x1xf32>"), ranks({{1, 2}, {3, 4}})), Args({{1, 3}, {2, 4}}));
  // [3, 2] rows 2 + 1 with fill 99; columns one each.
  EXPECT_EQ(runRanks(text(2, "tensor<2x2xf32>", "tensor<3x1xf32>"), ranks({{1, 2, 3, 4}, {5, 6, 99, 99}})),
            Args({{1, 3, 5}, {2, 4, 6}}));
  // [3, 4] on 3 ranks: a row each, columns 2, 2 and fill.
  EXPECT_EQ(runRanks(text(3, "tensor<1x4xf32>", "tensor<3x2xf32>"),
                     ranks({{1, 2, 3, 4}, {11, 12, 13, 14}, {21, 22, 23, 24}})),
            Args({{1, 2, 11, 12, 21, 22}, {3, 4, 13, 14, 23, 24}, {0, 0, 0, 0, 0, 0}}));
  // Columns in blocks of 2 on 4 ranks: 2 blocks, each twice.
  EXPECT_EQ(runRanks(text(4, "tensor<1x4xf32>", "tensor<4x2xf32>", " {split_grain = 2 : i64}"),
                     ranks({{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}, {13, 14, 15, 16}})),
            Args({{1, 2, 5, 6, 9, 10, 13, 14},
                  {1, 2, 5, 6, 9, 10, 13, 14},
                  {3, 4, 7, 8, 11, 12, 15, 16},
                  {3, 4, 7, 8, 11, 12, 15, 16}}));
  // Rows arrive as blocks of 2, each held twice.
  EXPECT_EQ(runRanks(text(4, "tensor<2x4xf32>", "tensor<4x1xf32>", " {concat_grain = 2 : i64}"),
                     ranks({counting(8), counting(8), counting(8, 9), counting(8, 9)})),
            Args({{1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15}, {4, 8, 12, 16}}));
  std::string pairs =
      kGrid22 + oneOp("tensor<1x2xf32>", "tensor<2x1xf32>",
                      "comm.all_to_all %a split 1 concat 0 over @grid[\"dp\"] : tensor<1x2xf32> -> tensor<2x1xf32>");
  EXPECT_EQ(runRanks(pairs, ranks({{1, 2}, {3, 4}, {5, 6}, {7, 8}})), Args({{1, 5}, {3, 7}, {2, 6}, {4, 8}}));
}

TEST(ShardSlice, EveryKindOfSplit) {
  auto text = [](const std::string &grid, const std::string &in, const std::string &out, const std::string &axes,
                 const std::string &more = "") {
    return grid +
           oneOp(in, out, "comm.shard_slice %a dim 0 over @grid[" + axes + "]" + more + " : " + in + " -> " + out);
  };
  EXPECT_EQ(runRanks(text(grid(3), "tensor<5xf32>", "tensor<2xf32>", "\"tp\""), ranks(Args(3, counting(5)))),
            Args({{1, 2}, {3, 4}, {5, 0}}));
  EXPECT_EQ(runRanks(text(grid(4), "tensor<5xf32>", "tensor<2xf32>", "\"tp\""), ranks(Args(4, counting(5)))),
            Args({{1, 2}, {3, 4}, {5, 0}, {0, 0}}));
  EXPECT_EQ(runRanks(text(grid(4), "tensor<6xf32>", "tensor<3xf32>", "\"tp\"", " {grain = 3 : i64}"),
                     ranks(Args(4, counting(6)))),
            Args({{1, 2, 3}, {1, 2, 3}, {4, 5, 6}, {4, 5, 6}}));
  EXPECT_EQ(runRanks(text(kGrid23, "tensor<6xf32>", "tensor<1xf32>", "\"tp\", \"dp\""), ranks(Args(6, counting(6)))),
            Args({{1}, {3}, {5}, {2}, {4}, {6}}));
  EXPECT_EQ(runRanks(text(kGrid23, "tensor<6xf32>", "tensor<3xf32>", "\"dp\""), ranks(Args(6, counting(6)))),
            Args({{1, 2, 3}, {1, 2, 3}, {1, 2, 3}, {4, 5, 6}, {4, 5, 6}, {4, 5, 6}}));
}

TEST(ShardSlice, ShiftedRoundTheRing) {
  auto text = [](int64_t shift) {
    return grid(3) + oneOp("tensor<5xf32>", "tensor<2xf32>",
                           "comm.shard_slice %a dim 0" + kTP + " {shift = " + std::to_string(shift) +
                               " : i64} : tensor<5xf32> -> tensor<2xf32>");
  };
  for (int64_t shift : {1, 4, -2})
    EXPECT_EQ(runRanks(text(shift), ranks(Args(3, counting(5)))), Args({{3, 4}, {5, 0}, {1, 2}})) << shift;
  EXPECT_EQ(runRanks(text(-1), ranks(Args(3, counting(5)))), Args({{5, 0}, {1, 2}, {3, 4}}));
}

TEST(Permute, BothWaysAndOnOneAxis) {
  auto text = [](const std::string &grid, int64_t shift, const std::string &axes) {
    return grid + oneOp("tensor<1xf32>", "tensor<1xf32>",
                        "comm.permute %a shift " + std::to_string(shift) + " over @grid[" + axes + "] : tensor<1xf32>");
  };
  for (int64_t shift : {1, 4, -2})
    EXPECT_EQ(runRanks(text(grid(3), shift, "\"tp\""), ranks({{1}, {2}, {3}})), Args({{3}, {1}, {2}})) << shift;
  EXPECT_EQ(runRanks(text(grid(3), -1, "\"tp\""), ranks({{1}, {2}, {3}})), Args({{2}, {3}, {1}}));
  EXPECT_EQ(runRanks(text(kGrid23, 1, "\"tp\""), ranks({{1}, {2}, {3}, {4}, {5}, {6}})),
            Args({{3}, {1}, {2}, {6}, {4}, {5}}));
}

// A ring brings rank r the shards r, r + 1, ...: rotated they are in their places, fill and replicated blocks too.
TEST(UnpackShards, Rotated) {
  auto text = [](int n, const std::string &in, const std::string &out, const std::string &more = "") {
    return grid(n) +
           oneOp(in, out, "comm.unpack_shards %a dim 0" + kTP + " {" + more + "rotated} : " + in + " -> " + out);
  };
  EXPECT_EQ(runRanks(text(3, "tensor<3x2xf32>", "tensor<5xf32>"),
                     ranks({{1, 2, 3, 4, 5, 9}, {3, 4, 5, 9, 1, 2}, {5, 9, 1, 2, 3, 4}})),
            Args(3, counting(5)));
  EXPECT_EQ(runRanks(text(4, "tensor<4x1xf32>", "tensor<2xf32>"),
                     ranks({{1, 1, 2, 2}, {1, 2, 2, 1}, {2, 2, 1, 1}, {2, 1, 1, 2}})),
            Args(4, {1, 2}));
}

TEST(RankMask, FirstOfEachGroupKeeps) {
  auto text = [](const std::string &axes) {
    return kGrid22 +
           oneOp("tensor<1xf32>", "tensor<1xf32>", "comm.rank_mask %a over @grid[" + axes + "] : tensor<1xf32>");
  };
  EXPECT_EQ(runRanks(text("\"tp\""), ranks(Args(4, {5}))), Args({{5}, {0}, {5}, {0}}));
  EXPECT_EQ(runRanks(text("\"dp\""), ranks(Args(4, {5}))), Args({{5}, {5}, {0}, {0}}));
  EXPECT_EQ(runRanks(text("\"dp\", \"tp\""), ranks(Args(4, {5}))), Args({{5}, {0}, {0}, {0}}));
}

TEST(Embedding, SplitVocabulary) {
  // 5 rows of 2 on 2 ranks: rows 0-2 and rows 3-4 with fill. Rows held elsewhere give zeros; negative ids count back.
  std::string text =
      grid(2) +
      oneOp("tensor<3x2xf32>, tensor<4xi64>", "tensor<4x2xf32>",
            "comm.embedding %a, %b vocab 5 over [\"tp\"] : tensor<3x2xf32>, tensor<4xi64> -> tensor<4x2xf32>");
  Numbers ids = {0, 4, 2, -2};
  EXPECT_EQ(runRanks(text, {{{1, 2, 3, 4, 5, 6}, ids}, {{7, 8, 9, 10, 99, 99}, ids}}),
            Args({{1, 2, 0, 0, 5, 6, 0, 0}, {0, 0, 9, 10, 0, 0, 7, 8}}));
  Numbers table(6, 1);
  for (double wrong : {5.0, -6.0})
    EXPECT_TRUE(tryRanks(text, {{table, {0, 0, 0, wrong}}, {table, {0, 0, 0, wrong}}}).empty());
}

TEST(ExpertMatmul, SplitExperts) {
  // 3 experts of 1 x 1 on 2 ranks: two and one with fill. Rows of experts held elsewhere give zeros.
  std::string text = grid(2) + oneOp("tensor<2x1xf32>, tensor<2x2xi64>, tensor<2x1x1xf32>", "tensor<2x2x1xf32>",
                                     "comm.expert_matmul %a, %b, %c experts 3 over [\"tp\"] : tensor<2x1xf32>, "
                                     "tensor<2x2xi64>, tensor<2x1x1xf32> -> tensor<2x2x1xf32>");
  Numbers x = {1, 2}, ids = {0, 2, 1, 0};
  EXPECT_EQ(runRanks(text, {{x, ids, {3, 5}}, {x, ids, {7, 99}}}), Args({{3, 0, 10, 6}, {0, 7, 0, 0}}));
  for (double wrong : {3.0, -1.0})
    EXPECT_TRUE(tryRanks(text, {{x, {0, 0, 0, wrong}, {3, 5}}, {x, {0, 0, 0, wrong}, {7, 99}}}).empty());
}

TEST(AllReduceNorm, EqualsItsThreeOps) {
  const std::string type = "tensor<2x3xf32>", vec = "tensor<3xf32>";
  const std::string head = "func.func @f(%x: " + type + ", %r: " + type + ", %w: " + vec + ", %b: " + vec +
                           ", %n: " + vec + ") -> (" + type + ", " + type + ") {\n";
  const std::string tail = "  return %y, %s : " + type + ", " + type + " }";
  std::string fusedLayer = head + "  %y, %s = comm.all_reduce_norm %x, %r, %w bias %b : " + vec +
                           " norm_bias %n : " + vec + " epsilon 1.0e-3 layer_norm over @grid[\"tp\"] : " + type + ", " +
                           vec + "\n" + tail;
  std::string plainLayer = head + "  %a = comm.all_reduce sum %x over @grid[\"tp\"] : " + type +
                           "\n  %e = tensor.empty() : " + type + "\n  %c = linalg.broadcast ins(%b : " + vec +
                           ") outs(%e : " + type + ") dimensions = [0]\n  %d = arith.addf %a, %c : " + type +
                           "\n  %s = arith.addf %d, %r : " + type + "\n  %y = comm.layer_norm %s, %w bias %n : " + vec +
                           " epsilon 1.0e-3 : " + type + ", " + vec + "\n" + tail;
  std::string fusedRMS = head +
                         "  %y, %s = comm.all_reduce_norm %x, %r, %w epsilon 1.0e-3 over @grid[\"tp\"] : " + type +
                         ", " + vec + "\n" + tail;
  std::string plainRMS = head + "  %a = comm.all_reduce sum %x over @grid[\"tp\"] : " + type +
                         "\n  %s = arith.addf %a, %r : " + type +
                         "\n  %y = comm.rms_norm %s, %w epsilon 1.0e-3 : " + type + ", " + vec + "\n" + tail;
  std::vector<Args> in;
  Numbers residual = {0.5, 0.25, -3, 1, 2, 3}, weight = {1, 0.5, 2}, bias = {0.1f, 0.2f, 0.3f}, normBias = {5, 6, 7};
  for (int rank = 0; rank < 3; ++rank)
    in.push_back({{1.0f + rank, 0.1f * rank, 2, -1, 0.7f, 3}, residual, weight, bias, normBias});
  for (bool standIns : {false, true}) {
    InterpreterOptions options;
    options.integerStandIns = standIns;
    EXPECT_EQ(tryRanks(grid(3) + fusedLayer, in, options), tryRanks(grid(3) + plainLayer, in, options));
    EXPECT_EQ(tryRanks(grid(3) + fusedRMS, in, options), tryRanks(grid(3) + plainRMS, in, options));
  }
  // And by hand: two ranks, sum [3, 4] with residual 0; mean square 12.5.
  std::string small =
      grid(2) +
      "func.func @f(%x: tensor<1x2xf64>, %r: tensor<1x2xf64>, %w: tensor<2xf64>) -> (tensor<1x2xf64>, tensor<1x2xf64>) "
      "{\n"
      "  %y, %s = comm.all_reduce_norm %x, %r, %w epsilon 0.0 over @grid[\"tp\"] : tensor<1x2xf64>, tensor<2xf64>\n"
      "  return %y, %s : tensor<1x2xf64>, tensor<1x2xf64> }";
  auto out = tryRanks(small, {{{1, 1}, {1, 1}, {1, 1}}, {{1, 2}, {1, 1}, {1, 1}}});
  ASSERT_EQ(out.size(), 2u);
  expectNear(out[1][0], {3 / std::sqrt(12.5), 4 / std::sqrt(12.5)}, 1e-14);
  EXPECT_EQ(out[0][1], Numbers({3, 4}));
}

TEST(StartWait, EqualTheValueForm) {
  std::string text = grid(2) + R"(func.func @f(%x: tensor<1xf32>, %y: tensor<1xf32>) -> tensor<2xf32> {
    %t = comm.start order 0 : !comm.token<tensor<1xf32>> {
      %r = comm.all_reduce sum %x over @grid["tp"] : tensor<1xf32>
      comm.yield %r : tensor<1xf32>
    }
    %u = comm.start order 1 : !comm.token<tensor<2xf32>> {
      %r = comm.all_gather %y dim 0 over @grid["tp"] : tensor<1xf32> -> tensor<2xf32>
      comm.yield %r : tensor<2xf32>
    }
    %z = arith.mulf %y, %y : tensor<1xf32>
    %b = comm.wait %u : !comm.token<tensor<2xf32>>
    %a = comm.wait %t : !comm.token<tensor<1xf32>>
    %c = arith.addf %a, %z : tensor<1xf32>
    %d = tensor.concat dim(0) %c, %c : (tensor<1xf32>, tensor<1xf32>) -> tensor<2xf32>
    %e = arith.addf %b, %d : tensor<2xf32>
    return %e : tensor<2xf32> })";
  // a = 3; z = 100 and 400; b = [10, 20].
  EXPECT_EQ(runRanks(text, {{{1}, {10}}, {{2}, {20}}}), Args({{113, 123}, {413, 423}}));
}

TEST(Collectives, RanksMustMatchTheGrid) {
  std::string text =
      grid(4) + oneOp("tensor<1xf32>", "tensor<1xf32>", "comm.all_reduce sum %a" + kTP + " : tensor<1xf32>");
  EXPECT_TRUE(tryRanks(text, ranks({{1}, {2}})).empty());
}
