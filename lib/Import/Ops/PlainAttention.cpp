//===- PlainAttention.cpp - attention step by step ------------------------===//
// For what comm.attention does not have: a sink in the softmax, or the scores themselves as a result.
//===----------------------------------------------------------------------===//
#include "AttentionParts.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// All rules of `parts` as what is added to the scores, f32 [1 or B, 1 or H, 1 or S, T]; null when there is none.
FailureOr<Value> additiveMask(NodeContext &c, const AttentionParts &parts, int64_t queries, int64_t keys) {
  B &b = c.b;
  Type i64 = b.getBuilder().getI64Type(), f32 = b.getBuilder().getF32Type();
  Value mask = parts.mask;
  if (mask) {
    SmallVector<int64_t> shape(B::shapeOf(mask));
    if (shape.size() > 4 || shape.empty())
      return c.fail("the mask does not have rank 1 to 4");
    shape.insert(shape.begin(), 4 - shape.size(), 1);
    mask = b.reshape(mask, shape);
    if (shape[3] != 1 && shape[3] < keys)
      mask = b.pad(mask, 3, 0, keys - shape[3], B::isFloat(mask) ? -INFINITY : 0);
  }
  Value key = b.countFrom(0, keys, {1, 1, 1, keys}, i64);
  if (parts.causalOffset) {
    Value last = b.countFrom(*parts.causalOffset, queries, {1, 1, queries, 1}, i64);
    if (failed(restrictMask(c, mask, b.compare(arith::CmpFPredicate::OLE, arith::CmpIPredicate::sle, key, last))))
      return failure();
  }
  if (parts.lengths) {
    Value ends = b.reshape(b.castTo(parts.lengths, i64), {B::shapeOf(parts.lengths)[0], 1, 1, 1});
    if (failed(restrictMask(c, mask, b.compare(arith::CmpFPredicate::OLT, arith::CmpIPredicate::slt, key, ends))))
      return failure();
  }
  if (!mask || B::isFloat(mask))
    return mask ? b.castTo(mask, f32) : mask;
  RankedTensorType type = B::withElement(mask, f32);
  return b.select(mask, b.splat(type, 0), b.splat(type, -INFINITY));
}
} // namespace

FailureOr<PlainAttention> buildPlainAttention(NodeContext &c, const AttentionParts &parts, Value sink) {
  B &b = c.b;
  ArrayRef<int64_t> q = B::shapeOf(parts.query), k = B::shapeOf(parts.key), v = B::shapeOf(parts.value);
  if (q.size() != 4 || k.size() != 4 || v.size() != 4 || q[0] != k[0] || k[0] != v[0] || q[3] != k[3] || k[1] != v[1] ||
      k[2] != v[2] || k[1] == 0 || q[1] % k[1])
    return c.fail("query, key and value do not fit each other", "E313");
  int64_t batch = q[0], heads = q[1], kv = k[1], queries = q[2], keys = k[2], rows = heads / kv * queries;
  if (failed(c.needBudget({batch, heads, queries, keys}, b.getBuilder().getF32Type())))
    return failure();
  Type element = B::elementOf(parts.query), f32 = b.getBuilder().getF32Type();
  double scale = parts.scale ? parts.scale : 1 / std::sqrt(static_cast<double>(q[3]));
  auto wide = [&](Value x) { return b.castTo(x, f32); };
  PlainAttention result;
  Value grouped = b.reshape(wide(parts.query), {batch, kv, rows, q[3]});
  Value scores = b.mulScalar(b.matmul(grouped, wide(parts.key), false, true), scale);
  result.scores = scores = b.reshape(scores, {batch, heads, queries, keys});
  if (parts.softcap > 0)
    scores = b.mulScalar(b.create<math::TanhOp>(b.mulScalar(scores, 1 / parts.softcap)), parts.softcap);
  result.capped = scores;
  FailureOr<Value> mask = additiveMask(c, parts, queries, keys);
  if (failed(mask) || (*mask && failed(c.needBroadcastTo(*mask, B::shapeOf(scores)))))
    return failure();
  if (*mask)
    scores = b.add(scores, *mask);
  result.biased = scores;
  Value weights;
  if (sink) { // one more column that takes part of the sum and gives nothing
    Value column = b.broadcastTo(b.reshape(wide(sink), {1, heads, 1, 1}), {batch, heads, queries, 1});
    weights = b.sliceDim(b.create<SoftmaxOp>(b.concat({scores, column}, 3)), 3, 0, keys);
  } else {
    weights = b.create<SoftmaxOp>(scores);
  }
  if (*mask && !sink) { // nothing to attend to: zeros, not NaN
    Value top = b.reduce(Reduction::Max, *mask, {3}, true);
    Value hidden = b.compare(arith::CmpFPredicate::OEQ, arith::CmpIPredicate::eq, top, b.splatLike(top, -INFINITY));
    weights = b.select(hidden, b.splatLike(weights, 0), weights);
  }
  result.weights = weights;
  Value y = b.matmul(b.reshape(weights, {batch, kv, rows, keys}), wide(parts.value));
  result.output = b.castTo(b.reshape(y, {batch, heads, queries, v[3]}), element);
  return result;
}

} // namespace mlir::comm
