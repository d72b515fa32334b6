//===- RankMemory.cpp - what one rank holds in memory ---------------------===//
#include "comm/Executable/RankMemory.h"
#include <algorithm>
#include <map>

namespace comm::exe {
namespace {
bool isTrue(const Command &c, const char *name) {
  auto it = c.attrs.find(name);
  const int64_t *flag = it == c.attrs.end() ? nullptr : std::get_if<int64_t>(&it->second);
  return flag && *flag != 0;
}

int64_t numberOf(const Command &c, const char *name) {
  auto it = c.attrs.find(name);
  const int64_t *number = it == c.attrs.end() ? nullptr : std::get_if<int64_t>(&it->second);
  return number ? *number : 0;
}

/// Kernels pack right operands of these types.
bool isPacked(DType type) { return type == DType::F32 || type == DType::BF16 || type == DType::F16; }

std::string textOf(const Grid &grid) {
  std::string text;
  for (const Axis &a : grid.axes)
    text += a.name + "=" + std::to_string(a.size) + ";";
  return text;
}

int64_t storedBytes(const Weight &w, const Grid &grid) {
  return std::max<int64_t>(byteSize(w.dtype, localShape(slicedShape(w), w.layout, grid)), 0);
}
} // namespace

int64_t panelBytes(int64_t matrices, int64_t depth, int64_t n, int64_t width, int64_t elementBytes) {
  int64_t bytes = 0;
  if (__builtin_add_overflow(n, width - 1, &bytes) || __builtin_mul_overflow(bytes / width * width, depth, &bytes) ||
      __builtin_mul_overflow(bytes, elementBytes, &bytes) || __builtin_mul_overflow(bytes, matrices, &bytes))
    return -1;
  return bytes;
}

int64_t quantizedBlockBytes(int64_t bits, int64_t block, bool zeros) {
  return quantizedPanel * 4 * (block * bits / 32 + 1 + int64_t(zeros));
}

bool isReadInPlace(const Weight &w, const Grid &grid) {
  Shape sliced = slicedShape(w);
  std::vector<int64_t> count = sliced;
  int64_t last = std::max<int64_t>(grid.ranks() - 1, 0), width = byteWidth(w.dtype);
  for (size_t d = 0; d < w.layout.dims.size() && d < sliced.size(); ++d) {
    ShardRange first = shardRange(sliced[d], w.layout.dims[d], grid, 0),
               end = shardRange(sliced[d], w.layout.dims[d], grid, last);
    if (first.count != first.local || end.count != end.local)
      return false; // zeros are added
    count[d] = first.count;
  }
  size_t first = 0;
  while (first < count.size() && count[first] == 1)
    ++first;
  for (size_t d = first + 1; d < count.size(); ++d)
    if (count[d] != w.shape[d])
      return false;
  return width <= 0 || w.offset % width == 0;
}

void HeldWeights::addStored(const WeightInput &input, const Grid &grid) {
  if (!input.weight || !stored.emplace(input.number, input.weight->layout.replicated() ? "" : textOf(grid)).second)
    return;
  (isReadInPlace(*input.weight, grid) ? mapped : copied) += storedBytes(*input.weight, grid);
  most = std::max(most, packed + copied);
}

/// Inputs [first, last) as one packed form of `bytes`.
bool HeldWeights::pack(const Command &c, const std::vector<WeightInput> &inputs, size_t first, size_t last,
                       int64_t bytes, std::vector<int64_t> form, const Grid &grid) {
  if (bytes < 0)
    return false;
  int64_t copies = 0;
  bool isSplit = false;
  for (size_t i = first; i < last; ++i) {
    const Weight &w = *inputs[i].weight;
    form.push_back(inputs[i].number);
    form.push_back(inputs[i].offset);
    isSplit |= !w.layout.replicated();
    copies += isReadInPlace(w, grid) ? 0 : storedBytes(w, grid);
  }
  if (!panels.emplace(c.op, std::move(form), isSplit ? textOf(grid) : "").second)
    return true;
  packed += bytes;
  most = std::max(most, packed + copied + copies);
  return true;
}

/// Matrices [.., k, n], or [.., n, k] when transposed.
bool HeldWeights::packsMatrices(const Command &c, const std::vector<WeightInput> &inputs, size_t right, bool transposed,
                                const Grid &grid) {
  if (inputs.size() <= right || !inputs[right].weight)
    return false;
  const WeightInput &w = inputs[right];
  int64_t elements = numElements(w.shape);
  if (w.shape.size() < 2 || elements <= 0 || !isPacked(w.dtype))
    return false;
  int64_t k = w.shape[w.shape.size() - 2], n = w.shape.back(), matrices = elements / (k * n);
  if (transposed)
    std::swap(k, n);
  auto precision = c.attrs.find("precision"); // f32 that is rounded to 16 bits
  int64_t width = precision != c.attrs.end() ? 2 : byteWidth(w.dtype);
  const std::string *name = precision != c.attrs.end() ? std::get_if<std::string>(&precision->second) : nullptr;
  bool inPairs = c.op == "matmul" && (name ? *name == "bf16" : w.dtype == DType::BF16);
  int64_t depth = inPairs && k <= INT64_MAX - deepestPairs ? (k + deepestPairs - 1) / deepestPairs * deepestPairs : k;
  return pack(c, inputs, right, right + 1, panelBytes(matrices, depth, n, widestPanel, width),
              {matrices, k, n, transposed, width}, grid);
}

bool HeldWeights::packsIntegers(const Command &c, const std::vector<WeightInput> &inputs, const Grid &grid) {
  for (size_t i = 1; i < inputs.size(); ++i)
    if (!inputs[i].weight)
      return false;
  int64_t bits = numberOf(c, "bits"), block = numberOf(c, "block");
  if (inputs.size() < 3 || inputs[1].shape.size() != 3 || (bits != 4 && bits != 8) || block < 16 || block > 1024)
    return false;
  bool byK = isTrue(c, "k_major");
  const Shape &s = inputs[1].shape; // [n, blocks, bytes of a block], or [blocks, block, bytes of n]
  int64_t n = byK ? s[2] * 8 / bits : s[0], blocks = byK ? s[0] : s[1];
  return n > 0 && pack(c, inputs, 1, inputs.size(),
                       panelBytes(blocks, 1, n, quantizedPanel,
                                  quantizedBlockBytes(bits, block, inputs.size() > 3) / quantizedPanel),
                       {n, blocks, bits, block, byK, isTrue(c, "signed")}, grid);
}

void HeldWeights::add(const Command &c, const std::vector<WeightInput> &inputs, const Grid &grid) {
  size_t first = 0, last = 0; // the inputs that are packed
  if (c.op == "matmul" && packsMatrices(c, inputs, 1, isTrue(c, "transpose_b"), grid))
    first = 1, last = 2;
  else if (c.op == "expert_matmul" && packsMatrices(c, inputs, 2, isTrue(c, "transpose"), grid))
    first = 2, last = 3;
  else if (c.op == "quantized_matmul" && packsIntegers(c, inputs, grid))
    first = 1, last = inputs.size();
  for (size_t i = 0; i < inputs.size(); ++i)
    if (i < first || i >= last)
      addStored(inputs[i], grid);
}

namespace {
WeightInput inputOf(const Executable &exe, const Value &v) {
  bool isWeight = v.storage == Storage::Weight && v.index >= 0 && static_cast<size_t>(v.index) < exe.weights.size();
  return {isWeight ? &exe.weights[static_cast<size_t>(v.index)] : nullptr, v.index, v.offset, v.dtype, v.shape};
}

/// What a rank has of the inputs and outputs: a part of its own beside the whole where it needs not all of it.
int64_t portBytes(const Program &program) {
  int64_t bytes = 0;
  for (const auto *ports : {&program.inputs, &program.outputs})
    for (const Port &port : *ports) {
      int64_t local = std::max<int64_t>(byteSize(port.dtype, localShape(port.shape, port.layout, program.grid)), 0);
      bytes += local;
      if (port.value >= 0 && local != byteSize(port.dtype, port.shape) &&
          program.values[static_cast<size_t>(port.value)].storage != Storage::Arena)
        bytes += local;
    }
  return bytes;
}
} // namespace

RankMemory rankMemory(const Executable &exe, const std::vector<const Program *> &programs) {
  RankMemory memory;
  HeldWeights held;
  for (const Program *program : programs) {
    auto input = [&](int32_t value) { return inputOf(exe, program->values[static_cast<size_t>(value)]); };
    for (const Command &c : program->commands) {
      std::vector<WeightInput> inputs;
      for (int32_t value : c.inputs)
        inputs.push_back(input(value));
      held.add(c, inputs, program->grid);
    }
    for (const Port &port : program->outputs)
      if (port.value >= 0)
        held.addStored(input(port.value), program->grid);
    memory.arena = std::max(memory.arena, program->arenaBytes);
    memory.ports = std::max(memory.ports, portBytes(*program));
  }
  memory.packed = held.packed;
  memory.copied = held.copied;
  memory.mapped = held.mapped;
  memory.loading = held.most;
  return memory;
}

} // namespace comm::exe
