//===- StateUse.cpp - the states of an entry ------------------------------===//
#include "runtime/Core/StateUse.h"
#include "runtime/Core/Rank.h"
#include <algorithm>
#include <set>

namespace comm::rt {
namespace {
bool find(const std::vector<exe::Port> &ports, const std::string &name, size_t &out) {
  auto it = std::find_if(ports.begin(), ports.end(), [&](const exe::Port &p) { return p.name == name; });
  out = static_cast<size_t>(it - ports.begin());
  return it != ports.end();
}

/// The walk of a `copy` command, in elements; its offsets include those of the values.
struct Walk {
  std::vector<int64_t> dims, in, out;
  int64_t inOffset = 0, outOffset = 0;
};

bool readWalk(const exe::Program &program, const exe::Command &c, Walk &walk) {
  auto ints = [&](const char *name, std::vector<int64_t> &to) {
    auto it = c.attrs.find(name);
    const auto *list = it == c.attrs.end() ? nullptr : std::get_if<std::vector<int64_t>>(&it->second);
    if (list)
      to = *list;
    return list != nullptr;
  };
  auto offset = [&](const char *name, int32_t value) {
    auto it = c.attrs.find(name);
    const auto *number = it == c.attrs.end() ? nullptr : std::get_if<int64_t>(&it->second);
    const exe::Value &v = program.values[static_cast<size_t>(value)];
    return (number ? *number : 0) + v.offset / exe::byteWidth(v.dtype);
  };
  if (c.op != "copy" || c.inputs.size() != 1 || c.outputs.size() != 1 || !ints("dims", walk.dims) ||
      !ints("in_strides", walk.in) || !ints("out_strides", walk.out) || walk.in.size() != walk.dims.size() ||
      walk.out.size() != walk.dims.size())
    return false;
  walk.inOffset = offset("in_offset", c.inputs[0]);
  walk.outOffset = offset("out_offset", c.outputs[0]);
  // Nothing has checked these numbers yet; caches with larger ones are copied, and sums of eight products of them fit.
  constexpr int64_t most = int64_t(1) << 29;
  auto outside = [](int64_t n) { return n < 0 || n > most; };
  return walk.dims.size() <= 8 &&
         std::none_of(walk.dims.begin(), walk.dims.end(), [&](int64_t n) { return n < 1 || n > most; }) &&
         std::none_of(walk.in.begin(), walk.in.end(), outside) &&
         std::none_of(walk.out.begin(), walk.out.end(), outside) && !outside(walk.inOffset) && !outside(walk.outOffset);
}

/// Blocks of `kept` elements that become the first ones of blocks of `grown`.
struct Blocks {
  int64_t count = 0, kept = 0, grown = 0;

  /// The walk takes every element of the input to its place.
  bool embeds(const Walk &w) const {
    int64_t elements = 1, last = 0;
    for (size_t d = 0; d < w.dims.size(); ++d) {
      if (__builtin_mul_overflow(elements, w.dims[d], &elements))
        return false;
      if (w.dims[d] == 1)
        continue;
      bool overBlocks = w.out[d] >= grown;
      if (overBlocks ? w.out[d] % grown != 0 || w.in[d] != w.out[d] / grown * kept : w.in[d] != w.out[d])
        return false;
      last += overBlocks ? 0 : (w.dims[d] - 1) * w.out[d];
    }
    return w.inOffset == 0 && w.outOffset == 0 && last < kept && elements == count * kept;
  }
  /// It writes behind those places only.
  bool appends(const Walk &w) const {
    int64_t last = w.outOffset % grown;
    for (size_t d = 0; d < w.dims.size(); ++d)
      if (w.dims[d] > 1 && w.out[d] % grown != 0)
        last += (w.dims[d] - 1) * w.out[d];
    return w.outOffset % grown >= kept && last < grown;
  }
  /// All of the value lies behind them.
  bool appends(const exe::Value &v, int64_t width) const {
    int64_t first = v.offset / width % grown;
    return first >= kept && exe::numElements(v.shape) <= grown - first;
  }
};

Growth growthOf(const exe::Program &program, size_t input, size_t output) {
  const exe::Port &in = program.inputs[input], &out = program.outputs[output];
  if (in.value < 0 || out.value < 0 || in.dtype != out.dtype)
    return {};
  auto isPast = [&](int32_t value) {
    const exe::Value &v = program.values[static_cast<size_t>(value)];
    return v.storage == exe::Storage::Input && v.index == static_cast<int64_t>(input);
  };
  auto isPresent = [&](int32_t value) {
    const exe::Value &v = program.values[static_cast<size_t>(value)];
    return v.storage == exe::Storage::Output && v.index == static_cast<int64_t>(output);
  };
  const exe::Value &past = program.values[static_cast<size_t>(in.value)],
                   &present = program.values[static_cast<size_t>(out.value)];
  if (!isPast(in.value) || !isPresent(out.value) || present.offset != 0 || past.shape.size() != present.shape.size())
    return {};
  std::vector<size_t> differing;
  for (size_t d = 0; d < past.shape.size(); ++d)
    if (past.shape[d] != present.shape[d])
      differing.push_back(d);
  if (differing.size() != 1 || past.shape[differing[0]] > present.shape[differing[0]] ||
      exe::numElements(past.shape) <= 0)
    return {};
  for (const exe::Port &other : program.outputs)
    if (other.value >= 0 && isPast(other.value))
      return {};
  Growth growth{-1, differing[0]};
  int64_t width = exe::byteWidth(in.dtype);
  AxisView from(past.shape, growth.axis, in.dtype), to(present.shape, growth.axis, in.dtype);
  Blocks blocks{from.outer, from.size * from.innerBytes / width, to.size * to.innerBytes / width};
  for (size_t i = 0; i < program.commands.size(); ++i) {
    const exe::Command &c = program.commands[i];
    bool reads = std::any_of(c.inputs.begin(), c.inputs.end(), isPast),
         writes = std::any_of(c.outputs.begin(), c.outputs.end(), isPresent);
    if (!reads && !writes)
      continue;
    Walk walk;
    bool copies = readWalk(program, c, walk);
    auto inPlace = [&](int32_t value) { return !isPresent(value) || blocks.appends(program.values[value], width); };
    if (!reads && !(copies && blocks.appends(walk)) && !std::all_of(c.outputs.begin(), c.outputs.end(), inPlace))
      return {};
    if (reads && (growth.copy >= 0 || !writes || !copies || !blocks.embeds(walk)))
      return {};
    if (reads)
      growth.copy = static_cast<int32_t>(i);
  }
  return growth;
}

/// Both ports hold the same dimensions in the same way, apart from the size of dimensions that are not split.
bool heldAlike(const exe::Port &a, const exe::Port &b) {
  if (a.dtype != b.dtype || a.shape.size() != b.shape.size())
    return false;
  for (size_t d = 0; d < a.shape.size(); ++d) {
    exe::Split none, left = d < a.layout.dims.size() ? a.layout.dims[d] : none,
                     right = d < b.layout.dims.size() ? b.layout.dims[d] : none;
    if (left.axes != right.axes || (!left.axes.empty() && (left.grain != right.grain || a.shape[d] != b.shape[d])))
      return false;
  }
  return true;
}

bool leavesFill(const exe::Port &port, const exe::Grid &grid) {
  for (size_t d = 0; d < port.layout.dims.size(); ++d)
    for (int64_t rank = 0; rank < grid.ranks(); ++rank)
      if (exe::ShardRange r = exe::shardRange(port.shape[d], port.layout.dims[d], grid, rank); r.count != r.local)
        return true;
  return false;
}

bool sameGrid(const exe::Grid &a, const exe::Grid &b) {
  return std::equal(
      a.axes.begin(), a.axes.end(), b.axes.begin(), b.axes.end(),
      [](const exe::Axis &left, const exe::Axis &right) { return left.name == right.name && left.size == right.size; });
}
} // namespace

AxisView::AxisView(const exe::Shape &shape, size_t axis, exe::DType dtype) : innerBytes(exe::byteWidth(dtype)) {
  size = shape.empty() ? 1 : shape[axis];
  for (size_t d = 0; d < shape.size(); ++d)
    if (d != axis)
      (d < axis ? outer : innerBytes) *= shape[d];
}

std::vector<StateUse> statesOf(const exe::Entry &entry, const exe::Program &program) {
  std::vector<StateUse> uses;
  for (const exe::StatePair &s : entry.states) {
    StateUse use{s.input, 0, 0, {}};
    if (!find(program.inputs, s.input, use.input) || !find(program.outputs, s.output, use.output))
      continue;
    use.growth = growthOf(program, use.input, use.output);
    uses.push_back(std::move(use));
  }
  return uses;
}

std::map<std::string, size_t> residentStates(const exe::Executable &exe, bool reference) {
  std::map<std::string, size_t> bytes;
  std::map<std::string, const exe::Port *> first;
  std::set<std::string> refused;
  for (const exe::Entry &entry : exe.entries) {
    const exe::Program &program = programOf(entry, reference);
    for (const StateUse &use : statesOf(entry, program))
      for (const exe::Port *port : {&program.inputs[use.input], &program.outputs[use.output]}) {
        const exe::Port *known = first.try_emplace(use.name, port).first->second;
        if (!heldAlike(*known, *port) || leavesFill(*port, program.grid) ||
            !sameGrid(program.grid, programOf(exe.entries[0], reference).grid))
          refused.insert(use.name);
        int64_t part = exe::byteSize(port->dtype, exe::localShape(port->shape, port->layout, program.grid));
        bytes[use.name] = std::max(bytes[use.name], static_cast<size_t>(std::max<int64_t>(0, part)));
      }
  }
  for (const std::string &name : refused)
    bytes.erase(name);
  return bytes;
}

} // namespace comm::rt
