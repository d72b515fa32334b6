//===- RingMatmuls.h - products and collectives in ring order ---*- C++ -*-===//
// Step k multiplies the shard that came from the next rank while the one after it is on its way (all_gather), or adds
// the product of one shard to the sum that came from there (reduce_scatter). Every rank begins elsewhere on the ring.
//===----------------------------------------------------------------------===//
#ifndef PASSES_OPTIMIZE_RINGMATMULS_H
#define PASSES_OPTIMIZE_RINGMATMULS_H
#include "passes/Optimize/ChunkChoice.h"
#include "passes/Optimize/MatmulSite.h"

namespace mlir::comm {
class OpTimes;

/// Why the site has no ring order; empty when it has one.
std::string whyNoRing(const MatmulSite &site);
/// Rows of one step, fill included.
int64_t ringRows(const MatmulSite &site);
/// Predicted microseconds of all steps, one after the other where they need each other.
double predictRingUs(const OpTimes &times, const MatmulSite &site);
/// Replaces the site. A sum of n products is taken in the order of the ring, which begins behind the rank that gets it.
void runRing(const MatmulSite &site, OpBuilder &builder);

} // namespace mlir::comm
#endif
