//===- ValidateTest.cpp - every number of an executable is checked --------===//
#include "test/unit/Support/ProgramBuilder.h"
#include <functional>
#include <gtest/gtest.h>

using namespace comm::test;

namespace {
/// The edit makes a sound executable unsound, and one problem says `part`.
void expectProblem(const std::function<void(Executable &)> &edit, const std::string &part) {
  Executable exe = makeRowParallelMatmul(2, 3, 8, 5, true);
  exe.files.push_back({"dir/w.bin", 64, ""});
  ASSERT_TRUE(validate(exe).empty()) << validate(exe).front();
  edit(exe);
  std::string all;
  for (const std::string &line : validate(exe))
    all += line + "\n";
  EXPECT_NE(all.find(part), std::string::npos) << "expected '" << part << "', got:\n" << all;
}
Program &split(Executable &e) { return e.entries[0].split; }
Command &command(Executable &e, size_t i) { return e.entries[0].split.commands[i]; }

TEST(Validate, PathsStayBesideTheExecutable) {
  for (const char *path : {"", "/etc/passwd", "../w.bin", "a/../../w.bin", "a/..", "..", ".", "./w.bin", "a//b", "a/",
                           "C:w.bin", "a\\b", "\\\\host\\x"})
    expectProblem([&](Executable &e) { e.files[0].path = path; }, "must be relative");
  expectProblem([](Executable &e) { e.files[0].path = std::string("a\0b", 3); }, "must be relative");
  expectProblem([](Executable &e) { e.files[0].path = std::string(5000, 'a'); }, "must be relative");
  expectProblem([](Executable &e) { e.files.push_back(e.files[0]); }, "listed twice");
  expectProblem([](Executable &e) { e.files[0].bytes = -1; }, "out of range");
  for (const std::string &hash : {std::string("x"), std::string(64, 'A'), std::string(63, '0'), std::string(65, '0')})
    expectProblem([&](Executable &e) { e.files[0].sha256 = hash; }, "SHA-256");
}

TEST(Validate, Weights) {
  expectProblem([](Executable &e) { e.weights[0].file = 7; }, "file number 7");
  expectProblem([](Executable &e) { e.weights[0].file = -2; }, "file number -2");
  expectProblem([](Executable &e) { e.weights[0].file = 0; }, "leave the 64 bytes");
  for (int64_t offset : {int64_t(-4), int64_t(4), int64_t(1) << 40, INT64_MAX, INT64_MAX - 100})
    expectProblem([&](Executable &e) { e.weights[0].offset = offset; }, "leave the 160 bytes of the data section");
  expectProblem([](Executable &e) { e.weights[0].shape = {8, 6}; }, "leave the 160 bytes");
  expectProblem([](Executable &e) { e.weights[0].shape = {-8, 5}; }, "negative dimension");
  expectProblem([](Executable &e) { e.weights[0].shape = {INT64_MAX, 2}; }, "too large");
  expectProblem([](Executable &e) { e.weights[0].shape = Shape(33, 1); }, "more than 32");
  expectProblem([](Executable &e) { e.weights[0].dtype = static_cast<DType>(99); }, "unknown element type");
  for (Slice s : {Slice{2, 0, 1}, Slice{-1, 0, 1}})
    expectProblem([&](Executable &e) { e.weights[0].slices = {s}; }, "dimension that does not exist");
  for (Slice s : {Slice{0, 0, 9}, Slice{0, 8, 1}, Slice{0, -1, 2}, Slice{0, 1, -1}, Slice{0, INT64_MAX, INT64_MAX}})
    expectProblem([&](Executable &e) { e.weights[0].slices = {s}; }, "slice leaves its dimension");
  expectProblem([](Executable &e) { e.weights[0].slices = {{0, 0, 4}, {0, 4, 1}}; },
                "slice leaves its dimension of size 4");
  expectProblem([](Executable &e) { e.weights[0].layout.dims.pop_back(); }, "another rank");
  expectProblem([](Executable &e) { e.weights[0].layout.dims[0].grain = 0; }, "grain");
  expectProblem([](Executable &e) { e.weights[0].layout.dims[0].grain = 3; }, "not a multiple of its grain");
  expectProblem([](Executable &e) { e.weights[0].layout.dims[1].axes = {"tp"}; }, "splits twice");
}

TEST(Validate, GridAndArena) {
  expectProblem([](Executable &e) { split(e).grid.axes = {}; }, "no axis 'tp'");
  expectProblem([](Executable &e) { split(e).grid.axes.push_back({"tp", 2}); }, "twice");
  expectProblem([](Executable &e) { split(e).grid.axes.push_back({"", 2}); }, "empty");
  for (int64_t size : {int64_t(0), int64_t(-2), int64_t(65537), INT64_MAX})
    expectProblem([&](Executable &e) { split(e).grid.axes[0].size = size; }, "grid of more than");
  expectProblem([](Executable &e) { split(e).arenaBytes = -1; }, "arena size");
  expectProblem([](Executable &e) { split(e).commBytes = split(e).arenaBytes + 1; }, "leaves the arena");
  expectProblem([](Executable &e) { split(e).commBytes = -1; }, "leaves the arena");
  expectProblem([](Executable &e) { split(e).arenaBytes = split(e).commBytes = 64; }, "leave the 64 bytes");
}

TEST(Validate, Values) {
  for (int64_t offset : {int64_t(-4), int64_t(1) << 30, INT64_MAX, INT64_MIN})
    expectProblem([&](Executable &e) { split(e).values[0].offset = offset; }, "of its storage");
  expectProblem([](Executable &e) { split(e).values[0].offset = 2; }, "not aligned");
  for (int64_t index : {int64_t(-1), int64_t(1), INT64_MAX}) {
    expectProblem([&](Executable &e) { split(e).values[2].index = index; }, "does not exist"); // input
    expectProblem([&](Executable &e) { split(e).values[3].index = index; }, "does not exist"); // output
    expectProblem([&](Executable &e) { split(e).values[4].index = index; }, "does not exist"); // weight
  }
  expectProblem([](Executable &e) { split(e).values[4].shape = {8, 5}; },
                "leave the 80 bytes"); // the whole weight, not the shard
  expectProblem([](Executable &e) { split(e).values[0].shape = {3, -5}; }, "negative dimension");
}

TEST(Validate, Ports) {
  for (int32_t value : {-2, 99, INT32_MAX})
    expectProblem([&](Executable &e) { split(e).inputs[0].value = value; }, "its value does not exist");
  expectProblem([](Executable &e) { split(e).outputs[0].value = -1; }, "has no value");
  expectProblem([](Executable &e) { split(e).inputs[0].layout = {}; }, "the layout says f32[3, 8]");
  expectProblem([](Executable &e) { split(e).inputs[0].value = 4; }, "its value is");
  expectProblem([](Executable &e) { split(e).outputs[0].dtype = DType::F16; }, "leave the 30 bytes");
  expectProblem([](Executable &e) { split(e).inputs[0].name = "z"; }, "differs between the two programs");
  expectProblem([](Executable &e) { e.entries[0].reference.outputs.clear(); }, "does not exist");
  expectProblem([](Executable &e) { e.entries[0].reference = split(e); }, "not for one rank");
  expectProblem([](Executable &e) { e.entries.clear(); }, "no entry");
  expectProblem([](Executable &e) { e.entries.push_back(e.entries[0]); }, "another entry");
  expectProblem([](Executable &e) { e.entries[0].states = {{"x", "q"}}; }, "names no input or no output");
  expectProblem([](Executable &e) { e.entries[0].states = {{"x", "y"}, {"x", "y"}}; }, "appears twice");
}

TEST(Validate, Operands) {
  for (int32_t operand : {-1, 99, INT32_MAX, INT32_MIN}) {
    expectProblem([&](Executable &e) { command(e, 0).inputs[0] = operand; }, "does not exist");
    expectProblem([&](Executable &e) { command(e, 0).outputs[0] = operand; }, "does not exist");
  }
  expectProblem([](Executable &e) { command(e, 0).op = ""; }, "names no operation");
  expectProblem([](Executable &e) { command(e, 0).outputs[0] = 4; }, "writes to a weight or an input");
  expectProblem([](Executable &e) { command(e, 0).outputs[0] = 2; }, "writes to a weight or an input");
  expectProblem([](Executable &e) { command(e, 3).outputs[0] = command(e, 3).inputs[0]; }, "overlaps an operand");
  expectProblem([](Executable &e) { command(e, 0).outputs = {0, 0}; }, "results overlap");
}

// Commands: 0 matmul, 1 start, 2 wait, 3 copy; values: 0 partial, 1 sum.
TEST(Validate, Collectives) {
  expectProblem([](Executable &e) { split(e).commands.erase(split(e).commands.begin() + 2); }, "never waited for");
  expectProblem([](Executable &e) { split(e).commands.erase(split(e).commands.begin() + 1); }, "not in flight");
  expectProblem([](Executable &e) { std::swap(command(e, 1), command(e, 2)); }, "not in flight");
  expectProblem([](Executable &e) { split(e).commands.push_back(command(e, 2)); }, "not in flight");
  expectProblem([](Executable &e) { command(e, 1).attrs["token"] = int64_t(-1); }, "token");
  expectProblem([](Executable &e) { command(e, 1).attrs.erase("plan_id"); }, "plan_id");
  expectProblem([](Executable &e) { command(e, 1).attrs["plan_id"] = int64_t(-1); }, "plan_id");
  expectProblem([](Executable &e) { command(e, 1).attrs["collective"] = std::string("all_sing"); },
                "no known collective");
  expectProblem([](Executable &e) { command(e, 1).attrs["axes"] = std::vector<std::string>{"pp"}; },
                "axis that does not exist");
  expectProblem([](Executable &e) { command(e, 1).attrs["axes"] = std::vector<std::string>{"tp", "tp"}; },
                "or one twice");
  expectProblem([](Executable &e) { command(e, 1).attrs.erase("axes"); }, "'axes' is missing");
  expectProblem([](Executable &e) { command(e, 1).attrs["reduce"] = std::string("mean"); }, "must be sum");
  expectProblem([](Executable &e) { command(e, 1).attrs["collective"] = std::string("all_gather"); },
                "do not fit a group of 2");
  expectProblem([](Executable &e) { split(e).values[1].dtype = DType::I32; }, "do not fit");
  expectProblem([](Executable &e) { command(e, 1).inputs.clear(); }, "one operand and one result");
  expectProblem([](Executable &e) { command(e, 1).inputs[0] = 2; }, "communication part");
  expectProblem([](Executable &e) { split(e).commBytes = 64; }, "communication part");
  expectProblem(
      [](Executable &e) {
        command(e, 1).attrs["collective"] = std::string("broadcast");
        command(e, 1).attrs["root"] = int64_t(2);
      },
      "'root'");
  expectProblem([](Executable &e) { command(e, 1).attrs["collective"] = std::string("permute"); }, "'shift'");
}

// Seeded schedule bugs: reading the result early, writing the operand early.
TEST(Validate, Races) {
  expectProblem([](Executable &e) { std::swap(command(e, 2), command(e, 3)); }, "before its wait");
  expectProblem([](Executable &e) { split(e).commands.insert(split(e).commands.begin() + 2, command(e, 0)); },
                "writes an operand of collective token 0");
  // The same buffer under another name, half overlapping.
  expectProblem(
      [](Executable &e) {
        split(e).values.push_back({Storage::Arena, 0, 64 + 16, DType::F32, {1}, "late"});
        Command fill{"fill", {}, {static_cast<int32_t>(split(e).values.size()) - 1}, {{"value", 0.0}}, ""};
        split(e).commands.insert(split(e).commands.begin() + 2, fill);
      },
      "touches the result of collective token 0");
}

/// y = rms_norm(a + b, w), one step of each kind that has operands.
Kernel soundKernel() {
  Kernel k{"k", {{DType::F32, {2, 3}}, {DType::F32, {2, 3}}, {DType::F32, {3}}}, {}, {4}};
  k.steps.push_back({"addf", {0, 1}, {}, DType::F32, {2, 3}});
  k.steps.push_back({"rms_norm", {3, 2}, {{"epsilon", 1e-5}}, DType::F32, {2, 3}});
  k.steps.push_back({"reduce",
                     {0},
                     {{"dims", std::vector<int64_t>{1}}, {"combine", std::string("addf")}, {"init", 0.0}},
                     DType::F32,
                     {2}});
  k.steps.push_back({"broadcast", {5}, {{"dims", std::vector<int64_t>{1}}}, DType::F32, {2, 3}});
  k.steps.push_back({"constant", {}, {{"value", int64_t(7)}}, DType::I64, {4}});
  k.steps.push_back({"cmpf", {3, 6}, {{"predicate", std::string("olt")}}, DType::Bool, {2, 3}});
  k.steps.push_back({"select", {8, 3, 6}, {}, DType::F32, {2, 3}});
  return k;
}

TEST(Validate, Kernels) {
  auto problem = [](const std::function<void(Kernel &)> &edit, const std::string &part) {
    expectProblem(
        [&](Executable &e) {
          e.kernels = {soundKernel()};
          EXPECT_TRUE(validate(e).empty()) << validate(e).front();
          edit(e.kernels[0]);
        },
        part);
  };
  problem([](Kernel &k) { k.symbol = ""; }, "no name");
  problem([](Kernel &k) { k.outputs = {}; }, "no result");
  for (int32_t v : {-1, 10, INT32_MAX})
    problem([&](Kernel &k) { k.outputs = {v}; }, "is not a value of it");
  for (int32_t v : {-1, 3, 4, INT32_MAX})
    problem([&](Kernel &k) { k.steps[0].operands[1] = v; }, "is not an earlier value");
  problem([](Kernel &k) { k.steps[0].op = "nonsense"; }, "do not fit together");
  problem([](Kernel &k) { k.steps[0].operands.pop_back(); }, "do not fit together");
  problem([](Kernel &k) { k.steps[0].shape = {3, 2}; }, "do not fit together");
  problem([](Kernel &k) { k.steps[0].dtype = DType::F16; }, "do not fit together");
  problem([](Kernel &k) { k.steps[1].attrs.clear(); }, "do not fit together");
  problem([](Kernel &k) { k.steps[1].operands[1] = 0; }, "do not fit together");
  problem([](Kernel &k) { k.steps[2].attrs["dims"] = std::vector<int64_t>{1, 1}; }, "do not fit together");
  problem([](Kernel &k) { k.steps[2].attrs["dims"] = std::vector<int64_t>{2}; }, "do not fit together");
  problem([](Kernel &k) { k.steps[2].attrs["combine"] = std::string("cmpf"); }, "do not fit together");
  problem([](Kernel &k) { k.steps[3].attrs["dims"] = std::vector<int64_t>{0}; }, "do not fit together");
  problem([](Kernel &k) { k.steps[4].attrs["value"] = 7.0; }, "do not fit together");
  problem([](Kernel &k) { k.steps[4].shape = {INT64_MAX, 4}; }, "too large");
  problem([](Kernel &k) { k.steps[5].dtype = DType::F32; }, "do not fit together");
  problem([](Kernel &k) { k.steps[6].operands[0] = 0; }, "do not fit together");
  problem([](Kernel &k) { k.steps.resize(5000, k.steps[4]); }, "more than 4096 steps");
  expectProblem([](Executable &e) { e.kernels = {soundKernel(), soundKernel()}; }, "declared twice");
  expectProblem(
      [](Executable &e) {
        e.kernels = {soundKernel()};
        Command call = command(e, 0);
        call.op = "kernel";
        call.attrs = {{"symbol", std::string("k")}};
        split(e).commands.insert(split(e).commands.begin(), call);
      },
      "declaration of 'k'");
}

TEST(Validate, SmallerInputs) {
  auto pad = [](Executable &e) {
    e.entries[0].pads = {{"s", 3, 1, -1}};
    for (Program *program : {&e.entries[0].split, &e.entries[0].reference})
      program->inputs[0].pads = program->outputs[0].pads = {{0, 0, 0}};
  };
  Executable sound = makeRowParallelMatmul(2, 3, 8, 5, true);
  pad(sound);
  ASSERT_TRUE(validate(sound).empty()) << validate(sound).front();
  auto expect = [&](const std::function<void(Entry &)> &edit, const std::string &part) {
    expectProblem([&](Executable &e) { pad(e), edit(e.entries[0]); }, part);
  };
  expect([](Entry &e) { e.pads[0].least = 4; }, "out of range");
  expect([](Entry &e) { e.pads[0].least = -1; }, "out of range");
  expect([](Entry &e) { e.pads[0].size = 4; }, "another size than its symbol says");
  for (PadDim wrong : {PadDim{0, 1, 0}, PadDim{0, -1, 0}, PadDim{2, 0, 0}, PadDim{-1, 0, 0}, PadDim{0, 0, INT64_MIN}})
    expect([&](Entry &e) { e.split.outputs[0].pads = e.reference.outputs[0].pads = {wrong}; }, "follows no symbol");
  expect([](Entry &e) { e.split.inputs[0].pads = e.reference.inputs[0].pads = {}; }, "no input tells the size");
  expect([](Entry &e) { e.reference.inputs[0].pads = {}; }, "differs between the two programs");
  expect([](Entry &e) { e.pads[0].input = 0; }, "is not one number of type i64");
  expect([](Entry &e) { e.pads[0].input = 5; }, "are not the last inputs");
}

TEST(Validate, AtMostTwentyProblems) {
  Executable exe = makeRowParallelMatmul(2);
  for (int i = 0; i < 100; ++i)
    exe.files.push_back({"/abs" + std::to_string(i), -1, "x"});
  EXPECT_EQ(validate(exe).size(), 20u);
}
/// As expectProblem, on the fused collective.
void expectNormProblem(const std::function<void(Executable &)> &edit, const std::string &part) {
  Executable exe = makeScatterNorm(2, 5, 15);
  ASSERT_TRUE(validate(exe).empty()) << validate(exe).front();
  edit(exe);
  std::string all;
  for (const std::string &line : validate(exe))
    all += line + "\n";
  EXPECT_NE(all.find(part), std::string::npos) << "expected '" << part << "', got:\n" << all;
}

TEST(Validate, ScatterNormGather) {
  auto site = [](Executable &e) -> Command & { return command(e, 3); };
  auto value = [&](Executable &e, int32_t index) -> Value & { return split(e).values[index]; };
  for (const char *name : {"rows", "epsilon", "layer_norm", "has_bias", "has_norm_bias"})
    expectNormProblem([&](Executable &e) { site(e).attrs.erase(name); }, "is missing");
  expectNormProblem([&](Executable &e) { site(e).attrs["has_bias"] = int64_t(0); }, "do not agree with the number");
  expectNormProblem([&](Executable &e) { site(e).attrs["layer_norm"] = int64_t(0); }, "needs layer_norm");
  for (int64_t rows : {int64_t(1), int64_t(7), int64_t(4), int64_t(-5)})
    expectNormProblem([&](Executable &e) { site(e).attrs["rows"] = rows; }, "rows are not 2 blocks of 3");
  expectNormProblem([&](Executable &e) { site(e).outputs.pop_back(); }, "its number of operands or results is wrong");
  expectNormProblem([&](Executable &e) { site(e).inputs.resize(2); }, "its number of operands or results is wrong");
  expectNormProblem([&](Executable &e) { value(e, site(e).inputs[0]).shape = {6, 4}; }, "not one block of rows");
  expectNormProblem([&](Executable &e) { value(e, site(e).inputs[0]).dtype = DType::I32; }, "not floats");
  expectNormProblem([&](Executable &e) { value(e, site(e).inputs[1]).shape = {2, 4}; }, "the residual is f32[2, 4]");
  expectNormProblem([&](Executable &e) { value(e, site(e).inputs[2]).shape = {2}; }, "a parameter of the norm is");
  expectNormProblem([&](Executable &e) { value(e, site(e).outputs[1]).shape = {2, 4}; }, "the sum is");
  expectNormProblem([&](Executable &e) { value(e, site(e).outputs[2]).shape = {1, 4}; }, "the own rows is");
  expectNormProblem([&](Executable &e) { value(e, site(e).outputs[2]).offset = split(e).commBytes; },
                    "communication part");
  expectNormProblem([&](Executable &e) { value(e, site(e).outputs[2]).offset = value(e, site(e).outputs[1]).offset; },
                    "its results overlap");
  expectNormProblem([&](Executable &e) { value(e, site(e).outputs[1]).offset = value(e, site(e).inputs[1]).offset; },
                    "overlaps an operand");
  expectNormProblem([&](Executable &e) { std::swap(split(e).commands[4], split(e).commands[2]); }, "not in flight");
  expectNormProblem([&](Executable &e) { std::swap(split(e).commands[3], split(e).commands[2]); },
                    "writes an operand of collective token 0");
}
} // namespace
