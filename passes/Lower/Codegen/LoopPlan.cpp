//===- LoopPlan.cpp - the iteration space of a body -----------------------===//
// Every value of the body has a subset of the dimensions of one space. Dimensions that always come together are merged;
// reduced ones (else the last) become the inner loops.
//===----------------------------------------------------------------------===//
#include "Internal.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::codegen;

namespace {
bool isElementwise(Operation *op) {
  return op->getNumResults() == 1 && op->hasTrait<OpTrait::Elementwise>() && op->getNumRegions() == 0;
}
bool isSplat(Operation *op) {
  auto constant = dyn_cast<arith::ConstantOp>(op);
  return constant && isa<SplatElementsAttr>(constant.getValue());
}
/// Operands that only say a shape.
bool isShapeOnly(Operation *op) { return isa<tensor::EmptyOp>(op) || isSplat(op); }

SmallVector<unsigned> bitsOf(uint64_t mask) {
  SmallVector<unsigned> bits;
  for (unsigned i = 0; i < 64; ++i)
    if (mask >> i & 1)
      bits.push_back(i);
  return bits;
}

class Planner {
public:
  Planner(func::FuncOp function, std::string &why, bool byColumns = false)
      : function(function), why(why), byColumns(byColumns) {}

  FailureOr<LoopPlan> run() {
    Block &block = function.getBody().front();
    if (auto first = dyn_cast<RotaryOp>(block.front()); first && llvm::hasNItems(block, 2))
      return rotary(first);
    if (failed(checkOps(block)) || failed(findSpace(block)) || failed(inferMasks(block)) || failed(checkResults(block)))
      return failure();
    mergeDims(block);
    if (byColumns && (plan.outer.size() != 1 || plan.inner.size() != 1 || llvm::is_contained(plan.sizes, 0) ||
                      !hasWholeResults(block)))
      return fail("not rows of columns");
    plan.byColumns = byColumns;
    return plan;
  }

private:
  LogicalResult fail(const Twine &text) {
    why = text.str();
    return failure();
  }

  FailureOr<LoopPlan> rotary(RotaryOp op) {
    plan.isRotary = true;
    plan.sizes.assign(op.getType().getShape().begin(), op.getType().getShape().end());
    // The heads of one sequence are as good to share out as the sequences of a batch.
    plan.outer = plan.sizes[0] == 1 ? SmallVector<unsigned>{1, 2} : SmallVector<unsigned>{0, 1, 2};
    plan.inner = {3};
    return plan;
  }

  LogicalResult checkOps(Block &block) {
    for (Operation &op : block.without_terminator()) {
      if (isElementwise(&op) || isSplat(&op) || isa<tensor::EmptyOp, linalg::BroadcastOp>(op))
        continue;
      auto reduce = dyn_cast<linalg::ReduceOp>(op);
      if (!reduce || reduce.getInputs().size() != 1)
        return fail(op.getName().getStringRef() + " is not an elementwise op, broadcast or single reduction");
      Operation *init = reduce.getInits()[0].getDefiningOp();
      if (!init || !isSplat(init))
        return fail("a reduction must start from a splat constant");
      if (!llvm::hasNItems(reduce.getCombiner().front(), 2))
        return fail("a reduction must combine with one op");
    }
    return success();
  }

  /// The space is the largest type of any tensor that is computed or read.
  LogicalResult findSpace(Block &block) {
    RankedTensorType best;
    auto consider = [&](Value value) {
      auto type = dyn_cast<RankedTensorType>(value.getType());
      if (type && (!best || type.getRank() > best.getRank() ||
                   (type.getRank() == best.getRank() && type.getNumElements() > best.getNumElements())))
        best = type;
    };
    for (Operation &op : block.without_terminator())
      if (!isShapeOnly(&op)) {
        llvm::for_each(op.getResults(), consider);
        if (auto reduce = dyn_cast<linalg::ReduceOp>(op))
          consider(reduce.getInputs()[0]);
      }
    if (!best)
      return fail("the body computes nothing");
    if (best.getRank() > 32)
      return fail("more than 32 dimensions");
    plan.sizes.assign(best.getShape().begin(), best.getShape().end());
    return success();
  }

  uint64_t full() const { return (uint64_t(1) << plan.sizes.size()) - 1; }

  /// Notes that `value` has the dimensions `mask`; the sizes must agree.
  LogicalResult assign(Value value, uint64_t mask) {
    auto type = cast<RankedTensorType>(value.getType());
    SmallVector<unsigned> bits = bitsOf(mask);
    if (bits.size() != static_cast<size_t>(type.getRank()))
      return fail("ranks of one loop nest disagree");
    for (auto [bit, size] : llvm::zip_equal(bits, type.getShape()))
      if (plan.sizes[bit] != size)
        return fail("sizes of one loop nest disagree");
    auto [it, fresh] = plan.masks.try_emplace(value, mask);
    if (!fresh && it->second != mask)
      return fail("a value is used along two different sets of dimensions");
    changed |= fresh;
    return success();
  }

  LogicalResult assignOperand(OpOperand &operand, uint64_t mask) {
    Value value = operand.get();
    if (isa<BlockArgument>(value)) {
      plan.argumentMasks[{operand.getOwner(), operand.getOperandNumber()}] = mask;
      return success();
    }
    return isShapeOnly(value.getDefiningOp()) ? success() : assign(value, mask);
  }

  /// Mask of the operand of a broadcast whose result has `mask`.
  static uint64_t without(uint64_t mask, ArrayRef<int64_t> positions) {
    SmallVector<unsigned> bits = bitsOf(mask);
    for (int64_t position : positions)
      mask &= ~(uint64_t(1) << bits[position]);
    return mask;
  }

  LogicalResult visit(Operation &op) {
    if (isShapeOnly(&op))
      return success();
    if (auto reduce = dyn_cast<linalg::ReduceOp>(op)) {
      // The operand may be known through its own definition, or, for an argument, is the whole space.
      Value input = reduce.getInputs()[0];
      auto it = plan.masks.find(input);
      uint64_t mask = it != plan.masks.end() ? it->second : 0;
      if (!mask && cast<RankedTensorType>(input.getType()).getRank() == static_cast<int64_t>(plan.sizes.size()))
        mask = full();
      if (!mask)
        return success();
      if (failed(assignOperand(op.getOpOperand(0), mask)))
        return failure();
      return assign(reduce.getResult(0), without(mask, reduce.getDimensions()));
    }
    Value result = op.getResult(0);
    auto it = plan.masks.find(result);
    if (it == plan.masks.end()) {
      auto type = cast<RankedTensorType>(result.getType());
      if (type.getRank() == static_cast<int64_t>(plan.sizes.size()) &&
          type.getShape() == ArrayRef<int64_t>(plan.sizes)) {
        if (failed(assign(result, full())))
          return failure();
      } else if (isElementwise(&op)) {
        for (Value operand : op.getOperands())
          if (auto known = plan.masks.find(operand); known != plan.masks.end())
            return assign(result, known->second);
        return success();
      } else {
        return success();
      }
      it = plan.masks.find(result);
    }
    uint64_t mask = it->second;
    if (auto broadcast = dyn_cast<linalg::BroadcastOp>(op))
      return assignOperand(op.getOpOperand(0), without(mask, broadcast.getDimensions()));
    for (OpOperand &operand : op.getOpOperands())
      if (isa<RankedTensorType>(operand.get().getType()) && failed(assignOperand(operand, mask)))
        return failure();
    return success();
  }

  LogicalResult inferMasks(Block &block) {
    do {
      changed = false;
      for (Operation &op : llvm::reverse(block.without_terminator()))
        if (failed(visit(op)))
          return failure();
      for (Operation &op : block.without_terminator())
        if (failed(visit(op)))
          return failure();
    } while (changed);
    for (Operation &op : block.without_terminator())
      if (!isShapeOnly(&op) && !plan.masks.count(op.getResult(0)))
        return fail("the dimensions of " + op.getName().getStringRef().str() + " do not follow from the loop nest");
    return success();
  }

  LogicalResult checkResults(Block &block) {
    std::optional<uint64_t> reduced;
    for (Operation &op : block.without_terminator())
      if (auto reduce = dyn_cast<linalg::ReduceOp>(op)) {
        Value input = reduce.getInputs()[0];
        uint64_t in = isa<BlockArgument>(input)            ? plan.argumentMasks[{&op, 0}]
                      : isShapeOnly(input.getDefiningOp()) ? full()
                                                           : plan.masks[input];
        uint64_t dims = in & ~plan.masks[reduce.getResult(0)];
        if (in != full())
          return fail("a reduction must read the whole loop nest");
        if (reduced && *reduced != dims)
          return fail("two reductions over different dimensions");
        reduced = dims;
      }
    if (plan.sizes.empty()) {
      plan.sizes.push_back(1); // scalars: one iteration
      for (auto &entry : plan.masks)
        entry.second = 1;
      for (auto &entry : plan.argumentMasks)
        entry.second = 1;
    }
    innerMask = reduced && *reduced ? *reduced : uint64_t(1) << (plan.sizes.size() - 1);
    for (OpOperand &operand : block.getTerminator()->getOpOperands()) {
      Value value = operand.get();
      if (isa<BlockArgument>(value) || isShapeOnly(value.getDefiningOp()))
        return fail("a result must be computed by the body");
      uint64_t mask = plan.masks[value];
      if (mask != full() && mask != (full() & ~innerMask))
        return fail("a result has neither the whole loop nest nor exactly its outer loops");
    }
    return success();
  }

  bool hasWholeResults(Block &block) {
    return llvm::all_of(block.getTerminator()->getOperands(), [&](Value v) { return plan.masks.lookup(v) == full(); });
  }

  /// Merges neighbouring dimensions that every access has together, then orders the loops.
  void mergeDims(Block &block) {
    SmallVector<uint64_t> accesses = {innerMask};
    for (auto &entry : plan.masks)
      accesses.push_back(entry.second);
    for (auto &entry : plan.argumentMasks)
      accesses.push_back(entry.second);
    SmallVector<SmallVector<unsigned>> groups;
    for (unsigned dim = 0; dim < plan.sizes.size(); ++dim) {
      bool joins = dim > 0 &&
                   llvm::all_of(accesses, [&](uint64_t mask) { return (mask >> dim & 1) == (mask >> (dim - 1) & 1); });
      if (joins)
        groups.back().push_back(dim);
      else
        groups.push_back({dim});
    }
    auto remap = [&](uint64_t mask) {
      uint64_t out = 0;
      for (auto [number, group] : llvm::enumerate(groups))
        if (mask >> group[0] & 1)
          out |= uint64_t(1) << number;
      return out;
    };
    SmallVector<int64_t> sizes;
    for (ArrayRef<unsigned> group : groups) {
      int64_t size = 1;
      for (unsigned dim : group)
        size *= plan.sizes[dim];
      sizes.push_back(size);
    }
    for (auto &entry : plan.masks)
      entry.second = remap(entry.second);
    for (auto &entry : plan.argumentMasks)
      entry.second = remap(entry.second);
    innerMask = remap(innerMask);
    plan.sizes = sizes;
    bool reduces = llvm::any_of(block, [](Operation &op) { return isa<linalg::ReduceOp>(op); });
    if (plan.sizes.size() == 1 && !reduces && !byColumns)
      splitFlat();
    for (unsigned dim = 0; dim < plan.sizes.size(); ++dim)
      (innerMask >> dim & 1 ? plan.inner : plan.outer).push_back(dim);
  }

  /// One long dimension becomes rows of at most 4096, so that threads can share it.
  void splitFlat() {
    int64_t size = plan.sizes[0], columns = size;
    for (int64_t rows = 1; columns > 4096 && rows <= size / 64; ++rows)
      if (size % rows == 0 && size / rows <= 4096)
        columns = size / rows;
    if (columns == size || columns == 0)
      return;
    plan.sizes = {size / columns, columns};
    innerMask = 2;
    for (auto &entry : plan.masks)
      entry.second = entry.second ? 3 : 0;
    for (auto &entry : plan.argumentMasks)
      entry.second = entry.second ? 3 : 0;
  }

  func::FuncOp function;
  std::string &why;
  const bool byColumns;
  LoopPlan plan;
  uint64_t innerMask = 0;
  bool changed = false;
};
} // namespace

FailureOr<LoopPlan> codegen::planLoops(func::FuncOp function, std::string &why) { return Planner(function, why).run(); }

FailureOr<LoopPlan> codegen::planColumns(func::FuncOp function) {
  Block &block = function.getBody().front();
  if (llvm::any_of(block, [](Operation &op) { return isa<linalg::ReduceOp, RotaryOp>(op); }))
    return failure();
  std::string why;
  return Planner(function, why, /*byColumns=*/true).run();
}
