//===- TilePlan.cpp -------------------------------------------------------===//
#include "runtime/Kernels/Tile/TilePlan.h"
#include "runtime/Kernels/Support.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {
namespace {
using exe::DType;
using Dims = std::vector<int64_t>;

/// Elements of the largest value of a tile, about: a few of them fit the second cache level.
constexpr int64_t tileElements = 8192;

template <class T> const T *attr(const exe::KernelStep &s, const char *key) {
  auto it = s.attrs.find(key);
  return it == s.attrs.end() ? nullptr : std::get_if<T>(&it->second);
}

std::vector<uint8_t> elementOf(DType type, const exe::KernelStep &s, const char *key) {
  const auto *real = attr<double>(s, key);
  const auto *whole = attr<int64_t>(s, key);
  std::vector<uint8_t> out(static_cast<size_t>(exe::byteWidth(type)));
  if (type == DType::F32) {
    float value = real ? static_cast<float>(*real) : 0.0f;
    std::memcpy(out.data(), &value, 4);
  } else if (type == DType::F64) {
    double value = real ? *real : 0.0;
    std::memcpy(out.data(), &value, 8);
  } else {
    int64_t value = whole ? *whole : 0;
    if (type == DType::Bool)
      value &= 1;
    std::memcpy(out.data(), &value, out.size()); // little-endian, as the file format
  }
  return out;
}

bool isRow(TileStepKind kind) {
  return kind == TileStepKind::RMSNorm || kind == TileStepKind::LayerNorm || kind == TileStepKind::Softmax ||
         kind == TileStepKind::Rotary;
}

/// Several groups may use one constant in different numbers.
void fillConstant(TileStep &step, int64_t count, int64_t width) {
  auto bytes = static_cast<size_t>(count * width);
  for (size_t at = step.filled.size(); at < bytes; at += step.value.size())
    step.filled.insert(step.filled.end(), step.value.begin(), step.value.end());
}
} // namespace

Status TilePlan::make(const exe::Kernel &declared, const std::string &where) {
  for (const exe::TensorType &input : declared.inputs)
    addValue(input.dtype, input.shape);
  inputs = values.size();
  for (const exe::KernelStep &s : declared.steps) {
    addValue(s.dtype, s.shape);
    TileStep step;
    for (int32_t v : s.operands)
      step.operands.push_back(static_cast<size_t>(v));
    if (!bind(s, step))
      return {Code::Unsupported, where + "the interpreter has no step '" + s.op + "' for these types"};
    steps.push_back(std::move(step));
  }
  for (int32_t v : declared.outputs)
    outputs.push_back(static_cast<size_t>(v));
  for (const TileValue &v : values)
    if (v.shape.size() > Box::maxRank)
      return {Code::Unsupported,
              where + "a tensor of it has more than " + std::to_string(Box::maxRank) + " dimensions"};
  for (size_t i = 0; i < outputs.size(); ++i)
    addToGroup(i);
  for (TileGroup &group : groups)
    plan(group);
  return Status::ok();
}

void TilePlan::addValue(DType stored, const exe::Shape &shape) {
  DType type = computeType(stored);
  values.push_back({stored, type, shape, exe::byteWidth(type)});
}

bool TilePlan::bind(const exe::KernelStep &s, TileStep &step) const {
  const TileValue &value = values.back();
  if (exe::elementwiseArity(s.op) > 0) {
    std::vector<DType> types;
    for (size_t v : step.operands)
      types.push_back(values[v].type);
    const auto *detail = attr<std::string>(s, s.op == "gelu" ? "kind" : "predicate");
    // The bits of a narrow float are not those of the f32 that stands for it.
    bool bits = s.op != "bitcast" || (value.stored == value.type && values[step.operands[0]].stored == types[0]);
    step.loop = bits ? findTileLoop(s.op, types, value.type, detail ? *detail : "") : nullptr;
    return step.loop != nullptr;
  }
  if (const auto *dims = attr<Dims>(s, "dims"))
    step.dims = *dims;
  if (const auto *epsilon = attr<double>(s, "epsilon"))
    step.epsilon = *epsilon;
  if (const auto *interleaved = attr<int64_t>(s, "interleaved"))
    step.interleaved = *interleaved != 0;
  if (s.op == "constant") {
    step.kind = TileStepKind::Constant;
    step.value = elementOf(value.type, s, "value");
    return true;
  }
  if (s.op == "broadcast") {
    step.kind = TileStepKind::Broadcast;
    return true;
  }
  if (s.op == "reduce") {
    step.kind = TileStepKind::Reduce;
    step.value = elementOf(value.type, s, "init");
    const auto *combine = attr<std::string>(s, "combine");
    static const char *const folds[] = {"addf",  "mulf",  "maximumf", "minimumf", "maxnumf", "minnumf", "addi", "muli",
                                        "maxsi", "minsi", "maxui",    "minui",    "andi",    "ori",     "xori"};
    bool known = combine && std::find(std::begin(folds), std::end(folds), *combine) != std::end(folds);
    step.loop = known ? findTileLoop(*combine, {value.type, value.type}, value.type, "") : nullptr;
    return step.loop != nullptr;
  }
  static const std::pair<const char *, TileStepKind> rowSteps[] = {{"rms_norm", TileStepKind::RMSNorm},
                                                                   {"layer_norm", TileStepKind::LayerNorm},
                                                                   {"softmax", TileStepKind::Softmax},
                                                                   {"rotary", TileStepKind::Rotary}};
  for (auto [name, kind] : rowSteps)
    if (s.op == name) {
      step.kind = kind;
      return value.type == DType::F32;
    }
  return false;
}

Box TilePlan::partOf(size_t v, size_t i, const Box &box) const {
  const TileStep &step = steps[v - inputs];
  const TileValue &operand = values[step.operands[i]];
  Box part = wholeBox(operand.shape);
  auto take = [&](size_t to, size_t from) {
    part.begin[to] = box.begin[from];
    part.size[to] = box.size[from];
  };
  auto listed = [&](size_t d) {
    return std::binary_search(step.dims.begin(), step.dims.end(), static_cast<int64_t>(d));
  };
  size_t at = 0;
  switch (step.kind) {
  case TileStepKind::Broadcast:
    for (size_t d = 0; d < box.rank; ++d)
      if (!listed(d))
        take(at++, d);
    return part;
  case TileStepKind::Reduce:
    for (size_t d = 0; d < part.rank; ++d)
      if (!listed(d))
        take(d, at++);
    return part;
  case TileStepKind::RMSNorm:
  case TileStepKind::LayerNorm:
    return i == 0 ? box : part;
  case TileStepKind::Rotary:
    if (i == 0)
      return box;
    take(1, 2);
    if (operand.shape[0] != 1)
      take(0, 0);
    return part;
  default:
    return box;
  }
}

void TilePlan::ask(const TileGroup &group, int64_t t, std::vector<AskedBox> &boxes) const {
  for (AskedBox &asked : boxes)
    asked.empty = true;
  for (size_t output : group.results) {
    AskedBox &asked = boxes[outputs[output]];
    asked.box.cover(group.tile(t), asked.empty);
    asked.empty = false;
  }
  askBack(boxes);
}

void TilePlan::askBack(std::vector<AskedBox> &boxes) const {
  for (size_t v = values.size(); v-- > inputs;) {
    if (boxes[v].empty)
      continue;
    Box &box = boxes[v].box;
    if (isRow(steps[v - inputs].kind)) {
      box.begin[box.rank - 1] = 0;
      box.size[box.rank - 1] = values[v].shape.back();
    }
    for (size_t i = 0; i < steps[v - inputs].operands.size(); ++i) {
      AskedBox &asked = boxes[steps[v - inputs].operands[i]];
      asked.box.cover(partOf(v, i, box), asked.empty);
      asked.empty = false;
    }
  }
}

void TilePlan::addToGroup(size_t output) {
  const exe::Shape &shape = values[outputs[output]].shape;
  auto it = std::find_if(groups.begin(), groups.end(), [&](const TileGroup &g) { return g.shape == shape; });
  if (it == groups.end()) {
    groups.emplace_back();
    it = groups.end() - 1;
    it->shape = shape;
  }
  it->results.push_back(output);
}

void TilePlan::plan(TileGroup &group) {
  group.needed.assign(values.size(), false);
  for (size_t output : group.results)
    group.needed[outputs[output]] = true;
  for (size_t v = values.size(); v-- > inputs;)
    if (group.needed[v])
      for (size_t operand : steps[v - inputs].operands)
        group.needed[operand] = true;
  chooseTiles(group);
  group.outputOf.assign(values.size(), -1);
  for (size_t output : group.results) {
    size_t v = outputs[output];
    // Computed in place when nothing beyond the tile is needed of it.
    if (v >= inputs && values[v].stored == values[v].type && group.outputOf[v] < 0 &&
        steps[v - inputs].kind != TileStepKind::Constant)
      group.outputOf[v] = static_cast<int64_t>(output);
  }
  std::vector<int64_t> most(values.size(), 0);
  std::vector<AskedBox> boxes(values.size());
  for (int64_t t = 0; t < group.tiles; ++t) {
    ask(group, t, boxes);
    Box tile = group.tile(t);
    for (size_t v = 0; v < values.size(); ++v)
      if (group.needed[v] && !boxes[v].empty) {
        most[v] = std::max(most[v], boxes[v].box.elements());
        if (group.outputOf[v] >= 0 && !(boxes[v].box == tile))
          group.outputOf[v] = -1;
      }
  }
  layOut(group, most);
}

/// As many rows of the group's shape as keep the largest value of a tile small.
void TilePlan::chooseTiles(TileGroup &group) const {
  int64_t result = std::max<int64_t>(1, elementsOf(group.shape)), largest = result;
  bool rows = false;
  for (size_t v = 0; v < values.size(); ++v)
    if (group.needed[v]) {
      largest = std::max(largest, elementsOf(values[v].shape));
      rows |= v >= inputs && isRow(steps[v - inputs].kind);
    }
  int64_t wanted = std::max<int64_t>(1, tileElements / ((largest + result - 1) / result)), inner = 1;
  size_t split = group.shape.size();
  while (split > 0 && (inner * group.shape[split - 1] <= wanted || (rows && split == group.shape.size())))
    inner *= std::max<int64_t>(1, group.shape[--split]);
  if (split > 0) { // the first dimension that is not whole is cut
    --split;
    group.along =
        std::clamp<int64_t>(wanted / std::max<int64_t>(1, inner), 1, std::max<int64_t>(1, group.shape[split]));
    group.split = static_cast<int64_t>(split);
  } else if (!group.shape.empty()) {
    group.along = std::max<int64_t>(1, group.shape[0]);
  }
  group.tiles = elementsOf(group.shape) == 0 ? 0 : 1;
  if (group.tiles && !group.shape.empty()) {
    auto d = static_cast<size_t>(group.split);
    group.tiles = elementsOf(group.shape, 0, d) * ((group.shape[d] + group.along - 1) / group.along);
  }
}

/// Scratch memory: a value's place is free again after its last reader.
void TilePlan::layOut(TileGroup &group, const std::vector<int64_t> &most) {
  constexpr int64_t align = 64;
  auto rounded = [](int64_t bytes) { return (bytes + align - 1) / align * align; };
  std::vector<size_t> last(values.size(), 0);
  for (size_t v = inputs; v < values.size(); ++v)
    if (group.needed[v])
      for (size_t operand : steps[v - inputs].operands)
        last[operand] = v;
  for (size_t output : group.results)
    last[outputs[output]] = values.size();
  group.slots.assign(values.size(), 0);
  struct Used {
    int64_t begin, end;
    size_t until;
  };
  std::vector<Used> used; // by position
  for (size_t v = 0; v < values.size(); ++v) {
    if (!group.needed[v] || group.outputOf[v] >= 0)
      continue;
    if (v >= inputs && steps[v - inputs].kind == TileStepKind::Constant) {
      fillConstant(steps[v - inputs], most[v], values[v].width);
      continue;
    }
    // Inputs are loaded one after the other, before the first step: all live from the beginning.
    size_t now = std::max(v, inputs);
    used.erase(std::remove_if(used.begin(), used.end(), [&](const Used &u) { return u.until < now; }), used.end());
    int64_t size = rounded(most[v] * values[v].width), at = 0;
    for (const Used &u : used) {
      if (at + size <= u.begin)
        break;
      at = std::max(at, u.end);
    }
    used.insert(std::find_if(used.begin(), used.end(), [&](const Used &u) { return u.begin >= at; }),
                {at, at + size, v < inputs ? std::max(last[v], inputs) : last[v]});
    group.slots[v] = at;
    group.bytes = std::max(group.bytes, at + size);
  }
  for (size_t i = 0; i < group.temporary.size(); ++i) {
    int64_t size = 0;
    for (size_t v = inputs; v < values.size(); ++v)
      if (group.needed[v] && steps[v - inputs].operands.size() > i) {
        size_t operand = steps[v - inputs].operands[i];
        size = std::max(size, most[operand] * values[operand].width);
      }
    group.temporary[i] = group.bytes;
    group.bytes += rounded(size);
  }
  group.bytes = std::max<int64_t>(group.bytes, align);
}

} // namespace comm::rt
