//===- OpTimes.h - predicted time of every op on a topology -----*- C++ -*-===//
// The bridge between IR and the cost model: what to ask for an op, and what the answer means beside a collective.
//===----------------------------------------------------------------------===//
#ifndef COMM_ANALYSIS_OPTIMES_H
#define COMM_ANALYSIS_OPTIMES_H
#include "comm/Cost/CostModel.h"
#include "comm/IR/CommOps.h"
#include "comm/Solver/OverlapProblem.h"

namespace mlir::comm {

/// Where predictions come from, as options carry it. An empty topology is "cpu".
struct CostOptions {
  std::string topology; ///< preset name or file
  std::string link;     ///< "1Gbit,50us": every rank behind such a link; empty: the topology's
  std::string tuning;   ///< tuning file; empty: none
};
/// The model of these options; null and one sentence in `error` when one of them is wrong.
std::shared_ptr<const ::comm::cost::CostModel> loadCostModel(const CostOptions &options, std::string &error);
/// The same for a pass: the sentence becomes an error at `op`.
std::shared_ptr<const ::comm::cost::CostModel> loadCostModel(Operation *op, const CostOptions &options);

/// Ops without work of their own: weights, constants, empty tensors, and views of what is there already.
bool isFreeOp(Operation *op);
/// Elementwise ops, norms, softmax and row reductions: what one loop nest computes together with its neighbours.
bool isFusible(Operation *op);

class OpTimes {
public:
  OpTimes(std::shared_ptr<const ::comm::cost::CostModel> model, GridOp grid) : model(std::move(model)), grid(grid) {}

  const ::comm::cost::CostModel &getModel() const { return *model; }
  /// Microseconds of a compute op alone; of a fusible one what it adds to a loop nest, see `ofLoop`.
  double of(Operation *op) const;
  /// One loop nest over `ops` that reads and writes `bytes`.
  double ofLoop(ArrayRef<Operation *> ops, int64_t bytes) const;
  /// Bytes that an op reads and writes.
  static int64_t bytesOf(Operation *op);

  /// Microseconds of a collective, the adds and norm of a fused one included.
  double ofCollective(Operation *collective) const;
  ::comm::cost::CollectiveQuery query(Operation *collective) const;
  static ::comm::cost::GemmQuery query(MatmulOp op);
  /// Link of a collective: between nodes when its group spans several; the copy engine where one can move it.
  ::comm::solver::Resource resourceOf(Operation *collective) const;

private:
  std::shared_ptr<const ::comm::cost::CostModel> model;
  mutable GridOp grid; ///< op handles are not const-correct
};

} // namespace mlir::comm
#endif
