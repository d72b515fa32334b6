//===- KernelDeclarationTest.cpp - native code computes what its declaration says ---===//
#include "KernelNumbers.h"
#include "Models.h"
#include "runtime/Core/NativeObject.h"
#include <set>

using namespace comm;
using namespace comm::exe;
using namespace comm::proof;

namespace {
bool allFinite(const std::vector<Numbers> &values) {
  for (const Numbers &v : values)
    for (double x : v.floats)
      if (std::isnan(x))
        return false;
  return true;
}

/// Runs both on equal numbers; empty when they agree.
std::string disagreement(const Kernel &kernel, rt::NativeFunction code, int64_t iterations) {
  std::mt19937 random(7);
  std::vector<Numbers> inputs, outputs;
  std::string why;
  // Where the formula has no value for negative numbers, positive ones do.
  for (double low : {-2.0, 0.125}) {
    inputs.clear();
    outputs.clear();
    for (const TensorType &type : kernel.inputs)
      inputs.push_back(randomNumbers(type, low, random));
    if (!evaluate(kernel, inputs, outputs, why))
      return why;
    if (allFinite(outputs))
      break;
  }
  if (!allFinite(outputs))
    return "the declaration gives NaN";
  std::vector<std::vector<uint8_t>> buffers;
  for (const Numbers &x : inputs)
    buffers.push_back(toBytes(x));
  for (const Numbers &y : outputs)
    buffers.push_back(std::vector<uint8_t>(size_t(byteSize(y.dtype, y.shape)), 0xA5));
  std::vector<void *> pointers;
  for (std::vector<uint8_t> &b : buffers)
    pointers.push_back(b.data());
  code(pointers.data(), 0, iterations / 2); // in two parts, as threads do
  code(pointers.data(), iterations / 2, iterations);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (std::string found = difference(outputs[i], buffers[inputs.size() + i]); !found.empty())
      return "result " + std::to_string(i) + ": " + found;
  return "";
}

/// Makes the last product or sum another one; false when there is none.
bool changeOneStep(Kernel &kernel) {
  static const std::map<std::string, std::string> others = {
      {"mulf", "addf"}, {"addf", "mulf"}, {"addi", "subi"}, {"rms_norm", "layer_norm"}};
  for (auto step = kernel.steps.rbegin(); step != kernel.steps.rend(); ++step)
    if (auto it = others.find(step->op); it != others.end()) {
      step->op = it->second;
      return true;
    }
  return false;
}

class KernelDeclaration : public testing::TestWithParam<std::string> {
protected:
  /// Checks each symbol that the programs of an executable call and that no earlier one did.
  void check(const Executable &executable) {
    size_t index = 0;
    rt::Status chosen = rt::chooseNativeObject(executable.objects, index);
    ASSERT_TRUE(bool(chosen)) << chosen.text;
    std::unique_ptr<rt::NativeCode> code;
    rt::Status loaded =
        rt::NativeCode::load(executable.objects[index].bytes.data(), executable.objects[index].bytes.size(), code);
    ASSERT_TRUE(bool(loaded)) << loaded.text;
    std::map<std::string, int64_t> iterations;
    for (const Entry &entry : executable.entries)
      for (const Program *program : {&entry.split, &entry.reference})
        for (const Command &command : program->commands)
          if (command.op == "kernel")
            iterations[std::get<std::string>(command.attrs.at("symbol"))] =
                std::get<int64_t>(command.attrs.at("iterations"));
    std::map<std::string, const Kernel *> declared;
    for (const Kernel &kernel : executable.kernels)
      declared[kernel.symbol] = &kernel;
    for (const auto &[symbol, count] : iterations) {
      ASSERT_TRUE(declared.count(symbol)) << "kernel " << symbol << " has no declaration";
      ASSERT_NE(code->find(symbol), nullptr) << symbol;
      if (!seen.insert(symbol).second)
        continue; // a symbol is named by what it computes
      EXPECT_EQ(disagreement(*declared[symbol], code->find(symbol), count), "") << symbol;
      Kernel other = *declared[symbol];
      if (changeOneStep(other)) {
        EXPECT_NE(disagreement(other, code->find(symbol), count), "") << symbol << " with another step";
        ++changed;
      }
    }
  }
  std::set<std::string> seen;
  size_t changed = 0;
};
} // namespace

/// Every symbol that a program of any plan calls is declared, and its code gives what the declaration gives: floats
/// within 1e-5 of the largest element (f16 2e-3, bf16 1e-2), integers exactly.
TEST_P(KernelDeclaration, IsWhatTheNativeCodeComputes) {
  for (const char *plan :
       {"--plan=fuse", "--plan=split --split-tile=1 --split-min-rows=2", "--plan=pipeline --split-tile=1"})
    check(compiled(GetParam(), 2, plan));
  check(compiled(GetParam(), 3)); // as the tests above have it
  check(compiled(GetParam(), 4, "--tp=2 --sp=2"));
  check(compiled(GetParam(), 2, "--no-raise-norms --no-raise-rotary --no-raise-attention"));
  EXPECT_GT(seen.size(), 0u);
  EXPECT_GT(changed, 0u) << "no declaration was falsified";
}

INSTANTIATE_TEST_SUITE_P(FirstTier, KernelDeclaration, testing::ValuesIn(firstTierModels()),
                         [](const auto &info) { return info.param; });
