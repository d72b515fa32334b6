//===- CodegenTest.cpp - compiled kernels against the interpreter ---------===//
// Each case is a comm.fused in text; it is compiled for every ISA level this CPU runs, loaded by the runtime's own
// loader and compared with the interpreter.
//===----------------------------------------------------------------------===//
#include "passes/Lower/Codegen/Codegen.h"
#include "comm/Interpreter/Interpreter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include "runtime/Core/NativeObject.h"
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace mlir;
using namespace mlir::comm;

namespace {
MLIRContext &context() {
  static MLIRContext *instance = [] {
    auto *created = new MLIRContext(MLIRContext::Threading::DISABLED);
    created->loadDialect<CommDialect, func::FuncDialect, arith::ArithDialect, math::MathDialect, linalg::LinalgDialect,
                         tensor::TensorDialect>();
    return created;
  }();
  return *instance;
}

using Bytes = std::vector<uint8_t>;

void putElement(Bytes &out, int64_t i, Type type, double f, int64_t n) {
  auto put = [&](auto x) { std::memcpy(&out[i * sizeof(x)], &x, sizeof(x)); };
  if (type.isF32())
    return put(static_cast<float>(f));
  if (type.isF64())
    return put(f);
  if (isa<FloatType>(type)) {
    APFloat value(f);
    bool lost;
    value.convert(cast<FloatType>(type).getFloatSemantics(), APFloat::rmNearestTiesToEven, &lost);
    return put(static_cast<uint16_t>(value.bitcastToAPInt().getZExtValue()));
  }
  switch (getElementBytes(type)) {
  case 1:
    return put(static_cast<int8_t>(n));
  case 2:
    return put(static_cast<int16_t>(n));
  case 4:
    return put(static_cast<int32_t>(n));
  default:
    return put(n);
  }
}

HostTensor fromBytes(const Bytes &in, RankedTensorType type) {
  HostTensor out = HostTensor::zeros(type);
  Type element = type.getElementType();
  for (int64_t i = 0; i < out.size(); ++i) {
    auto get = [&](auto x) {
      std::memcpy(&x, &in[i * sizeof(x)], sizeof(x));
      return x;
    };
    if (element.isF32())
      out.floats[i] = get(float());
    else if (element.isF64())
      out.floats[i] = get(double());
    else if (isa<FloatType>(element))
      out.floats[i] =
          APFloat(cast<FloatType>(element).getFloatSemantics(), APInt(16, get(uint16_t()))).convertToDouble();
    else
      out.ints[i] = getElementBytes(element) == 1   ? (element.isInteger(1) ? get(uint8_t()) : get(int8_t()))
                    : getElementBytes(element) == 2 ? get(int16_t())
                    : getElementBytes(element) == 4 ? get(int32_t())
                                                    : get(int64_t());
  }
  return out;
}

Bytes toBytes(const HostTensor &in) {
  Type element = in.type.getElementType();
  Bytes out(in.size() * getElementBytes(element));
  for (int64_t i = 0; i < in.size(); ++i)
    putElement(out, i, element, in.isFloat() ? in.floats[i] : 0, in.isFloat() ? 0 : in.ints[i]);
  return out;
}

HostTensor randomTensor(RankedTensorType type, std::mt19937 &random) {
  HostTensor out = HostTensor::zeros(type);
  std::normal_distribution<double> normal;
  for (double &x : out.floats) {
    Bytes one(8);
    putElement(one, 0, type.getElementType(), normal(random), 0);
    x = fromBytes(one, RankedTensorType::get({1}, type.getElementType())).floats[0];
  }
  for (int64_t &x : out.ints)
    x = type.getElementType().isInteger(1) ? random() % 2 : static_cast<int64_t>(random() % 21) - 10;
  return out;
}

/// Parses `fused` (one comm.fused on function arguments), compiles and compares. `tolerance` is relative to 1 +
/// |expected|. `byColumns`: the kernel can also be computed in ranges of columns, with the same bits. `first`: numbers
/// with which the first input begins; the others are made up.
void check(const std::string &signature, const std::string &fused, double tolerance = 2e-6, bool byColumns = false,
           ArrayRef<double> first = {}) {
  std::string text = "func.func @f(" + signature + ") {\n" + fused + "\n return\n}";
  auto module = parseSourceString<ModuleOp>(text, &context());
  ASSERT_TRUE(module) << text;
  FusedOp op;
  module->walk([&](FusedOp found) { op = found; });
  ASSERT_TRUE(op);
  std::string why;
  ASSERT_TRUE(canCompileKernel(op.getBody().front(), &why)) << why;
  int64_t iterations = getKernelIterations(op.getBody().front());
  auto objects = compileKernels({{"k", &op.getBody().front()}}, {});
  ASSERT_TRUE(succeeded(objects));

  std::mt19937 random(7);
  SmallVector<HostTensor> inputs;
  for (Value input : op.getInputs())
    inputs.push_back(randomTensor(cast<RankedTensorType>(input.getType()), random));
  llvm::copy(first, inputs[0].floats.begin());
  auto expected = evaluateOp(op, inputs);
  ASSERT_TRUE(succeeded(expected));

  for (size_t level = 0; level < objects->size(); ++level) {
    size_t chosen = 0;
    std::vector<::comm::exe::NativeObject> only = {(*objects)[level]};
    if (!::comm::rt::chooseNativeObject(only, chosen))
      continue; // this CPU does not run the level
    std::unique_ptr<::comm::rt::NativeCode> code;
    auto status = ::comm::rt::NativeCode::load(only[0].bytes.data(), only[0].bytes.size(), code);
    ASSERT_TRUE(static_cast<bool>(status)) << status.text;
    auto function = code->find("k");
    ASSERT_NE(function, nullptr);
    std::vector<Bytes> buffers;
    for (const HostTensor &input : inputs)
      buffers.push_back(toBytes(input));
    for (const HostTensor &output : *expected) // poisoned: what is not written shows
      buffers.push_back(Bytes(output.size() * getElementBytes(output.type.getElementType()), 0xAB));
    std::vector<void *> pointers;
    for (Bytes &buffer : buffers)
      pointers.push_back(buffer.data());
    // In two parts, as two threads would.
    function(pointers.data(), 0, iterations / 2);
    function(pointers.data(), iterations / 2, iterations);
    for (size_t i = 0; i < expected->size(); ++i) {
      HostTensor got = fromBytes(buffers[inputs.size() + i], (*expected)[i].type);
      for (size_t e = 0; e < got.floats.size(); ++e) {
        double want = (*expected)[i].floats[e];
        if (std::isnan(want))
          ASSERT_TRUE(std::isnan(got.floats[e])) << "output " << i << " element " << e << " " << only[0].isa;
        else if (std::isinf(want))
          ASSERT_EQ(got.floats[e], want);
        else
          ASSERT_NEAR(got.floats[e], want, tolerance * (1 + std::fabs(want)))
              << "output " << i << " element " << e << " " << only[0].isa;
      }
      ASSERT_EQ(got.ints, (*expected)[i].ints) << "output " << i;
    }
    auto ranges = code->findColumns("k");
    ASSERT_EQ(ranges != nullptr, byColumns);
    if (!byColumns)
      continue;
    std::vector<Bytes> whole(buffers.begin() + static_cast<ptrdiff_t>(inputs.size()), buffers.end());
    for (size_t i = inputs.size(); i < buffers.size(); ++i)
      std::fill(buffers[i].begin(), buffers[i].end(), 0xAB);
    int64_t columns = expected->front().type.getShape().back(), rows = expected->front().size() / columns;
    for (auto [first, last] : {std::pair{columns / 3, columns}, std::pair<int64_t, int64_t>{0, columns / 3}}) {
      ranges(pointers.data(), 0, rows / 2, first, last);
      ranges(pointers.data(), rows / 2, rows, first, last);
    }
    for (size_t i = 0; i < whole.size(); ++i)
      ASSERT_EQ(buffers[inputs.size() + i], whole[i]) << "output " << i << " by columns";
  }
}

std::string body(const std::string &inputs, const std::string &types, const std::string &results,
                 const std::string &block, const std::string &ops) {
  return "comm.fused ins(" + inputs + " : " + types + ") -> " + results + " {\n^bb0(" + block + "):\n" + ops + "\n}";
}

TEST(Codegen, ElementwiseChainOfOddLength) {
  check("%x: tensor<3x7xf32>, %y: tensor<3x7xf32>",
        "%r = " + body("%x, %y", "tensor<3x7xf32>, tensor<3x7xf32>", "tensor<3x7xf32>",
                       "%a: tensor<3x7xf32>, %b: tensor<3x7xf32>",
                       "%s = arith.addf %a, %b : tensor<3x7xf32>\n%t = math.tanh %s : tensor<3x7xf32>\ncomm.yield %t : "
                       "tensor<3x7xf32>"),
        2e-6, /*byColumns=*/true);
}

/// It is cut in rows that are no rows of the tensor: a range of columns would be another one than the runtime's.
TEST(Codegen, OneLongDimensionHasNoColumns) {
  std::string t = "tensor<8192xf32>";
  check("%x: " + t, "%r = " + body("%x", t, t, "%a: " + t, "%y = math.absf %a : " + t + "\ncomm.yield %y : " + t));
}

TEST(Codegen, MathFunctions) {
  for (const char *op : {"exp", "erf", "tanh", "sin", "cos", "sqrt", "absf", "floor", "ceil", "roundeven", "round",
                         "atan", "expm1", "sinh", "cosh", "tan", "cbrt", "exp2"}) {
    SCOPED_TRACE(op);
    check("%x: tensor<65xf32>",
          "%r = " +
              body("%x", "tensor<65xf32>", "tensor<65xf32>", "%a: tensor<65xf32>",
                   std::string("%p = math.absf %a : tensor<65xf32>\n%t = math.") + op + " " +
                       (std::string(op) == "sqrt" ? "%p" : "%a") + " : tensor<65xf32>\ncomm.yield %t : tensor<65xf32>"),
          2e-5);
  }
}

TEST(Codegen, LogarithmsAndPowers) {
  for (const char *op : {"log", "log2", "log10", "log1p"}) {
    SCOPED_TRACE(op);
    check("%x: tensor<40xf32>",
          "%r = " + body("%x", "tensor<40xf32>", "tensor<40xf32>", "%a: tensor<40xf32>",
                         std::string("%p = math.absf %a : tensor<40xf32>\n%t = math.") + op +
                             " %p : tensor<40xf32>\ncomm.yield %t : tensor<40xf32>"),
          1e-5);
  }
  check("%x: tensor<40xf32>, %y: tensor<40xf32>",
        "%r = " + body("%x, %y", "tensor<40xf32>, tensor<40xf32>", "tensor<40xf32>",
                       "%a: tensor<40xf32>, %b: tensor<40xf32>",
                       "%p = math.absf %a : tensor<40xf32>\n%t = math.powf %p, %b : tensor<40xf32>\ncomm.yield %t : "
                       "tensor<40xf32>"),
        1e-4);
}

TEST(Codegen, BroadcastBiasAndColumn) {
  check("%x: tensor<2x3x33xf32>, %w: tensor<33xf32>, %c: tensor<2x3xf32>",
        "%r = " +
            body("%x, %w, %c", "tensor<2x3x33xf32>, tensor<33xf32>, tensor<2x3xf32>", "tensor<2x3x33xf32>",
                 "%a: tensor<2x3x33xf32>, %v: tensor<33xf32>, %d: tensor<2x3xf32>",
                 "%e = tensor.empty() : tensor<2x3x33xf32>\n%wb = linalg.broadcast ins(%v : tensor<33xf32>) outs(%e : "
                 "tensor<2x3x33xf32>) dimensions = [0, 1]\n"
                 "%cb = linalg.broadcast ins(%d : tensor<2x3xf32>) outs(%e : tensor<2x3x33xf32>) dimensions = [2]\n"
                 "%s = arith.mulf %a, %wb : tensor<2x3x33xf32>\n%t = arith.addf %s, %cb : "
                 "tensor<2x3x33xf32>\ncomm.yield %t : tensor<2x3x33xf32>"),
        2e-6, /*byColumns=*/true);
}

TEST(Codegen, MaskBroadcastOverMiddleDimension) {
  check("%m: tensor<2x5xi1>, %x: tensor<2x4x3x5xf32>",
        "%r = " + body("%m, %x", "tensor<2x5xi1>, tensor<2x4x3x5xf32>", "tensor<2x4x3x5xf32>",
                       "%a: tensor<2x5xi1>, %b: tensor<2x4x3x5xf32>",
                       "%e = tensor.empty() : tensor<2x4x3x5xi1>\n%w = linalg.broadcast ins(%a : tensor<2x5xi1>) "
                       "outs(%e : tensor<2x4x3x5xi1>) dimensions = [1, 2]\n"
                       "%n = arith.constant dense<-1.0e4> : tensor<2x4x3x5xf32>\n%s = arith.select %w, %b, %n : "
                       "tensor<2x4x3x5xi1>, tensor<2x4x3x5xf32>\n"
                       "comm.yield %s : tensor<2x4x3x5xf32>"));
}

TEST(Codegen, NormsKeepTheResidualSum) {
  for (int n : {1, 7, 64, 1024}) {
    SCOPED_TRACE(n);
    std::string t = "tensor<5x" + std::to_string(n) + "xf32>", v = "tensor<" + std::to_string(n) + "xf32>";
    check("%x: " + t + ", %y: " + t + ", %w: " + v,
          "%r:2 = " + body("%x, %y, %w", t + ", " + t + ", " + v, t + ", " + t,
                           "%a: " + t + ", %b: " + t + ", %c: " + v,
                           "%s = arith.addf %a, %b : " + t + "\n%n = comm.rms_norm %s, %c epsilon 1.0e-5 : " + t +
                               ", " + v + "\ncomm.yield %n, %s : " + t + ", " + t));
    check("%x: " + t + ", %y: " + v + ", %w: " + v,
          "%r = " + body("%x, %y, %w", t + ", " + v + ", " + v, t, "%a: " + t + ", %b: " + v + ", %c: " + v,
                         "%n = comm.layer_norm %a, %c bias %b : " + v + " epsilon 1.0e-5 : " + t + ", " + v +
                             "\ncomm.yield %n : " + t),
          1e-5);
  }
}

TEST(Codegen, SoftmaxWithMaskedRow) {
  check("%x: tensor<3x4x37xf32>",
        "%r = " + body("%x", "tensor<3x4x37xf32>", "tensor<3x4x37xf32>", "%a: tensor<3x4x37xf32>",
                       "%s = comm.softmax %a : tensor<3x4x37xf32>\ncomm.yield %s : tensor<3x4x37xf32>"));
  // A row of -inf gives NaN, as in the source models.
  check("%x: tensor<2x8xf32>",
        "%r = " +
            body("%x", "tensor<2x8xf32>", "tensor<2x8xf32>", "%a: tensor<2x8xf32>",
                 "%n = arith.constant dense<0xFF800000> : tensor<2x8xf32>\n%m = arith.addf %a, %n : tensor<2x8xf32>\n"
                 "%s = comm.softmax %m : tensor<2x8xf32>\ncomm.yield %s : tensor<2x8xf32>"));
}

TEST(Codegen, ActivationsAndGate) {
  check("%x: tensor<4x100xf32>, %y: tensor<4x100xf32>",
        "%r = " + body("%x, %y", "tensor<4x100xf32>, tensor<4x100xf32>", "tensor<4x100xf32>",
                       "%a: tensor<4x100xf32>, %b: tensor<4x100xf32>",
                       "%s = comm.silu %a : tensor<4x100xf32>\n%g = comm.gelu tanh %b : tensor<4x100xf32>\n%h = "
                       "comm.gelu erf %g : tensor<4x100xf32>\n"
                       "%t = arith.mulf %s, %h : tensor<4x100xf32>\ncomm.yield %t : tensor<4x100xf32>"),
        2e-6, /*byColumns=*/true);
}

const double kInfinity = std::numeric_limits<double>::infinity(), kNaN = std::numeric_limits<double>::quiet_NaN();

/// Both ends of the exponentials, and what is no number.
TEST(Codegen, ActivationsAtTheEnds) {
  const double ends[] = {kNaN, kInfinity, -kInfinity, 0,   -0.0, 1e-30, -1e-30, 88.5,  -86.5, 89.5,
                         -90,  127.9,     -125,       130, -160, 1e4,   -1e4,   3e38,  -3e38, 5.5,
                         -5.5, 12,        -12,        16,  -16,  20,    -20,    0.625, -0.7,  1};
  std::string t = "tensor<64xf32>";
  for (const char *op : {"math.exp", "math.exp2", "comm.silu", "comm.gelu tanh", "comm.gelu erf"}) {
    SCOPED_TRACE(op);
    check("%x: " + t,
          "%r = " + body("%x", t, t, "%a: " + t, std::string("%y = ") + op + " %a : " + t + "\ncomm.yield %y : " + t),
          2e-6, false, ends);
  }
}

/// Small and large results of exp keep their digits: a logarithm shows them.
TEST(Codegen, ExponentialsAreExactRelatively) {
  std::string t = "tensor<64xf32>";
  SmallVector<double> steps;
  for (int i = 0; i < 64; ++i)
    steps.push_back(static_cast<float>(-86.9 + 2.75 * i));
  for (const char *op : {"exp", "exp2"})
    check("%x: " + t,
          "%r = " + body("%x", t, "tensor<64xf64>", "%a: " + t,
                         std::string("%y = math.") + op + " %a : " + t + "\n%w = arith.extf %y : " + t +
                             " to tensor<64xf64>\n%z = math.log %w : tensor<64xf64>\ncomm.yield %z : tensor<64xf64>"),
          // of the logarithm, 1 + up to 89: 3e-7 of the result at 0, and what f32 holds of it elsewhere
          3e-7, false, steps);
}

/// The largest magnitude is found in integers: NaN stays above infinity.
TEST(Codegen, LargestMagnitude) {
  std::string t = "tensor<3x40xf32>", r = "tensor<3xf32>";
  for (double odd : {-7.5, -kInfinity, kNaN})
    check("%x: " + t,
          "%r = " + body("%x", t, r, "%a: " + t,
                         "%z = arith.constant dense<0.0> : " + r + "\n%m = math.absf %a : " + t +
                             "\n%s = linalg.reduce { arith.maximumf } ins(%m : " + t + ") outs(%z : " + r +
                             ") dimensions = [1]\ncomm.yield %s : " + r),
          0, false, {1, odd});
}

/// What a later loop needs again waits in the place of a result, unless the result is needed before.
TEST(Codegen, KeptRowsBesideResults) {
  std::string t = "tensor<4x48xf32>", v = "tensor<48xf32>";
  check("%x: " + t + ", %y: " + t + ", %w: " + v,
        "%r:3 = " + body("%x, %y, %w", t + ", " + t + ", " + v, t + ", " + t + ", " + t,
                         "%a: " + t + ", %b: " + t + ", %c: " + v,
                         "%s = arith.addf %a, %b : " + t + "\n%n = comm.rms_norm %s, %c epsilon 1.0e-5 : " + t + ", " +
                             v + "\n%e = comm.softmax %s : " + t + "\n%d = arith.subf %n, %s : " + t +
                             "\ncomm.yield %e, %d, %n : " + t + ", " + t + ", " + t));
}

TEST(Codegen, SoftmaxKeepsNaNInItsRow) {
  std::string t = "tensor<3x37xf32>";
  check("%x: " + t, "%r = " + body("%x", t, t, "%a: " + t, "%s = comm.softmax %a : " + t + "\ncomm.yield %s : " + t),
        2e-6, false, {0.5, kNaN, 3});
}

TEST(Codegen, ReduceLeadingAndMiddleDimensions) {
  for (const char *dims : {"[0]", "[1]", "[0, 2]", "[2]", "[0, 1, 2]"}) {
    SCOPED_TRACE(dims);
    std::string d = dims, out = d == "[0]"      ? "tensor<4x9xf32>"
                                : d == "[1]"    ? "tensor<3x9xf32>"
                                : d == "[0, 2]" ? "tensor<4xf32>"
                                : d == "[2]"    ? "tensor<3x4xf32>"
                                                : "tensor<f32>";
    check("%x: tensor<3x4x9xf32>",
          "%r = " + body("%x", "tensor<3x4x9xf32>", out, "%a: tensor<3x4x9xf32>",
                         "%z = arith.constant dense<0.0> : " + out +
                             "\n%s = linalg.reduce { arith.addf } ins(%a : tensor<3x4x9xf32>) outs(%z : " + out +
                             ") dimensions = " + d + "\ncomm.yield %s : " + out),
          1e-5);
  }
}

TEST(Codegen, RotaryForms) {
  for (const char *form : {"", " interleaved"})
    for (auto [angles, sequences] : {std::pair("1", "2"), std::pair("2", "2"), std::pair("1", "1")}) {
      std::string c = std::string("tensor<") + angles + "x5x4xf32>",
                  x = std::string("tensor<") + sequences + "x3x5x10xf32>";
      check("%x: " + x + ", %c: " + c + ", %s: " + c,
            "%r = " + body("%x, %c, %s", x + ", " + c + ", " + c, x, "%a: " + x + ", %b: " + c + ", %d: " + c,
                           std::string("%y = comm.rotary %a, %b, %d") + form + " : " + x + ", " + c +
                               "\ncomm.yield %y : " + x));
    }
}

TEST(Codegen, IntegersBoolsAndCasts) {
  check("%x: tensor<6x5xi64>, %y: tensor<6x5xi64>",
        "%r:3 = " + body("%x, %y", "tensor<6x5xi64>, tensor<6x5xi64>",
                         "tensor<6x5xi1>, tensor<6x5xf32>, tensor<6x5xi32>", "%a: tensor<6x5xi64>, %b: tensor<6x5xi64>",
                         "%c = arith.cmpi slt, %a, %b : tensor<6x5xi64>\n%f = arith.sitofp %a : tensor<6x5xi64> to "
                         "tensor<6x5xf32>\n%m = arith.maxsi %a, %b : tensor<6x5xi64>\n"
                         "%t = arith.trunci %m : tensor<6x5xi64> to tensor<6x5xi32>\ncomm.yield %c, %f, %t : "
                         "tensor<6x5xi1>, tensor<6x5xf32>, tensor<6x5xi32>"),
        2e-6, /*byColumns=*/true);
}

TEST(Codegen, HalfPrecisionRoundsOnceAtTheStore) {
  for (const char *type : {"bf16", "f16"}) {
    SCOPED_TRACE(type);
    std::string t = std::string("tensor<4x40x") + type + ">", v = std::string("tensor<40x") + type + ">";
    check("%x: " + t + ", %w: " + v,
          "%r = " + body("%x, %w", t + ", " + v, t, "%a: " + t + ", %c: " + v,
                         "%n = comm.rms_norm %a, %c epsilon 1.0e-5 : " + t + ", " + v + "\ncomm.yield %n : " + t),
          std::string(type) == "bf16" ? 8e-3 : 1e-3);
  }
}

TEST(Codegen, EmptyTensor) {
  check("%x: tensor<0x7xf32>", "%r = " + body("%x", "tensor<0x7xf32>", "tensor<0x7xf32>", "%a: tensor<0x7xf32>",
                                              "%t = math.exp %a : tensor<0x7xf32>\ncomm.yield %t : tensor<0x7xf32>"));
}

/// Bodies that one loop nest cannot compute are refused with the reason.
TEST(Codegen, RefusesWhatIsNotOneLoopNest) {
  auto refuse = [](const std::string &signature, const std::string &fused, const std::string &reason) {
    auto module =
        parseSourceString<ModuleOp>("func.func @f(" + signature + ") {\n" + fused + "\n return\n}", &context());
    ASSERT_TRUE(module);
    module->walk([&](FusedOp op) {
      std::string why;
      EXPECT_FALSE(canCompileKernel(op.getBody().front(), &why));
      EXPECT_NE(why.find(reason), std::string::npos) << why;
    });
  };
  refuse("%x: tensor<4x8xf32>",
         "%r = " + body("%x", "tensor<4x8xf32>", "tensor<8x4xf32>", "%a: tensor<4x8xf32>",
                        "%e = tensor.empty() : tensor<8x4xf32>\n%t = linalg.transpose ins(%a : tensor<4x8xf32>) "
                        "outs(%e : tensor<8x4xf32>) "
                        "permutation = [1, 0]\ncomm.yield %t : tensor<8x4xf32>"),
         "linalg.transpose");
  refuse("%x: tensor<4xf64>",
         "%r = " + body("%x", "tensor<4xf64>", "tensor<4xf64>", "%a: tensor<4xf64>",
                        "%t = math.tanh %a : tensor<4xf64>\ncomm.yield %t : tensor<4xf64>"),
         "math library");
  refuse("%x: tensor<4xf32>, %y: tensor<8xf32>",
         "%r:2 = " + body("%x, %y", "tensor<4xf32>, tensor<8xf32>", "tensor<4xf32>, tensor<8xf32>",
                          "%a: tensor<4xf32>, %b: tensor<8xf32>",
                          "%s = arith.negf %a : tensor<4xf32>\n%t = arith.negf %b : tensor<8xf32>\ncomm.yield %s, %t : "
                          "tensor<4xf32>, tensor<8xf32>"),
         "loop nest");
}

/// Rounding to bf16 has a level of its own, which bodies without such results do not get.
TEST(Codegen, LevelsFollowTheResults) {
  for (const char *type : {"bf16", "f32"}) {
    std::string t = std::string("tensor<4x8x") + type + ">";
    auto module = parseSourceString<ModuleOp>(
        "func.func @f(%x: " + t + ") {\n%r = " +
            body("%x", t, t, "%a: " + t, "%t = math.exp %a : " + t + "\ncomm.yield %t : " + t) + "\n return\n}",
        &context());
    ASSERT_TRUE(module);
    module->walk([&](FusedOp op) {
      auto objects = compileKernels({{"k", &op.getBody().front()}}, {});
      ASSERT_TRUE(succeeded(objects));
      std::vector<std::string> levels, expected = {"x86-64-v3", "x86-64-v4"};
      if (std::string(type) == "bf16")
        expected.push_back("x86-64-v4+avx512bf16");
      for (const ::comm::exe::NativeObject &object : *objects)
        levels.push_back(object.isa);
      EXPECT_EQ(levels, expected);
    });
  }
}

/// Ties to even, and what is no number, alike on every level.
TEST(Codegen, RoundsToBF16) {
  const double odd[] = {1.00390625, 1.01171875, -1.00390625, 1.00390720367431640625,
                        3.3e38,     3.4e38,     -3.4e38,     kInfinity,
                        -kInfinity, kNaN,       0,           -0.0};
  std::string t = "tensor<40xf32>", n = "tensor<40xbf16>";
  check("%x: " + t,
        "%r = " + body("%x", t, n, "%a: " + t, "%y = arith.truncf %a : " + t + " to " + n + "\ncomm.yield %y : " + n),
        0, false, odd);
}

/// Same input, same bytes.
TEST(Codegen, IsDeterministic) {
  auto module =
      parseSourceString<ModuleOp>("func.func @f(%x: tensor<4x8xf32>) {\n%r = " +
                                      body("%x", "tensor<4x8xf32>", "tensor<4x8xf32>", "%a: tensor<4x8xf32>",
                                           "%t = comm.softmax %a : tensor<4x8xf32>\ncomm.yield %t : tensor<4x8xf32>") +
                                      "\n return\n}",
                                  &context());
  module->walk([&](FusedOp op) {
    auto first = compileKernels({{"k", &op.getBody().front()}}, {}),
         second = compileKernels({{"k", &op.getBody().front()}}, {});
    ASSERT_TRUE(succeeded(first) && succeeded(second));
    for (size_t i = 0; i < first->size(); ++i)
      EXPECT_EQ((*first)[i].bytes, (*second)[i].bytes);
  });
}
} // namespace
