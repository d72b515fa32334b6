//===- StandInTest.cpp - integer stand-ins keep what plans rely on --------===//
// Linear ops must be exactly linear modulo the prime, so that any order of sums gives the same bits; activations must
// map zero to zero, so that zero fill stays harmless; different nonlinear functions must stay different.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"
#include <random>

using namespace testing_interpreter;

namespace {
constexpr int64_t kP = 2147483647;

InterpreterOptions standIns() {
  InterpreterOptions options;
  options.integerStandIns = true;
  return options;
}
int64_t mod(__int128 x) { return static_cast<int64_t>(((x % kP) + kP) % kP); }

Numbers randomField(size_t n, uint32_t seed) {
  std::mt19937_64 random(seed);
  Numbers out(n);
  for (double &x : out)
    x = static_cast<double>(random() % kP);
  return out;
}
/// u + c v, element by element.
Numbers combine(const Numbers &u, int64_t c, const Numbers &v) {
  Numbers out;
  for (size_t i = 0; i < u.size(); ++i)
    out.push_back(
        static_cast<double>(mod(static_cast<__int128>(u[i]) + static_cast<__int128>(c) * static_cast<int64_t>(v[i]))));
  return out;
}
} // namespace

TEST(StandIns, LinearOpsAreLinearModuloThePrime) {
  struct Case {
    std::string text;
    size_t size;               ///< of the argument that varies, the first
    std::vector<size_t> fixed; ///< sizes of the others, which stay
    bool homogeneous = true;   ///< f(u + c v) = f(u) + c f(v); else with respect to all arguments at once
  };
  const Case cases[] = {
      {oneOp("tensor<2x5xf32>, tensor<5x3xf32>", "tensor<2x3xf32>",
             "comm.matmul %a, %b : tensor<2x5xf32>, tensor<5x3xf32> -> tensor<2x3xf32>"),
       10,
       {15}},
      {oneOp("tensor<6xf32>, tensor<6xf32>", "tensor<6xf32>", "arith.mulf %a, %b : tensor<6xf32>"), 6, {6}},
      {oneOp("tensor<6xf32>", "tensor<6xf32>", "arith.negf %a : tensor<6xf32>"), 6, {}},
      {oneOp("tensor<1x2x2x4xf32>, tensor<1x2x2xf32>, tensor<1x2x2xf32>", "tensor<1x2x2x4xf32>",
             "comm.rotary %a, %b, %c : tensor<1x2x2x4xf32>, tensor<1x2x2xf32>"),
       16,
       {4, 4}},
      {oneOp("tensor<6xf32>", "tensor<6xf16>", "arith.truncf %a : tensor<6xf32> to tensor<6xf16>"), 6, {}},
      {"func.func @f(%x: tensor<2x3xf32>) -> tensor<2xf32> {\n %i = arith.constant dense<0.0> : tensor<2xf32>\n %r = "
       "linalg.reduce { arith.addf } "
       "ins(%x : tensor<2x3xf32>) outs(%i : tensor<2xf32>) dimensions = [1]\n return %r : tensor<2xf32> }",
       6,
       {}},
  };
  for (const Case &c : cases) {
    Numbers u = randomField(c.size, 1), v = randomField(c.size, 2);
    Args others;
    for (size_t i = 0; i < c.fixed.size(); ++i)
      others.push_back(randomField(c.fixed[i], 3 + static_cast<uint32_t>(i)));
    auto f = [&](const Numbers &x) {
      Args args = {x};
      args.insert(args.end(), others.begin(), others.end());
      return run(c.text, args, standIns());
    };
    EXPECT_EQ(f(combine(u, 12345, v)), combine(f(u), 12345, f(v))) << c.text;
  }
}

TEST(StandIns, SumsAndDifferencesAreModular) {
  auto two = [](const char *op) {
    return oneOp("tensor<2xf32>, tensor<2xf32>", "tensor<2xf32>", std::string(op) + " %a, %b : tensor<2xf32>");
  };
  EXPECT_EQ(run(two("arith.addf"), {{kP - 1, 1}, {2, 5}}, standIns()), Numbers({1, 6}));
  EXPECT_EQ(run(two("arith.subf"), {{1, 5}, {2, 1}}, standIns()), Numbers({kP - 1, 4}));
  // Inputs outside the field enter it: -1 is p - 1.
  EXPECT_EQ(run(two("arith.addf"), {{-1, -3}, {0, 1}}, standIns()), Numbers({kP - 1, kP - 2}));
  // A product of two full-size elements, by an independent product in 128 bits.
  EXPECT_EQ(run(two("arith.mulf"), {{kP - 2, 65536}, {kP - 3, 65536}}, standIns()),
            Numbers({6, double(mod(__int128(65536) * 65536))}));
}

TEST(StandIns, AnyOrderOfSumsGivesTheSameBits) {
  std::string matmul = oneOp("tensor<1x8xf32>, tensor<8x1xf32>", "tensor<1x1xf32>",
                             "comm.matmul %a, %b : tensor<1x8xf32>, tensor<8x1xf32> -> tensor<1x1xf32>");
  Numbers a = randomField(8, 7), b = randomField(8, 8);
  Numbers whole = run(matmul, {a, b}, standIns());
  std::reverse(a.begin(), a.end());
  std::reverse(b.begin(), b.end());
  EXPECT_EQ(run(matmul, {a, b}, standIns()), whole);
  std::string sum =
      "comm.grid @grid [\"tp\"] = [3]\n" +
      oneOp("tensor<4xf32>", "tensor<4xf32>", "comm.all_reduce sum %a over @grid[\"tp\"] : tensor<4xf32>");
  Numbers x = randomField(4, 1), y = randomField(4, 2), z = randomField(4, 3);
  Args forth = runRanks(sum, {{x}, {y}, {z}}, standIns()), back = runRanks(sum, {{z}, {y}, {x}}, standIns());
  EXPECT_EQ(forth, back);
  EXPECT_EQ(forth[0], combine(combine(x, 1, y), 1, z));
}

TEST(StandIns, ZeroStaysZeroAndFunctionsDiffer) {
  std::vector<Numbers> seen;
  for (const char *op : {"comm.gelu erf", "comm.silu", "math.tanh", "math.erf", "math.exp", "math.sqrt", "math.sin",
                         "math.rsqrt", "math.absf"}) {
    std::string text = oneOp("tensor<3xf32>", "tensor<3xf32>", std::string(op) + " %a : tensor<3xf32>");
    Numbers y = run(text, {{0, 2, 3}}, standIns());
    EXPECT_EQ(y[0], 0) << op;
    EXPECT_NE(y[1], 0) << op;
    for (const Numbers &other : seen)
      EXPECT_NE(y, other) << op;
    seen.push_back(y);
    // Not linear, so that a plan which treats it as linear is found out.
    EXPECT_NE(mod(static_cast<int64_t>(y[1]) + static_cast<int64_t>(y[2])),
              static_cast<int64_t>(run(text, {{5, 5, 5}}, standIns())[0]))
        << op;
  }
}

TEST(StandIns, RowsDependOnTheWholeRow) {
  struct Case {
    const char *types, *op;
    Args others;
  };
  const Case cases[] = {{"tensor<1x4xf32>, tensor<4xf32>",
                         "comm.rms_norm %a, %b epsilon 1.0e-5 : tensor<1x4xf32>, tensor<4xf32>",
                         {{1, 1, 1, 1}}},
                        {"tensor<1x4xf32>, tensor<4xf32>",
                         "comm.layer_norm %a, %b epsilon 1.0e-5 : tensor<1x4xf32>, tensor<4xf32>",
                         {{1, 1, 1, 1}}},
                        {"tensor<1x4xf32>", "comm.softmax %a : tensor<1x4xf32>", {}}};
  for (const Case &c : cases) {
    std::string text = oneOp(c.types, "tensor<1x4xf32>", c.op);
    Args one = {{1, 2, 3, 4}}, two = {{1, 2, 3, 5}}, zero = {{0, 0, 0, 0}};
    for (Args *args : {&one, &two, &zero})
      args->insert(args->end(), c.others.begin(), c.others.end());
    Numbers y = run(text, one, standIns()), z = run(text, two, standIns());
    EXPECT_EQ(run(text, zero, standIns()), Numbers({0, 0, 0, 0})) << c.op;
    for (size_t i = 0; i < 4; ++i)
      EXPECT_NE(y[i], z[i]) << c.op << " element " << i; // the last element reaches all of them
  }
}

TEST(StandIns, AttentionKeepsItsDependences) {
  std::string q = "tensor<1x1x1x1xf32>", k = "tensor<1x1x2x1xf32>";
  std::string text = oneOp(q + ", " + k + ", " + k + ", tensor<1x1x1x2xi1>", q,
                           "comm.attention %a, %b, %c mask %d : tensor<1x1x1x2xi1> scale 1.0 : " + q + ", " + k + ", " +
                               k + " -> " + q);
  auto f = [&](const Args &args) { return run(text, args, standIns())[0]; };
  double base = f({{2}, {3, 5}, {7, 11}, {1, 1}});
  EXPECT_NE(f({{4}, {3, 5}, {7, 11}, {1, 1}}), base);
  EXPECT_NE(f({{2}, {3, 6}, {7, 11}, {1, 1}}), base);
  EXPECT_NE(f({{2}, {3, 5}, {7, 12}, {1, 1}}), base);
  double masked = f({{2}, {3, 5}, {7, 11}, {1, 0}});
  EXPECT_NE(masked, base);
  EXPECT_EQ(f({{2}, {3, 6}, {7, 12}, {1, 0}}), masked); // what is masked has no say
  EXPECT_EQ(f({{2}, {3, 5}, {7, 11}, {0, 0}}), 0);
}

TEST(StandIns, WeightsEnterTheField) {
  std::string text = "func.func @f() -> tensor<2xf32> { %w = comm.weight \"w\" in \"w.bin\" at 0 : tensor<2xf32> -> "
                     "tensor<2xf32>\n return %w : tensor<2xf32> }";
  InterpreterOptions options = standIns();
  options.weight = [](WeightOp op) -> FailureOr<HostTensor> {
    return toTensor(cast<RankedTensorType>(op.getStored()), {-1, 0.5});
  };
  Numbers w = run(text, {}, options);
  EXPECT_EQ(w[0], kP - 1);
  EXPECT_TRUE(w[1] == std::floor(w[1]) && w[1] >= 0 && w[1] < kP) << w[1];
}
