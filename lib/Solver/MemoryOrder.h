//===- MemoryOrder.h - orders that need little memory -----------*- C++ -*-===//
// All functions complete a program that has been taken part of the way. A collective is awaited at once: nothing else
// needs less memory, so an order within a limit exists only if one of this form does.
//===----------------------------------------------------------------------===//
#pragma once
#include "lib/Solver/Simulation.h"

namespace comm::solver {

/// How far a program has come.
struct Progress {
  explicit Progress(const Graph &graph) : memory(graph), missing(graph.numNeeds), taken(graph.numNeeds.size(), false) {}
  Progress(const Memory &memory, const std::vector<int32_t> &missing, const std::vector<bool> &taken)
      : memory(memory), missing(missing), taken(taken) {}
  /// Bytes while the step runs.
  int64_t take(const Graph &graph, int32_t step);

  Memory memory;
  std::vector<int32_t> missing; ///< by step: what it still needs
  std::vector<bool> taken;
};

/// Of all ready steps the one after which least is alive. Appends to `order`; false as soon as a limit is exceeded when
/// `limited`. `work` counts the steps tried.
bool completeFrugally(const Graph &, Progress, bool limited, std::vector<int32_t> &order, int64_t &work);

struct MemorySearch {
  enum Kind {
    Stretches, ///< best first; settles on a stretch that gave back what it took: quick, good on layers
    Beam,      ///< the best sets of each size: good where stretches are long
    Exact      ///< best first without settling: the smallest peak, where `width` sets are enough
  } kind = Stretches;
  int64_t enough = 0;     ///< orders up to so many bytes are equally good; 0: the smallest peak is looked for
  bool mustFit = false;   ///< give up as soon as nothing within `enough` is left to try
  int64_t width = 512;    ///< sets looked at before the best is settled on; Beam: sets of each size
  int64_t work = 1000000; ///< steps tried before it becomes greedy
};
/// Searches over sets of steps taken. Appends to `order`; the most bytes on the way, or -1 when it gave up. `work` is
/// raised by the steps tried.
int64_t completeSparingly(const Graph &, Progress, const MemorySearch &, std::vector<int32_t> &order, int64_t &work);

} // namespace comm::solver
