//===- EqualityTest.cpp - right programs are proved, wrong ones are not ---===//
#include "comm/Proof/Equality.h"
#include "Models.h"
#include "ProgramRunner.h"
#include "WrongSlices.h"
#include "test/unit/Support/ProgramBuilder.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

using namespace comm;
using namespace comm::proof;

namespace {
/// Outputs of the split program for inputs that a seed makes, the same on all ranks that hold the same.
std::vector<std::vector<testing_run::Bytes>> outputsOf(const exe::Executable &e, size_t entry, std::string &error) {
  const exe::Program &p = e.entries[entry].split;
  std::vector<std::vector<testing_run::Bytes>> inputs(size_t(p.grid.ranks()));
  for (size_t rank = 0; rank < inputs.size(); ++rank)
    for (size_t i = 0; i < p.inputs.size(); ++i) {
      const exe::Port &port = p.inputs[i];
      std::mt19937 random(uint32_t(i * 64 + (port.layout.replicated() ? 0 : rank)));
      int64_t n = exe::numElements(exe::localShape(port.shape, port.layout, p.grid));
      testing_run::Bytes bytes(size_t(n * exe::byteWidth(port.dtype)));
      for (int64_t k = 0; k < n; ++k) {
        int64_t integer = int64_t(random() % 2);
        float real = float(random() % 256) / 64 - 2;
        if (port.dtype == exe::DType::F32)
          std::memcpy(bytes.data() + 4 * k, &real, 4);
        else
          std::memcpy(bytes.data() + exe::byteWidth(port.dtype) * k, &integer, size_t(exe::byteWidth(port.dtype)));
      }
      inputs[rank].push_back(std::move(bytes));
    }
  return testing_run::run(e, p, inputs, {}, error);
}

class Equal : public testing::TestWithParam<std::string> {};

TEST_P(Equal, EveryEntryIsProved) {
  for (int ranks : {2, 3})
    for (const exe::Entry &entry : compiled(GetParam(), ranks).entries) {
      EqualityResult result = proveEqual(compiled(GetParam(), ranks), entry);
      EXPECT_EQ(result.verdict, Equality::Proved) << entry.name << ": " << equalityText(result);
      EXPECT_EQ(entry.split.grid.ranks(), ranks);
      EXPECT_GT(result.operations, 3);
    }
}

/// A mutant that is proved all the same must give the same bits. Every seventh of them; all with
/// COMM_TEST_ALL_MUTANTS=1 in the environment. Gives how many were rejected.
size_t rejectWrongSlices(const std::string &model, int ranks, const std::string &flags = "") {
  size_t rejected = 0, harmless = 0, stride = std::getenv("COMM_TEST_ALL_MUTANTS") ? 1 : 7;
  std::string error;
  const exe::Executable &e = compiled(model, ranks, flags);
  size_t entry = e.entries.size() - 1;
  std::vector<std::vector<testing_run::Bytes>> right = outputsOf(e, entry, error);
  EXPECT_EQ(error, "");
  auto judge = [&](const Mutant &m) {
    EqualityResult result =
        proveEqual(m.exe, m.exe.entries[entry], exe::DataView(), 20000); // more changes the verdict's name only
    if (result.verdict != Equality::Proved) {
      EXPECT_NE(result.reason.find("output '"), std::string::npos) << m.what << ": " << result.reason;
      ++rejected;
      return;
    }
    EXPECT_EQ(outputsOf(m.exe, entry, error), right) << m.what << " is proved and gives something else";
    EXPECT_EQ(error, "") << m.what;
    ++harmless;
  };
  WrongSlices(e, entry, stride, judge).run();
  std::printf("%s on %d ranks: %zu mutants rejected, %zu harmless ones proved\n", model.c_str(), ranks, rejected,
              harmless);
  return rejected;
}

TEST_P(Equal, WrongSlicesAreRejected) {
  size_t rejected = rejectWrongSlices(GetParam(), 2) + rejectWrongSlices(GetParam(), 3);
  EXPECT_GT(rejected, GetParam() == "mlp" ? 5u : 50u);
}

// Shards that travel, sums that travel, and results that are turned into their places.
TEST(EqualityOfRings, ProvedAndWrongSlicesRejected) {
  const std::string flags = "--sequence-parallel --plan=pipeline --matmul-order=ring";
  for (int ranks : {2, 3}) {
    const exe::Executable &e = compiled("llama_static", ranks, flags);
    std::set<std::string> ops;
    for (const exe::Command &c : e.entries[0].split.commands) {
      ops.insert(exe::collectiveOf(c));
      if (c.attrs.count("rotated") || (c.op == "shard_copy" && c.attrs.count("shift")))
        ops.insert(c.op);
    }
    EXPECT_TRUE(ops.count("permute") && ops.count("unpack_shards") && ops.count("shard_copy"));
    EXPECT_EQ(equalityText(proveEqual(e, e.entries[0])).substr(0, 8), "proved (");
    EXPECT_GT(rejectWrongSlices("llama_static", ranks, flags), 50u);
  }
}

INSTANTIATE_TEST_SUITE_P(FirstTier, Equal, testing::ValuesIn(firstTierModels()),
                         [](const auto &info) { return info.param; });

TEST(EqualityVerdict, NamesWhatFails) {
  exe::Executable e = test::makeRowParallelMatmul(2, 3, 8, 5, true);
  EXPECT_EQ(equalityText(proveEqual(e, e.entries[0])).substr(0, 8), "proved (");
  exe::Executable dropped = e;
  for (exe::Command &c : dropped.entries[0].split.commands)
    if (exe::collectiveOf(c) == "all_reduce")
      c.attrs["axes"] = std::vector<std::string>();
  EqualityResult partial = proveEqual(dropped, dropped.entries[0]);
  EXPECT_EQ(partial.verdict, Equality::Wrong);
  EXPECT_NE(partial.reason.find("got a partial sum over 0 to 4"), std::string::npos) << partial.reason;
  exe::Executable unknown = e;
  for (exe::Command &c : unknown.entries[0].split.commands)
    if (c.op == "matmul")
      c.op = "new_op";
  EqualityResult none = proveEqual(unknown, unknown.entries[0]);
  EXPECT_EQ(none.verdict, Equality::NotProved);
  EXPECT_NE(none.reason.find("new_op ('proj') has no rule"), std::string::npos) << none.reason;
}

/// Of three inputs: the unsplit program computes x * (a + b), the other one x * a + x * `last`.
exe::Executable distributed(const std::string &last) {
  exe::Executable e;
  exe::TensorType row{exe::DType::F32, {4}};
  auto step = [&](const char *op, int32_t a, int32_t b) {
    return exe::KernelStep{op, {a, b}, {}, row.dtype, row.shape};
  };
  e.kernels.push_back({"whole", {row, row, row}, {step("addf", 1, 2), step("mulf", 0, 3)}, {4}});
  e.kernels.push_back(
      {"parts", {row, row, row}, {step("mulf", 0, 1), step("mulf", 0, last == "b" ? 2 : 1), step("addf", 3, 4)}, {5}});
  e.entries.push_back({});
  for (exe::Program *p : {&e.entries[0].split, &e.entries[0].reference}) {
    test::ProgramBuilder b({{"tp", 1}});
    std::vector<int32_t> inputs = {b.input("x", {4}), b.input("a", {4}), b.input("b", {4})};
    std::string symbol = p == &e.entries[0].split ? "parts" : "whole";
    b.command("kernel", inputs, {b.output("y", {4})}, {{"symbol", symbol}, {"iterations", int64_t(1)}});
    *p = std::move(b.program);
  }
  e.entries[0].name = "main";
  return e;
}

TEST(EqualityVerdict, AnotherFormulaIsWrongOnlyWhenItGivesOtherNumbers) {
  exe::Executable e = distributed("b");
  EqualityResult same = proveEqual(e, e.entries[0]);
  EXPECT_EQ(same.verdict, Equality::NotProved) << equalityText(same);
  EXPECT_TRUE(same.isOther);
  EXPECT_NE(same.reason.find("the formulas agree at a random point"), std::string::npos) << same.reason;
  e = distributed("a");
  EqualityResult other = proveEqual(e, e.entries[0]);
  EXPECT_EQ(other.verdict, Equality::Wrong) << equalityText(other);
  EXPECT_NE(other.reason.find("written by command 0 kernel parts"), std::string::npos) << other.reason;
}

TEST(EqualityVerdict, OneRankMayRunAnotherProgram) {
  exe::Executable e = test::makeRowParallelMatmul(2, 3, 8, 5, true);
  exe::Program other = e.entries[0].split;
  std::vector<const exe::Program *> ranks = {&e.entries[0].split, &other};
  EXPECT_EQ(proveEqual(e, e.entries[0], ranks).verdict, Equality::Proved);
  for (exe::Command &c : other.commands)
    if (c.op == "matmul")
      std::swap(c.inputs[0], c.inputs[1]);
  EqualityResult swapped = proveEqual(e, e.entries[0], ranks);
  EXPECT_NE(swapped.verdict, Equality::Proved) << equalityText(swapped);
  other = e.entries[0].split;
  other.commands.erase(std::remove_if(other.commands.begin(), other.commands.end(),
                                      [](const exe::Command &c) { return exe::collectiveOf(c) == "all_reduce"; }),
                       other.commands.end());
  EqualityResult stuck = proveEqual(e, e.entries[0], ranks);
  EXPECT_EQ(stuck.verdict, Equality::Wrong);
  EXPECT_NE(stuck.reason.find("waits for ever"), std::string::npos) << stuck.reason;
}
} // namespace
