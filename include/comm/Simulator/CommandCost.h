//===- CommandCost.h - what a command costs ---------------------*- C++ -*-===//
// From a command of an executable to a question for the cost model: shapes become queries. Used by the simulator and by
// whoever predicts a compiled program. Works on any command, known or not: an unknown one counts the bytes of its
// operands.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Cost/CostModel.h"
#include "comm/Executable/Executable.h"

namespace comm::sim {

/// What a compute command does, as one of the queries of the cost model.
struct ComputeQuery {
  enum Kind { None, Gemm, Attention, Memory } kind = None; ///< None: costs nothing
  cost::GemmQuery gemm;
  cost::AttentionQuery attention;
  cost::MemoryQuery memory;
  int64_t bytes = 0; ///< read and written
};
/// `c` is no collective and no wait. Operands of `c` exist in `program`. `kernel`: the declaration of a native kernel,
/// null when there is none.
ComputeQuery computeQuery(const exe::Program &, const exe::Command &c, const exe::Kernel *kernel = nullptr);
/// Floating-point operations of one run, counted as the compiler counts those of the ops that it fuses.
int64_t kernelFlops(const exe::Kernel &);
double computeUs(const cost::CostModel &, const ComputeQuery &);
/// As CostModel::attentionUs, also for several new tokens behind a past on a GPU: measurements have long prefills and
/// single tokens. What lies between is cut out of the prefill of all tokens by its share of pairs.
double attentionUs(const cost::CostModel &, const cost::AttentionQuery &);

/// What a collective moves, and what it computes besides.
struct CollectiveCost {
  std::vector<cost::CollectiveQuery> steps; ///< one after another; none in a group of one
  cost::MemoryQuery local;                  ///< norm and residual of a fused one; the copy in a group of one
};
/// `c` issues a collective (exe::collectiveOf) on groups of `members`.
CollectiveCost collectiveCost(const exe::Program &, const exe::Command &c, int64_t members);
double collectiveUs(const cost::CostModel &, const CollectiveCost &);

/// The grid axes a collective spans; an attribute of the wrong type counts as none.
std::vector<std::string> axesOf(const exe::Command &);

} // namespace comm::sim
