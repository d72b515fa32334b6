//===- Candidates.h - choices of an op with their states and cost -*- C++ -*-===//
#ifndef PASSES_PARTITION_CANDIDATES_H
#define PASSES_PARTITION_CANDIDATES_H
#include "Search.h"

namespace mlir::comm::partition {
struct Candidate {
  AxisChoice choice;
  SmallVector<AxisState, 4> need; ///< per operand
  SmallVector<AxisState, 2> made; ///< per result
  double costUs;                  ///< of the op alone
  OpLayouts layouts;
  bool follows; ///< only when an operand is split already, and without scattering a partial sum
  /// Not when one of these operands is at hand split like this only: another candidate takes it as it is.
  SmallVector<std::pair<unsigned, AxisState>, 2> avoid;
};
struct CandidateSet {
  SmallVector<Candidate, 4> candidates; ///< never empty
  std::string note;
};
/// `lifted`: the user laid out values on this axis, so the role does not restrict what follows from them.
CandidateSet candidatesFor(const Graph &graph, const OpInfo &op, unsigned axis, const SearchOptions &options,
                           bool lifted);
} // namespace mlir::comm::partition
#endif
