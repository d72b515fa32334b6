//===- Types.cpp - element types, grids, shard arithmetic -----------------===//
#include "comm/Executable/Executable.h"
#include <algorithm>

namespace comm::exe {

namespace {
struct DTypeInfo {
  const char *name;
  int64_t width;
};
// In the order of DType, whose numbers are part of the file format.
constexpr DTypeInfo dtypes[] = {{"f32", 4}, {"f16", 2}, {"bf16", 2}, {"f64", 8}, {"i64", 8}, {"i32", 4}, {"i16", 2},
                                {"i8", 1},  {"u64", 8}, {"u32", 4},  {"u16", 2}, {"u8", 1},  {"bool", 1}};
const DTypeInfo *info(DType t) {
  auto i = static_cast<size_t>(t);
  return i < sizeof(dtypes) / sizeof(dtypes[0]) ? &dtypes[i] : nullptr;
}
} // namespace

int64_t byteWidth(DType t) { return info(t) ? info(t)->width : 0; }
const char *dtypeName(DType t) { return info(t) ? info(t)->name : "?"; }

bool parseDType(const std::string &name, DType &out) {
  for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); ++i)
    if (name == dtypes[i].name) {
      out = static_cast<DType>(i);
      return true;
    }
  return false;
}

int64_t numElements(const Shape &shape) {
  int64_t n = 1;
  bool zero = false;
  for (int64_t d : shape) {
    if (d < 0)
      return -1;
    // The other dimensions of an empty tensor must fit too: strides are made of them.
    if (d == 0)
      zero = true;
    else if (__builtin_mul_overflow(n, d, &n))
      return -1;
  }
  return zero ? 0 : n;
}

int64_t byteSize(DType t, const Shape &shape) {
  int64_t bytes = numElements(shape);
  return bytes < 0 || byteWidth(t) == 0 || __builtin_mul_overflow(bytes, byteWidth(t), &bytes) ? -1 : bytes;
}

bool Layout::replicated() const {
  return std::all_of(dims.begin(), dims.end(), [](const Split &s) { return s.axes.empty(); });
}

int64_t Grid::ranks() const {
  int64_t n = 1;
  for (const Axis &a : axes)
    n *= a.size;
  return n;
}

int64_t Grid::coordinate(int64_t rank, const std::vector<std::string> &names) const {
  int64_t result = 0;
  for (const std::string &name : names) {
    int64_t stride = 1, found = -1;
    for (size_t i = axes.size(); i-- > 0;) {
      if (axes[i].name == name) {
        found = rank / stride % axes[i].size;
        result = result * axes[i].size + found;
        break;
      }
      stride *= axes[i].size;
    }
    if (found < 0)
      return -1;
  }
  return result;
}

int64_t Grid::shards(const std::vector<std::string> &names) const {
  int64_t n = 1;
  for (const std::string &name : names)
    for (const Axis &a : axes)
      if (a.name == name)
        n *= a.size;
  return n;
}

std::vector<int32_t> Grid::members(int64_t rank, const std::vector<std::string> &names) const {
  // Ranks that agree with `rank` on every other axis. Walking the named axes in mixed radix gives the order of
  // coordinate().
  std::vector<int64_t> strides(names.size(), 0), sizes(names.size(), 1);
  int64_t base = rank;
  for (size_t n = 0; n < names.size(); ++n) {
    int64_t stride = 1;
    for (size_t i = axes.size(); i-- > 0;) {
      if (axes[i].name == names[n]) {
        strides[n] = stride;
        sizes[n] = axes[i].size;
        base -= rank / stride % axes[i].size * stride;
        break;
      }
      stride *= axes[i].size;
    }
  }
  std::vector<int32_t> result;
  int64_t count = shards(names);
  for (int64_t c = 0; c < count; ++c) {
    int64_t member = base, rest = c;
    for (size_t n = names.size(); n-- > 0;) {
      member += rest % sizes[n] * strides[n];
      rest /= sizes[n];
    }
    result.push_back(static_cast<int32_t>(member));
  }
  return result;
}

ShardRange shardRange(int64_t size, const Split &split, const Grid &grid, int64_t rank) {
  // Axes that the grid does not have split nothing: the reference program has none of them.
  std::vector<std::string> known;
  for (const std::string &name : split.axes)
    if (grid.coordinate(0, {name}) >= 0)
      known.push_back(name);
  int64_t shards = grid.shards(known);
  if (shards <= 1)
    return {0, size, size};
  int64_t index = grid.coordinate(rank, known);
  int64_t grain = std::max<int64_t>(split.grain, 1), blocks = size / grain;
  if (blocks > 0 && blocks < shards && shards % blocks == 0)
    return {index / (shards / blocks) * grain, grain, grain};
  int64_t perShard = (blocks + shards - 1) / shards;
  // The last blocks may be missing on the last ranks; elements behind the last whole block belong to nobody (validate
  // refuses them).
  int64_t first = std::min(index * perShard, blocks), last = std::min(first + perShard, blocks);
  return {first * grain, (last - first) * grain, perShard * grain};
}

Shape localShape(const Shape &whole, const Layout &layout, const Grid &grid) {
  Shape local = whole;
  for (size_t d = 0; d < layout.dims.size() && d < whole.size(); ++d)
    local[d] = shardRange(whole[d], layout.dims[d], grid, 0).local;
  return local;
}

Shape slicedShape(const Weight &weight) {
  Shape shape = weight.shape;
  for (const Slice &s : weight.slices)
    if (s.dim >= 0 && s.dim < static_cast<int64_t>(shape.size()))
      shape[s.dim] = s.size;
  return shape;
}

bool isCollective(const std::string &op) {
  return op == "all_reduce" || op == "reduce_scatter" || op == "all_gather" || op == "all_to_all" ||
         op == "broadcast" || op == "permute" || op == "scatter_norm_gather";
}

const std::string &collectiveOf(const Command &command) {
  static const std::string none;
  if (isCollective(command.op))
    return command.op;
  if (command.op != "start")
    return none;
  auto it = command.attrs.find("collective");
  const auto *name = it == command.attrs.end() ? nullptr : std::get_if<std::string>(&it->second);
  return name && isCollective(*name) ? *name : none;
}

} // namespace comm::exe
