//===- OverlapGraph.h - a function as an overlap problem --------*- C++ -*-===//
// One block of form `local` or `async` in the plain terms of the scheduler: what one loop nest will compute is one op,
// values have the bytes that they take in the arena.
//===----------------------------------------------------------------------===//
#ifndef COMM_ANALYSIS_OVERLAPGRAPH_H
#define COMM_ANALYSIS_OVERLAPGRAPH_H
#include "comm/Analysis/OpTimes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::comm {

// Attributes that the schedule leaves.
inline constexpr llvm::StringLiteral kLinkAttr =
    "comm.link"; ///< on a start: what carries the collective, "scale_up", "scale_out" or "copy_engine"
inline constexpr llvm::StringLiteral kPlanAttr = "comm.plan"; ///< on an entry: the plan that it runs
inline constexpr llvm::StringLiteral kGateAttr =
    "comm.gate"; ///< on an entry: why no other plan was taken, when others were considered
inline constexpr llvm::StringLiteral kPredictedAttr =
    "comm.predicted"; ///< on an entry: dictionary of what is predicted of one run, in microseconds

struct OverlapGraphOptions {
  int64_t memoryLimit = 0;       ///< bytes of one rank, weights, inputs and outputs included; 0: none
  int32_t maxInFlight = 0;       ///< 0: no limit
  bool keepComputeOrder = false; ///< compute ops stay in program order
};

struct OverlapGraph {
  ::comm::solver::OverlapProblem problem;
  /// Per op of the problem: the ops of a loop nest in block order, one compute op, or a collective: its start and wait,
  /// or itself when it is synchronous.
  std::vector<SmallVector<Operation *>> members;
  std::vector<bool> memoryBound; ///< per op of the problem: compute that little can be hidden behind
  int64_t fixedBytes = 0;        ///< HeldBytes::total: not the scheduler's to place

  Operation *collectiveOf(int32_t op) const; ///< the collective itself; null for compute
  std::string siteOf(int32_t op) const;      ///< as remarks name it
  /// The order in which the block has its ops now.
  std::vector<::comm::solver::Step> blockOrder() const;
  /// Puts the block into this order. Views and constants stand before their first user.
  void apply(ArrayRef<::comm::solver::Step> order, Block &block) const;
};

OverlapGraph buildOverlapGraph(func::FuncOp function, const OpTimes &times, const OverlapGraphOptions &options);

} // namespace mlir::comm
#endif
