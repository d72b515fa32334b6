//===- ScalarsTest.cpp - arith and math, element by element ---------------===//
#include "TestSupport.h"

using namespace testing_interpreter;

namespace {
/// `op` ("arith.addf") on one operand list of type tensor<N x element>.
Numbers unary(const std::string &op, const std::string &element, const Numbers &x) {
  std::string type = "tensor<" + std::to_string(x.size()) + "x" + element + ">";
  return run(oneOp(type, type, op + " %a : " + type), {x});
}
Numbers binary(const std::string &op, const std::string &element, const Numbers &x, const Numbers &y) {
  std::string type = "tensor<" + std::to_string(x.size()) + "x" + element + ">";
  return run(oneOp(type + ", " + type, type, op + " %a, %b : " + type), {x, y});
}
Numbers compare(const std::string &op, const std::string &element, const Numbers &x, const Numbers &y) {
  std::string n = std::to_string(x.size()), type = "tensor<" + n + "x" + element + ">";
  return run(oneOp(type + ", " + type, "tensor<" + n + "xi1>", op + ", %a, %b : " + type), {x, y});
}
Numbers cast(const std::string &op, const std::string &from, const std::string &to, const Numbers &x) {
  std::string n = "tensor<" + std::to_string(x.size()) + "x";
  return run(oneOp(n + from + ">", n + to + ">", op + " %a : " + n + from + "> to " + n + to + ">"), {x});
}
void expectSigns(const Numbers &got, const Numbers &expected) {
  ASSERT_EQ(got, expected);
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_EQ(std::signbit(got[i]), std::signbit(expected[i])) << "sign of element " << i;
}
} // namespace

TEST(Scalars, FloatArithmetic) {
  EXPECT_EQ(binary("arith.addf", "f32", {1, 0.1}, {2, 0.2}), Numbers({3, double(float(0.1) + float(0.2))}));
  EXPECT_EQ(binary("arith.subf", "f32", {1, 5}, {2, 0.5}), Numbers({-1, 4.5}));
  EXPECT_EQ(binary("arith.mulf", "f32", {3, -2}, {4, 0.5}), Numbers({12, -1}));
  expectNear(binary("arith.divf", "f32", {1, 1, -1, 0}, {4, 0, 0, 0}), {0.25, kInf, -kInf, kNaN});
  EXPECT_EQ(binary("arith.remf", "f32", {7, -7}, {3, 3}), Numbers({1, -1})); // the sign of the dividend
  EXPECT_EQ(unary("arith.negf", "f32", {1, -kInf}), Numbers({-1, kInf}));
}

TEST(Scalars, MaximumAndMaxNumTreatNaNDifferently) {
  expectNear(binary("arith.maximumf", "f32", {1, kNaN, 1, -kInf}, {2, 1, kNaN, 3}), {2, kNaN, kNaN, 3});
  expectNear(binary("arith.minimumf", "f32", {1, kNaN, 1, -kInf}, {2, 1, kNaN, 3}), {1, kNaN, kNaN, -kInf});
  expectNear(binary("arith.maxnumf", "f32", {1, kNaN, 1, kNaN}, {2, 1, kNaN, kNaN}), {2, 1, 1, kNaN});
  expectNear(binary("arith.minnumf", "f32", {1, kNaN, 1, kNaN}, {2, 1, kNaN, kNaN}), {1, 1, 1, kNaN});
  expectSigns(binary("arith.maximumf", "f32", {-0.0, 0.0}, {0.0, -0.0}), {0.0, 0.0});
  expectSigns(binary("arith.minimumf", "f32", {-0.0, 0.0}, {0.0, -0.0}), {-0.0, -0.0});
}

TEST(Scalars, RoundingToNarrowTypes) {
  // f32 holds 24 bits, f16 11, bf16 8; ties go to even.
  EXPECT_EQ(cast("arith.truncf", "f64", "f32", {16777217, 16777219, 1e-46, 1e39}),
            Numbers({16777216, 16777220, 0, kInf}));
  EXPECT_EQ(cast("arith.truncf", "f32", "f16", {2049, 2051, 65519, 65520, 5.9604644775390625e-8}),
            Numbers({2048, 2052, 65504, kInf, 5.9604644775390625e-8}));
  EXPECT_EQ(cast("arith.truncf", "f32", "bf16", {257, 259, 1.00390625, 65536}), Numbers({256, 260, 1, 65536}));
  EXPECT_EQ(cast("arith.extf", "bf16", "f32", {1.5, -kInf}), Numbers({1.5, -kInf}));
  EXPECT_EQ(binary("arith.addf", "bf16", {256, 256}, {1, 3}), Numbers({256, 260}));
  EXPECT_EQ(binary("arith.addf", "f16", {2048, 65504}, {1, 16}), Numbers({2048, kInf}));
  EXPECT_EQ(binary("arith.addf", "f32", {16777216}, {1}), Numbers({16777216}));
}

TEST(Scalars, IntegerArithmeticWraps) {
  EXPECT_EQ(binary("arith.addi", "i8", {127, -128, 1}, {1, -1, 2}), Numbers({-128, 127, 3}));
  EXPECT_EQ(binary("arith.subi", "i8", {-128}, {1}), Numbers({127}));
  EXPECT_EQ(binary("arith.muli", "i8", {16, 100}, {16, 2}), Numbers({0, -56}));
  EXPECT_EQ(binary("arith.muli", "i32", {65536, 46341}, {65536, 46341}), Numbers({0, -2147479015}));
  EXPECT_EQ(binary("arith.shli", "i8", {1, 3}, {7, 6}), Numbers({-128, -64}));
  EXPECT_EQ(binary("arith.shrsi", "i8", {-128, 64}, {7, 6}), Numbers({-1, 1}));
  EXPECT_EQ(binary("arith.shrui", "i8", {-128, 64}, {7, 6}), Numbers({1, 1}));
  EXPECT_EQ(binary("arith.andi", "i8", {-1, 12}, {5, 10}), Numbers({5, 8}));
  EXPECT_EQ(binary("arith.ori", "i8", {-128, 12}, {5, 10}), Numbers({-123, 14}));
  EXPECT_EQ(binary("arith.xori", "i8", {-1, 12}, {5, 10}), Numbers({-6, 6}));
  EXPECT_EQ(unary("math.absi", "i8", {-5, -128}), Numbers({5, -128}));
  EXPECT_EQ(binary("math.ipowi", "i32", {3, 2, -1, 2, -1}, {4, 31, 5, -1, -2}), Numbers({81, -2147483648.0, -1, 0, 1}));
}

TEST(Scalars, DivisionOfIntegers) {
  EXPECT_EQ(binary("arith.divsi", "i32", {7, -7, 7}, {2, 2, -2}), Numbers({3, -3, -3}));
  EXPECT_EQ(binary("arith.floordivsi", "i32", {7, -7, 7, -8}, {2, 2, -2, 2}), Numbers({3, -4, -4, -4}));
  EXPECT_EQ(binary("arith.remsi", "i32", {7, -7, 7}, {2, 2, -2}), Numbers({1, -1, 1}));
  EXPECT_EQ(binary("arith.divui", "i8", {-2}, {2}), Numbers({127})); // 254 / 2
  EXPECT_EQ(binary("arith.remui", "i8", {-1}, {16}), Numbers({15})); // 255 mod 16
}

TEST(Scalars, SignedAndUnsignedOrder) {
  Numbers a = {-1, 1, 5}, b = {1, -1, 5};
  EXPECT_EQ(compare("arith.cmpi slt", "i32", a, b), Numbers({1, 0, 0}));
  EXPECT_EQ(compare("arith.cmpi sle", "i32", a, b), Numbers({1, 0, 1}));
  EXPECT_EQ(compare("arith.cmpi sgt", "i32", a, b), Numbers({0, 1, 0}));
  EXPECT_EQ(compare("arith.cmpi sge", "i32", a, b), Numbers({0, 1, 1}));
  EXPECT_EQ(compare("arith.cmpi ult", "i32", a, b), Numbers({0, 1, 0}));
  EXPECT_EQ(compare("arith.cmpi ule", "i8", a, b), Numbers({0, 1, 1}));
  EXPECT_EQ(compare("arith.cmpi ugt", "i64", a, b), Numbers({1, 0, 0}));
  EXPECT_EQ(compare("arith.cmpi uge", "i16", a, b), Numbers({1, 0, 1}));
  EXPECT_EQ(compare("arith.cmpi eq", "i32", a, b), Numbers({0, 0, 1}));
  EXPECT_EQ(compare("arith.cmpi ne", "i32", a, b), Numbers({1, 1, 0}));
  EXPECT_EQ(binary("arith.maxsi", "i8", {-1}, {1}), Numbers({1}));
  EXPECT_EQ(binary("arith.minsi", "i8", {-1}, {1}), Numbers({-1}));
  EXPECT_EQ(binary("arith.maxui", "i8", {-1}, {1}), Numbers({-1}));
  EXPECT_EQ(binary("arith.minui", "i8", {-1}, {1}), Numbers({1}));
}

TEST(Scalars, FloatComparisonsWithNaN) {
  Numbers a = {1, 2, 2, kNaN, 1}, b = {2, 1, 2, 1, kNaN};
  struct Row {
    const char *predicate;
    Numbers expected;
  };
  const Row rows[] = {
      {"false", {0, 0, 0, 0, 0}}, {"oeq", {0, 0, 1, 0, 0}}, {"ogt", {0, 1, 0, 0, 0}}, {"oge", {0, 1, 1, 0, 0}},
      {"olt", {1, 0, 0, 0, 0}},   {"ole", {1, 0, 1, 0, 0}}, {"one", {1, 1, 0, 0, 0}}, {"ord", {1, 1, 1, 0, 0}},
      {"ueq", {0, 0, 1, 1, 1}},   {"ugt", {0, 1, 0, 1, 1}}, {"uge", {0, 1, 1, 1, 1}}, {"ult", {1, 0, 0, 1, 1}},
      {"ule", {1, 0, 1, 1, 1}},   {"une", {1, 1, 0, 1, 1}}, {"uno", {0, 0, 0, 1, 1}}, {"true", {1, 1, 1, 1, 1}}};
  for (const Row &row : rows)
    EXPECT_EQ(compare(std::string("arith.cmpf ") + row.predicate, "f32", a, b), row.expected) << row.predicate;
  EXPECT_EQ(compare("arith.cmpf oeq", "f32", {-0.0, kInf}, {0.0, kInf}), Numbers({1, 1}));
}

TEST(Scalars, OneBitIntegers) {
  // The bit is the sign: signed it is 0 or -1, unsigned 0 or 1. It is kept as 0 or 1.
  Numbers a = {0, 0, 1, 1}, b = {0, 1, 0, 1};
  EXPECT_EQ(binary("arith.addi", "i1", a, b), Numbers({0, 1, 1, 0}));
  EXPECT_EQ(binary("arith.muli", "i1", a, b), Numbers({0, 0, 0, 1}));
  EXPECT_EQ(binary("arith.xori", "i1", a, b), Numbers({0, 1, 1, 0}));
  EXPECT_EQ(binary("arith.maxsi", "i1", a, b), Numbers({0, 0, 0, 1}));
  EXPECT_EQ(binary("arith.maxui", "i1", a, b), Numbers({0, 1, 1, 1}));
  EXPECT_EQ(compare("arith.cmpi slt", "i1", a, b), Numbers({0, 0, 1, 0}));
  EXPECT_EQ(compare("arith.cmpi ult", "i1", a, b), Numbers({0, 1, 0, 0}));
  EXPECT_EQ(cast("arith.extsi", "i1", "i8", {0, 1}), Numbers({0, -1}));
  EXPECT_EQ(cast("arith.extui", "i1", "i8", {0, 1}), Numbers({0, 1}));
  EXPECT_EQ(cast("arith.sitofp", "i1", "f32", {0, 1}), Numbers({0, -1}));
  EXPECT_EQ(cast("arith.uitofp", "i1", "f32", {0, 1}), Numbers({0, 1}));
  EXPECT_EQ(cast("arith.trunci", "i8", "i1", {2, 3}), Numbers({0, 1}));
  EXPECT_EQ(run(oneOp("tensor<2xi1>, tensor<2xf32>, tensor<2xf32>", "tensor<2xf32>",
                      "arith.select %a, %b, %c : tensor<2xi1>, tensor<2xf32>"),
                {{1, 0}, {1, 2}, {3, kNaN}})[0],
            1);
}

TEST(Scalars, Casts) {
  EXPECT_EQ(cast("arith.trunci", "i32", "i8", {300, -129, 127}), Numbers({44, 127, 127}));
  EXPECT_EQ(cast("arith.extsi", "i8", "i32", {-1}), Numbers({-1}));
  EXPECT_EQ(cast("arith.extui", "i8", "i32", {-1}), Numbers({255}));
  EXPECT_EQ(cast("arith.sitofp", "i32", "f32", {-3, 16777217}), Numbers({-3, 16777216}));
  EXPECT_EQ(cast("arith.uitofp", "i8", "f32", {-1}), Numbers({255}));
  EXPECT_EQ(cast("arith.sitofp", "i32", "bf16", {257}), Numbers({256}));
  EXPECT_EQ(cast("arith.fptosi", "f32", "i32", {2.9, -2.9, 0}), Numbers({2, -2, 0}));
  EXPECT_EQ(cast("arith.fptoui", "f32", "i8", {200}), Numbers({-56}));
  EXPECT_EQ(cast("arith.index_cast", "i32", "index", {-4}), Numbers({-4}));
  // What MLIR leaves undefined repeats: NaN is 0, 64 bits saturate, narrower types keep the low bits.
  EXPECT_EQ(cast("arith.fptosi", "f32", "i64", {kNaN, kInf, -kInf}),
            Numbers({0, 9223372036854775807.0, -9223372036854775808.0}));
  EXPECT_EQ(cast("arith.fptosi", "f32", "i8", {300}), Numbers({44}));
  EXPECT_EQ(cast("arith.fptoui", "f64", "i64", {-1, 18446744073709549568.0}), Numbers({0, -2048}));
}

TEST(Scalars, MathFunctions) {
  const double x = 0.5;
  struct Row {
    const char *op;
    double expected; ///< at 0.5, from tables
  };
  const Row rows[] = {{"math.exp", 1.6487212707001282},
                      {"math.exp2", 1.4142135623730951},
                      {"math.expm1", 0.6487212707001282},
                      {"math.log", -0.6931471805599453},
                      {"math.log2", -1},
                      {"math.log10", -0.3010299956639812},
                      {"math.log1p", 0.4054651081081644},
                      {"math.sqrt", 0.7071067811865476},
                      {"math.rsqrt", 1.4142135623730951},
                      {"math.cbrt", 0.7937005259840998},
                      {"math.tanh", 0.46211715726000973},
                      {"math.erf", 0.5204998778130465},
                      {"math.erfc", 0.4795001221869535},
                      {"math.sin", 0.479425538604203},
                      {"math.cos", 0.8775825618903728},
                      {"math.tan", 0.5463024898437905},
                      {"math.asin", 0.5235987755982989},
                      {"math.acos", 1.0471975511965979},
                      {"math.atan", 0.4636476090008061},
                      {"math.sinh", 0.5210953054937474},
                      {"math.cosh", 1.1276259652063807},
                      {"math.asinh", 0.48121182505960347},
                      {"math.atanh", 0.5493061443340549},
                      {"math.absf", 0.5}};
  for (const Row &row : rows)
    EXPECT_NEAR(unary(row.op, "f64", {x})[0], row.expected, 1e-14) << row.op;
  EXPECT_NEAR(unary("math.acosh", "f64", {2})[0], 1.3169578969248166, 1e-14);
  Numbers halves = {-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4};
  EXPECT_EQ(unary("math.round", "f32", halves), Numbers({-3, -2, -1, 1, 2, 3, 2}));
  EXPECT_EQ(unary("math.roundeven", "f32", halves), Numbers({-2, -2, -0.0, 0, 2, 2, 2}));
  EXPECT_EQ(unary("math.floor", "f32", halves), Numbers({-3, -2, -1, 0, 1, 2, 2}));
  EXPECT_EQ(unary("math.ceil", "f32", halves), Numbers({-2, -1, 0, 1, 2, 3, 3}));
  EXPECT_EQ(unary("math.trunc", "f32", halves), Numbers({-2, -1, 0, 0, 1, 2, 2}));
  EXPECT_EQ(binary("math.powf", "f64", {2, 9, -2}, {10, 0.5, 3}), Numbers({1024, 3, -8}));
  EXPECT_NEAR(binary("math.atan2", "f64", {1}, {-1})[0], 2.356194490192345, 1e-14);
  EXPECT_EQ(binary("math.copysign", "f64", {3, -3}, {-0.0, 1}), Numbers({-3, 3}));
  EXPECT_EQ(
      run(oneOp("tensor<1xf64>, tensor<1xf64>, tensor<1xf64>", "tensor<1xf64>", "math.fma %a, %b, %c : tensor<1xf64>"),
          {{1 + std::ldexp(1, -30)}, {1 - std::ldexp(1, -30)}, {-1}}),
      Numbers({-std::ldexp(1, -60)})); // a product rounded first would give 0
  EXPECT_EQ(run(oneOp("tensor<3xf32>", "tensor<3xi1>", "math.isnan %a : tensor<3xf32>"), {{1, kInf, kNaN}}),
            Numbers({0, 0, 1}));
  EXPECT_EQ(run(oneOp("tensor<3xf32>", "tensor<3xi1>", "math.isinf %a : tensor<3xf32>"), {{1, -kInf, kNaN}}),
            Numbers({0, 1, 0}));
}
