//===- ModelOpsTest.cpp - products, norms, activations, rotary ------------===//
#include "TestSupport.h"

using namespace testing_interpreter;

TEST(Matmul, TwoByTwo) {
  std::string text = oneOp("tensor<2x2xf32>, tensor<2x2xf32>", "tensor<2x2xf32>",
                           "comm.matmul %a, %b : tensor<2x2xf32>, tensor<2x2xf32> -> tensor<2x2xf32>");
  EXPECT_EQ(run(text, {{1, 2, 3, 4}, {5, 6, 7, 8}}), Numbers({19, 22, 43, 50}));
}

TEST(Matmul, Transposes) {
  // a = [[1, 2, 3], [4, 5, 6]], b = [[1, 0], [2, 1], [3, 5]]; a b = [[14, 17], [32, 35]].
  Numbers a = {1, 2, 3, 4, 5, 6}, at = {1, 4, 2, 5, 3, 6}, b = {1, 0, 2, 1, 3, 5}, bt = {1, 2, 3, 0, 1, 5};
  Numbers expected = {14, 17, 32, 35};
  EXPECT_EQ(run(oneOp("tensor<2x3xf32>, tensor<3x2xf32>", "tensor<2x2xf32>",
                      "comm.matmul %a, %b : tensor<2x3xf32>, tensor<3x2xf32> -> tensor<2x2xf32>"),
                {a, b}),
            expected);
  EXPECT_EQ(run(oneOp("tensor<3x2xf32>, tensor<3x2xf32>", "tensor<2x2xf32>",
                      "comm.matmul %a transposed, %b : tensor<3x2xf32>, tensor<3x2xf32> -> tensor<2x2xf32>"),
                {at, b}),
            expected);
  EXPECT_EQ(run(oneOp("tensor<2x3xf32>, tensor<2x3xf32>", "tensor<2x2xf32>",
                      "comm.matmul %a, %b transposed : tensor<2x3xf32>, tensor<2x3xf32> -> tensor<2x2xf32>"),
                {a, bt}),
            expected);
  EXPECT_EQ(run(oneOp("tensor<3x2xf32>, tensor<2x3xf32>", "tensor<2x2xf32>",
                      "comm.matmul %a transposed, %b transposed : tensor<3x2xf32>, tensor<2x3xf32> -> tensor<2x2xf32>"),
                {at, bt}),
            expected);
}

TEST(Matmul, BatchesBroadcast) {
  // lhs [2, 1, 1, 2], rhs [3, 2, 1]: result [2, 3, 1, 1], each a dot product of two numbers.
  EXPECT_EQ(run(oneOp("tensor<2x1x1x2xf32>, tensor<3x2x1xf32>", "tensor<2x3x1x1xf32>",
                      "comm.matmul %a, %b : tensor<2x1x1x2xf32>, tensor<3x2x1xf32> -> tensor<2x3x1x1xf32>"),
                {{1, 2, 10, 20}, {1, 1, 2, 0, 0, 3}}),
            Numbers({3, 2, 6, 30, 20, 60}));
  // A matrix on the right of a batch, and a batch of one on the left of a batch.
  EXPECT_EQ(run(oneOp("tensor<2x1x2xf32>, tensor<2x1xf32>", "tensor<2x1x1xf32>",
                      "comm.matmul %a, %b : tensor<2x1x2xf32>, tensor<2x1xf32> -> tensor<2x1x1xf32>"),
                {{1, 2, 3, 4}, {10, 100}}),
            Numbers({210, 430}));
}

TEST(Matmul, IntegersWrapAndSumsRoundOnce) {
  EXPECT_EQ(run(oneOp("tensor<1x2xi8>, tensor<2x1xi8>", "tensor<1x1xi8>",
                      "comm.matmul %a, %b : tensor<1x2xi8>, tensor<2x1xi8> -> tensor<1x1xi8>"),
                {{100, 100}, {1, 1}}),
            Numbers({-56}));
  // 2048 + 1 - 1 in f16: adding step by step would lose the one twice or keep it; once rounded it is 2048.
  EXPECT_EQ(run(oneOp("tensor<1x3xf16>, tensor<3x1xf16>", "tensor<1x1xf16>",
                      "comm.matmul %a, %b : tensor<1x3xf16>, tensor<3x1xf16> -> tensor<1x1xf16>"),
                {{2048, 1, 1}, {1, 1, 1}}),
            Numbers({2050}));
  EXPECT_EQ(run(oneOp("tensor<2x0xf32>, tensor<0x2xf32>", "tensor<2x2xf32>",
                      "comm.matmul %a, %b : tensor<2x0xf32>, tensor<0x2xf32> -> tensor<2x2xf32>"),
                {{}, {}}),
            Numbers({0, 0, 0, 0}));
}

TEST(Norm, RMS) {
  // mean square of [3, 4] is 12.5; of [0, 0] only epsilon is left.
  std::string text = oneOp("tensor<2x2xf32>, tensor<2xf32>", "tensor<2x2xf32>",
                           "comm.rms_norm %a, %b epsilon 0.5 : tensor<2x2xf32>, tensor<2xf32>");
  double r = std::sqrt(13.0);
  expectNear(run(text, {{3, 4, 0, 0}, {1, 2}}), {3 / r, 8 / r, 0, 0});
}

TEST(Norm, Layer) {
  // [1, 3]: mean 2, biased variance 1. [5, 5]: variance 0, so only the bias.
  expectNear(run(oneOp("tensor<2x2xf32>, tensor<2xf32>, tensor<2xf32>", "tensor<2x2xf32>",
                       "comm.layer_norm %a, %b bias %c : tensor<2xf32> epsilon 3.0 : tensor<2x2xf32>, tensor<2xf32>"),
                 {{1, 3, 5, 5}, {2, 4}, {10, 20}}),
             {9, 22, 10, 20});
  expectNear(run(oneOp("tensor<1x2xf32>, tensor<2xf32>", "tensor<1x2xf32>",
                       "comm.layer_norm %a, %b epsilon 0.0 : tensor<1x2xf32>, tensor<2xf32>"),
                 {{1, 3}, {2, 4}}),
             {-2, 4});
}

TEST(Softmax, RowsAndCorners) {
  std::string text = oneOp("tensor<5x2xf32>", "tensor<5x2xf32>", "comm.softmax %a : tensor<5x2xf32>");
  // exp(log 3) / (exp 0 + exp(log 3)) = 3/4; big numbers do not overflow; -inf takes no part; a row of -inf is NaN.
  expectNear(run(text, {{0, std::log(3.0), 1000, 1000, 5, -kInf, -kInf, -kInf, kNaN, 1}}),
             {0.25, 0.75, 0.5, 0.5, 1, 0, kNaN, kNaN, kNaN, kNaN});
  EXPECT_EQ(run(oneOp("tensor<f32>", "tensor<f32>", "comm.softmax %a : tensor<f32>"), {{7}}), Numbers({1}));
}

TEST(Rotary, Halves) {
  // A quarter turn (cos 0, sin 1) maps (x0, x2) to (-x2, x0) and (x1, x3) likewise.
  std::string text = oneOp("tensor<1x1x2x4xf32>, tensor<1x2x2xf32>, tensor<1x2x2xf32>", "tensor<1x1x2x4xf32>",
                           "comm.rotary %a, %b, %c : tensor<1x1x2x4xf32>, tensor<1x2x2xf32>");
  EXPECT_EQ(run(text, {{1, 2, 3, 4, 5, 6, 7, 8}, {0, 0, 1, 0.5}, {1, 1, 0, 2}}),
            Numbers({-3, -4, 1, 2, 5, 6 * 0.5 - 8 * 2, 7, 8 * 0.5 + 6 * 2}));
}

TEST(Rotary, Interleaved) {
  std::string text = oneOp("tensor<1x1x1x4xf32>, tensor<1x1x2xf32>, tensor<1x1x2xf32>", "tensor<1x1x1x4xf32>",
                           "comm.rotary %a, %b, %c interleaved : tensor<1x1x1x4xf32>, tensor<1x1x2xf32>");
  EXPECT_EQ(run(text, {{1, 2, 3, 4}, {0, 2}, {1, 3}}), Numbers({-2, 1, 3 * 2 - 4 * 3, 4 * 2 + 3 * 3}));
}

TEST(Rotary, PartialHeadsAndBatch) {
  // Size 4, of which 2 turn; 2 heads share the angle, each of 2 batch rows has its own.
  Numbers x = counting(2 * 2 * 4), cos = {0, 1}, sin = {1, 0};
  std::string text = oneOp("tensor<2x2x1x4xf32>, tensor<2x1x1xf32>, tensor<2x1x1xf32>", "tensor<2x2x1x4xf32>",
                           "comm.rotary %a, %b, %c : tensor<2x2x1x4xf32>, tensor<2x1x1xf32>");
  EXPECT_EQ(run(text, {x, cos, sin}), Numbers({-2, 1, 3, 4, -6, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
  // One angle row for the whole batch.
  std::string shared = oneOp("tensor<2x2x1x4xf32>, tensor<1x1x1xf32>, tensor<1x1x1xf32>", "tensor<2x2x1x4xf32>",
                             "comm.rotary %a, %b, %c : tensor<2x2x1x4xf32>, tensor<1x1x1xf32>");
  EXPECT_EQ(run(shared, {x, {0}, {1}}), Numbers({-2, 1, 3, 4, -6, 5, 7, 8, -10, 9, 11, 12, -14, 13, 15, 16}));
}

TEST(Activations, KnownValues) {
  std::string f64 = "tensor<4xf64>";
  Numbers x = {0, 1, -1, 3};
  // Phi(1) = 0.8413447460685429, Phi(3) = 0.9986501019683699.
  expectNear(run(oneOp(f64, f64, "comm.gelu erf %a : tensor<4xf64>"), {x}),
             {0, 0.8413447460685429, -0.15865525393145707, 2.9959503059051097}, 1e-14);
  // tanh form at 1: 0.8411919906082768 (published value of the approximation).
  expectNear(run(oneOp(f64, f64, "comm.gelu tanh %a : tensor<4xf64>"), {x}),
             {0, 0.8411919906082768, -0.15880800939172324, 2.996362607918227}, 1e-12);
  // sigmoid(1) = 0.7310585786300049.
  expectNear(run(oneOp(f64, f64, "comm.silu %a : tensor<4xf64>"), {x}),
             {0, 0.7310585786300049, -0.2689414213699951, 2.8577223804673}, 1e-13);
}
