//===- RowChain.h - steps that run block of rows by block of rows -*- C++ -*-===//
// A product, its bias, its activation and the next product work on the same rows: a block of rows goes through all of
// them while it lies in the cache, and threads meet once instead of after each step.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace comm::rt {
class TilePlan;
struct Box;

/// Bytes of one operand. Equal spaces overlap where their ranges do.
struct OperandRange {
  int64_t space = -1; ///< the arena, an input, an output; negative: never written
  int64_t begin = 0, bytes = 0;
};

/// A step as a chain sees it.
struct ChainStep {
  /// Parts of equal size that can be computed by themselves, in the order in which they lie in every result; every part
  /// a number of whole rows. 0: the step cannot be cut.
  int64_t rows = 0;
  int64_t productRows = 0; ///< of a product with a packed weight; else 0
  std::vector<OperandRange> inputs, outputs;
  /// When the step runs in `units` parts, each reads of input `i` only the part of the same number.
  std::function<bool(size_t i, int64_t units)> readsOwnPart;
};

/// Whether steps [first, last] of a chain compute what they do one after the other, as far as step `last` is concerned:
/// parts of different numbers run in any order, parts of one number in the order of the steps. `units` is the number of
/// parts that a step is cut in.
bool partsAreApart(const std::vector<ChainStep> &, size_t first, size_t last,
                   const std::function<int64_t(const ChainStep &)> &units);

/// Steps [first, first + count), each in `units` parts, which are dealt out in `blocks` contiguous runs.
struct RowChain {
  size_t first = 0, count = 0;
  int64_t units = 0, blocks = 0;
  int64_t begin(int64_t block) const { return units * block / blocks; }
};

/// Longest chains from the front. A chain has two steps or more and a product of more than `rowsPerBlock` rows, and as
/// many blocks as occupy `threads` threads evenly; no step of it writes what another part of it still reads.
std::vector<RowChain> findRowChains(const std::vector<ChainStep> &, int64_t threads, int64_t rowsPerBlock = 168);

/// The dependences of a declared kernel, for the native code that computes it.
class KernelParts {
public:
  explicit KernelParts(const exe::Kernel &);
  ~KernelParts();
  /// Whether `iterations` of the native code cut every result in equal contiguous parts.
  bool cutsResults(int64_t iterations) const;
  /// As ChainStep::readsOwnPart.
  bool readsOwnPart(size_t input, int64_t units) const;
  /// The size of the last dimension that all results have, and how many rows of it each has; 0: they differ.
  int64_t columns() const;
  int64_t rowsOfColumns() const;
  /// Whether a range of columns of the results needs of this input just these columns.
  bool readsOwnColumns(size_t input) const;

private:
  bool readsOwnBox(size_t input, const std::function<bool(const exe::Shape &, Box &)> &part) const;

  std::unique_ptr<TilePlan> plan; ///< null: nothing is known
  mutable std::map<std::pair<size_t, int64_t>, bool> known;
};

} // namespace comm::rt
