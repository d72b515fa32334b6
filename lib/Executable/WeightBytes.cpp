//===- WeightBytes.cpp - weights as kernels read them ---------------------===//
#include "comm/Executable/WeightBytes.h"
#include <map>
#include <set>
#include <tuple>

namespace comm::exe {
namespace {
/// A right operand of a product: its panels are as wide for every product that reads it.
using Panels =
    std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, bool>; // weight, offset, matrices, k, n, transposed

bool isPacked(const Command &c, size_t input, const Value &v) {
  return c.op == "matmul" && input == 1 && v.shape.size() >= 2 && numElements(v.shape) > 0 &&
         (v.dtype == DType::F32 || v.dtype == DType::BF16 || v.dtype == DType::F16);
}

Panels panelsOf(const Command &c, const Value &v) {
  auto it = c.attrs.find("transpose_b");
  const int64_t *flag = it == c.attrs.end() ? nullptr : std::get_if<int64_t>(&it->second);
  bool transposed = flag && *flag != 0;
  int64_t rows = v.shape[v.shape.size() - 2], columns = v.shape.back();
  return {v.index,
          v.offset,
          numElements(v.shape) / (rows * columns),
          transposed ? columns : rows,
          transposed ? rows : columns,
          transposed};
}
} // namespace

int64_t heldWeightBytes(const Executable &exe, const Program &program, int64_t panelWidth) {
  std::map<Panels, int64_t> packed;
  std::set<int64_t> stored;
  for (const Command &c : program.commands)
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      const Value &v = program.values[static_cast<size_t>(c.inputs[i])];
      if (v.storage != Storage::Weight)
        continue;
      if (!isPacked(c, i, v)) {
        stored.insert(v.index);
        continue;
      }
      Panels key = panelsOf(c, v);
      auto [weight, offset, matrices, k, n, transposed] = key;
      int64_t bytes = 0;
      if (!__builtin_mul_overflow(matrices * k, (n + panelWidth - 1) / panelWidth * panelWidth, &bytes) &&
          !__builtin_mul_overflow(bytes, byteWidth(v.dtype), &bytes))
        packed[key] = bytes;
    }
  for (const Port &port : program.outputs)
    if (port.value >= 0 && program.values[static_cast<size_t>(port.value)].storage == Storage::Weight)
      stored.insert(program.values[static_cast<size_t>(port.value)].index);
  int64_t total = 0;
  for (const auto &[key, bytes] : packed)
    total += bytes;
  for (int64_t index : stored)
    if (index >= 0 && static_cast<size_t>(index) < exe.weights.size()) {
      const Weight &w = exe.weights[static_cast<size_t>(index)];
      total += byteSize(w.dtype, localShape(slicedShape(w), w.layout, program.grid));
    }
  return total;
}

} // namespace comm::exe
