//===- Search.h - the cheapest plan on one axis -----------------*- C++ -*-===//
#ifndef PASSES_PARTITION_SEARCH_H
#define PASSES_PARTITION_SEARCH_H
#include "Graph.h"

namespace mlir::comm::partition {

/// What a step costs, in microseconds. Rough on purpose: it ranks plans.
struct CostModel {
  double latencyUs = 5;      ///< of one message
  double bytesPerUs = 5000;  ///< one link
  double flopsPerUs = 50000; ///< one rank
  double memoryBytesPerUs = 10000;

  double collective(ReshardStep::Kind kind, double wholeBytes, int64_t ranks) const;
  /// From one state to another of a value of `wholeBytes` (on this axis).
  double convert(AxisState from, AxisState to, double wholeBytes, int64_t ranks) const;
};

struct SearchOptions {
  CostModel cost;
  unsigned beam = 64;
  bool sequenceParallel = false; ///< on tensor axes: norms and residual sums by tokens
};

/// Why an op was given its choice.
struct Decision {
  AxisChoice choice;
  double costUs = 0;      ///< of the op and the conversions it asks for
  double runnerUpUs = -1; ///< best plan with another choice so far minus the plan chosen; < 0: dearer later or none
  bool hadAlternative = false;
  bool runnerUpBreaksRole = false; ///< it would start or undo a split where the axis has others follow
  std::string runnerUp;            ///< in words
  std::string note;                ///< what was given up, empty mostly
};

/// Chooses on `axis` for all ops (appends to OpInfo::choices) and updates ValueInfo::layout. One decision per op.
std::vector<Decision> searchAxis(Graph &graph, unsigned axis, const SearchOptions &options);

/// "columns", "rows", "heads", ...: what a factor is in the words of a model.
std::string describeChoice(const Graph &graph, const OpInfo &op, const AxisChoice &choice);

/// An op with a weight that the ranks may share out: number of that operand, else -1.
int weightOperand(const Graph &graph, const OpInfo &op);
} // namespace mlir::comm::partition
#endif
