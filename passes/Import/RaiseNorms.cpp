//===- RaiseNorms.cpp - name decomposed RMS and layer norms ---------------===//
// Matches   x * rsqrt(mean(x*x) + e) [cast] [* w], (x - m) / sqrt(mean((x - m)^2) + e) [cast] [* w] [+ b]
// Rewrites  comm.rms_norm, comm.layer_norm
// Skips     means over other dimensions, other divisors than their size, squares of another value
//===----------------------------------------------------------------------===//
#include "passes/Import/Match.h"
#include "passes/Import/Passes.h"

namespace mlir::comm {
#define GEN_PASS_DEF_RAISENORMSPASS
#include "passes/Import/Passes.h.inc"
namespace {
/// The tensor whose mean over the last dimension `view` has reached; null otherwise. The view then stands at the
/// reduced value.
Value matchMean(View &view, ArrayRef<int64_t> shape) {
  double factor = 0;
  Value sum;
  if (!matchScaled(view.value, sum, factor))
    return nullptr;
  view.into(sum);
  auto reduce = view.value.getDefiningOp<linalg::ReduceOp>();
  int64_t last = static_cast<int64_t>(shape.size()) - 1;
  if (!reduce || reduce.getInputs().size() != 1 || reduce.getDimensions() != ArrayRef<int64_t>{last} ||
      !view.isPrefix(shape, shape.size() - 1))
    return nullptr;
  Block &body = reduce.getCombiner().front();
  if (!isa<arith::AddFOp>(body.front()) || std::next(body.begin(), 2) != body.end())
    return nullptr;
  Value input = reduce.getInputs()[0];
  double size = static_cast<double>(shape.back());
  std::optional<double> init = getSplatNumber(reduce.getInits()[0]);
  return shapeOf(input) == shape && init && *init == 0 && std::abs(factor * size - 1) < 1e-5 ? input : Value();
}

/// `value`, broadcast along rows, is 1/sqrt(mean(y*y) + epsilon), or sqrt(..) when `inverse` is false. Gives y.
Value matchRootMeanSquare(Value value, ArrayRef<int64_t> shape, bool inverse, double &epsilon) {
  View view(value);
  view.skip();
  if (inverse) {
    auto div = view.value.getDefiningOp<arith::DivFOp>();
    if (auto rsqrt = view.value.getDefiningOp<math::RsqrtOp>())
      view.into(rsqrt.getOperand());
    else if (div && isSplatOf(div.getLhs(), 1))
      view.into(div.getRhs()), inverse = false;
    else
      return nullptr;
  }
  if (!inverse) {
    auto sqrt = view.value.getDefiningOp<math::SqrtOp>();
    if (!sqrt)
      return nullptr;
    view.into(sqrt.getOperand());
  }
  Value mean;
  if (!matchWithSplat<arith::AddFOp>(view.value, mean, epsilon))
    return nullptr;
  view.into(mean);
  Value square = matchMean(view, shape);
  auto mul = square ? square.getDefiningOp<arith::MulFOp>() : arith::MulFOp();
  return mul && mul.getLhs() == mul.getRhs() ? mul.getLhs() : Value();
}

/// x when `value` is x - mean(x).
Value matchCentred(Value value) {
  auto sub = value.getDefiningOp<arith::SubFOp>();
  if (!sub)
    return nullptr;
  View view(sub.getRhs());
  view.skip();
  return matchMean(view, shapeOf(value)) == sub.getLhs() ? sub.getLhs() : Value();
}

struct RaiseNorms : impl::RaiseNormsPassBase<RaiseNorms> {
  using RaiseNormsPassBase::RaiseNormsPassBase;

  /// The normalised value without weight and bias: y, y / rms(y) at `core`.
  bool matchCore(Operation *core, Value &y, double &epsilon) {
    ArrayRef<int64_t> shape = shapeOf(core->getResult(0));
    if (shape.empty())
      return false;
    if (auto div = dyn_cast<arith::DivFOp>(core)) {
      y = div.getLhs();
      return matchRootMeanSquare(div.getRhs(), shape, false, epsilon) == y;
    }
    for (unsigned side = 0; side < 2; ++side) {
      y = core->getOperand(side);
      if (matchRootMeanSquare(core->getOperand(1 - side), shape, true, epsilon) == y)
        return true;
    }
    return false;
  }

  /// The only user of `value` if it is an OpTy with a vector over the last dimension on the other side.
  template <typename OpTy> Operation *vectorUser(Value value, Value &vector) {
    if (!value.hasOneUse())
      return nullptr;
    auto op = dyn_cast<OpTy>(*value.user_begin());
    if (!op)
      return nullptr;
    View view(op->getOperand(op->getOperand(0) == value ? 1 : 0));
    view.skip();
    if (!view.isLastDim() || shapeOf(view.value)[0] != shapeOf(value).back())
      return nullptr;
    vector = view.value;
    return op;
  }

  void raise(Operation *core, Value y, double epsilon) {
    Value x = matchCentred(y), weight, bias, input = x ? x : y, end = core->getResult(0);
    // Half precision is widened in front and narrowed behind: the op does both itself.
    auto widened = input.getDefiningOp<arith::ExtFOp>();
    auto narrowed = end.hasOneUse() ? dyn_cast<arith::TruncFOp>(*end.user_begin()) : arith::TruncFOp();
    if (widened && narrowed && tensorTypeOf(widened.getIn()) == tensorTypeOf(narrowed)) {
      input = widened.getIn();
      end = narrowed;
    }
    if (Operation *scaled = vectorUser<arith::MulFOp>(end, weight)) {
      end = scaled->getResult(0);
      if (x)
        if (Operation *shifted = vectorUser<arith::AddFOp>(end, bias))
          end = shifted->getResult(0);
    }
    OpBuilder builder(end.getDefiningOp());
    Location loc = end.getLoc();
    auto vectorType = RankedTensorType::get({shapeOf(end).back()}, tensorTypeOf(end).getElementType());
    if (!weight)
      weight = buildSplat(builder, loc, vectorType, 1);
    FloatAttr eps = builder.getF64FloatAttr(epsilon);
    Value result = x ? LayerNormOp::create(builder, loc, input, weight, bias, eps).getResult()
                     : RMSNormOp::create(builder, loc, input, weight, eps).getResult();
    end.replaceAllUsesWith(result);
    ++(x ? numLayerNorms : numRMSNorms);
  }

  void runOnOperation() override {
    SmallVector<Operation *> candidates;
    getOperation().walk([&](Operation *op) {
      if (isa<arith::MulFOp, arith::DivFOp>(op) && isa<RankedTensorType>(op->getResult(0).getType()))
        candidates.push_back(op);
    });
    for (Operation *op : candidates) {
      Value y;
      double epsilon = 0;
      if (matchCore(op, y, epsilon))
        raise(op, y, epsilon);
    }
    eraseDeadOps(getOperation());
  }
};
} // namespace
} // namespace mlir::comm
