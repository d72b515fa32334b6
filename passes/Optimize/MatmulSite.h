//===- MatmulSite.h - a collective and the products beside it ---*- C++ -*-===//
#ifndef PASSES_OPTIMIZE_MATMULSITE_H
#define PASSES_OPTIMIZE_MATMULSITE_H
#include "comm/IR/CommOps.h"

namespace mlir::comm {

/// all_reduce, all_reduce_norm or reduce_scatter of one product, or products of one all_gather.
struct MatmulSite {
  Operation *collective = nullptr;
  /// Several only behind an all_gather, in the order of the block. Op handles are not const-correct.
  mutable SmallVector<MatmulOp> products;
  int64_t ranks = 1;
  bool gathers = false;
  int64_t shardDim = -1; ///< where shards lie in the gathered or scattered value, which has the product's dimensions
  int64_t grain = 1;     ///< of the shards

  /// The value that is multiplied from the left, whole.
  Value getWhole() const { return gathers ? collective->getResult(0) : products.front()->getOperand(0); }
};

/// Fills `site`; why `collective` is none, empty when it is one.
std::string findSite(Operation *collective, MatmulSite &site);

/// Where products can be cut into rows one after the other.
struct ChunkPlace {
  int64_t dim = 0;    ///< of the result
  int64_t rows = 0;   ///< what is cut: rows, or the rows of one shard
  int64_t blocks = 1; ///< shards that are interleaved in the rows
};
/// Why the site cannot be cut into chunks of rows; empty when it can.
std::string findChunkPlace(const MatmulSite &site, ChunkPlace &place);

/// `matmul` on other rows along `dim` of its left operand.
Value multiplyRows(OpBuilder &builder, MatmulOp matmul, Value rows, int64_t dim);

} // namespace mlir::comm
#endif
