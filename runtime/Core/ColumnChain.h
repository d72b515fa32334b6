//===- ColumnChain.h - steps that run range of columns by range of columns -*- C++ -*-===//
// A product of few rows is dealt out by columns. What follows it (bias, activation, residual) goes over a thread's own
// columns at once, while they lie in its cache, and so do further products of the same input: threads meet when all of
// that is done.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Core/RowChain.h"

namespace comm::rt {

/// Steps [first, first + count), each in `blocks` ranges of columns that begin at multiples of `step`.
struct ColumnChain {
  size_t first = 0, count = 0;
  int64_t step = 1, blocks = 1;
  /// Where block `block` of a step with so many columns begins.
  int64_t begin(int64_t columns, int64_t block) const {
    int64_t chunks = (columns + step - 1) / step;
    return std::min(columns, chunks * block / blocks * step);
  }
};

/// A step as a chain of columns sees it: `rows` of the parts are columns, `productRows` only says that it is a product.
struct ColumnStep : ChainStep {
  int64_t step = 1; ///< its ranges begin at multiples of it
};

/// Longest chains from the front: two steps or more with a product among them, every step with work for all threads.
std::vector<ColumnChain> findColumnChains(const std::vector<ColumnStep> &, int64_t threads);

} // namespace comm::rt
