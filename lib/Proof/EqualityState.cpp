//===- EqualityState.cpp - the memory of all ranks, as views --------------===//
#include "EqualityRules.h"
#include <algorithm>
#include <cstring>

using namespace comm::exe;

namespace comm::proof {
namespace {
Access contiguous(int64_t from, int64_t count, int64_t iteration = 0) { return {from, iteration, {count}, {1}, {1}}; }
} // namespace

Shape localBox(const Shape &whole, const Layout &layout, const Grid &grid, int64_t rank, Access &box) {
  Shape local = whole;
  std::vector<int64_t> strides = rowMajor(whole);
  box = Access();
  std::vector<int64_t> counts = whole;
  for (size_t d = 0; d < whole.size(); ++d) {
    ShardRange range{0, whole[d], whole[d]};
    if (d < layout.dims.size() && !layout.dims[d].axes.empty())
      range = shardRange(whole[d], layout.dims[d], grid, rank);
    local[d] = range.local;
    counts[d] = range.count;
    box.offset += range.start * strides[d];
  }
  box.n = counts;
  box.at = rowMajor(local);
  box.stride = strides;
  if (std::find(counts.begin(), counts.end(), 0) != counts.end())
    box.offset = 0;
  return local;
}

Constants::Constants(const Executable &exe, DataView data) : exe(exe), data(data) {
  if (!data.bytes)
    this->data = {exe.data.data(), exe.data.size()};
}

/// Small tensors only: no program makes large ones.
bool Constants::bytesOf(int64_t weight, std::string_view &out) const {
  constexpr int64_t most = 1 << 16;
  const Weight &w = exe.weights[static_cast<size_t>(weight)];
  int64_t bytes = byteSize(w.dtype, w.shape);
  if (w.file >= 0 || bytes <= 0 || bytes > most || w.offset < 0 || w.offset + bytes > static_cast<int64_t>(data.size))
    return false;
  out = {reinterpret_cast<const char *>(data.bytes) + w.offset, static_cast<size_t>(bytes)};
  return true;
}

int64_t Constants::offset(int64_t weight) {
  const Weight &w = exe.weights[static_cast<size_t>(weight)];
  std::string_view bytes;
  return bytesOf(weight, bytes) ? known.try_emplace({w.dtype, bytes}, w.offset).first->second : w.offset;
}

std::optional<std::string> Constants::splat(int64_t weight) const {
  DType type = exe.weights[static_cast<size_t>(weight)].dtype;
  std::string_view bytes;
  auto width = static_cast<size_t>(byteWidth(type));
  if (!bytesOf(weight, bytes) || bytes.substr(width) != bytes.substr(0, bytes.size() - width))
    return std::nullopt;
  if (std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; }))
    return "";
  auto as = [&](auto x) { return std::memcpy(&x, bytes.data(), sizeof x), x; };
  switch (type) { // named as fills and the constants of kernels are
  case DType::F32:
    return exact(as(float()));
  case DType::F64:
    return exact(as(double()));
  case DType::I64:
    return std::to_string(as(int64_t()));
  case DType::I32:
    return std::to_string(as(int32_t()));
  case DType::Bool:
  case DType::U8:
    return std::to_string(as(uint8_t()));
  default:
    return std::nullopt;
  }
}

State::State(const Executable &exe, const std::vector<const Program *> &programs, Constants &constants, Terms &terms)
    : exe(exe), programs(programs), grid(programs.front()->grid), constants(constants), terms(terms) {
  for (int64_t rank = 0; rank < ranks(); ++rank)
    for (const Port &port : program(rank).inputs) {
      if (port.value < 0)
        continue;
      Access box;
      Shape local = localBox(port.shape, port.layout, grid, rank, box);
      View whole{numElements(port.shape),
                 {{0, {numElements(port.shape)}, {1}, {{terms.leaf("input", port.name), 0, {1}}}}}};
      int64_t size = numElements(local);
      auto held = std::make_shared<View>(View{size, {{0, {size}, {1}, {}}}});
      store(*held, {0, 0, {size}, {1}, {1}}, View{size, {{0, {size}, {1}, {}}}});
      View part = compose(whole, box, size);
      // By local index both: iterations of the box are the local indices.
      Access same{0, 0, box.n, box.at, box.at};
      store(*held, same, part);
      write(rank, port.value, held);
    }
}

State::Memory &State::memory(int64_t rank, const Value &v) {
  return memories[{rank, static_cast<int64_t>(v.storage), v.storage == Storage::Arena ? 0 : v.index}];
}

/// A weight as loaded: elements of its file, by the local index.
SharedView State::weightWhole(int64_t rank, int64_t index) {
  if (auto it = loaded.find({index, rank}); it != loaded.end())
    return it->second;
  const Weight &w = exe.weights[static_cast<size_t>(index)];
  Shape sliced = slicedShape(w);
  Access box;
  Shape local = localBox(sliced, w.layout, grid, rank, box);
  // The box walks the sliced tensor; the file is walked with the strides of the stored one.
  std::vector<int64_t> stored = rowMajor(w.shape), rows = rowMajor(sliced);
  int64_t offset = 0, rest = box.offset;
  for (size_t d = 0; d < sliced.size(); ++d) {
    offset += (rows[d] ? rest / rows[d] : 0) * stored[d];
    rest = rows[d] ? rest % rows[d] : rest;
  }
  for (const Slice &s : w.slices)
    offset += s.start * stored[static_cast<size_t>(s.dim)];
  int64_t width = byteWidth(w.dtype);
  int64_t start = constants.offset(index);
  int32_t term =
      terms.leaf("weight", std::to_string(w.file) + " " + dtypeName(w.dtype) + " " + std::to_string(start % width));
  int64_t size = numElements(local);
  auto view = std::make_shared<View>(View{size, {{0, {size}, {1}, {}}}});
  if (size > 0 && std::find(box.n.begin(), box.n.end(), 0) == box.n.end()) {
    Piece piece{0, box.n, box.at, {{term, start / width + offset, stored}}};
    if (auto value = constants.splat(index)) {
      piece.atoms.clear();
      if (!value->empty())
        piece.atoms.push_back({terms.leaf("constant", *value), 0, std::vector<int64_t>(box.n.size(), 0)});
    }
    View part{size, {piece}};
    simplify(part);
    store(*view, {0, 0, box.n, box.at, box.at}, part);
  }
  return loaded[{index, rank}] = view;
}

SharedView State::read(int64_t rank, int32_t number) {
  const Value &v = value(rank, number);
  int64_t size = numElements(v.shape), width = byteWidth(v.dtype);
  if (size == 0)
    return std::make_shared<View>();
  if (v.storage == Storage::Weight) {
    SharedView whole = weightWhole(rank, v.index);
    if (v.dtype != exe.weights[static_cast<size_t>(v.index)].dtype)
      throw NoRule{"a weight read as another type"};
    if (v.offset == 0 && whole->size == size)
      return whole;
    return std::make_shared<View>(compose(*whole, contiguous(v.offset / width, size), size));
  }
  Memory &m = memory(rank, v);
  int64_t begin = v.offset, end = v.offset + size * width;
  auto it = m.upper_bound(begin);
  if (it != m.begin())
    --it;
  auto out = std::make_shared<View>(View{size, {}});
  for (; it != m.end() && it->first < end; ++it) {
    const auto &[start, region] = *it;
    if (region.end <= begin || region.dtype != v.dtype || (start - begin) % width != 0)
      continue;
    if (start == begin && region.end == end && region.skip == 0 && region.view->size == size)
      return region.view;
    int64_t from = std::max(start, begin), to = std::min(region.end, end);
    View part =
        compose(*region.view,
                contiguous(region.skip + (from - start) / width, (to - from) / width, (from - begin) / width), size);
    out->pieces.insert(out->pieces.end(), part.pieces.begin(), part.pieces.end());
  }
  simplify(*out);
  return out;
}

void State::write(int64_t rank, int32_t number, SharedView view) {
  const Value &v = value(rank, number);
  int64_t begin = v.offset, end = begin + numElements(v.shape) * byteWidth(v.dtype);
  if (begin == end)
    return;
  Memory &m = memory(rank, v);
  auto it = m.upper_bound(begin);
  if (it != m.begin())
    --it;
  while (it != m.end() && it->first < end) {
    int64_t start = it->first;
    Region old = it->second;
    if (old.end <= begin) {
      ++it;
      continue;
    }
    it = m.erase(it);
    if (start < begin) {
      Region left = old;
      left.end = begin;
      m[start] = left;
    }
    if (old.end > end) {
      Region right = old;
      int64_t width = byteWidth(old.dtype);
      if ((end - start) % width == 0) {
        right.skip += (end - start) / width;
        m[end] = right;
      }
    }
  }
  m[begin] = {end, v.dtype, std::move(view), 0};
}

} // namespace comm::proof
