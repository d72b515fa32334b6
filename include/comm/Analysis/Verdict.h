//===- Verdict.h - what became of every collective --------------*- C++ -*-===//
// Each collective gets one verdict: hidden, partly hidden, or exposed with one reason from this list and no other.
//===----------------------------------------------------------------------===//
#ifndef COMM_ANALYSIS_VERDICT_H
#define COMM_ANALYSIS_VERDICT_H
#include "comm/Analysis/OverlapGraph.h"

namespace mlir::comm {

/// Why a collective, or what is left of it, is exposed. docs/reference/explain.md explains each.
enum class Reason {
  Hidden,      ///< compute hardly stands still for it, and at least half of its time is saved
  Dependence,  ///< all other work needs its result or is needed by it
  MemoryLimit, ///< without the limit more of it would be hidden
  InFlight,    ///< without the limit on collectives under way more of it would be hidden
  Gate,        ///< another plan would hide it, but takes longer than the one that is taken
  TooSmall,    ///< less time than handing it over costs
  MemoryBound, ///< what runs meanwhile needs the memory itself: little is gained beside it
  SharedCore,  ///< the collective takes the core that would compute meanwhile
  Order,       ///< the independent work there is hides other collectives, or stands elsewhere in the best order
  Off,         ///< by request
  Nothing      ///< it moves nothing: a group of one rank
};
/// Name in texts: "dependence", "memory limit", ...
llvm::StringRef getReasonName(Reason reason);
/// All reasons, in the order of the list.
llvm::ArrayRef<Reason> getReasons();

struct Verdict {
  int32_t op = 0; ///< of the problem
  Reason reason = Reason::Dependence;
  double us = 0, hiddenUs = 0;
  SmallVector<int32_t> behind; ///< compute ops that hide it, in order
  std::string note;            ///< numbers behind the reason; may be empty
};

/// Verdicts in the order of the collectives. `unlimited`: times of the same problem scheduled without limits, where
/// there are limits, else null. `gate`: why no other plan was taken, empty when none was considered.
SmallVector<Verdict> judge(const OverlapGraph &graph, const ::comm::solver::OverlapTimes &times,
                           const ::comm::solver::OverlapTimes *unlimited, const OpTimes &opTimes, llvm::StringRef gate);

/// "all_reduce#7 4.0 MiB f32 over tp: hidden behind 3 ops from A to B, 88.0 of 96.0 us (92 %)".
std::string print(const Verdict &verdict, const OverlapGraph &graph, int64_t order);

} // namespace mlir::comm
#endif
