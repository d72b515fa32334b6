//===- Norm.cpp - normalisations ------------------------------------------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// [leading.., normalised] with everything from `axis` on flattened.
SmallVector<int64_t> flattenFrom(ArrayRef<int64_t> shape, int64_t axis, int64_t &size) {
  SmallVector<int64_t> result(shape.take_front(axis));
  size = 1;
  for (int64_t dim : shape.drop_front(axis))
    size *= dim;
  result.push_back(size);
  return result;
}
Value ones(B &b, Value like, int64_t size) { return b.splat(RankedTensorType::get({size}, B::elementOf(like)), 1); }

/// scale (and bias) over the normalised dimensions as vectors; null when they only broadcast.
Value asVector(B &b, Value value, ArrayRef<int64_t> normalised, int64_t size) {
  ArrayRef<int64_t> shape = B::shapeOf(value);
  while (shape.size() > normalised.size() && shape.front() == 1)
    shape = shape.drop_front();
  return shape == normalised ? b.reshape(value, {size}) : Value();
}

FailureOr<Value> normalise(NodeContext &c, Value x, Value scale, Value bias, int64_t axis, double epsilon,
                           bool subtractMean) {
  ArrayRef<int64_t> shape = B::shapeOf(x), normalised = shape.drop_front(axis);
  int64_t size;
  SmallVector<int64_t> flat = flattenFrom(shape, axis, size);
  Value vector = scale ? asVector(c.b, scale, normalised, size) : ones(c.b, x, size);
  Value biasVector = bias ? asVector(c.b, bias, normalised, size) : Value();
  bool plain = vector && (!bias || biasVector); // else: only broadcast scales, done afterwards
  Value input = c.b.reshape(x, flat), weight = plain ? vector : ones(c.b, x, size);
  Value result = subtractMean ? c.b.create<LayerNormOp>(input, weight, plain ? biasVector : Value(),
                                                        c.b.getBuilder().getF64FloatAttr(epsilon))
                              : c.b.create<RMSNormOp>(input, weight, c.b.getBuilder().getF64FloatAttr(epsilon));
  if (!subtractMean && plain && biasVector)
    result = c.b.add(result, biasVector);
  result = c.b.reshape(result, shape);
  if (plain)
    return result;
  if (failed(c.needBroadcastTo(scale, shape)) || (bias && failed(c.needBroadcastTo(bias, shape))))
    return failure();
  result = c.b.mul(result, scale);
  return bias ? c.b.add(result, bias) : result;
}

LogicalResult layerNorm(NodeContext &c) {
  if (failed(c.needInputs(2, 3)) || failed(c.needFloat(0)) || failed(c.needSameElement(0, 1)) ||
      (c.has(2) && failed(c.needSameElement(0, 2))))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", -1), c.rank(0));
  if (failed(axis))
    return failure();
  double epsilon = c.getFloat("epsilon", 1e-5f);
  FailureOr<Value> result = normalise(c, c.in(0), c.in(1), c.in(2), *axis, epsilon, true);
  if (failed(result) || failed(c.done(*result)))
    return failure();
  if (!c.wants(1) && !c.wants(2))
    return success();
  SmallVector<int64_t> dims;
  for (int64_t dim = *axis; dim < c.rank(0); ++dim)
    dims.push_back(dim);
  Value x = c.b.castTo(c.in(0), c.b.getBuilder().getF32Type()), mean = c.b.mean(x, dims, true);
  Value centred = c.b.sub(x, mean), variance = c.b.mean(c.b.mul(centred, centred), dims, true);
  Value deviation = c.b.create<math::SqrtOp>(c.b.addScalar(variance, epsilon));
  return success(succeeded(c.setOut(1, mean)) &&
                 succeeded(c.setOut(2, c.b.div(c.b.splatLike(deviation, 1), deviation))));
}

/// RMSNormalization and its older name SimplifiedLayerNormalization.
LogicalResult rmsNorm(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needFloat(0)))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", -1), c.rank(0));
  if (failed(axis))
    return failure();
  Value scale = c.b.castTo(c.in(1), B::elementOf(c.in(0)));
  FailureOr<Value> result = normalise(c, c.in(0), scale, Value(), *axis, c.getFloat("epsilon", 1e-5f), false);
  return failed(result) ? failure() : c.done(*result);
}

/// com.microsoft Skip*: the sum is output 3, not 1.
LogicalResult skipNorm(NodeContext &c, Value gamma, Value beta, Value bias, bool subtractMean) {
  Value sum = c.in(0);
  if (c.rank(0) < 2 || failed(c.needFloat(0)) || failed(c.needSameElement(0, 1)) ||
      failed(c.needBroadcastTo(c.in(1), c.shape(0))))
    return c.fail("input and skip do not fit", "E313");
  for (Value vector : {gamma, beta, bias})
    if (vector && (B::shapeOf(vector) != c.shape(0).take_back(1) || B::elementOf(vector) != B::elementOf(sum)))
      return c.fail("gamma, beta or bias does not fit the last dimension", "E313");
  if (c.wants(1) || c.wants(2))
    return c.fail("outputs mean and inv_std_var");
  sum = c.b.add(sum, c.in(1));
  if (bias)
    sum = c.b.add(sum, bias);
  FailureOr<Value> result = normalise(c, sum, gamma, beta, c.rank(0) - 1, c.getFloat("epsilon", 1e-12f), subtractMean);
  return success(succeeded(result) && succeeded(c.done(*result)) && succeeded(c.setOut(3, sum)));
}
LogicalResult skipRmsNorm(NodeContext &c) {
  return failed(c.needInputs(3, 4)) ? failure() : skipNorm(c, c.in(2), Value(), c.in(3), false);
}
LogicalResult skipLayerNorm(NodeContext &c) {
  return failed(c.needInputs(3, 5)) ? failure() : skipNorm(c, c.in(2), c.in(3), c.in(4), true);
}

/// Channel vectors shaped to broadcast over [N, C, spatial..].
Value perChannel(B &b, Value vector, int64_t rank) {
  SmallVector<int64_t> shape(rank, 1);
  shape[1] = B::shapeOf(vector)[0];
  return b.reshape(vector, shape);
}
LogicalResult batchNorm(NodeContext &c) {
  if (failed(c.needInputs(5, 5)) || failed(c.needFloat(0)) || c.rank(0) < 2)
    return c.fail("expected a float tensor of rank 2 or more");
  for (size_t i = 1; i < 5; ++i)
    if (failed(c.needRank(i, 1)) || c.shape(i)[0] != c.shape(0)[1] || failed(c.needSameElement(0, i)))
      return c.fail("input " + Twine(i) + " is not a vector over the channels", "E313");
  Value mean = c.in(3), variance = c.in(4);
  if (c.getInt("training_mode", 0)) { // the batch's own statistics; the running ones move towards them
    SmallVector<int64_t> dims = {0};
    for (int64_t dim = 2; dim < c.rank(0); ++dim)
      dims.push_back(dim);
    Value batchMean = c.b.mean(c.in(0), dims, true), centred = c.b.sub(c.in(0), batchMean);
    double momentum = c.getFloat("momentum", 0.9f);
    auto running = [&](Value before, Value now) {
      return c.b.add(c.b.mulScalar(before, momentum), c.b.mulScalar(now, 1 - momentum));
    };
    variance = c.b.reshape(c.b.mean(c.b.mul(centred, centred), dims, true), c.shape(4));
    mean = c.b.reshape(batchMean, c.shape(3));
    if (failed(c.setOut(1, running(c.in(3), mean))) || failed(c.setOut(2, running(c.in(4), variance))))
      return failure();
  }
  Value deviation = c.b.create<math::SqrtOp>(c.b.addScalar(variance, c.getFloat("epsilon", 1e-5f)));
  Value scale = c.b.div(c.in(1), deviation);
  Value shift = c.b.sub(c.in(2), c.b.mul(mean, scale));
  return c.done(c.b.add(c.b.mul(c.in(0), perChannel(c.b, scale, c.rank(0))), perChannel(c.b, shift, c.rank(0))));
}

/// Groups of channels normalised together with all their positions.
LogicalResult groups(NodeContext &c, int64_t numGroups) {
  int64_t n = c.shape(0)[0], channels = c.shape(0)[1], positions = 1;
  for (int64_t size : c.shape(0).drop_front(2))
    positions *= size;
  if (numGroups <= 0 || channels % numGroups)
    return c.fail(Twine(numGroups) + " groups do not divide " + Twine(channels) + " channels", "E313");
  if (c.shape(1).size() != 1 || c.shape(2) != c.shape(1) || c.shape(1)[0] != channels)
    return c.fail("scale and bias are not vectors over the channels", "E313");
  FailureOr<Value> result = normalise(c, c.b.reshape(c.in(0), {n, numGroups, channels / numGroups * positions}),
                                      Value(), Value(), 2, c.getFloat("epsilon", 1e-5f), true);
  if (failed(result))
    return failure();
  Value y = c.b.reshape(*result, c.shape(0));
  return c.done(c.b.add(c.b.mul(y, perChannel(c.b, c.in(1), c.rank(0))), perChannel(c.b, c.in(2), c.rank(0))));
}
LogicalResult instanceNorm(NodeContext &c) {
  if (failed(c.needInputs(3, 3)) || failed(c.needFloat(0)) || c.rank(0) < 3 || failed(c.needSameElement(0, 1)) ||
      failed(c.needSameElement(0, 2)))
    return c.fail("expected float tensors [N, C, positions..]");
  return groups(c, c.shape(0)[1]);
}
LogicalResult groupNorm(NodeContext &c) {
  if (failed(c.needInputs(3, 3)) || failed(c.needFloat(0)) || c.rank(0) < 3 || failed(c.needSameElement(0, 1)) ||
      failed(c.needSameElement(0, 2)))
    return c.fail("expected float tensors [N, C, positions..]");
  if (c.opset() < 21)
    return c.fail("GroupNormalization before opset 21 scales per group and is deprecated");
  return groups(c, c.getInt("num_groups", 0));
}
LogicalResult meanVarianceNorm(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  SmallVector<int64_t> given = c.hasAttr("axes") ? c.getInts("axes") : SmallVector<int64_t>{0, 2, 3};
  FailureOr<SmallVector<int64_t>> dims = c.axes(given, c.rank(0));
  if (failed(dims))
    return failure();
  Value centred = c.b.sub(c.in(0), c.b.mean(c.in(0), *dims, true));
  Value deviation = c.b.create<math::SqrtOp>(c.b.mean(c.b.mul(centred, centred), *dims, true));
  return c.done(c.b.div(centred, c.b.addScalar(deviation, 1e-9)));
}
LogicalResult lpNorm(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", -1), c.rank(0));
  int64_t p = c.getInt("p", 2);
  if (failed(axis) || (p != 1 && p != 2))
    return c.fail("p = " + Twine(p));
  Value x = c.in(0);
  Value norm = p == 1 ? c.b.reduce(Reduction::Sum, c.b.create<math::AbsFOp>(x), {*axis}, true)
                      : c.b.create<math::SqrtOp>(c.b.reduce(Reduction::Sum, c.b.mul(x, x), {*axis}, true));
  Value zero = c.b.compare(arith::CmpFPredicate::OEQ, arith::CmpIPredicate::eq, norm, c.b.splatLike(norm, 0));
  return c.done(c.b.div(x, c.b.select(zero, c.b.splatLike(norm, 1), norm)));
}
} // namespace

void addNormOps(OpTable &table) {
  table.add("LayerNormalization", layerNorm);
  table.add("RMSNormalization", rmsNorm);
  table.add("SimplifiedLayerNormalization", rmsNorm); // model builders leave it in the default domain
  table.addMs("SimplifiedLayerNormalization", rmsNorm);
  table.addMs("SkipSimplifiedLayerNormalization", skipRmsNorm);
  table.addMs("SkipLayerNormalization", skipLayerNorm);
  table.add("BatchNormalization", batchNorm);
  table.add("InstanceNormalization", instanceNorm);
  table.add("GroupNormalization", groupNorm);
  table.add("MeanVarianceNormalization", meanVarianceNorm);
  table.add("LpNormalization", lpNorm);
}

} // namespace mlir::comm
