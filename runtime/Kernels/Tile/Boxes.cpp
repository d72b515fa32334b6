//===- Boxes.cpp ----------------------------------------------------------===//
#include "runtime/Kernels/Tile/Boxes.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {
namespace {
const uint8_t *at(const void *base, int64_t bytes) { return static_cast<const uint8_t *>(base) + bytes; }
uint8_t *at(void *base, int64_t bytes) { return static_cast<uint8_t *>(base) + bytes; }

/// Neighbouring dimensions of the same kind as one; those of one element are left out.
struct Merged {
  std::vector<int64_t> sizes;
  std::vector<bool> marked;
  Merged(const Box &box, const std::vector<int64_t> &marks) {
    for (size_t d = 0; d < box.rank; ++d) {
      bool mark = std::binary_search(marks.begin(), marks.end(), static_cast<int64_t>(d));
      if (box.size[d] == 1)
        continue;
      if (!sizes.empty() && marked.back() == mark) {
        sizes.back() *= box.size[d];
        continue;
      }
      sizes.push_back(box.size[d]);
      marked.push_back(mark);
    }
  }
  /// Elements of dimensions from `level` on; `kept`: of those that are not marked only.
  int64_t elements(size_t level, bool kept) const {
    int64_t n = 1;
    for (size_t d = level; d < sizes.size(); ++d)
      n *= kept && marked[d] ? 1 : sizes[d];
    return n;
  }
};

void fill(uint8_t *y, const uint8_t *x, int64_t count, int64_t width) {
  if (width == 4) {
    uint32_t value;
    std::memcpy(&value, x, 4);
    std::fill_n(reinterpret_cast<uint32_t *>(y), count, value);
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(y + i * width, x, static_cast<size_t>(width));
}

void repeat(const Merged &m, size_t level, const uint8_t *x, uint8_t *y, int64_t width) {
  if (level == m.sizes.size()) {
    std::memcpy(y, x, static_cast<size_t>(width));
    return;
  }
  int64_t size = m.sizes[level];
  bool last = level + 1 == m.sizes.size();
  if (last && m.marked[level])
    return fill(y, x, size, width);
  if (last) {
    std::memcpy(y, x, static_cast<size_t>(size * width));
    return;
  }
  int64_t stepY = m.elements(level + 1, false) * width,
          stepX = m.marked[level] ? 0 : m.elements(level + 1, true) * width;
  for (int64_t i = 0; i < size; ++i)
    repeat(m, level + 1, x + i * stepX, y + i * stepY, width);
}

/// y takes in n values: halves are folded onto each other, so that a loop has something to do.
void foldRun(const uint8_t *x, uint8_t *y, int64_t n, TileLoop combine, int64_t width) {
  constexpr int64_t lanes = 64;
  alignas(64) uint8_t lane[lanes * 8];
  int64_t wide = std::min(n, lanes);
  std::memcpy(lane, x, static_cast<size_t>(wide * width));
  auto take = [&](void *into, const void *from, int64_t count) {
    const void *ins[] = {into, from};
    combine(ins, into, count);
  };
  for (int64_t i = wide; i < n; i += lanes)
    take(lane, x + i * width, std::min(lanes, n - i));
  while (wide > 1) {
    int64_t upper = wide / 2, lower = wide - upper;
    take(lane, lane + lower * width, upper);
    wide = lower;
  }
  take(y, lane, 1);
}

void fold(const Merged &m, size_t level, const uint8_t *x, uint8_t *y, TileLoop combine, int64_t width) {
  if (level == m.sizes.size() || level + 1 == m.sizes.size()) {
    int64_t size = level == m.sizes.size() ? 1 : m.sizes[level];
    if (level < m.sizes.size() && m.marked[level])
      return foldRun(x, y, size, combine, width);
    const void *ins[] = {y, x};
    combine(ins, y, size);
    return;
  }
  int64_t stepX = m.elements(level + 1, false) * width,
          stepY = m.marked[level] ? 0 : m.elements(level + 1, true) * width;
  for (int64_t i = 0; i < m.sizes[level]; ++i)
    fold(m, level + 1, x + i * stepX, y + i * stepY, combine, width);
}
} // namespace

void Box::cover(const Box &other, bool isEmpty) {
  if (isEmpty) {
    *this = other;
    return;
  }
  for (size_t d = 0; d < rank; ++d) {
    int64_t end = std::max(begin[d] + size[d], other.begin[d] + other.size[d]);
    begin[d] = std::min(begin[d], other.begin[d]);
    size[d] = end - begin[d];
  }
}

Box wholeBox(const exe::Shape &shape) {
  Box box;
  box.rank = shape.size();
  std::copy(shape.begin(), shape.end(), box.size.begin());
  return box;
}

BoxLayout layoutIn(const Box &box, const Box &container) {
  BoxLayout out;
  int64_t stride = 1;
  std::array<int64_t, Box::maxRank> sizes{}, strides{};
  size_t count = 0; // from the last dimension on
  for (size_t d = box.rank; d-- > 0;) {
    out.offset += (box.begin[d] - container.begin[d]) * stride;
    if (box.size[d] != 1) {
      if (count > 0 && stride == strides[count - 1] * sizes[count - 1]) {
        sizes[count - 1] *= box.size[d];
      } else {
        // The last run begins at stride 1; when it does not, single elements are copied.
        if (count == 0 && stride != 1) {
          sizes[count] = strides[count] = 1;
          ++count;
        }
        sizes[count] = box.size[d];
        strides[count] = stride;
        ++count;
      }
    }
    stride *= container.size[d];
  }
  out.rank = count;
  for (size_t i = 0; i < count; ++i) {
    out.size[i] = sizes[count - 1 - i];
    out.stride[i] = strides[count - 1 - i];
  }
  return out;
}

void repeatBox(const void *x, void *y, const Box &yBox, const std::vector<int64_t> &repeated, int64_t width) {
  if (yBox.elements() > 0)
    repeat(Merged(yBox, repeated), 0, at(x, 0), at(y, 0), width);
}

void foldBox(const void *x, void *y, const Box &xBox, const std::vector<int64_t> &folded, TileLoop combine,
             int64_t width) {
  if (xBox.elements() > 0)
    fold(Merged(xBox, folded), 0, at(x, 0), at(y, 0), combine, width);
}

} // namespace comm::rt
