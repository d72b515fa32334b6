//===- TileTest.cpp - the tile interpreter computes what a declaration says -===//
#include "KernelNumbers.h"
#include "Models.h"
#include "runtime/Kernels/Tile/TileKernel.h"

using namespace comm;
using namespace comm::exe;
using namespace comm::proof;

namespace {
/// Interprets in three parts, as threads do, on equal numbers; empty when results are those of the evaluator.
std::string disagreement(const Kernel &kernel, double low = -2.0, unsigned seed = 7) {
  std::mt19937 random(seed);
  std::vector<Numbers> inputs, outputs;
  std::string why;
  for (const TensorType &type : kernel.inputs)
    inputs.push_back(randomNumbers(type, low, random));
  if (!evaluate(kernel, inputs, outputs, why))
    return why;
  std::vector<rt::TensorDesc> ins, outs;
  std::vector<std::vector<uint8_t>> buffers;
  std::vector<void *> in, out;
  for (const Numbers &x : inputs) {
    ins.push_back({x.dtype, x.shape, nullptr, 0});
    buffers.push_back(toBytes(x));
  }
  for (const Numbers &y : outputs) {
    outs.push_back({y.dtype, y.shape, nullptr, 0});
    buffers.emplace_back(static_cast<size_t>(byteSize(y.dtype, y.shape)), uint8_t(0xA5));
  }
  for (size_t i = 0; i < buffers.size(); ++i)
    (i < ins.size() ? in : out).push_back(buffers[i].data());
  std::unique_ptr<rt::Kernel> tiles;
  if (rt::Status s = rt::prepareTileKernel(kernel, ins, outs, "test: ", tiles); !s)
    return s.text;
  int64_t n = tiles->iterations(), parts[] = {0, n / 3, n / 2, n};
  for (int p : {2, 0, 1}) // in any order
    if (rt::Status s = tiles->run(in.data(), out.data(), parts[p], parts[p + 1]); !s)
      return s.text;
  for (size_t i = 0; i < outputs.size(); ++i)
    if (std::string found = difference(outputs[i], buffers[inputs.size() + i]); !found.empty())
      return "result " + std::to_string(i) + ": " + found;
  return "";
}

KernelStep step(std::string op, std::vector<int32_t> operands, DType dtype, Shape shape, Attrs attrs = {}) {
  return {std::move(op), std::move(operands), std::move(attrs), dtype, std::move(shape)};
}

/// One step on inputs of these types.
std::string oneStep(KernelStep s, std::vector<TensorType> inputs, double low = -2.0) {
  for (size_t i = 0; i < inputs.size(); ++i)
    s.operands.push_back(static_cast<int32_t>(i));
  Kernel kernel{"k", inputs, {std::move(s)}, {static_cast<int32_t>(inputs.size())}};
  return disagreement(kernel, low);
}

const Shape odd = {3, 37};
} // namespace

TEST(Tile, FloatStepsOfOneOperand) {
  for (DType type : {DType::F32, DType::F64, DType::F16, DType::BF16})
    for (const char *op : {"absf",  "ceil", "cos",   "cosh",      "erf",  "exp", "exp2", "expm1", "floor", "negf",
                           "round", "atan", "asinh", "roundeven", "silu", "sin", "sinh", "tan",   "tanh",  "trunc"})
      EXPECT_EQ(oneStep(step(op, {}, type, odd), {{type, odd}}), "") << op << " " << dtypeName(type);
  for (const char *op : {"log", "log10", "log1p", "log2", "rsqrt", "sqrt", "acosh"})
    EXPECT_EQ(oneStep(step(op, {}, DType::F32, odd), {{DType::F32, odd}}, 1), "") << op;
  for (const char *kind : {"erf", "tanh"})
    for (DType type : {DType::F32, DType::F64})
      EXPECT_EQ(oneStep(step("gelu", {}, type, odd, {{"kind", std::string(kind)}}), {{type, odd}}), "") << kind;
}

TEST(Tile, StepsOfTwoOperands) {
  for (DType type : {DType::F32, DType::F64, DType::F16})
    for (const char *op : {"addf", "subf", "mulf", "divf", "maximumf", "minimumf", "maxnumf", "minnumf", "atan2",
                           "copysign", "powf", "remf"})
      EXPECT_EQ(oneStep(step(op, {}, type, odd), {{type, odd}, {type, odd}}, 0.125), "")
          << op << " " << dtypeName(type);
  for (DType type : {DType::I64, DType::I32, DType::I8, DType::U8})
    for (const char *op :
         {"addi", "subi", "muli", "andi", "ori", "xori", "shli", "shrsi", "shrui", "maxsi", "minsi", "maxui", "minui"})
      EXPECT_EQ(oneStep(step(op, {}, type, odd), {{type, odd}, {type, odd}}), "") << op << " " << dtypeName(type);
  for (const char *op : {"andi", "ori", "xori", "addi", "muli"})
    EXPECT_EQ(oneStep(step(op, {}, DType::Bool, odd), {{DType::Bool, odd}, {DType::Bool, odd}}), "") << op;
}

TEST(Tile, Comparisons) {
  for (const char *p :
       {"oeq", "ogt", "oge", "olt", "ole", "one", "ord", "ueq", "ugt", "uge", "ult", "ule", "une", "uno"})
    for (DType type : {DType::F32, DType::F64})
      EXPECT_EQ(
          oneStep(step("cmpf", {}, DType::Bool, odd, {{"predicate", std::string(p)}}), {{type, odd}, {type, odd}}), "")
          << p;
  for (const char *p : {"eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge"})
    for (DType type : {DType::I64, DType::I16, DType::U32})
      EXPECT_EQ(
          oneStep(step("cmpi", {}, DType::Bool, odd, {{"predicate", std::string(p)}}), {{type, odd}, {type, odd}}), "")
          << p;
}

TEST(Tile, Conversions) {
  for (DType from : {DType::I64, DType::I32, DType::I8, DType::Bool})
    for (DType to : {DType::F32, DType::F64, DType::F16})
      EXPECT_EQ(oneStep(step("uitofp", {}, to, odd), {{from, odd}}), "") << dtypeName(from);
  EXPECT_EQ(oneStep(step("sitofp", {}, DType::F32, odd), {{DType::I32, odd}}), "");
  for (DType to : {DType::I64, DType::I32, DType::I8})
    EXPECT_EQ(oneStep(step("fptosi", {}, to, odd), {{DType::F32, odd}}), "") << dtypeName(to);
  EXPECT_EQ(oneStep(step("extsi", {}, DType::I64, odd), {{DType::I8, odd}}), "");
  EXPECT_EQ(oneStep(step("extui", {}, DType::I64, odd), {{DType::Bool, odd}}), "");
  EXPECT_EQ(oneStep(step("trunci", {}, DType::I16, odd), {{DType::I64, odd}}), "");
  EXPECT_EQ(oneStep(step("extf", {}, DType::F64, odd), {{DType::F32, odd}}), "");
  EXPECT_EQ(oneStep(step("extf", {}, DType::F32, odd), {{DType::BF16, odd}}), "");
  EXPECT_EQ(oneStep(step("truncf", {}, DType::F16, odd), {{DType::F64, odd}}), "");
  EXPECT_EQ(oneStep(step("select", {}, DType::F32, odd), {{DType::Bool, odd}, {DType::F32, odd}, {DType::F32, odd}}),
            "");
}

TEST(Tile, RowsOfAllLengths) {
  for (int64_t n : {1, 2, 31, 64, 257, 9000}) {
    Shape shape = {2, 5, n};
    TensorType x{DType::F32, shape}, v{DType::F32, {n}};
    Attrs epsilon = {{"epsilon", 1e-5}};
    EXPECT_EQ(oneStep(step("softmax", {}, DType::F32, shape), {x}), "") << n;
    EXPECT_EQ(oneStep(step("rms_norm", {}, DType::F32, shape, epsilon), {x, v}), "") << n;
    EXPECT_EQ(oneStep(step("layer_norm", {}, DType::F32, shape, epsilon), {x, v}), "") << n;
    EXPECT_EQ(oneStep(step("layer_norm", {}, DType::F32, shape, epsilon), {x, v, v}), "") << n;
  }
  for (int64_t batches : {1, 2})
    for (int64_t interleaved : {0, 1})
      for (int64_t half : {8, 5}) {
        Shape shape = {2, 3, 70, 16};
        TensorType angles{DType::F32, {batches, 70, half}};
        EXPECT_EQ(oneStep(step("rotary", {}, DType::F32, shape, {{"interleaved", interleaved}}),
                          {{DType::F32, shape}, angles, angles}),
                  "");
      }
}

TEST(Tile, ReductionsAndBroadcastsOverAnyDimensions) {
  // Runs of 2, of many, and of odd lengths.
  for (const Shape &shape : {Shape{3, 4, 130, 2}, Shape{2, 3, 5, 37}}) {
    for (unsigned mask = 1; mask < 16; ++mask) {
      std::vector<int64_t> dims;
      Shape kept;
      for (int64_t d = 0; d < 4; ++d)
        if (mask >> d & 1)
          dims.push_back(d);
        else
          kept.push_back(shape[static_cast<size_t>(d)]);
      for (const char *combine : {"addf", "maximumf", "mulf"}) {
        Attrs attrs = {{"dims", dims}, {"combine", std::string(combine)}, {"init", combine[0] == 'm' ? 1.0 : 0.5}};
        EXPECT_EQ(oneStep(step("reduce", {}, DType::F32, kept, attrs), {{DType::F32, shape}}, 0.97), "")
            << combine << mask;
      }
      Attrs sum = {{"dims", dims}, {"combine", std::string("addi")}, {"init", int64_t(3)}};
      EXPECT_EQ(oneStep(step("reduce", {}, DType::I64, kept, sum), {{DType::I64, shape}}), "") << mask;
      EXPECT_EQ(oneStep(step("broadcast", {}, DType::I16, shape, {{"dims", dims}}), {{DType::I16, kept}}), "") << mask;
    }
  }
  EXPECT_EQ(oneStep(step("reduce", {}, DType::F32, {5},
                         {{"dims", std::vector<int64_t>{0}}, {"combine", std::string("addf")}, {"init", 2.0}}),
                    {{DType::F32, {0, 5}}}),
            "");
}

TEST(Tile, ValuesOfSeveralShapesAndReaders) {
  // A norm by hand: the mean of squares per row is broadcast again, the row is read twice, and both results are kept.
  Shape rows = {50, 300}, column = {50};
  Kernel kernel{"k", {{DType::F16, rows}, {DType::F32, rows}}, {}, {}};
  auto add = [&](KernelStep s) {
    return static_cast<int32_t>(kernel.inputs.size() + (kernel.steps.push_back(std::move(s)), kernel.steps.size()) - 1);
  };
  int32_t wide = add(step("extf", {0}, DType::F32, rows)), sum = add(step("addf", {wide, 1}, DType::F32, rows)),
          squares = add(step("mulf", {sum, sum}, DType::F32, rows)),
          total = add(step("reduce", {squares}, DType::F32, column,
                           {{"dims", std::vector<int64_t>{1}}, {"combine", std::string("addf")}, {"init", 0.0}})),
          many = add(step("constant", {}, DType::F32, column, {{"value", 300.0}})),
          mean = add(step("divf", {total, many}, DType::F32, column)),
          scale = add(step("rsqrt", {mean}, DType::F32, column)),
          wider = add(step("broadcast", {scale}, DType::F32, rows, {{"dims", std::vector<int64_t>{1}}})),
          normed = add(step("mulf", {sum, wider}, DType::F32, rows)),
          half = add(step("truncf", {normed}, DType::BF16, rows)),
          soft = add(step("softmax", {normed}, DType::F32, rows));
  kernel.outputs = {sum, half, mean, soft, 0, sum};
  EXPECT_EQ(disagreement(kernel), "");
}

TEST(Tile, RefusesWhatItDoesNotKnow) {
  std::unique_ptr<rt::Kernel> out;
  TensorType f16{DType::F16, odd}, f32{DType::F32, odd};
  Kernel bits{"k", {f16}, {step("bitcast", {0}, DType::I16, odd)}, {1}};
  rt::Status s =
      rt::prepareTileKernel(bits, {{DType::F16, odd, nullptr, 0}}, {{DType::I16, odd, nullptr, 0}}, "here: ", out);
  EXPECT_EQ(s.code, rt::Code::Unsupported);
  EXPECT_NE(s.text.find("here: the interpreter has no step 'bitcast'"), std::string::npos) << s.text;
  Kernel add{"k", {f32, f32}, {step("addf", {0, 1}, DType::F32, odd)}, {2}};
  s = rt::prepareTileKernel(add, {{DType::F32, odd, nullptr, 0}}, {{DType::F32, odd, nullptr, 0}}, "here: ", out);
  EXPECT_EQ(s.code, rt::Code::BadExecutable);
}

/// All kernels of the models of the first tier.
class TileModels : public testing::TestWithParam<std::string> {};
TEST_P(TileModels, KernelsAreWhatTheyDeclare) {
  size_t checked = 0;
  for (int ranks : {2})
    for (const Kernel &kernel : compiled(GetParam(), ranks).kernels) {
      std::string found = disagreement(kernel);
      if (found.find("nan") != std::string::npos) // no value for negative numbers
        found = disagreement(kernel, 0.125);
      EXPECT_EQ(found, "") << kernel.symbol;
      ++checked;
    }
  EXPECT_GT(checked, 0u);
}
INSTANTIATE_TEST_SUITE_P(FirstTier, TileModels, testing::ValuesIn(firstTierModels()),
                         [](const auto &info) { return info.param; });
