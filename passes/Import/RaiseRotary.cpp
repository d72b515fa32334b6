//===- RaiseRotary.cpp - name decomposed rotary embeddings ----------------===//
// Matches   x * cos + concat(-x[.., R/2:], x[.., :R/2]) * sin, x [B, H, S, R], cos and sin broadcast over heads
// Rewrites  comm.rotary x, cos', sin' with tables [1 or B, S, R/2]
// Skips     tables whose halves are not known to be equal, or that vary over heads; other halves than those of x
//===----------------------------------------------------------------------===//
#include "mlir/IR/Matchers.h"
#include "passes/Import/Match.h"
#include "passes/Import/Passes.h"

namespace mlir::comm {
#define GEN_PASS_DEF_RAISEROTARYPASS
#include "passes/Import/Passes.h.inc"
namespace {
/// Window [start, start + size) of the last dimension of x.
bool isLastDimSlice(Value value, Value x, int64_t start, int64_t size) {
  auto slice = value.getDefiningOp<tensor::ExtractSliceOp>();
  if (!slice || slice.getSource() != x || slice.getStaticSizes().size() != shapeOf(x).size())
    return false;
  int64_t last = tensorTypeOf(x).getRank() - 1;
  for (int64_t dim = 0; dim <= last; ++dim)
    if (slice.getStaticStrides()[dim] != 1 || slice.getStaticOffsets()[dim] != (dim == last ? start : 0) ||
        slice.getStaticSizes()[dim] != (dim == last ? size : shapeOf(x)[dim]))
      return false;
  return true;
}

/// The value turned by a quarter: concat(-hi, lo). Gives x.
Value matchTurned(Value value) {
  auto concat = value.getDefiningOp<tensor::ConcatOp>();
  if (!concat || concat.getInputs().size() != 2 ||
      static_cast<int64_t>(concat.getDim()) != tensorTypeOf(value).getRank() - 1)
    return nullptr;
  auto neg = concat.getInputs()[0].getDefiningOp<arith::NegFOp>();
  auto low = concat.getInputs()[1].getDefiningOp<tensor::ExtractSliceOp>();
  if (!neg || !low)
    return nullptr;
  Value x = low.getSource();
  int64_t size = shapeOf(value).back(), half = size / 2;
  if (x.getType() != value.getType() || size % 2 || !isLastDimSlice(low, x, 0, half) ||
      !isLastDimSlice(neg.getOperand(), x, half, half))
    return nullptr;
  return x;
}

/// The first half of the last dimension, when the second is known to equal it. Builds at the builder's place; null and
/// nothing needed otherwise.
Value takeHalf(Value value, OpBuilder &builder, int depth = 0) {
  Operation *op = value.getDefiningOp();
  RankedTensorType type = tensorTypeOf(value);
  if (!op || depth > 8 || type.getRank() == 0 || type.getShape().back() % 2)
    return nullptr;
  int64_t half = type.getShape().back() / 2;
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = half;
  auto halfType = RankedTensorType::get(shape, type.getElementType());
  if (auto concat = dyn_cast<tensor::ConcatOp>(op)) {
    bool same = static_cast<int64_t>(concat.getDim()) == type.getRank() - 1 && concat.getInputs().size() == 2 &&
                concat.getInputs()[0] == concat.getInputs()[1];
    return same ? concat.getInputs()[0] : Value();
  }
  DenseElementsAttr attr;
  if (matchPattern(value, m_Constant(&attr))) {
    if (attr.isSplat())
      return arith::ConstantOp::create(builder, op->getLoc(), attr.resizeSplat(halfType));
    SmallVector<Attribute> elements(attr.getValues<Attribute>()), kept;
    for (size_t row = 0; row < elements.size(); row += 2 * half)
      for (int64_t i = 0; i < half; ++i) {
        if (elements[row + i] != elements[row + half + i])
          return nullptr;
        kept.push_back(elements[row + i]);
      }
    return arith::ConstantOp::create(builder, op->getLoc(), DenseElementsAttr::get(halfType, kept));
  }
  if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op)) {
    if (shapeOf(op->getOperand(0)).empty() || shapeOf(op->getOperand(0)).back() != type.getShape().back())
      return nullptr;
    Value inner = takeHalf(op->getOperand(0), builder, depth + 1);
    return inner ? buildReshape(builder, op->getLoc(), inner, shape) : Value();
  }
  if (auto broadcast = dyn_cast<linalg::BroadcastOp>(op)) {
    if (llvm::is_contained(broadcast.getDimensions(), type.getRank() - 1))
      return nullptr;
    Value inner = takeHalf(broadcast.getInput(), builder, depth + 1);
    if (!inner)
      return nullptr;
    Value init = tensor::EmptyOp::create(builder, op->getLoc(), shape, type.getElementType());
    return linalg::BroadcastOp::create(builder, op->getLoc(), inner, init, broadcast.getDimensions())->getResult(0);
  }
  if (!isa<math::CosOp, math::SinOp, arith::MulFOp, arith::ExtFOp, arith::TruncFOp>(op))
    return nullptr;
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    operands.push_back(takeHalf(operand, builder, depth + 1));
    if (!operands.back())
      return nullptr;
  }
  OperationState state(op->getLoc(), op->getName(), operands, {halfType}, op->getAttrs());
  return builder.create(state)->getResult(0);
}

/// A table broadcast to x [B, H, S, R], as [1 or B, S, R/2].
Value buildTable(Value factor, ArrayRef<int64_t> shape, OpBuilder &builder) {
  View view(factor);
  view.skip();
  ArrayRef<int64_t> source = shapeOf(view.value);
  // In order, never over heads, always over the last dimension.
  if (view.dims[1] >= 0 || view.dims[3] != static_cast<int64_t>(source.size()) - 1 ||
      (shape[2] != 1 && view.dims[2] < 0) || (view.dims[0] >= 0 && view.dims[2] >= 0 && view.dims[0] > view.dims[2]))
    return nullptr;
  Value half = takeHalf(view.value, builder);
  if (!half)
    return nullptr;
  return buildReshape(builder, factor.getLoc(), half, {view.dims[0] >= 0 ? shape[0] : 1, shape[2], shape[3] / 2});
}

struct RaiseRotary : impl::RaiseRotaryPassBase<RaiseRotary> {
  using RaiseRotaryPassBase::RaiseRotaryPassBase;

  Value raise(arith::AddFOp add) {
    if (tensorTypeOf(add).getRank() != 4)
      return nullptr;
    for (unsigned side = 0; side < 2; ++side) {
      auto plain = add->getOperand(side).getDefiningOp<arith::MulFOp>(),
           turned = add->getOperand(1 - side).getDefiningOp<arith::MulFOp>();
      for (unsigned i = 0; plain && turned && i < 2; ++i) {
        Value x = matchTurned(turned->getOperand(i));
        if (!x || (plain.getLhs() != x && plain.getRhs() != x))
          continue;
        Value cosine = plain.getLhs() == x ? plain.getRhs() : plain.getLhs(), sine = turned->getOperand(1 - i);
        OpBuilder builder(add);
        Value cos = buildTable(cosine, shapeOf(x), builder),
              sin = cos ? buildTable(sine, shapeOf(x), builder) : Value();
        if (cos && sin && cos.getType() == sin.getType())
          return RotaryOp::create(builder, add.getLoc(), x, cos, sin, UnitAttr());
      }
    }
    return nullptr;
  }

  void runOnOperation() override {
    SmallVector<arith::AddFOp> candidates;
    getOperation().walk([&](arith::AddFOp op) {
      if (isa<RankedTensorType>(op.getType()))
        candidates.push_back(op);
    });
    for (arith::AddFOp add : candidates)
      if (Value result = raise(add)) {
        add.getResult().replaceAllUsesWith(result);
        ++numRotary;
      }
    eraseDeadOps(getOperation());
  }
};
} // namespace
} // namespace mlir::comm
