//===- LowerRunTest.cpp - lowered programs against the interpreter --------===//
// Each case is a module of form `async`. It is interpreted, then lowered, compiled, exported, read back and run on all
// ranks; results must agree, with every option of the phase on and off.
//===----------------------------------------------------------------------===//
#include "comm/Export/Export.h"
#include "comm/Interpreter/Interpreter.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Lower/Codegen/Codegen.h"
#include "passes/Lower/Passes.h"
#include "test/unit/Support/ProgramRunner.h"
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <random>

using namespace mlir;
using namespace mlir::comm;
namespace exe = ::comm::exe;
using testing_run::Bytes;

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

Bytes toBytes(const HostTensor &tensor) {
  Type element = tensor.type.getElementType();
  Bytes out(getTensorBytes(tensor.type));
  for (int64_t i = 0; i < tensor.size(); ++i) {
    auto put = [&](auto x) { std::memcpy(&out[i * sizeof(x)], &x, sizeof(x)); };
    if (element.isF32())
      put(static_cast<float>(tensor.floats[i]));
    else if (element.isInteger(64))
      put(tensor.ints[i]);
    else if (element.isInteger(32))
      put(static_cast<int32_t>(tensor.ints[i]));
    else
      put(static_cast<int8_t>(tensor.ints[i]));
  }
  return out;
}

HostTensor fromBytes(const Bytes &bytes, RankedTensorType type, int64_t offset = 0) {
  HostTensor out = HostTensor::zeros(type);
  Type element = type.getElementType();
  for (int64_t i = 0; i < out.size(); ++i) {
    auto get = [&](auto x) {
      std::memcpy(&x, &bytes[offset + i * sizeof(x)], sizeof(x));
      return x;
    };
    if (element.isF32())
      out.floats[i] = get(float());
    else
      out.ints[i] = element.isInteger(64) ? get(int64_t()) : element.isInteger(32) ? get(int32_t()) : get(int8_t());
  }
  return out;
}

HostTensor randomTensor(RankedTensorType type, std::mt19937 &random) {
  HostTensor out = HostTensor::zeros(type);
  for (int64_t i = 0; i < out.size(); ++i)
    if (out.isFloat())
      out.floats[i] = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500;
    else
      out.ints[i] = type.getElementType().isInteger(1) ? random() % 2
                                                       : static_cast<int64_t>(random() % 6); // small enough to index
  return out;
}

/// 64 KB of floats; every weight of a case lies in it.
const Bytes &weightFile() {
  static Bytes bytes = [] {
    std::mt19937 random(5);
    Bytes out(65536);
    for (size_t i = 0; i < out.size(); i += 4) {
      float x = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 800;
      std::memcpy(&out[i], &x, 4);
    }
    return out;
  }();
  return bytes;
}

struct Variant {
  bool fuse = true, inPlace = true, embed = false, atWait = true;
};

class LowerRun : public ::testing::Test {
protected:
  void SetUp() override {
    directory = std::filesystem::temp_directory_path() / ("comm-lower-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory);
    std::ofstream(directory / "m.data", std::ios::binary)
        .write(reinterpret_cast<const char *>(weightFile().data()), weightFile().size());
  }
  void TearDown() override { std::filesystem::remove_all(directory); }

  /// The functions of a case: `@main`, and its unsplit twin `@reference`, for which a copy of a program without
  /// collectives will do.
  void expectEqual(const std::string &text, int64_t ranks, double tolerance = 2e-5) {
    std::string grid = "comm.grid @grid [\"tp\"] = [" + std::to_string(ranks) + "]\n";
    for (Variant variant : {Variant{}, Variant{false}, Variant{true, false}, Variant{true, true, true},
                            Variant{true, true, false, false}})
      runOne(grid + text, ranks, variant, tolerance);
  }

  FailureOr<exe::Executable> compile(ModuleOp module, const Variant &variant) {
    PassManager manager(&context());
    LowerOptions options;
    options.fuseElementwise = variant.fuse;
    options.inPlace = variant.inPlace;
    buildLowerPhase(manager, options);
    if (failed(manager.run(module)))
      return failure();
    std::vector<KernelSource> kernels;
    for (KernelOp kernel : module.getOps<KernelOp>())
      kernels.push_back({kernel.getSymName().str(), &kernel.getBody().front()});
    CodegenOptions codegen;
    codegen.isaLevels = {"x86-64-v3"};
    std::vector<exe::NativeObject> objects;
    if (!kernels.empty()) {
      auto compiled = compileKernels(kernels, codegen);
      if (failed(compiled))
        return failure();
      objects = *compiled;
    }
    ExportOptions exportOptions;
    exportOptions.weights = variant.embed ? WeightStorage::Embed : WeightStorage::Reference;
    exportOptions.modelDir = exportOptions.outputDir = directory.string();
    return exportExecutable(module, objects, exportOptions);
  }

  void runOne(const std::string &text, int64_t ranks, const Variant &variant, double tolerance) {
    auto module = parseSourceString<ModuleOp>(text, &context());
    ASSERT_TRUE(module);
    auto function = module->lookupSymbol<func::FuncOp>("main");
    std::mt19937 random(1);
    std::vector<std::vector<HostTensor>> inputs(ranks);
    for (unsigned i = 0; i < function.getNumArguments(); ++i) {
      auto type = cast<RankedTensorType>(function.getArgument(i).getType());
      auto layout = function.getArgAttrOfType<LayoutAttr>(i, kLayoutAttr);
      if (auto whole = function.getArgAttrOfType<TypeAttr>(i, kWholeAttr))
        type = cast<RankedTensorType>(whole.getValue());
      HostTensor whole = randomTensor(type, random);
      for (int64_t rank = 0; rank < ranks; ++rank)
        inputs[rank].push_back(layout ? takeShard(whole, layout, getGrid(*module), rank) : whole);
    }
    InterpreterOptions interpreter;
    interpreter.weight = [](WeightOp op) -> FailureOr<HostTensor> {
      return fromBytes(weightFile(), cast<RankedTensorType>(op.getStored()), op.getOffset());
    };
    auto expected = interpret(function, inputs, interpreter);
    ASSERT_TRUE(succeeded(expected));
    SmallVector<RankedTensorType> types;
    for (Type type : function.getResultTypes())
      types.push_back(cast<RankedTensorType>(type));

    expectSameMeaning(*module, inputs, *expected, interpreter);
    auto compiled = compile(*module, variant);
    ASSERT_TRUE(succeeded(compiled));
    ASSERT_TRUE(succeeded(verify(*module)));
    // Through the file format and back.
    std::vector<uint8_t> file;
    std::string error;
    exe::Executable loaded;
    ASSERT_TRUE(exe::writeExecutable(*compiled, file, error)) << error;
    ASSERT_TRUE(exe::readExecutable(file.data(), file.size(), loaded, error)) << error;

    std::vector<std::vector<Bytes>> bytes(ranks);
    for (int64_t rank = 0; rank < ranks; ++rank)
      for (const HostTensor &tensor : inputs[rank])
        bytes[rank].push_back(toBytes(tensor));
    testing_run::RunOptions options;
    options.collectivesAtWait = variant.atWait;
    options.directory = directory.string();
    auto got = testing_run::run(loaded, loaded.entries.at(0).split, bytes, options, error);
    ASSERT_EQ(error, "");
    for (int64_t rank = 0; rank < ranks; ++rank)
      for (size_t i = 0; i < types.size(); ++i)
        compare((*expected)[rank][i], fromBytes(got[rank][i], types[i]), tolerance,
                "rank " + std::to_string(rank) + " result " + std::to_string(i) + (variant.fuse ? "" : " unfused") +
                    (variant.inPlace ? "" : " not in place") + (variant.embed ? " embedded" : "") +
                    (variant.atWait ? "" : " early"));
  }

  /// The value forms of the phase mean what the module meant, to the bit.
  void expectSameMeaning(ModuleOp module, const std::vector<std::vector<HostTensor>> &inputs,
                         const std::vector<std::vector<HostTensor>> &expected, const InterpreterOptions &options) {
    OwningOpRef<ModuleOp> copy = module.clone();
    PassManager manager(&context());
    manager.addNestedPass<func::FuncOp>(createDecomposeCollectivesPass());
    manager.addNestedPass<func::FuncOp>(createFuseElementwisePass());
    manager.addPass(createOutlineKernelsPass());
    ASSERT_TRUE(succeeded(manager.run(*copy)));
    auto got = interpret(copy->lookupSymbol<func::FuncOp>("main"), inputs, options);
    ASSERT_TRUE(succeeded(got));
    for (size_t rank = 0; rank < expected.size(); ++rank)
      for (size_t i = 0; i < expected[rank].size(); ++i)
        EXPECT_TRUE(expected[rank][i] == (*got)[rank][i]) << "rank " << rank << " result " << i;
  }

  static void compare(const HostTensor &expected, const HostTensor &got, double tolerance, const std::string &where) {
    EXPECT_EQ(expected.ints, got.ints) << where;
    double scale = 1;
    for (double x : expected.floats)
      scale = std::max(scale, std::isfinite(x) ? std::abs(x) : 0.0);
    for (size_t i = 0; i < expected.floats.size(); ++i) {
      bool equal = std::abs(expected.floats[i] - got.floats[i]) <= tolerance * scale ||
                   (std::isnan(expected.floats[i]) && std::isnan(got.floats[i]));
      ASSERT_TRUE(equal) << where << " element " << i << ": expected " << expected.floats[i] << ", got "
                         << got.floats[i];
    }
  }

  std::filesystem::path directory;
};

/// A reference function of the same interface that copies nothing useful: the split program is what these tests run.
std::string reference(const std::string &arguments, const std::string &results, const std::string &body) {
  return "func.func @reference(" + arguments + ") -> (" + results + ") attributes {comm.reference = @main} {\n" + body +
         "}\n";
}

TEST_F(LowerRun, ColumnAndRowPair) {
  std::string model = R"(
func.func @main(%x: tensor<5x8xf32> {comm.name = "x"}) -> (tensor<5x8xf32> {comm.name = "y"}, tensor<5x8xf32> {comm.name = "sum"}) attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m.data" at 0 layout <[[], ["tp"]]> : tensor<8x16xf32> -> tensor<8x8xf32>
  %b1 = comm.weight "b1" in "m.data" at 512 layout <[["tp"]]> : tensor<16xf32> -> tensor<8xf32>
  %w2 = comm.weight "w2" in "m.data" at 576 layout <[["tp"], []]> : tensor<16x8xf32> -> tensor<8x8xf32>
  %g = comm.weight "g" in "m.data" at 1088 : tensor<8xf32> -> tensor<8xf32>
  %h = comm.matmul %x, %w1 : tensor<5x8xf32>, tensor<8x8xf32> -> tensor<5x8xf32>
  %e = tensor.empty() : tensor<5x8xf32>
  %b = linalg.broadcast ins(%b1 : tensor<8xf32>) outs(%e : tensor<5x8xf32>) dimensions = [0]
  %s = arith.addf %h, %b : tensor<5x8xf32>
  %r = comm.silu %s : tensor<5x8xf32>
  %p = comm.matmul %r, %w2 : tensor<5x8xf32>, tensor<8x8xf32> -> tensor<5x8xf32>
  %t = comm.start order 0 : !comm.token<tensor<5x8xf32>> {
    %q = comm.all_reduce sum %p over @grid["tp"] : tensor<5x8xf32>
    comm.yield %q : tensor<5x8xf32>
  }
  %c = arith.constant dense<3.0> : tensor<5x8xf32>
  %hidden = arith.mulf %x, %c : tensor<5x8xf32>
  %more = comm.gelu erf %hidden : tensor<5x8xf32>
  %a = comm.wait %t : !comm.token<tensor<5x8xf32>>
  %sum = arith.addf %a, %more : tensor<5x8xf32>
  %n = comm.rms_norm %sum, %g epsilon 1.0e-5 : tensor<5x8xf32>, tensor<8xf32>
  return %n, %sum : tensor<5x8xf32>, tensor<5x8xf32>
}
)";
  expectEqual(model + reference("%x: tensor<5x8xf32> {comm.name = \"x\"}",
                                "tensor<5x8xf32> {comm.name = \"y\"}, tensor<5x8xf32> {comm.name = \"sum\"}",
                                "return %x, %x : tensor<5x8xf32>, tensor<5x8xf32>\n"),
              2);
}

// Uneven and inner dimensions: 5 over 2 and 3 ranks; gather, scatter, all-to-all, started and not.
TEST_F(LowerRun, CollectivesOnInnerDimensions) {
  std::string model = R"(
func.func @main(%x: tensor<2xLxf32> {comm.name = "x", comm.layout = #comm.layout<[[], ["tp"]]>, comm.whole = tensor<2x5xf32>}, %p: tensor<4x5xf32> {comm.name = "p"})
    -> (tensor<2x5xf32> {comm.name = "a"}, tensor<4xLxf32> {comm.name = "b", comm.layout = #comm.layout<[[], ["tp"]]>, comm.whole = tensor<4x5xf32>},
        tensor<4xLxf32> {comm.name = "c", comm.layout = #comm.layout<[[], ["tp"]]>, comm.whole = tensor<4x5xf32>}) attributes {comm.entry} {
  %a = comm.all_gather %x dim 1 over @grid["tp"] : tensor<2xLxf32> -> tensor<2x5xf32>
  %t = comm.start order 1 : !comm.token<tensor<4xLxf32>> {
    %r = comm.reduce_scatter sum %p dim 1 over @grid["tp"] : tensor<4x5xf32> -> tensor<4xLxf32>
    comm.yield %r : tensor<4xLxf32>
  }
  %b = comm.wait %t : !comm.token<tensor<4xLxf32>>
  %s = comm.shard_slice %p dim 0 over @grid["tp"] : tensor<4x5xf32> -> tensor<Mx5xf32>
  %u = comm.start order 2 : !comm.token<tensor<4xLxf32>> {
    %v = comm.all_to_all %s split 1 concat 0 over @grid["tp"] : tensor<Mx5xf32> -> tensor<4xLxf32>
    comm.yield %v : tensor<4xLxf32>
  }
  %c = comm.wait %u : !comm.token<tensor<4xLxf32>>
  return %a, %b, %c : tensor<2x5xf32>, tensor<4xLxf32>, tensor<4xLxf32>
}
)" + reference("%x: tensor<2x5xf32> {comm.name = \"x\"}, %p: tensor<4x5xf32> {comm.name = \"p\"}",
               "tensor<2x5xf32> {comm.name = \"a\"}, tensor<4x5xf32> {comm.name = \"b\"}, tensor<4x5xf32> {comm.name = "
               "\"c\"}",
               "return %x, %p, %p : tensor<2x5xf32>, tensor<4x5xf32>, tensor<4x5xf32>\n");
  for (int ranks : {1, 2, 3, 4}) {
    std::string text = model;
    auto local = [&](int size) { return std::to_string((size + ranks - 1) / ranks); };
    for (auto [letter, size] : {std::make_pair("xLx", 5), std::make_pair("<Mx", 4)})
      for (size_t at; (at = text.find(letter)) != std::string::npos;)
        text.replace(at + 1, 1, local(size));
    expectEqual(text, ranks);
  }
}

// What a ring is made of: 5 rows over 2 to 4 ranks, every shard once round, started and not.
TEST_F(LowerRun, RoundTheRing) {
  for (int64_t ranks : {2, 3, 4}) {
    std::string own = "tensor<" + std::to_string((5 + ranks - 1) / ranks) + "x3xf32>", whole = "tensor<5x3xf32>",
                over = " over @grid[\"tp\"]", body, parts, types, block = "tensor<1x" + own.substr(7);
    std::string last = "%s0";
    for (int64_t i = 0; i < ranks; ++i) {
      std::string n = std::to_string(i);
      if (i == 1) {
        body += "  %t = comm.start order 0 : !comm.token<" + own + "> {\n    %m = comm.permute %s0 shift -1" + over +
                " : " + own + "\n    comm.yield %m : " + own + "\n  }\n  %s1 = comm.wait %t : !comm.token<" + own +
                ">\n";
      } else if (i > 1) {
        body += "  %s" + n + " = comm.permute " + last + " shift -1" + over + " : " + own + "\n";
      }
      last = "%s" + n;
      body += "  %e" + n + " = tensor.expand_shape " + last + " [[0, 1], [2]] output_shape [1, " +
              std::to_string((5 + ranks - 1) / ranks) + ", 3] : " + own + " into " + block + "\n";
      parts += (i ? ", %e" : "%e") + n;
      types += (i ? ", " : "") + block;
    }
    std::string blocks = "tensor<" + std::to_string(ranks) + "x" + own.substr(7),
                x = "%x: " + whole + " {comm.name = \"x\"}", y = whole + " {comm.name = \"y\"}";
    expectEqual("func.func @main(" + x + ") -> (" + y +
                    ") attributes {comm.entry} {\n  %s0 = comm.shard_slice %x dim 0" + over + " : " + whole + " -> " +
                    own + "\n" + body + "  %c = tensor.concat dim(0) " + parts + " : (" + types + ") -> " + blocks +
                    "\n  %y = comm.unpack_shards %c dim 0" + over + " {rotated} : " + blocks + " -> " + whole +
                    "\n  return %y : " + whole + "\n}\n" + reference(x, y, "  return %x : " + whole + "\n"),
                static_cast<int>(ranks));
  }
}

TEST_F(LowerRun, MovementViewsAndOutputs) {
  // A view of an input, an input as it is, the same value twice, a constant, and everything that copies.
  expectEqual(R"(
func.func @main(%x: tensor<2x3x4xf32> {comm.name = "x"}, %past: tensor<1x2x0x4xf32> {comm.name = "past"})
    -> (tensor<6x4xf32> {comm.name = "view"}, tensor<2x3x4xf32> {comm.name = "same"}, tensor<4x3x2xf32> {comm.name = "t"}, tensor<4x3x2xf32> {comm.name = "t2"},
        tensor<3xi64> {comm.name = "c"}, tensor<2x5x4xf32> {comm.name = "cat"}, tensor<1x4xf32> {comm.name = "slice"}, tensor<3x2xf32> {comm.name = "strided"},
        tensor<2x5x3x4xf32> {comm.name = "wide"}, tensor<1x2x3x4xf32> {comm.name = "present"}, tensor<40x40xf32> {comm.name = "big"}) attributes {comm.entry} {
  %view = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x3x4xf32> into tensor<6x4xf32>
  %e = tensor.empty() : tensor<4x3x2xf32>
  %t = linalg.transpose ins(%x : tensor<2x3x4xf32>) outs(%e : tensor<4x3x2xf32>) permutation = [2, 1, 0]
  %c = arith.constant dense<[4, 5, 6]> : tensor<3xi64>
  %two = tensor.extract_slice %x[0, 1, 0] [2, 2, 4] [1, 1, 1] : tensor<2x3x4xf32> to tensor<2x2x4xf32>
  %cat = tensor.concat dim(1) %x, %two : (tensor<2x3x4xf32>, tensor<2x2x4xf32>) -> tensor<2x5x4xf32>
  %slice = tensor.extract_slice %x[1, 1, 0] [1, 1, 4] [1, 1, 1] : tensor<2x3x4xf32> to tensor<1x4xf32>
  %strided = tensor.extract_slice %x[1, 0, 1] [1, 3, 2] [1, 1, 2] : tensor<2x3x4xf32> to tensor<3x2xf32>
  %f = tensor.empty() : tensor<2x5x3x4xf32>
  %wide = linalg.broadcast ins(%x : tensor<2x3x4xf32>) outs(%f : tensor<2x5x3x4xf32>) dimensions = [1]
  %x4 = tensor.expand_shape %x [[0, 1], [2], [3]] output_shape [1, 2, 3, 4] : tensor<2x3x4xf32> into tensor<1x2x3x4xf32>
  %present = tensor.concat dim(2) %past, %x4 : (tensor<1x2x0x4xf32>, tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32>
  %big = arith.constant dense<-2.5> : tensor<40x40xf32>
  return %view, %x, %t, %t, %c, %cat, %slice, %strided, %wide, %present, %big : tensor<6x4xf32>, tensor<2x3x4xf32>, tensor<4x3x2xf32>, tensor<4x3x2xf32>, tensor<3xi64>,
    tensor<2x5x4xf32>, tensor<1x4xf32>, tensor<3x2xf32>, tensor<2x5x3x4xf32>, tensor<1x2x3x4xf32>, tensor<40x40xf32>
}
)",
              1);
}

TEST_F(LowerRun, RowsReductionsAndCasts) {
  expectEqual(R"(
func.func @main(%x: tensor<3x7xf32> {comm.name = "x"}, %i: tensor<3x7xi64> {comm.name = "i"})
    -> (tensor<3x7xf32> {comm.name = "softmax"}, tensor<3x7xf32> {comm.name = "centred"}, tensor<3xf32> {comm.name = "scaled"}, tensor<3x7xi1> {comm.name = "mask"},
        tensor<3xi64> {comm.name = "sums"}, tensor<7xf32> {comm.name = "columns"}) attributes {comm.entry} {
  %zero = arith.constant dense<0.0> : tensor<3xf32>
  %seven = arith.constant dense<7.0> : tensor<3xf32>
  %half = arith.constant dense<0.5> : tensor<3x7xf32>
  %izero = arith.constant dense<0> : tensor<3xi64>
  %czero = arith.constant dense<0.0> : tensor<7xf32>
  %f = arith.sitofp %i : tensor<3x7xi64> to tensor<3x7xf32>
  %y = arith.mulf %x, %f : tensor<3x7xf32>
  %s = linalg.reduce ins(%y : tensor<3x7xf32>) outs(%zero : tensor<3xf32>) dimensions = [1]
    (%a: f32, %b: f32) { %r = arith.addf %a, %b : f32
      linalg.yield %r : f32 }
  %mean = arith.divf %s, %seven : tensor<3xf32>
  %scaled = math.exp %mean : tensor<3xf32>
  %e = tensor.empty() : tensor<3x7xf32>
  %wide = linalg.broadcast ins(%mean : tensor<3xf32>) outs(%e : tensor<3x7xf32>) dimensions = [1]
  %centred = arith.subf %y, %wide : tensor<3x7xf32>
  %soft = comm.softmax %centred : tensor<3x7xf32>
  %mask = arith.cmpf ogt, %soft, %half : tensor<3x7xf32>
  %picked = arith.select %mask, %soft, %half : tensor<3x7xi1>, tensor<3x7xf32>
  %isum = linalg.reduce ins(%i : tensor<3x7xi64>) outs(%izero : tensor<3xi64>) dimensions = [1]
    (%a: i64, %b: i64) { %r = arith.addi %a, %b : i64
      linalg.yield %r : i64 }
  %columns = linalg.reduce ins(%x : tensor<3x7xf32>) outs(%czero : tensor<7xf32>) dimensions = [0]
    (%a: f32, %b: f32) { %r = arith.addf %a, %b : f32
      linalg.yield %r : f32 }
  return %picked, %centred, %scaled, %mask, %isum, %columns : tensor<3x7xf32>, tensor<3x7xf32>, tensor<3xf32>, tensor<3x7xi1>, tensor<3xi64>, tensor<7xf32>
}
)",
              1);
}

// Rank 0, reductions of everything, and tensors without elements.
TEST_F(LowerRun, ScalarsAndNothing) {
  expectEqual(R"(
func.func @main(%x: tensor<3x4xf32> {comm.name = "x"}, %s: tensor<f32> {comm.name = "s"}, %none: tensor<0x4xf32> {comm.name = "none"})
    -> (tensor<f32> {comm.name = "total"}, tensor<3x4xf32> {comm.name = "y"}, tensor<0x4xf32> {comm.name = "still"}, tensor<3x4xf32> {comm.name = "cat"}) attributes {comm.entry} {
  %zero = arith.constant dense<0.0> : tensor<f32>
  %sum = linalg.reduce ins(%x : tensor<3x4xf32>) outs(%zero : tensor<f32>) dimensions = [0, 1]
    (%a: f32, %b: f32) { %r = arith.addf %a, %b : f32
      linalg.yield %r : f32 }
  %total = arith.mulf %sum, %s : tensor<f32>
  %e = tensor.empty() : tensor<3x4xf32>
  %wide = linalg.broadcast ins(%total : tensor<f32>) outs(%e : tensor<3x4xf32>) dimensions = [0, 1]
  %y = arith.addf %x, %wide : tensor<3x4xf32>
  %still = math.exp %none : tensor<0x4xf32>
  %cat = tensor.concat dim(0) %still, %y : (tensor<0x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return %total, %y, %still, %cat : tensor<f32>, tensor<3x4xf32>, tensor<0x4xf32>, tensor<3x4xf32>
}
)",
              1);
}

TEST_F(LowerRun, AttentionBlockWithVocabularyParallelEmbedding) {
  expectEqual(
      R"(
func.func @main(%ids: tensor<1x3xi64> {comm.name = "ids"}, %past: tensor<1x1x2x4xf32> {comm.name = "past", comm.state = "k", comm.layout = #comm.layout<[[], ["tp"], [], []]>, comm.whole = tensor<1x2x2x4xf32>})
    -> (tensor<1x3x8xf32> {comm.name = "y"}, tensor<1x1x5x4xf32> {comm.name = "present", comm.state = "k", comm.layout = #comm.layout<[[], ["tp"], [], []]>, comm.whole = tensor<1x2x5x4xf32>}) attributes {comm.entry} {
  %table = comm.weight "table" in "m.data" at 0 layout <[["tp"], []]> : tensor<10x8xf32> -> tensor<5x8xf32>
  %wq = comm.weight "wq" in "m.data" at 320 slices [#comm.slice<1, 8, 8>] layout <[[], ["tp"]]> : tensor<8x16xf32> -> tensor<8x4xf32>
  %wo = comm.weight "wo" in "m.data" at 1024 layout <[["tp"], []]> : tensor<8x8xf32> -> tensor<4x8xf32>
  %g = comm.weight "g" in "m.data" at 2048 : tensor<8xf32> -> tensor<8xf32>
  %bias = comm.weight "bias" in "m.data" at 2080 : tensor<8xf32> -> tensor<8xf32>
  %cs = arith.constant dense<0.6> : tensor<1x3x2xf32>
  %part = comm.embedding %table, %ids vocab 10 over ["tp"] : tensor<5x8xf32>, tensor<1x3xi64> -> tensor<1x3x8xf32>
  %emb = comm.all_reduce sum %part over @grid["tp"] : tensor<1x3x8xf32>
  %q = comm.matmul %emb, %wq : tensor<1x3x8xf32>, tensor<8x4xf32> -> tensor<1x3x4xf32>
  %qh = tensor.expand_shape %q [[0], [1], [2, 3]] output_shape [1, 3, 1, 4] : tensor<1x3x4xf32> into tensor<1x3x1x4xf32>
  %qe = tensor.empty() : tensor<1x1x3x4xf32>
  %qt = linalg.transpose ins(%qh : tensor<1x3x1x4xf32>) outs(%qe : tensor<1x1x3x4xf32>) permutation = [0, 2, 1, 3]
  %rot = comm.rotary %qt, %cs, %cs : tensor<1x1x3x4xf32>, tensor<1x3x2xf32>
  %k = tensor.concat dim(2) %past, %rot : (tensor<1x1x2x4xf32>, tensor<1x1x3x4xf32>) -> tensor<1x1x5x4xf32>
  %att = comm.attention %rot, %k, %k scale 5.0e-1 causal 2 : tensor<1x1x3x4xf32>, tensor<1x1x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x1x3x4xf32>
  %ae = tensor.empty() : tensor<1x3x1x4xf32>
  %at = linalg.transpose ins(%att : tensor<1x1x3x4xf32>) outs(%ae : tensor<1x3x1x4xf32>) permutation = [0, 2, 1, 3]
  %ac = tensor.collapse_shape %at [[0], [1], [2, 3]] : tensor<1x3x1x4xf32> into tensor<1x3x4xf32>
  %o = comm.matmul %ac, %wo : tensor<1x3x4xf32>, tensor<4x8xf32> -> tensor<1x3x8xf32>
  %n, %s = comm.all_reduce_norm %o, %emb, %g bias %bias : tensor<8xf32> norm_bias %bias : tensor<8xf32> epsilon 1.0e-5 layer_norm over @grid["tp"] : tensor<1x3x8xf32>, tensor<8xf32>
  %m = comm.rank_mask %s over @grid["tp"] : tensor<1x3x8xf32>
  %once = comm.all_reduce max %m over @grid["tp"] : tensor<1x3x8xf32>
  %y = arith.addf %n, %once : tensor<1x3x8xf32>
  return %y, %k : tensor<1x3x8xf32>, tensor<1x1x5x4xf32>
}
)" + reference(
          "%ids: tensor<1x3xi64> {comm.name = \"ids\"}, %past: tensor<1x2x2x4xf32> {comm.name = \"past\"}",
          "tensor<1x3x8xf32> {comm.name = \"y\"}, tensor<1x2x5x4xf32> {comm.name = \"present\"}",
          "%y = arith.constant dense<0.0> : tensor<1x3x8xf32>\n%k = arith.constant dense<0.0> : tensor<1x2x5x4xf32>\n"
          "return %y, %k : tensor<1x3x8xf32>, tensor<1x2x5x4xf32>\n"),
      2);
}

// Many collectives under way at once on operands that others read: nothing may be overwritten early, in place or not.
// Rows over two, three and four ranks, even and not; the sum feeds a second site, is gathered, and both parts of a
// split are written into one buffer. Operands: a product, an argument, and rows that a kernel made.
TEST_F(LowerRun, RowsOfTheResidual) {
  auto model = [](int64_t ranks, int64_t rows) {
    std::string x = "tensor<1x" + std::to_string(rows) + "x8xf32>", flat = "tensor<" + std::to_string(rows) + "x8xf32>",
                own = "tensor<" + std::to_string((rows + ranks - 1) / ranks) + "x8xf32>",
                both = "tensor<1x" + std::to_string(2 * rows) + "x8xf32>", v = "tensor<8xf32>";
    std::string arguments = "%x: " + x + " {comm.name = \"x\"}, %r: " + x + " {comm.name = \"r\"}";
    std::string norm = " epsilon 1.0e-5", over = " over @grid[\"tp\"] : " + x + ", " + own + ", " + v;
    return "func.func @main(" + arguments + ") -> (" + both + " {comm.name = \"y\"}, " + flat +
           " {comm.name = \"s\"}) attributes {comm.entry} {\n" +
           "  %w = comm.weight \"w\" in \"m.data\" at 0 : tensor<8x8xf32> -> tensor<8x8xf32>\n"
           "  %g = comm.weight \"g\" in \"m.data\" at 512 : tensor<8xf32> -> tensor<8xf32>\n"
           "  %f = tensor.collapse_shape %r [[0, 1], [2]] : " +
           x + " into " + flat + "\n" + "  %c = comm.shard_slice %f dim 0 over @grid[\"tp\"] : " + flat + " -> " + own +
           "\n" + "  %p = comm.matmul %x, %w : " + x + ", tensor<8x8xf32> -> " + x + "\n" +
           "  %t = comm.start order 0 : !comm.token<" + x + ", " + own + "> {\n" +
           "    %n, %s = comm.scatter_norm_gather %p, %c, %g bias %g : " + v + " norm_bias %g : " + v + norm +
           " layer_norm" + over + "\n" + "    comm.yield %n, %s : " + x + ", " + own + "\n  }\n" +
           "  %k = comm.silu %x : " + x + "\n" + "  %n1, %s1 = comm.wait %t : !comm.token<" + x + ", " + own + ">\n" +
           "  %q = comm.silu %n1 : " + x + "\n" + "  %n2, %s2 = comm.scatter_norm_gather %q, %s1, %g" + norm + over +
           "\n" + "  %n3, %s3 = comm.scatter_norm_gather %x, %s2, %g" + norm + over + "\n" +
           "  %a = comm.all_gather %s3 dim 0 over @grid[\"tp\"] : " + own + " -> " + flat + "\n" +
           "  %m = arith.addf %n2, %k : " + x + "\n  %o = comm.matmul %n3, %w : " + x + ", tensor<8x8xf32> -> " + x +
           "\n" + "  %y = tensor.concat dim(1) %m, %o : (" + x + ", " + x + ") -> " + both + "\n" +
           "  return %y, %a : " + both + ", " + flat + "\n}\n" +
           reference(arguments, both + " {comm.name = \"y\"}, " + flat + " {comm.name = \"s\"}",
                     "  %f = tensor.collapse_shape %r [[0, 1], [2]] : " + x + " into " + flat +
                         "\n  %y = tensor.concat dim(1) %x, %r : (" + x + ", " + x + ") -> " + both +
                         "\n  return %y, %f : " + both + ", " + flat + "\n");
  };
  for (int64_t ranks : {1, 2, 3, 4})
    for (int64_t rows : {4, 5, 7})
      expectEqual(model(ranks, rows), ranks, 5e-5);
}

TEST_F(LowerRun, OverlappingCollectivesOnOneOperand) {
  std::string body = R"(
func.func @main(%x: tensor<4x4xf32> {comm.name = "x"}) -> (tensor<4x4xf32> {comm.name = "y"}) attributes {comm.entry} {
  %p = math.tanh %x : tensor<4x4xf32>
  %t0 = comm.start order 0 : !comm.token<tensor<4x4xf32>> {
    %r = comm.all_reduce sum %p over @grid["tp"] : tensor<4x4xf32>
    comm.yield %r : tensor<4x4xf32>
  }
  %t1 = comm.start order 1 : !comm.token<tensor<4x4xf32>> {
    %r = comm.all_reduce max %p over @grid["tp"] : tensor<4x4xf32>
    comm.yield %r : tensor<4x4xf32>
  }
  %q = comm.matmul %x, %x : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  %q2 = comm.matmul %q, %q : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  %a1 = comm.wait %t1 : !comm.token<tensor<4x4xf32>>
  %q3 = comm.matmul %q2, %a1 : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  %a0 = comm.wait %t0 : !comm.token<tensor<4x4xf32>>
  %s = arith.addf %a0, %q3 : tensor<4x4xf32>
  %again = comm.all_reduce sum %s over @grid["tp"] : tensor<4x4xf32>
  %twice = comm.all_reduce sum %again over @grid["tp"] : tensor<4x4xf32>
  %y = arith.subf %twice, %again : tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}
)" + reference("%x: tensor<4x4xf32> {comm.name = \"x\"}", "tensor<4x4xf32> {comm.name = \"y\"}",
               "return %x : tensor<4x4xf32>\n");
  expectEqual(body, 2);
  expectEqual(body, 3);
}
} // namespace
