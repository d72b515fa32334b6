//===- ExportTest.cpp - form `command` as an executable -------------------===//
#include "comm/Export/Export.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::comm;
namespace exe = ::comm::exe;

namespace {
MLIRContext &context() {
  static MLIRContext *instance = [] {
    auto *created = new MLIRContext(MLIRContext::Threading::DISABLED);
    created->loadDialect<CommDialect, func::FuncDialect>();
    return created;
  }();
  return *instance;
}

/// A program of two ranks with a state, tied weights, a slice, equal constants and a kernel; `@ref` is its unsplit
/// model.
const char *const kModule = R"(
module attributes {comm.explain = ["partition  x: kept"]} {
comm.grid @grid ["tp"] = [2]
comm.kernel @k iterations 4 {
^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>):
  comm.yield %a : tensor<4xf32>
}
func.func @main(%x: memref<4xf32> {comm.name = "x"}, %k: memref<1x4xf32> {comm.name = "past", comm.state = "k", comm.layout = #comm.layout<[["tp"], []]>, comm.whole = tensor<2x4xf32>},
                %y: memref<4xf32> {comm.name = "y", comm.output}, %n: memref<1x4xf32> {comm.name = "present", comm.state = "k", comm.layout = #comm.layout<[["tp"], []]>, comm.whole = tensor<2x4xf32>, comm.output})
    attributes {comm.entry, comm.arena_bytes = 128 : i64, comm.comm_bytes = 64 : i64} {
  %w = comm.loaded_weight "w" in "m.data" at 16 layout <[["tp"]]> : tensor<8xf32> -> memref<4xf32>
  %tied = comm.loaded_weight "tied" in "m.data" at 16 layout <[["tp"]]> : tensor<8xf32> -> memref<4xf32>
  %part = comm.loaded_weight "part" in "m.data" at 16 slices [#comm.slice<0, 2, 4>] : tensor<8xf32> -> memref<4xf32>
  %c = comm.data dense<[true, false, true, true]> : tensor<4xi1> -> memref<4xi1>
  %d = comm.data dense<[true, false, true, true]> : tensor<4xi1> -> memref<4xi1>
  %a = comm.buffer at 0 : memref<4xf32>
  %r = comm.buffer at 64 : memref<8xf32>
  comm.launch @k ins(%x, %w : memref<4xf32>, memref<4xf32>) outs(%a : memref<4xf32>)
  comm.command "all_reduce" ins(%a : memref<4xf32>) outs(%a : memref<4xf32>) {axes = ["tp"], plan_id = 0 : i64, reduce = "sum"}
  %half = comm.view %r at 16 : memref<8xf32> -> memref<4xf32>
  comm.launch @k ins(%a, %tied : memref<4xf32>, memref<4xf32>) outs(%half : memref<4xf32>)
  comm.launch @k ins(%half, %part : memref<4xf32>, memref<4xf32>) outs(%y : memref<4xf32>)
  comm.command "copy" ins(%k : memref<1x4xf32>) outs(%n : memref<1x4xf32>) {dims = array<i64: 4>, in_strides = array<i64: 1>, out_strides = array<i64: 1>}
  comm.command "gather_elements" ins(%c, %d : memref<4xi1>, memref<4xi1>) outs(%half : memref<4xf32>) {axis = 0 : i64}
  return
}
func.func @ref(%x: memref<4xf32> {comm.name = "x"}, %k: memref<2x4xf32> {comm.name = "past", comm.state = "k"},
               %y: memref<4xf32> {comm.name = "y", comm.output}, %n: memref<2x4xf32> {comm.name = "present", comm.state = "k", comm.output})
    attributes {comm.reference = @main, comm.arena_bytes = 0 : i64, comm.comm_bytes = 0 : i64} {
  %w = comm.loaded_weight "w" in "m.data" at 16 : tensor<8xf32> -> memref<8xf32>
  return
}
}
)";

class ExportTest : public ::testing::Test {
protected:
  void SetUp() override {
    directory = std::filesystem::temp_directory_path() / ("comm-export-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory / "below");
    writeFile(256);
    options.modelDir = options.outputDir = directory.string();
    options.modelName = "m.onnx";
    options.compilerVersion = "test";
  }
  void TearDown() override { std::filesystem::remove_all(directory); }

  void writeFile(int bytes) {
    std::ofstream out(directory / "m.data", std::ios::binary);
    for (int i = 0; i < bytes; ++i)
      out.put(static_cast<char>(i));
  }

  FailureOr<exe::Executable> compile(const std::string &text = kModule) {
    diagnostics.clear();
    ScopedDiagnosticHandler handler(&context(), [&](Diagnostic &diagnostic) {
      diagnostics += diagnostic.str() + "\n";
      return success();
    });
    auto module = parseSourceString<ModuleOp>(text, &context());
    if (!module)
      return failure();
    return exportExecutable(*module, {}, options);
  }
  void expectError(const std::string &what, const std::string &text = kModule) {
    EXPECT_TRUE(failed(compile(text)));
    EXPECT_NE(diagnostics.find(what), std::string::npos) << diagnostics;
  }
  static std::string replaced(const std::string &from, const std::string &to) {
    std::string text = kModule;
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
    return text;
  }

  std::filesystem::path directory;
  ExportOptions options;
  std::string diagnostics;
};

TEST_F(ExportTest, ProgramPortsAndStates) {
  auto out = compile();
  ASSERT_TRUE(succeeded(out)) << diagnostics;
  ASSERT_EQ(out->entries.size(), 1u);
  const exe::Entry &entry = out->entries[0];
  EXPECT_EQ(entry.name, "main");
  EXPECT_EQ(entry.split.grid.ranks(), 2);
  EXPECT_EQ(entry.reference.grid.ranks(), 1);
  EXPECT_EQ(entry.split.arenaBytes, 128);
  EXPECT_EQ(entry.split.commBytes, 64);
  ASSERT_EQ(entry.states.size(), 1u);
  EXPECT_EQ(entry.states[0].input, "past");
  EXPECT_EQ(entry.states[0].output, "present");
  const exe::Port &past = entry.split.inputs.at(1);
  EXPECT_EQ(past.shape, (exe::Shape{2, 4}));
  EXPECT_EQ(past.layout.dims.at(0).axes, std::vector<std::string>{"tp"});
  EXPECT_EQ(entry.split.values.at(past.value).shape, (exe::Shape{1, 4}));
  ASSERT_EQ(entry.split.commands.size(), 6u);
  const exe::Command &kernel = entry.split.commands[0];
  EXPECT_EQ(kernel.op, "kernel");
  EXPECT_EQ(std::get<std::string>(kernel.attrs.at("symbol")), "k");
  EXPECT_EQ(std::get<int64_t>(kernel.attrs.at("iterations")), 4);
  // The view of the buffer at 64 starts 16 bytes later.
  EXPECT_EQ(entry.split.values.at(entry.split.commands[2].outputs[0]).offset, 80);
  EXPECT_EQ(out->explain, std::vector<std::string>{"partition  x: kept"});
  EXPECT_NE(out->finalIR.find("comm.launch @k"), std::string::npos);
  EXPECT_EQ(out->finalIR.find("comm.explain"), std::string::npos);
  EXPECT_EQ(out->predictions.at("collectives"), 1);
  EXPECT_EQ(out->predictions.at("bytes_sent_per_rank"), 16); // 2 * (2 - 1) / 2 * 16 bytes
  // Weight 16 (two names, one weight), slice 16, constant 4: all are read where they lie in their files.
  EXPECT_EQ(out->predictions.at("weight_bytes_per_rank"), 16 + 16 + 4);
  EXPECT_EQ(out->predictions.at("mapped_bytes_per_rank"), 16 + 16 + 4);
  // Arena 128, inputs 32, outputs 32; the parts of the state also stand beside the whole.
  EXPECT_EQ(out->predictions.at("peak_bytes_per_rank"), 128 + 64 + 32);
}

TEST_F(ExportTest, EqualWeightsAreOne) {
  auto out = compile();
  ASSERT_TRUE(succeeded(out)) << diagnostics;
  // w = tied, part, the constant, and w unsplit in the reference.
  ASSERT_EQ(out->weights.size(), 4u);
  EXPECT_EQ(out->weights[1].slices.at(0).start, 2);
  EXPECT_EQ(out->weights[2].file, -1);
  EXPECT_TRUE(out->weights[3].layout.replicated());
  ASSERT_EQ(out->files.size(), 1u);
  EXPECT_EQ(out->files[0].path, "m.data");
  EXPECT_EQ(out->files[0].bytes, 256);
  EXPECT_EQ(out->files[0].sha256, "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880");
  EXPECT_EQ(out->data, (std::vector<uint8_t>{1, 0, 1, 1})); // bool takes a byte
}

TEST_F(ExportTest, EmbeddedWeightsAreCopiedOnce) {
  options.weights = WeightStorage::Embed;
  auto out = compile();
  ASSERT_TRUE(succeeded(out)) << diagnostics;
  EXPECT_TRUE(out->files.empty());
  // 32 bytes serve all three readers of the file, the constant follows on the next 64 bytes.
  ASSERT_EQ(out->data.size(), 68u);
  for (int i = 0; i < 32; ++i)
    EXPECT_EQ(out->data[i], 16 + i);
  for (const exe::Weight &weight : out->weights)
    EXPECT_EQ(weight.file, -1);
}

TEST_F(ExportTest, SameInputSameBytes) {
  auto first = compile(), second = compile();
  ASSERT_TRUE(succeeded(first) && succeeded(second));
  std::vector<uint8_t> a, b;
  std::string error;
  ASSERT_TRUE(exe::writeExecutable(*first, a, error)) << error;
  ASSERT_TRUE(exe::writeExecutable(*second, b, error)) << error;
  EXPECT_EQ(a, b);
}

TEST_F(ExportTest, HashingCanBeDeclined) {
  options.maxHashBytes = 0;
  auto out = compile();
  ASSERT_TRUE(succeeded(out)) << diagnostics;
  EXPECT_EQ(out->files[0].sha256, "");
}

TEST_F(ExportTest, FilesMustLieBesideTheExecutable) {
  options.outputDir = (directory / "below").string();
  expectError("error[E221]: weight file 'm.data' does not lie beside the executable");
  options.weights = WeightStorage::Embed;
  EXPECT_TRUE(succeeded(compile())) << diagnostics;
}

TEST_F(ExportTest, MissingAndShortFiles) {
  expectError("error[E322]: weight file 'other.data'", replaced("\"m.data\"", "\"other.data\""));
  writeFile(47);
  expectError("needs bytes 16 to 48 of 'm.data', which has 47");
}

TEST_F(ExportTest, RefusesWhatHasNoPlace) {
  expectError("error[E123]: 'main' has no unsplit model",
              replaced("comm.reference = @main", "comm.reference = @other"));
  expectError("error[E123]: no function is an entry", replaced("comm.entry, ", ""));
  expectError("error[E123]: 'main' is not in form command", replaced("comm.arena_bytes = 128 : i64, ", ""));
  expectError("has no number of iterations", replaced("@k iterations 4", "@k"));
  expectError("error[E123]: this buffer is not placed", replaced("comm.buffer at 64", "comm.buffer"));
  expectError("error[E124]: 'past' is a partial sum",
              replaced("<[[\"tp\"], []]>, comm.whole = tensor<2x4xf32>}", "<[[], []] partial [\"tp\"]>}"));
  expectError("error[E125]: state 'j' has no output",
              replaced("\"past\", comm.state = \"k\"", "\"past\", comm.state = \"j\""));
  expectError("error[E126]: the executable is not sound", replaced("comm.arena_bytes = 128", "comm.arena_bytes = 64"));
}
} // namespace
