//===- PortTransfer.cpp - between a whole tensor and a rank's part --------===//
#include "runtime/Core/PortTransfer.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {
namespace {
bool firstHolder(const exe::Port &port, const exe::Grid &grid, int64_t rank) {
  std::vector<std::string> used, others;
  for (size_t d = 0; d < port.layout.dims.size(); ++d) {
    const exe::Split &split = port.layout.dims[d];
    used.insert(used.end(), split.axes.begin(), split.axes.end());
    int64_t index = grid.coordinate(rank, split.axes);
    if (index <= 0)
      continue;
    // Replicated blocks: the first of those with the same start.
    int32_t before = grid.members(rank, split.axes)[static_cast<size_t>(index) - 1];
    exe::ShardRange mine = exe::shardRange(port.shape[d], split, grid, rank);
    if (mine.count > 0 && exe::shardRange(port.shape[d], split, grid, before).start == mine.start)
      return false;
  }
  for (const exe::Axis &a : grid.axes)
    if (std::find(used.begin(), used.end(), a.name) == used.end())
      others.push_back(a.name);
  return grid.coordinate(rank, others) == 0;
}
} // namespace

PortTransfer::PortTransfer(const exe::Port &port, const exe::Grid &grid, int64_t rank)
    : start(port.shape.size(), 0), count(port.shape), whole(port.shape), local(port.shape),
      width(exe::byteWidth(port.dtype)) {
  for (size_t d = 0; d < port.layout.dims.size(); ++d) {
    exe::ShardRange r = exe::shardRange(whole[d], port.layout.dims[d], grid, rank);
    start[d] = r.start;
    count[d] = r.count;
    local[d] = r.local;
    filled |= r.count != r.local;
  }
  writer = firstHolder(port, grid, rank);
}

bool PortTransfer::direct() const { return local == whole && !filled; }

int64_t PortTransfer::piece() const {
  if (filled)
    return -1;
  int64_t offset = 0, stride = width;
  bool all = true; // the dimensions behind are whole
  for (size_t d = whole.size(); d-- > 0; stride *= whole[d]) {
    offset += start[d] * stride;
    if (!all && count[d] != 1)
      return -1;
    all &= count[d] == whole[d];
  }
  return offset;
}

int64_t PortTransfer::localBytes() const { return exe::numElements(local) * width; }

template <class Copy>
void PortTransfer::walk(size_t dim, int64_t wholeOffset, int64_t localOffset, const Copy &copy) const {
  if (dim == whole.size()) {
    copy(wholeOffset, localOffset, width);
    return;
  }
  int64_t wholeStride = width, localStride = width;
  bool contiguous = true; // the dimensions behind this one are whole: one copy
  for (size_t d = dim + 1; d < whole.size(); ++d) {
    wholeStride *= whole[d];
    localStride *= local[d];
    contiguous &= count[d] == whole[d] && local[d] == whole[d];
  }
  wholeOffset += start[dim] * wholeStride;
  if (contiguous) {
    copy(wholeOffset, localOffset, count[dim] * wholeStride);
    return;
  }
  for (int64_t i = 0; i < count[dim]; ++i)
    walk(dim + 1, wholeOffset + i * wholeStride, localOffset + i * localStride, copy);
}

void PortTransfer::toLocal(const uint8_t *from, uint8_t *to) const {
  if (filled)
    std::memset(to, 0, static_cast<size_t>(localBytes()));
  walk(0, 0, 0, [&](int64_t w, int64_t l, int64_t n) { std::memcpy(to + l, from + w, static_cast<size_t>(n)); });
}

void PortTransfer::toWhole(const uint8_t *from, uint8_t *to) const {
  walk(0, 0, 0, [&](int64_t w, int64_t l, int64_t n) { std::memcpy(to + w, from + l, static_cast<size_t>(n)); });
}

} // namespace comm::rt
