//===- AttentionTest.cpp - comm.attention by hand -------------------------===//
// Keys are chosen so that scores are logarithms of small integers: the softmax weights are then simple fractions.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"

using namespace testing_interpreter;

namespace {
const double kLog2 = std::log(2.0), kLog3 = std::log(3.0);

/// One head of size 1, S queries, T keys: query i is q[i], scores are q[i] * k[t].
std::string single(int s, int t, const std::string &middle, const std::string &extra = "",
                   const std::string &attributes = "") {
  std::string q = "tensor<1x1x" + std::to_string(s) + "x1xf64>", k = "tensor<1x1x" + std::to_string(t) + "x1xf64>";
  return oneOp(q + ", " + k + ", " + k + (extra.empty() ? "" : ", " + extra), q,
               "comm.attention %a, %b, %c " + middle + attributes + " : " + q + ", " + k + ", " + k + " -> " + q);
}
} // namespace

TEST(Attention, PlainAndScaled) {
  // Weights 1/6, 2/6, 3/6 on the values 6, 60, 600.
  expectNear(run(single(1, 3, "scale 1.0"), {{1}, {0, kLog2, kLog3}, {6, 60, 600}}), {1 + 20 + 300}, 1e-12);
  expectNear(run(single(1, 3, "scale 0.5"), {{2}, {0, kLog2, kLog3}, {6, 60, 600}}), {321}, 1e-12);
}

TEST(Attention, CausalOffset) {
  // Equal scores: the mean of what is seen. Offset 0: keys 0..i; offset 1: one more; offset -1: query 0 sees nothing.
  Args in = {{0, 0, 0}, {1, 1, 1}, {3, 9, 30}};
  expectNear(run(single(3, 3, "scale 1.0 causal 0"), in), {3, 6, 14}, 1e-12);
  expectNear(run(single(3, 3, "scale 1.0 causal 1"), in), {6, 14, 14}, 1e-12);
  expectNear(run(single(3, 3, "scale 1.0 causal -1"), in), {0, 3, 6}, 1e-12);
  expectNear(run(single(3, 3, "scale 1.0 causal 9223372036854775807"), in), {14, 14, 14}, 1e-12);
  // Two new queries behind a past of two keys.
  expectNear(run(single(2, 4, "scale 1.0 causal 2"), {{0, 0}, {0, 0, 0, 0}, {3, 9, 30, 58}}), {14, 25}, 1e-12);
}

TEST(Attention, BoolMaskAndFullyMaskedRows) {
  Args in = {{0, 0}, {1, 1, 1}, {3, 9, 30}, {1, 0, 1, 0, 0, 0}};
  expectNear(run(single(2, 3, "mask %d : tensor<1x1x2x3xi1> scale 1.0", "tensor<1x1x2x3xi1>"), in), {16.5, 0}, 1e-12);
  // One row for all queries; nothing masked is NaN-proof: what is masked may hold anything.
  in = {{0, 0}, {1, 1, 1}, {3, kNaN, 30}, {1, 0, 1}};
  expectNear(run(single(2, 3, "mask %d : tensor<1x1x1x3xi1> scale 1.0", "tensor<1x1x1x3xi1>"), in), {16.5, 16.5},
             1e-12);
}

TEST(Attention, FloatMaskIsAdded) {
  Args in = {{1}, {0, kLog2, 0}, {6, 60, 600}, {kLog3, 0, -kInf}};
  // exp: 3, 2, 0.
  expectNear(run(single(1, 3, "mask %d : tensor<1x1x1x3xf64> scale 1.0", "tensor<1x1x1x3xf64>"), in),
             {6 * 0.6 + 60 * 0.4}, 1e-12);
  in[3] = {-kInf, -kInf, -kInf};
  expectNear(run(single(1, 3, "mask %d : tensor<1x1x1x3xf64> scale 1.0", "tensor<1x1x1x3xf64>"), in), {0}, 1e-12);
}

TEST(Attention, Lengths) {
  std::string q = "tensor<3x1x1x1xf64>", k = "tensor<3x1x2x1xf64>";
  std::string text =
      oneOp(q + ", " + k + ", " + k + ", tensor<3xi32>", q,
            "comm.attention %a, %b, %c lengths %d : tensor<3xi32> scale 1.0 : " + q + ", " + k + ", " + k + " -> " + q);
  expectNear(run(text, {{1, 1, 1}, {0, 0, 0, 0, 0, 0}, {1, 3, 5, 7, 9, 11}, {2, 1, 0}}), {2, 5, 0}, 1e-12);
}

TEST(Attention, Softcap) {
  // 2 tanh(score / 2): scores 0 and x with 2 tanh(x / 2) = log 3, so weights 1/4 and 3/4.
  double x = 2 * std::atanh(kLog3 / 2);
  expectNear(run(single(1, 2, "scale 1.0", "", " {softcap = 2.0 : f64}"), {{x}, {0, 1}, {4, 8}}), {7}, 1e-12);
}

TEST(Attention, GroupedHeads) {
  // 4 query heads on 2 kv heads: heads 0, 1 read kv head 0, heads 2, 3 read kv head 1.
  std::string q = "tensor<1x4x1x1xf64>", k = "tensor<1x2x2x1xf64>";
  std::string text = oneOp(q + ", " + k + ", " + k, q,
                           "comm.attention %a, %b, %c scale 1.0 : " + q + ", " + k + ", " + k + " -> " + q);
  // Query 0 or 1 against keys (0, log 3) gives weights (1/2, 1/2) or (1/4, 3/4); kv head 1 has keys (log 3, 0).
  expectNear(run(text, {{0, 1, 0, 1}, {0, kLog3, kLog3, 0}, {4, 8, 40, 80}}), {6, 7, 60, 50}, 1e-12);
}

TEST(Attention, BatchHeadsAndSizesTogether) {
  // B 2, Hq 4, Hkv 2, S 2, T 3, D 2, Dv 1, mask [2, 1, 2, 3]: every index against the formula, written out again.
  const int B = 2, H = 4, G = 2, S = 2, T = 3, D = 2;
  std::string text =
      oneOp("tensor<2x4x2x2xf64>, tensor<2x2x3x2xf64>, tensor<2x2x3x1xf64>, tensor<2x1x2x3xf64>", "tensor<2x4x2x1xf64>",
            "comm.attention %a, %b, %c mask %d : tensor<2x1x2x3xf64> scale 0.25 causal 1"
            " : tensor<2x4x2x2xf64>, tensor<2x2x3x2xf64>, tensor<2x2x3x1xf64> -> tensor<2x4x2x1xf64>");
  Numbers q(B * H * S * D), k(B * G * T * D), v(B * G * T), mask(B * S * T), expected;
  auto fill = [](Numbers &numbers, int step) {
    for (size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = static_cast<double>((i * step) % 17) / 4 - 2;
  };
  fill(q, 5), fill(k, 7), fill(v, 3), fill(mask, 11);
  for (int b = 0; b < B; ++b)
    for (int h = 0; h < H; ++h)
      for (int s = 0; s < S; ++s) {
        double top = 0, bottom = 0;
        for (int t = 0; t < T && t <= s + 1; ++t) {
          double score = 0;
          for (int d = 0; d < D; ++d)
            score += q[((b * H + h) * S + s) * D + d] * k[((b * G + h / 2) * T + t) * D + d];
          double weight = std::exp(0.25 * score + mask[(b * S + s) * T + t]);
          bottom += weight;
          top += weight * v[(b * G + h / 2) * T + t];
        }
        expected.push_back(top / bottom);
      }
  expectNear(run(text, {q, k, v, mask}), expected, 1e-12);
}

TEST(Attention, NaNIsSeenEmptyIsZero) {
  expectNear(run(single(1, 2, "scale 1.0"), {{kNaN}, {1, 1}, {1, 1}}), {kNaN});
  expectNear(run(single(1, 0, "scale 1.0"), {{1}, {}, {}}), {0});
  EXPECT_TRUE(run(single(0, 2, "scale 1.0"), {{}, {1, 1}, {1, 1}}).empty());
}
