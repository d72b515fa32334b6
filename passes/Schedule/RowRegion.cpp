//===- RowRegion.cpp - ops that work on each row by itself ----------------===//
#include "passes/Schedule/RowRegion.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace mlir::comm;

namespace {
RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

RankedTensorType withSize(RankedTensorType type, int64_t dim, int64_t size) {
  SmallVector<int64_t> shape(type.getShape());
  shape[dim] = size;
  return RankedTensorType::get(shape, type.getElementType());
}

/// Dimension of the result of a collective that mixes its entries; -1 for none.
int64_t mixedDim(Operation *op) {
  if (auto gather = dyn_cast<AllGatherOp>(op))
    return gather.getDim();
  if (auto scatter = dyn_cast<ReduceScatterOp>(op))
    return scatter.getDim();
  return -1;
}

/// Every operand has the shape of the one result.
bool isElementwise(Operation *op) {
  if (!isa<GeluOp, SiluOp>(op) && (!op->hasTrait<OpTrait::Elementwise>() || op->getNumRegions() > 0))
    return false;
  auto shapeOf = [](Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    return type ? type.getShape() : ArrayRef<int64_t>();
  };
  return op->getNumResults() == 1 && isa<RankedTensorType>(op->getResult(0).getType()) &&
         llvm::all_of(op->getOperands(), [&](Value value) {
           return isa<RankedTensorType>(value.getType()) && shapeOf(value) == shapeOf(op->getResult(0));
         });
}
} // namespace

RowRegion::RowRegion(Operation *seed, const llvm::SmallPtrSetImpl<Operation *> &taken) {
  RankedTensorType type = typeOf(seed->getOperand(0));
  int64_t dim = 0;
  while (dim + 1 < type.getRank() && (type.getDimSize(dim) == 1 || dim == mixedDim(seed)))
    ++dim;
  if (dim + 1 >= type.getRank())
    return;
  rows = type.getDimSize(dim);
  for (int64_t size : type.getShape().slice(dim + 1).drop_back())
    tokensPerRow *= size;
  rowDim[seed->getOperand(0)] = dim;
  if (!join(seed)) {
    rowDim.clear();
    return;
  }
  growBack(seed, taken);
  // In block order; what depends on the seed other than through the region cannot be an operand of it.
  llvm::SmallPtrSet<Operation *, 32> dependent(ops.begin(), ops.end());
  for (Operation *op = seed->getNextNode(); op && !op->hasTrait<OpTrait::IsTerminator>(); op = op->getNextNode()) {
    bool depends = false, outside = false;
    op->walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        if (Operation *def = operand.getDefiningOp(); def && dependent.contains(def)) {
          depends = true;
          outside |= !rowDim.count(operand);
        }
    });
    if (!depends)
      continue;
    dependent.insert(op);
    if (!outside)
      join(op);
  }
}

/// Adds the products and what is computed element by element before the seed, when nobody else reads it: the collective
/// of one part then runs while the next part is computed.
void RowRegion::growBack(Operation *seed, const llvm::SmallPtrSetImpl<Operation *> &taken) {
  llvm::SmallPtrSet<Operation *, 16> inside{seed};
  // The dimension of rows that a reader in the region asks for; -1 when it is no such reader.
  auto wantedBy = [&](OpOperand &use) -> int64_t {
    Operation *user = use.getOwner();
    if (!inside.contains(user))
      return -1;
    if (isElementwise(user))
      return rowDim.lookup(user->getResult(0));
    return use.getOperandNumber() == 0 ? rowDim.lookup(use.get()) : -1;
  };
  for (Operation *op = seed->getPrevNode(); op; op = op->getPrevNode()) {
    auto matmul = dyn_cast<MatmulOp>(op);
    if (op->use_empty() || taken.contains(op) || !(matmul || isElementwise(op)))
      continue;
    Value result = op->getResult(0);
    int64_t dim = wantedBy(*result.use_begin());
    if (dim < 0 || llvm::any_of(result.getUses(), [&](OpOperand &use) { return wantedBy(use) != dim; }))
      continue;
    if (matmul) {
      auto lhs = typeOf(matmul.getLhs()), rhs = typeOf(matmul.getRhs());
      int64_t fromEnd = typeOf(result).getRank() - dim; // 2: the rows of the product; more: a batch
      if (fromEnd < 2 || fromEnd > lhs.getRank() || (fromEnd > 2 && rhs.getRank() > 2) || matmul.getTransposeLhs() ||
          matmul.getLhs() == matmul.getRhs() || rowDim.count(matmul.getRhs()))
        continue;
      auto [it, fresh] = rowDim.try_emplace(matmul.getLhs(), lhs.getRank() - fromEnd);
      if (!fresh && it->second != lhs.getRank() - fromEnd)
        continue;
    }
    rowDim[result] = dim;
    inside.insert(op);
    ops.insert(ops.begin(), op);
  }
}

int64_t RowRegion::countCollectives() const {
  return llvm::count_if(ops, [](Operation *op) { return isa<CollectiveOpInterface>(op); });
}

/// Adds `op`, whose operands are all outside of the region's influence or in it; false when it mixes rows.
bool RowRegion::join(Operation *op) {
  auto dimOf = [&](Value value) {
    auto it = rowDim.find(value);
    return it == rowDim.end() ? int64_t(-1) : it->second;
  };
  auto accept = [&](int64_t dim) {
    ops.push_back(op);
    for (Value result : op->getResults())
      rowDim[result] = dim;
    return true;
  };
  if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op))
    return joinReshape(op);
  int64_t dim = op->getNumOperands() > 0 ? dimOf(op->getOperand(0)) : -1;
  if (isa<AllReduceOp>(op))
    return dim >= 0 && accept(dim);
  if (isa<AllGatherOp, ReduceScatterOp>(op))
    return dim >= 0 && mixedDim(op) != dim && accept(dim);
  if (auto fused = dyn_cast<AllReduceNormOp>(op)) {
    int64_t residual = dimOf(fused.getResidual());
    return dim >= 0 && dim + 1 < typeOf(fused.getInput()).getRank() && (residual < 0 || residual == dim) && accept(dim);
  }
  if (isa<RMSNormOp, LayerNormOp, SoftmaxOp>(op)) {
    bool others = llvm::all_of(op->getOperands().drop_front(), [&](Value value) { return dimOf(value) < 0; });
    return dim >= 0 && others && dim + 1 < typeOf(op->getOperand(0)).getRank() && accept(dim);
  }
  if (auto matmul = dyn_cast<MatmulOp>(op)) {
    auto lhs = typeOf(matmul.getLhs()), rhs = typeOf(matmul.getRhs());
    if (dim < 0 || dimOf(matmul.getRhs()) >= 0 || dim + 1 >= lhs.getRank() || matmul.getTransposeLhs())
      return false;
    int64_t fromEnd = lhs.getRank() - dim; // 2: the rows of the product; more: a batch
    if (fromEnd > 2 && rhs.getRank() >= fromEnd && rhs.getDimSize(rhs.getRank() - fromEnd) != 1)
      return false;
    return accept(typeOf(matmul.getResult()).getRank() - fromEnd);
  }
  if (!isElementwise(op))
    return false;
  dim = -1;
  for (Value operand : op->getOperands()) {
    if (int64_t own = dimOf(operand); own >= 0) {
      if (dim >= 0 && own != dim)
        return false;
      dim = own;
    }
  }
  return dim >= 0 && accept(dim);
}

/// Reshapes that leave the rows as a dimension of their own.
bool RowRegion::joinReshape(Operation *op) {
  auto it = rowDim.find(op->getOperand(0));
  if (it == rowDim.end())
    return false;
  bool expands = isa<tensor::ExpandShapeOp>(op);
  auto groups = expands ? cast<tensor::ExpandShapeOp>(op).getReassociationIndices()
                        : cast<tensor::CollapseShapeOp>(op).getReassociationIndices();
  RankedTensorType longer = typeOf(expands ? op->getResult(0) : op->getOperand(0));
  for (auto [group, dims] : llvm::enumerate(groups)) {
    int64_t found = -1;
    for (int64_t dim : dims) {
      if (longer.getDimSize(dim) == 1)
        continue;
      if (found >= 0)
        found = longer.getRank();
      else
        found = dim;
    }
    bool holdsRows = expands ? static_cast<int64_t>(group) == it->second : llvm::is_contained(dims, it->second);
    if (!holdsRows)
      continue;
    if (found < 0 || found == longer.getRank() || longer.getDimSize(found) != rows)
      return false;
    if (!expands && found != it->second)
      return false;
    ops.push_back(op);
    rowDim[op->getResult(0)] = expands ? found : static_cast<int64_t>(group);
    return true;
  }
  return false;
}

/// Rows [start, start + size) of a value from outside of the region. Broadcasts and constants are made in the small
/// size.
Value RowRegion::part(OpBuilder &builder, Location loc, Value value, int64_t dim, int64_t start, int64_t size) {
  RankedTensorType type = typeOf(value), small = withSize(type, dim, size);
  Operation *def = value.getDefiningOp();
  if (auto constant = dyn_cast_or_null<arith::ConstantOp>(def))
    if (auto splat = dyn_cast<SplatElementsAttr>(constant.getValue()))
      return arith::ConstantOp::create(builder, loc, splat.resizeSplat(small));
  if (auto broadcast = dyn_cast_or_null<linalg::BroadcastOp>(def)) {
    Value input = broadcast.getInput();
    if (!llvm::is_contained(broadcast.getDimensions(), dim)) {
      int64_t inner = dim - llvm::count_if(broadcast.getDimensions(), [&](int64_t d) { return d < dim; });
      input = part(builder, loc, input, inner, start, size);
    }
    Value empty = tensor::EmptyOp::create(builder, loc, small.getShape(), small.getElementType());
    return linalg::BroadcastOp::create(builder, loc, input, empty, broadcast.getDimensions()).getResult()[0];
  }
  SmallVector<OpFoldResult> offsets(type.getRank(), builder.getIndexAttr(0)),
      strides(type.getRank(), builder.getIndexAttr(1)), sizes;
  for (int64_t extent : small.getShape())
    sizes.push_back(builder.getIndexAttr(extent));
  offsets[dim] = builder.getIndexAttr(start);
  return tensor::ExtractSliceOp::create(builder, loc, small, value, offsets, sizes, strides);
}

void RowRegion::clonePart(OpBuilder &builder, Operation *op, int64_t start, int64_t size,
                          DenseMap<Value, Value> &parts) {
  Location loc = op->getLoc();
  // Dimension of the op's rows in terms of an elementwise or residual operand.
  int64_t dim = rowDim.lookup(op->getResult(0));
  IRMapping map;
  for (auto [index, operand] : llvm::enumerate(op->getOperands())) {
    if (auto it = parts.find(operand); it != parts.end()) {
      map.map(operand, it->second);
      continue;
    }
    auto fused = dyn_cast<AllReduceNormOp>(op);
    bool elementwise = !isa<MatmulOp, RMSNormOp, LayerNormOp, SoftmaxOp, CollectiveOpInterface>(op);
    bool cut = elementwise || (fused && operand == fused.getResidual()) || rowDim.count(operand);
    if (cut && !map.contains(operand))
      map.map(operand, part(builder, loc, operand, rowDim.count(operand) ? rowDim.lookup(operand) : dim, start, size));
  }
  if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
    auto type = withSize(typeOf(expand.getResult()), dim, size);
    parts[expand.getResult()] = tensor::ExpandShapeOp::create(builder, loc, type, map.lookup(expand.getSrc()),
                                                              expand.getReassociationIndices());
    return;
  }
  Operation *fresh = builder.clone(*op, map);
  for (auto [old, result] : llvm::zip_equal(op->getResults(), fresh->getResults())) {
    result.setType(withSize(typeOf(old), rowDim.lookup(old), size));
    parts[old] = result;
  }
}

void RowRegion::split(int64_t count) {
  // After the last op everything that the region needs is there.
  OpBuilder builder(ops.back());
  builder.setInsertionPointAfter(ops.back());
  int64_t size = llvm::divideCeil(rows, count);
  std::vector<DenseMap<Value, Value>> parts;
  for (int64_t start = 0; start < rows; start += size) {
    parts.emplace_back();
    for (Operation *op : ops)
      clonePart(builder, op, start, std::min(size, rows - start), parts.back());
  }
  llvm::SmallPtrSet<Operation *, 16> inside(ops.begin(), ops.end());
  for (Operation *op : ops)
    for (Value result : op->getResults()) {
      bool needed = llvm::any_of(result.getUsers(), [&](Operation *user) {
        while (user->getBlock() != op->getBlock())
          user = user->getParentOp();
        return !inside.contains(user);
      });
      if (!needed)
        continue;
      SmallVector<Value> pieces;
      for (auto &values : parts)
        pieces.push_back(values.lookup(result));
      Value whole = tensor::ConcatOp::create(builder, op->getLoc(), rowDim.lookup(result), pieces);
      result.replaceUsesWithIf(whole, [&](OpOperand &use) {
        Operation *user = use.getOwner();
        while (user->getBlock() != op->getBlock())
          user = user->getParentOp();
        return !inside.contains(user) && user != whole.getDefiningOp();
      });
    }
  for (Operation *op : llvm::reverse(ops))
    op->erase();
}
