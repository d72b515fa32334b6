//===- Boxes.h - parts of tensors -------------------------------*- C++ -*-===//
// A box is a range of indices in every dimension. Copies between a box and contiguous memory, repeats and folds of it.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Kernels/Tile/TileLoops.h"
#include <array>

namespace comm::rt {

struct Box {
  static constexpr size_t maxRank = 8;
  size_t rank = 0;
  std::array<int64_t, maxRank> begin{}, size{};

  int64_t elements() const {
    int64_t n = 1;
    for (size_t d = 0; d < rank; ++d)
      n *= size[d];
    return n;
  }
  bool operator==(const Box &other) const {
    for (size_t d = 0; d < rank; ++d)
      if (begin[d] != other.begin[d] || size[d] != other.size[d])
        return false;
    return rank == other.rank;
  }
  /// The smallest box around this one, which may be empty (rank 0, no element asked for yet), and `other`.
  void cover(const Box &other, bool isEmpty);
};

/// Box of a whole tensor.
Box wholeBox(const exe::Shape &shape);

/// How a box lies in the memory of a larger one that is contiguous: runs of elements at strides. Dimensions that are
/// contiguous together are one.
struct BoxLayout {
  int64_t offset = 0; ///< of the first element
  size_t rank = 0;
  std::array<int64_t, Box::maxRank> size{}, stride{}; ///< in elements; the last stride is 1
  bool contiguous() const { return rank <= 1; }
};
BoxLayout layoutIn(const Box &box, const Box &container);

/// Calls run(source offset, length, running number of the elements before) for every contiguous run.
template <class Run> void forRuns(const BoxLayout &layout, Run run) {
  for (size_t d = 0; d < layout.rank; ++d)
    if (layout.size[d] == 0)
      return;
  int64_t length = layout.rank == 0 ? 1 : layout.size[layout.rank - 1], done = 0;
  size_t outer = layout.rank == 0 ? 0 : layout.rank - 1;
  std::array<int64_t, Box::maxRank> at{};
  int64_t offset = layout.offset;
  for (;;) {
    run(offset, length, done);
    done += length;
    size_t d = outer;
    while (d > 0) {
      --d;
      offset += layout.stride[d];
      if (++at[d] < layout.size[d])
        break;
      offset -= at[d] * layout.stride[d];
      at[d] = 0;
      if (d == 0)
        return;
    }
    if (outer == 0)
      return;
  }
}

/// y repeats x along the dimensions `repeated` of y; both contiguous, `width` bytes per element.
void repeatBox(const void *x, void *y, const Box &yBox, const std::vector<int64_t> &repeated, int64_t width);

/// y, which holds the first value of the fold, takes in x along the dimensions `folded` of x.
void foldBox(const void *x, void *y, const Box &xBox, const std::vector<int64_t> &folded, TileLoop combine,
             int64_t width);

} // namespace comm::rt
