//===- Loss.cpp - losses over classes -------------------------------------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// x - max - log(sum(exp(x - max))) over dimension 1.
Value logSoftmaxOverClasses(B &b, Value x) {
  Value shifted = b.sub(x, b.reduce(Reduction::Max, x, {1}, true));
  return b.sub(shifted, b.create<math::LogOp>(b.reduce(Reduction::Sum, b.create<math::ExpOp>(shifted), {1}, true)));
}

/// The loss of log-probabilities [N, C, d..] for classes [N, d..]; targets equal to ignore_index count for nothing.
FailureOr<Value> likelihoodLoss(NodeContext &c, Value logs, Value target, Value weight) {
  B &b = c.b;
  ArrayRef<int64_t> shape = B::shapeOf(logs), given = B::shapeOf(target);
  SmallVector<int64_t> expected(shape);
  if (shape.size() < 2)
    return c.fail("expected scores [N, C, ..]", "E313");
  expected.erase(expected.begin() + 1);
  if (given != ArrayRef<int64_t>(expected) || !isa<IntegerType>(B::elementOf(target)))
    return c.fail("the targets do not fit the scores", "E313");
  if (weight && (B::shapeOf(weight) != ArrayRef<int64_t>{shape[1]} || B::elementOf(weight) != B::elementOf(logs)))
    return c.fail("expected one weight per class", "E313");
  std::string reduction = c.getString("reduction", "mean");
  if (reduction != "mean" && reduction != "sum" && reduction != "none")
    return c.fail("reduction '" + reduction + "'");
  target = b.castTo(target, b.getBuilder().getI64Type());
  Value counts; // 1, or the weight; 0 where ignored
  Value ones = b.splat(RankedTensorType::get(expected, B::elementOf(logs)), 1);
  Value counted;
  if (c.hasAttr("ignore_index")) {
    Value ignored = b.splatLike(target, static_cast<double>(c.getInt("ignore_index", 0)));
    counted = b.compare(arith::CmpFPredicate::UNE, arith::CmpIPredicate::ne, target, ignored);
    target = b.select(counted, target, b.splatLike(target, 0));
  }
  counts = weight ? b.create<GatherOp>(weight, target, 0) : ones;
  if (counted)
    counts = b.select(counted, counts, b.splatLike(counts, 0));
  SmallVector<int64_t> wide(expected);
  wide.insert(wide.begin() + 1, 1);
  Value chosen = b.reshape(b.create<GatherElementsOp>(logs, b.reshape(target, wide), 1), expected);
  Value loss = b.mul(b.neg(chosen), counts);
  if (counted) // infinity times nothing is nothing
    loss = b.select(counted, loss, b.splatLike(loss, 0));
  if (reduction == "none")
    return loss;
  SmallVector<int64_t> all = llvm::to_vector(llvm::seq<int64_t>(0, static_cast<int64_t>(expected.size())));
  Value sum = b.reduce(Reduction::Sum, loss, all, false);
  return reduction == "sum" ? sum : b.div(sum, b.reduce(Reduction::Sum, counts, all, false));
}

LogicalResult negativeLogLikelihood(NodeContext &c) {
  if (failed(c.needInputs(2, 3)) || failed(c.needFloat(0)))
    return failure();
  FailureOr<Value> loss = likelihoodLoss(c, c.in(0), c.in(1), c.in(2));
  return failed(loss) ? failure() : c.done(*loss);
}

LogicalResult softmaxCrossEntropy(NodeContext &c) {
  if (failed(c.needInputs(2, 3)) || failed(c.needFloat(0)) || c.rank(0) < 2)
    return c.fail("expected scores [N, C, ..] and targets");
  Value logs = logSoftmaxOverClasses(c.b, c.in(0));
  FailureOr<Value> loss = likelihoodLoss(c, logs, c.in(1), c.in(2));
  return success(succeeded(loss) && succeeded(c.done(*loss)) && succeeded(c.setOut(1, logs)));
}
} // namespace

void addLossOps(OpTable &table) {
  table.add("NegativeLogLikelihoodLoss", negativeLogLikelihood);
  table.add("SoftmaxCrossEntropyLoss", softmaxCrossEntropy);
}

} // namespace mlir::comm
