//===- CommCollectiveOps.cpp - verifiers and costs of collectives ---------===//
#include "comm/IR/CommOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace mlir::comm;

#define GET_OP_CLASSES
#include "comm/IR/CommCollectiveOps.cpp.inc"

/// C1 of every op that names axes. Gives the grid, or null after an error.
static GridOp verifyAxes(Operation *op, SymbolTableCollection &symbols, FlatSymbolRefAttr gridName, ArrayAttr axes) {
  auto grid = symbols.lookupNearestSymbolFrom<GridOp>(op, gridName);
  if (!grid) {
    op->emitOpError("C1: there is no grid ") << gridName;
    return nullptr;
  }
  llvm::StringSet<> seen;
  for (Attribute attr : axes) {
    StringRef axis = cast<StringAttr>(attr).getValue();
    if (grid.getAxisSize(axis) == 0) {
      op->emitOpError("C1: grid ") << gridName << " has no axis \"" << axis << "\"";
      return nullptr;
    }
    if (!seen.insert(axis).second) {
      op->emitOpError("C1: axis \"") << axis << "\" is named twice";
      return nullptr;
    }
  }
  return grid;
}

/// Checks that `local` is `whole` with `dim` split over the axes.
static LogicalResult verifySplit(Operation *op, RankedTensorType whole, RankedTensorType local, int64_t dim,
                                 int64_t grain, int64_t shards) {
  if (dim < 0 || dim >= whole.getRank())
    return op->emitOpError("C2: dimension ") << dim << " is outside " << whole;
  if (grain < 1 || whole.getDimSize(dim) % grain != 0)
    return op->emitOpError("C2: grain ") << grain << " does not divide dimension " << dim << " of " << whole;
  SmallVector<int64_t> shape(whole.getShape());
  shape[dim] = getLocalSize(shape[dim], grain, shards);
  if (local.getShape() != ArrayRef<int64_t>(shape) || local.getElementType() != whole.getElementType())
    return op->emitOpError("C3: expected one shard of ") << whole << " to be [" << shape << "], got " << local;
  return success();
}

LogicalResult AllReduceOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (!verifyAxes(*this, symbols, getGridAttr(), getAxes()))
    return failure();
  if (getType().getElementType().isInteger(1))
    return emitOpError("C2: bool cannot be reduced; convert it first");
  return success();
}
LogicalResult ReduceScatterOp::verifySymbolUses(SymbolTableCollection &symbols) {
  GridOp grid = verifyAxes(*this, symbols, getGridAttr(), getAxes());
  return grid ? verifySplit(*this, getInput().getType(), getType(), getDim(), getGrain(), grid.getNumShards(getAxes()))
              : failure();
}
LogicalResult AllGatherOp::verifySymbolUses(SymbolTableCollection &symbols) {
  GridOp grid = verifyAxes(*this, symbols, getGridAttr(), getAxes());
  return grid ? verifySplit(*this, getType(), getInput().getType(), getDim(), getGrain(), grid.getNumShards(getAxes()))
              : failure();
}
LogicalResult ShardSliceOp::verifySymbolUses(SymbolTableCollection &symbols) {
  GridOp grid = verifyAxes(*this, symbols, getGridAttr(), getAxes());
  return grid ? verifySplit(*this, getInput().getType(), getType(), getDim(), getGrain(), grid.getNumShards(getAxes()))
              : failure();
}
LogicalResult PermuteOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return success(verifyAxes(*this, symbols, getGridAttr(), getAxes()) != nullptr);
}
LogicalResult RankMaskOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return success(verifyAxes(*this, symbols, getGridAttr(), getAxes()) != nullptr);
}

LogicalResult AllToAllOp::verifySymbolUses(SymbolTableCollection &symbols) {
  GridOp grid = verifyAxes(*this, symbols, getGridAttr(), getAxes());
  if (!grid)
    return failure();
  RankedTensorType before = getInput().getType(), after = getType();
  int64_t split = getSplitDim(), concat = getConcatDim(), rank = before.getRank();
  if (split == concat || split < 0 || concat < 0 || split >= rank || concat >= rank || after.getRank() != rank)
    return emitOpError("C2: split ") << split << " and concat " << concat << " must be two dimensions of " << before;
  SmallVector<int64_t> whole(before.getShape());
  whole[concat] = after.getDimSize(concat);
  auto wholeType = RankedTensorType::get(whole, before.getElementType());
  int64_t shards = grid.getNumShards(getAxes());
  if (failed(verifySplit(*this, wholeType, before, concat, getConcatGrain(), shards)))
    return failure();
  return verifySplit(*this, wholeType, after, split, getSplitGrain(), shards);
}

/// C2 and C3 of the fused norms.
template <typename Op> static LogicalResult verifyNorm(Op op) {
  RankedTensorType input = op.getInput().getType();
  for (Value param : {op.getWeight(), op.getBias(), op.getNormBias()}) {
    if (!param)
      continue;
    auto type = cast<RankedTensorType>(param.getType());
    if (input.getRank() < 1 || type.getRank() != 1 || type.getDimSize(0) != input.getShape().back() ||
        type.getElementType() != input.getElementType())
      return op.emitOpError("C2: expected a vector of the last dimension of ") << input << ", got " << type;
  }
  if (op.getNormBias() && !op.getLayerNorm())
    return op.emitOpError("C3: norm_bias needs layer_norm");
  return success();
}

LogicalResult AllReduceNormOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return success(verifyAxes(*this, symbols, getGridAttr(), getAxes()) && succeeded(verifyNorm(*this)));
}

LogicalResult ScatterNormGatherOp::verifySymbolUses(SymbolTableCollection &symbols) {
  GridOp grid = verifyAxes(*this, symbols, getGridAttr(), getAxes());
  if (!grid || failed(verifyNorm(*this)))
    return failure();
  int64_t ranks = grid.getNumShards(getAxes()), rows = getNumRows();
  if (getInput().getType().getRank() < 2)
    return emitOpError("C4: expected rows, got ") << getInput().getType();
  if (rows < ranks)
    return emitOpError("C4: ") << rows << " rows cannot be shared out to " << ranks << " ranks";
  RankedTensorType input = getInput().getType(), residual = getResidual().getType();
  int64_t shape[] = {getLocalSize(rows, 1, ranks), input.getShape().back()};
  if (residual.getShape() != ArrayRef<int64_t>(shape) || residual.getElementType() != input.getElementType())
    return emitOpError("C5: expected the rows of one rank, [")
           << shape << "] of the input's elements, got " << residual;
  return success();
}

//===----------------------------------------------------------------------===//
// Speculation and cost
//===----------------------------------------------------------------------===//

static int64_t shardsOf(Operation *op, FlatSymbolRefAttr gridName, ArrayAttr axes) {
  auto grid = SymbolTable::lookupNearestSymbolFrom<GridOp>(op, gridName);
  return grid ? grid.getNumShards(axes) : 1;
}

// Not speculatable: a collective under a branch that only some ranks take is a deadlock.
#define COMM_COLLECTIVE(Op, BYTES)                                                                                     \
  Speculation::Speculatability Op::getSpeculatability() { return Speculation::NotSpeculatable; }                       \
  int64_t Op::getBytesSent() {                                                                                         \
    int64_t n = shardsOf(*this, getGridAttr(), getAxes());                                                             \
    int64_t bytes = getTensorBytes(getInput().getType());                                                              \
    return BYTES;                                                                                                      \
  }
COMM_COLLECTIVE(AllReduceOp, 2 * (n - 1) * bytes / n)
COMM_COLLECTIVE(AllReduceNormOp, 2 * (n - 1) * bytes / n)
COMM_COLLECTIVE(ScatterNormGatherOp, 2 * (n - 1) * bytes / n)
COMM_COLLECTIVE(ReduceScatterOp, (n - 1) * bytes / n)
COMM_COLLECTIVE(AllGatherOp, (n - 1) * bytes)
COMM_COLLECTIVE(AllToAllOp, (n - 1) * bytes / n)
COMM_COLLECTIVE(PermuteOp, n > 1 && static_cast<int64_t>(getShift()) % n != 0 ? bytes : 0)
