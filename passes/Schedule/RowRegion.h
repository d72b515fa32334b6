//===- RowRegion.h - ops that work on each row by itself --------*- C++ -*-===//
// Starting from a collective: what is made for it alone and everything that follows from it, as far as the entries
// along one dimension are treated independently. Such a region can be run on parts of the rows, one after the other.
//===----------------------------------------------------------------------===//
#ifndef PASSES_SCHEDULE_ROWREGION_H
#define PASSES_SCHEDULE_ROWREGION_H
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace mlir::comm {

class RowRegion {
public:
  /// Grows from `seed`, an all_reduce, all_gather, reduce_scatter or all_reduce_norm that stands in a block. Empty when
  /// its operand has no dimension of rows. Ops before the seed that are `taken` stay out.
  RowRegion(Operation *seed, const llvm::SmallPtrSetImpl<Operation *> &taken);

  bool empty() const { return ops.empty(); }
  int64_t getRows() const { return rows; }
  int64_t getTokensPerRow() const { return tokensPerRow; } ///< where the rows are the sequences of a batch
  ArrayRef<Operation *> getOps() const { return ops; }     ///< in block order
  int64_t countCollectives() const;

  /// Replaces the region by `parts` copies on parts of the rows; values that others read are put together again. The
  /// block needs a topological sort afterwards. Erases the ops.
  void split(int64_t parts);

private:
  void growBack(Operation *seed, const llvm::SmallPtrSetImpl<Operation *> &taken);
  bool join(Operation *op);
  bool joinReshape(Operation *op);
  Value part(OpBuilder &builder, Location loc, Value value, int64_t dim, int64_t start, int64_t size);
  void clonePart(OpBuilder &builder, Operation *op, int64_t start, int64_t size, DenseMap<Value, Value> &parts);

  SmallVector<Operation *> ops;
  llvm::MapVector<Value, int64_t> rowDim; ///< of each value that is cut: operand of the seed, results of the ops
  int64_t rows = 0, tokensPerRow = 1;
};

} // namespace mlir::comm
#endif
