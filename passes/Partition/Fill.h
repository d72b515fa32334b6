//===- Fill.h - what lies behind the end of an uneven shard -----*- C++ -*-===//
#ifndef PASSES_PARTITION_FILL_H
#define PASSES_PARTITION_FILL_H
#include "Graph.h"

namespace mlir::comm::partition {
/// An op that would let the fill of an uneven split reach a result.
struct UnsafeFill {
  unsigned op;   ///< in Graph::ops
  unsigned axis; ///< whose choice brings the fill in
  std::string why;
};
/// Follows what the elements behind the end of uneven shards become (zero where a tensor is cut, then whatever the ops
/// make of it) under the choices of all axes, and lists the sums that would take in something else than zeros and the
/// lookups that would take it as an index.
SmallVector<UnsafeFill> findUnsafeFill(const Graph &graph);
} // namespace mlir::comm::partition
#endif
