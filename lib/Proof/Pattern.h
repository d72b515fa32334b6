//===- Pattern.h - which bytes a strided write touches (private) *- C++ -*-===//
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

namespace comm::proof {

/// Runs of `run` bytes: one at base + sum of i_d * stride_d for every index i with 0 <= i_d < count_d. Strides fall.
struct Pattern {
  int64_t base = 0, run = 0;
  std::vector<std::pair<int64_t, int64_t>> dims; ///< count, stride in bytes
  bool dense() const { return dims.empty(); }
  int64_t end() const;
  bool operator==(const Pattern &o) const { return base == o.base && run == o.run && dims == o.dims; }
};

/// In normal form: no dimension of one, neighbours joined where they leave no gap. Sizes and strides in bytes; a count
/// of zero gives an empty run.
Pattern makePattern(int64_t base, int64_t width, std::vector<std::pair<int64_t, int64_t>> dims);

/// True when the patterns together touch every byte of [begin, end). Takes the steps it needs from `budget`; false too
/// when that is used up.
bool covers(std::vector<Pattern> patterns, int64_t begin, int64_t end, int64_t &budget);

} // namespace comm::proof
