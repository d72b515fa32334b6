//===- KernelDeclarationTest.cpp - native code computes what its declaration says ---===//
#include "KernelEvaluator.h"
#include "Models.h"
#include "runtime/Core/NativeObject.h"
#include <cmath>
#include <cstring>
#include <random>
#include <set>

using namespace comm;
using namespace comm::exe;
using namespace comm::proof;

namespace {
Numbers randomNumbers(const TensorType &type, double low, std::mt19937 &random) {
  Numbers out{type.dtype, type.shape, {}, {}};
  size_t n = size_t(numElements(type.shape));
  if (isFloat(type.dtype))
    for (size_t i = 0; i < n; ++i) // values that every float type holds exactly
      out.floats.push_back(std::round(std::uniform_real_distribution<>(low, 2)(random) * 64) / 64);
  else
    for (size_t i = 0; i < n; ++i)
      out.ints.push_back(std::uniform_int_distribution<int64_t>(0, type.dtype == DType::Bool ? 1 : 3)(random));
  return out;
}

template <class T> void put(uint8_t *&at, T value) {
  std::memcpy(at, &value, sizeof value);
  at += sizeof value;
}

std::vector<uint8_t> toBytes(const Numbers &x) {
  std::vector<uint8_t> out(size_t(byteSize(x.dtype, x.shape)));
  uint8_t *at = out.data();
  for (double v : x.floats)
    switch (x.dtype) {
    case DType::F64:
      put(at, v);
      break;
    case DType::F16:
      put(at, _Float16(v));
      break;
    case DType::BF16: {
      float f = float(v);
      uint32_t bits;
      std::memcpy(&bits, &f, 4);
      put(at, uint16_t(bits >> 16));
      break;
    }
    default:
      put(at, float(v));
    }
  for (int64_t v : x.ints) {
    std::memcpy(at, &v, size_t(byteWidth(x.dtype)));
    at += byteWidth(x.dtype);
  }
  return out;
}

double floatAt(const std::vector<uint8_t> &bytes, DType t, size_t i) {
  const uint8_t *at = bytes.data() + i * size_t(byteWidth(t));
  if (t == DType::F64) {
    double v;
    return std::memcpy(&v, at, 8), v;
  }
  if (t == DType::F16) {
    _Float16 v;
    return std::memcpy(&v, at, 2), double(v);
  }
  uint32_t bits = 0;
  std::memcpy(t == DType::BF16 ? reinterpret_cast<uint8_t *>(&bits) + 2 : reinterpret_cast<uint8_t *>(&bits), at,
              size_t(byteWidth(t)));
  float v;
  return std::memcpy(&v, &bits, 4), double(v);
}

/// Empty when they are the same within the tolerance of the type: relative to the largest element.
std::string difference(const Numbers &want, const std::vector<uint8_t> &got) {
  double largest = 1, tolerance = want.dtype == DType::F16 ? 2e-3 : want.dtype == DType::BF16 ? 1e-2 : 1e-5;
  for (double v : want.floats)
    if (std::isfinite(v))
      largest = std::max(largest, std::fabs(v));
  for (size_t i = 0; i < want.floats.size(); ++i) {
    double g = floatAt(got, want.dtype, i), w = want.floats[i];
    bool same = std::isfinite(w) && std::fabs(w) <= 3.4e38 ? std::fabs(g - w) <= tolerance * largest
                                                           : g == w || g == double(float(w));
    if (!same)
      return "element " + std::to_string(i) + " is " + std::to_string(g) + ", declared " + std::to_string(w);
  }
  size_t width = size_t(byteWidth(want.dtype));
  for (size_t i = 0; i < want.ints.size(); ++i)
    if (std::memcmp(got.data() + i * width, &want.ints[i], width) != 0)
      return "element " + std::to_string(i) + " is not the declared " + std::to_string(want.ints[i]);
  return "";
}

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
