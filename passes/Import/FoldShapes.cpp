//===- FoldShapes.cpp - cancel reshapes that only serve an exporter -------===//
// Matches   expand(transpose(x)), matmul(collapse(x), w), elementwise(collapse(x), ..), matmul(.., transpose(y))
// Rewrites  transpose(expand(x)), collapse(matmul(x, w)), collapse(elementwise(x, ..)), a product with a flag
// Skips     reshapes of the contracted dimension, elementwise ops whose other operand cannot be widened
//===----------------------------------------------------------------------===//
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/Import/Match.h"
#include "passes/Import/Passes.h"

namespace mlir::comm {
#define GEN_PASS_DEF_FOLDSHAPESPASS
#include "passes/Import/Passes.h.inc"
namespace {
using Statistic = Pass::Statistic;

template <typename OpTy> struct CountedPattern : OpRewritePattern<OpTy> {
  CountedPattern(MLIRContext *context, Statistic &count) : OpRewritePattern<OpTy>(context), count(count) {}
  Statistic &count;
};

/// expand(transpose(x)) -> transpose'(expand(x)): the expansion then meets the collapse it undoes.
struct ExpandOverTranspose : CountedPattern<tensor::ExpandShapeOp> {
  using CountedPattern::CountedPattern;
  LogicalResult matchAndRewrite(tensor::ExpandShapeOp op, PatternRewriter &rewriter) const override {
    auto transpose = op.getSrc().getDefiningOp<linalg::TransposeOp>();
    if (!transpose || !transpose->hasOneUse())
      return rewriter.notifyMatchFailure(op, "not the only user of a transpose");
    // Only worth it when there is a collapse above to meet.
    if (!transpose.getInput().getDefiningOp<tensor::CollapseShapeOp>())
      return rewriter.notifyMatchFailure(op, "nothing to cancel with");
    SmallVector<ReassociationIndices> groups = op.getReassociationIndices();
    ArrayRef<int64_t> permutation = transpose.getPermutation(), result = shapeOf(op);
    SmallVector<int64_t> inverse(permutation.size());
    for (auto [position, dim] : llvm::enumerate(permutation))
      inverse[dim] = static_cast<int64_t>(position);
    // Source dimension d is result group inverse[d].
    SmallVector<int64_t> shape, startOf(permutation.size()), newPermutation;
    for (size_t dim = 0; dim < permutation.size(); ++dim) {
      startOf[dim] = static_cast<int64_t>(shape.size());
      for (int64_t part : groups[inverse[dim]])
        shape.push_back(result[part]);
    }
    SmallVector<ReassociationIndices> newGroups;
    for (size_t dim = 0, next = 0; dim < permutation.size(); ++dim) {
      newGroups.emplace_back();
      for (size_t i = 0; i < groups[inverse[dim]].size(); ++i)
        newGroups.back().push_back(static_cast<int64_t>(next++));
    }
    for (auto [position, dim] : llvm::enumerate(permutation))
      for (size_t i = 0; i < groups[position].size(); ++i)
        newPermutation.push_back(startOf[dim] + static_cast<int64_t>(i));
    auto type = RankedTensorType::get(shape, tensorTypeOf(op).getElementType());
    Value expanded = tensor::ExpandShapeOp::create(rewriter, op.getLoc(), type, transpose.getInput(), newGroups);
    rewriter.replaceOp(op, buildTranspose(rewriter, op.getLoc(), expanded, newPermutation));
    ++count;
    return success();
  }
};

/// The collapse's source when it only merges dimensions before the last.
Value leadingCollapse(Value value) {
  auto collapse = value.getDefiningOp<tensor::CollapseShapeOp>();
  if (!collapse || collapse.getReassociationIndices().empty() || collapse.getReassociationIndices().back().size() != 1)
    return nullptr;
  return collapse.getSrc();
}

/// matmul(collapse(x), w) -> collapse(matmul(x, w)) for a matrix w.
struct CollapseOverMatmul : CountedPattern<MatmulOp> {
  using CountedPattern::CountedPattern;
  LogicalResult matchAndRewrite(MatmulOp op, PatternRewriter &rewriter) const override {
    Value source = leadingCollapse(op.getLhs());
    if (!source || op.getTransposeLhs() || tensorTypeOf(op.getRhs()).getRank() != 2)
      return rewriter.notifyMatchFailure(op, "not a collapse of leading dimensions times a matrix");
    Value product = MatmulOp::create(rewriter, op.getLoc(), source, op.getRhs(), UnitAttr(), op.getTransposeRhsAttr());
    auto groups = op.getLhs().getDefiningOp<tensor::CollapseShapeOp>().getReassociationIndices();
    rewriter.replaceOpWithNewOp<tensor::CollapseShapeOp>(op, op.getType(), product, groups);
    ++count;
    return success();
  }
};

/// elementwise(collapse(x), y..) -> collapse(elementwise(x, y'..)), where every y is a collapse of the same kind, a
/// splat or a broadcast vector.
struct CollapseOverElementwise : RewritePattern {
  CollapseOverElementwise(MLIRContext *context, Statistic &count)
      : RewritePattern(MatchAnyOpTypeTag(), 1, context), count(count) {}
  Statistic &count;

  /// y in the shape of `type`; null when it cannot be widened without work.
  static Value widen(Value y, RankedTensorType type, ArrayRef<ReassociationIndices> groups, PatternRewriter &rewriter) {
    RankedTensorType wide = RankedTensorType::get(type.getShape(), tensorTypeOf(y).getElementType());
    DenseElementsAttr attr;
    if (auto constant = y.getDefiningOp<arith::ConstantOp>();
        constant && (attr = dyn_cast<DenseElementsAttr>(constant.getValue())))
      return attr.isSplat() ? arith::ConstantOp::create(rewriter, y.getLoc(), attr.resizeSplat(wide)).getResult()
                            : Value();
    if (auto collapse = y.getDefiningOp<tensor::CollapseShapeOp>())
      return collapse.getSrcType() == wide && ArrayRef(collapse.getReassociationIndices()) == groups ? collapse.getSrc()
                                                                                                     : Value();
    auto broadcast = y.getDefiningOp<linalg::BroadcastOp>();
    if (!broadcast || tensorTypeOf(broadcast.getInput()).getRank() != 1 ||
        shapeOf(broadcast.getInput())[0] != type.getShape().back())
      return nullptr;
    SmallVector<int64_t> dims;
    for (int64_t dim = 0; dim + 1 < type.getRank(); ++dim)
      dims.push_back(dim);
    Value init = tensor::EmptyOp::create(rewriter, y.getLoc(), wide.getShape(), wide.getElementType());
    return linalg::BroadcastOp::create(rewriter, y.getLoc(), broadcast.getInput(), init, dims)->getResult(0);
  }

  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    bool elementwise = OpTrait::hasElementwiseMappableTraits(op) || isa<GeluOp, SiluOp>(op);
    if (!elementwise || op->getNumResults() != 1 || op->getNumRegions() || op->getNumOperands() == 0)
      return failure();
    tensor::CollapseShapeOp collapse;
    for (Value operand : op->getOperands())
      if (!collapse && leadingCollapse(operand) && operand.hasOneUse())
        collapse = operand.getDefiningOp<tensor::CollapseShapeOp>();
    if (!collapse)
      return rewriter.notifyMatchFailure(op, "no collapse of leading dimensions that is used here only");
    SmallVector<ReassociationIndices> groups = collapse.getReassociationIndices();
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      Value wide =
          isa<RankedTensorType>(operand.getType()) ? widen(operand, collapse.getSrcType(), groups, rewriter) : Value();
      if (!wide)
        return rewriter.notifyMatchFailure(op, "an operand cannot be widened");
      operands.push_back(wide);
    }
    auto type = cast<RankedTensorType>(op->getResult(0).getType());
    OperationState state(op->getLoc(), op->getName(), operands,
                         {RankedTensorType::get(collapse.getSrcType().getShape(), type.getElementType())},
                         op->getAttrs());
    Operation *wide = rewriter.create(state);
    rewriter.replaceOpWithNewOp<tensor::CollapseShapeOp>(op, type, wide->getResult(0), groups);
    ++count;
    return success();
  }
};

/// A transpose of the last two dimensions below a product is a flag.
struct TransposeIntoMatmul : CountedPattern<MatmulOp> {
  using CountedPattern::CountedPattern;
  static Value swapped(Value value) {
    auto transpose = value.getDefiningOp<linalg::TransposeOp>();
    if (!transpose)
      return nullptr;
    ArrayRef<int64_t> permutation = transpose.getPermutation();
    int64_t rank = static_cast<int64_t>(permutation.size());
    for (int64_t dim = 0; dim + 2 < rank; ++dim)
      if (permutation[dim] != dim)
        return nullptr;
    return permutation[rank - 1] == rank - 2 ? transpose.getInput() : Value();
  }
  LogicalResult matchAndRewrite(MatmulOp op, PatternRewriter &rewriter) const override {
    Value lhs = swapped(op.getLhs()), rhs = swapped(op.getRhs());
    if (!lhs && !rhs)
      return rewriter.notifyMatchFailure(op, "no transpose of the last two dimensions");
    auto flag = [&](bool on) { return on ? rewriter.getUnitAttr() : UnitAttr(); };
    rewriter.replaceOpWithNewOp<MatmulOp>(op, lhs ? lhs : op.getLhs(), rhs ? rhs : op.getRhs(),
                                          flag(op.getTransposeLhs() != bool(lhs)),
                                          flag(op.getTransposeRhs() != bool(rhs)));
    ++count;
    return success();
  }
};

struct FoldShapes : impl::FoldShapesPassBase<FoldShapes> {
  using FoldShapesPassBase::FoldShapesPassBase;
  void runOnOperation() override {
    MLIRContext *context = &getContext();
    RewritePatternSet patterns(context);
    patterns.add<ExpandOverTranspose, CollapseOverMatmul, CollapseOverElementwise>(context, numMoved);
    patterns.add<TransposeIntoMatmul>(context, numFlags);
    tensor::ExpandShapeOp::getCanonicalizationPatterns(patterns, context);
    tensor::CollapseShapeOp::getCanonicalizationPatterns(patterns, context);
    linalg::TransposeOp::getCanonicalizationPatterns(patterns, context);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
} // namespace mlir::comm
