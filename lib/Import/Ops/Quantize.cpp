//===- Quantize.cpp - quantised tensors and products of them --------------===//
#include "OpTable.h"
#include "Window.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// A scale or zero point shaped to broadcast over x: one number, one per element of `axis`, or one per block of it.
FailureOr<Value> spreadParameter(NodeContext &c, Value parameter, ArrayRef<int64_t> shape) {
  B &b = c.b;
  ArrayRef<int64_t> given = B::shapeOf(parameter);
  if (B::typeOf(parameter).getNumElements() == 1)
    return b.reshape(parameter, {});
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", 1), static_cast<int64_t>(shape.size()));
  if (failed(axis))
    return failure();
  int64_t block = c.getInt("block_size", 0), size = shape[*axis];
  if (block == 0 && given.size() == 1 && given[0] == size) {
    SmallVector<int64_t> column(shape.size(), 1);
    column[*axis] = size;
    return b.reshape(parameter, column);
  }
  bool fits = block > 0 && block <= INT32_MAX && given.size() == shape.size();
  for (size_t dim = 0; fits && dim < shape.size(); ++dim)
    fits = given[dim] == (static_cast<int64_t>(dim) == *axis ? (size + block - 1) / block : shape[dim]);
  if (!fits)
    return c.fail("a scale or zero point does not fit the tensor", "E313");
  // [.., n, ..] -> [.., n, 1, ..] -> [.., n, block, ..] -> [.., n * block, ..], cut to size.
  SmallVector<int64_t> apart(given), wide(given), joined(given);
  apart.insert(apart.begin() + *axis + 1, 1);
  wide.insert(wide.begin() + *axis + 1, block);
  joined[*axis] *= block;
  Value repeated = b.reshape(b.broadcastTo(b.reshape(parameter, apart), wide), joined);
  return b.sliceDim(repeated, *axis, 0, size);
}

/// Rounds to the nearest even number, adds the zero point and clamps to the integer type.
Value quantised(NodeContext &c, Value scaled, Value zeroPoint, Type element, bool toUnsigned) {
  B &b = c.b;
  unsigned width = c.resultBits.value_or(0) ? *c.resultBits : element.getIntOrFloatBitWidth();
  double low = toUnsigned ? 0 : -std::ldexp(1.0, static_cast<int>(width) - 1),
         high = std::ldexp(1.0, static_cast<int>(width) - (toUnsigned ? 0 : 1)) - 1;
  Value y = b.create<math::RoundEvenOp>(scaled);
  if (zeroPoint)
    y = b.add(y, zeroPoint);
  y = b.min(b.max(y, b.splatLike(y, low)), b.splatLike(y, high));
  return b.castTo(y, element, toUnsigned);
}

LogicalResult quantizeLinear(NodeContext &c) {
  if (failed(c.needInputs(2, 3)))
    return failure();
  Type f32 = c.b.getBuilder().getF32Type(), element = c.b.getBuilder().getIntegerType(8);
  bool toUnsigned = true;
  if (int64_t type = c.getInt("output_dtype", 0)) {
    element = c.elementType(type);
    toUnsigned = NodeContext::isUnsignedType(type);
    c.resultBits = NodeContext::narrowBits(type);
  } else if (c.has(2)) {
    element = B::elementOf(c.in(2));
    toUnsigned = c.isUnsigned(2);
    c.resultBits = c.bitsOf(2);
  }
  if (!element || !isa<IntegerType>(element) || element.getIntOrFloatBitWidth() > 16 || element.isInteger(1))
    return element ? c.fail("quantised values that are not 8- or 16-bit integers") : failure();
  if (int64_t precision = c.getInt("precision", 0); precision && precision != onnx::Float)
    return c.fail("a precision other than float");
  Value x = c.widened(0, f32);
  FailureOr<Value> scale = spreadParameter(c, c.b.castTo(c.in(1), f32), c.shape(0));
  if (failed(scale))
    return failure();
  Value zero;
  if (c.has(2)) {
    FailureOr<Value> spread = spreadParameter(c, c.widened(2, f32), c.shape(0));
    if (failed(spread))
      return failure();
    zero = *spread;
  }
  if (failed(c.needBroadcastTo(*scale, c.shape(0))))
    return failure();
  Value y = quantised(c, c.b.div(x, *scale), zero, element, toUnsigned);
  c.resultUnsigned = toUnsigned;
  return c.done(y);
}

LogicalResult dequantizeLinear(NodeContext &c) {
  if (failed(c.needInputs(2, 3)) || (c.has(2) && failed(c.needSameElement(0, 2))))
    return failure();
  if (!isa<IntegerType>(B::elementOf(c.in(0))) || !B::isFloat(c.in(1)))
    return c.fail("expected integers and a float scale");
  Type f32 = c.b.getBuilder().getF32Type(), element = B::elementOf(c.in(1));
  if (int64_t type = c.getInt("output_dtype", 0))
    element = c.elementType(type);
  if (!element || !isa<FloatType>(element))
    return element ? c.fail("a result that is not floating-point") : failure();
  FailureOr<Value> scale = spreadParameter(c, c.b.castTo(c.in(1), f32), c.shape(0));
  if (failed(scale))
    return failure();
  Value x = c.widened(0, f32);
  if (c.has(2)) {
    FailureOr<Value> zero = spreadParameter(c, c.widened(2, f32), c.shape(0));
    if (failed(zero))
      return failure();
    x = c.b.sub(x, *zero);
  }
  return c.done(c.b.castTo(c.b.mul(x, *scale), element));
}

/// Scale and zero point from the range of x, which always holds 0.
LogicalResult dynamicQuantize(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  B &b = c.b;
  Type u8 = b.getBuilder().getIntegerType(8);
  SmallVector<int64_t> all = llvm::to_vector(llvm::seq<int64_t>(0, c.rank(0)));
  Value zero = b.splat(RankedTensorType::get({}, B::elementOf(c.in(0))), 0);
  Value top = b.max(b.reduce(Reduction::Max, c.in(0), all, false), zero),
        bottom = b.min(b.reduce(Reduction::Min, c.in(0), all, false), zero);
  Value flat = b.compare(arith::CmpFPredicate::OEQ, arith::CmpIPredicate::eq, top, bottom);
  Value range = b.select(flat, b.splatLike(top, 1), b.sub(top, bottom));
  Value scale = b.div(range, b.splatLike(range, 255));
  Value point = b.sub(zero, b.div(bottom, scale));
  point = b.create<math::RoundEvenOp>(b.min(b.max(point, zero), b.splatLike(point, 255)));
  c.resultUnsigned = true;
  return success(succeeded(c.done(quantised(c, b.div(c.in(0), scale), point, u8, true))) &&
                 succeeded(c.setOut(1, scale)) && succeeded(c.setOut(2, b.castTo(point, u8, true))));
}

/// Integers of an input less its zero point, as i32. A zero point per row (`column`: per column) stands in that place.
FailureOr<Value> centred(NodeContext &c, size_t index, size_t zeroIndex, bool column) {
  B &b = c.b;
  Type i32 = b.getBuilder().getI32Type();
  Type element = B::elementOf(c.in(index));
  if (!element.isInteger(8) && !element.isInteger(16))
    return c.fail("input " + Twine(index) + " is not a quantised tensor");
  Value x = c.widened(index, i32);
  if (!c.has(zeroIndex))
    return x;
  Value zero = c.widened(zeroIndex, i32);
  if (B::typeOf(zero).getNumElements() == 1)
    return b.sub(x, b.reshape(zero, {}));
  if (B::typeOf(zero).getRank() == 1 && c.rank(index) >= 2 && !column)
    zero = b.reshape(zero, {B::shapeOf(zero)[0], 1});
  if (failed(c.needBroadcastTo(zero, c.shape(index))))
    return failure();
  return b.sub(x, zero);
}

FailureOr<Value> integerProduct(NodeContext &c, Value a, Value b) {
  ArrayRef<int64_t> left = B::shapeOf(a), right = B::shapeOf(b);
  SmallVector<int64_t> batch;
  if (left.size() < 2 || right.size() < 2 || left.back() != right[right.size() - 2] ||
      !B::broadcastShapes(left.drop_back(2), right.drop_back(2), batch))
    return c.fail("the operands do not fit each other", "E313");
  batch.push_back(left[left.size() - 2]);
  batch.push_back(right.back());
  if (failed(c.needBudget(batch, B::elementOf(a))))
    return failure();
  return left.back() == 0 ? c.b.splat(B::withShape(a, batch), 0) : c.b.matmul(a, b);
}

LogicalResult matMulInteger(NodeContext &c) {
  if (failed(c.needInputs(2, 4)))
    return failure();
  FailureOr<Value> a = centred(c, 0, 2, false), b = centred(c, 1, 3, true);
  if (failed(a) || failed(b))
    return failure();
  FailureOr<Value> y = integerProduct(c, *a, *b);
  c.resultUnsigned = false;
  return failed(y) ? failure() : c.done(*y);
}

/// a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero
LogicalResult qLinearMatMul(NodeContext &c) {
  if (failed(c.needInputs(8, 8)))
    return failure();
  FailureOr<Value> a = centred(c, 0, 2, false), b = centred(c, 3, 5, true);
  if (failed(a) || failed(b))
    return failure();
  FailureOr<Value> y = integerProduct(c, *a, *b);
  if (failed(y))
    return failure();
  Type f32 = c.b.getBuilder().getF32Type(), element = B::elementOf(c.in(7));
  auto factor = [&](size_t index) { return c.b.castTo(c.in(index), f32); };
  auto isNumber = [&](size_t index) { return B::typeOf(c.in(index)).getNumElements() == 1; };
  if (!isNumber(1) || !isNumber(4) || !isNumber(6) || !isNumber(7))
    return c.fail("scales and zero points that are not single numbers");
  auto number = [&](Value value) { return c.b.reshape(value, {}); };
  Value scale = c.b.div(c.b.mul(number(factor(1)), number(factor(4))), number(factor(6)));
  c.b.unsignedElement = Type(); // the products are signed
  Value scaled = c.b.mul(c.b.castTo(*y, f32), scale);
  c.resultUnsigned = c.isUnsigned(7);
  return c.done(quantised(c, scaled, number(c.widened(7, f32)), element, c.isUnsigned(7)));
}

FailureOr<Value> integerConvolution(NodeContext &c, size_t x, size_t xZero, size_t w, size_t wZero) {
  int64_t groups = c.getInt("group", 1);
  if (failed(checkConvolution(c, c.shape(x), c.shape(w), groups)))
    return failure();
  FailureOr<Window> window = readWindow(c, c.shape(x), c.shape(w).drop_front(2));
  FailureOr<Value> input = centred(c, x, xZero, false);
  if (failed(window) || failed(input))
    return failure();
  Value weights = c.widened(w, c.b.getBuilder().getI32Type());
  if (c.has(wZero)) {
    Value zero = c.widened(wZero, c.b.getBuilder().getI32Type());
    SmallVector<int64_t> shape(c.rank(w), 1);
    bool one = B::typeOf(zero).getNumElements() == 1;
    if (!one && B::shapeOf(zero) != ArrayRef<int64_t>{c.shape(w)[0]})
      return c.fail("the zero point of the weights is neither one number nor one per channel", "E313");
    shape[0] = one ? 1 : c.shape(w)[0];
    weights = c.b.sub(weights, c.b.reshape(zero, shape));
  }
  return buildConvolution(c, *input, weights, groups, *window);
}

LogicalResult convInteger(NodeContext &c) {
  if (failed(c.needInputs(2, 4)))
    return failure();
  FailureOr<Value> y = integerConvolution(c, 0, 2, 1, 3);
  c.resultUnsigned = false;
  return failed(y) ? failure() : c.done(*y);
}

/// x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias?
LogicalResult qLinearConv(NodeContext &c) {
  if (failed(c.needInputs(8, 9)))
    return failure();
  FailureOr<Value> y = integerConvolution(c, 0, 2, 3, 5);
  if (failed(y))
    return failure();
  B &b = c.b;
  Type f32 = b.getBuilder().getF32Type(), element = B::elementOf(c.in(7));
  int64_t channels = c.shape(3)[0];
  SmallVector<int64_t> perChannel(c.rank(0), 1);
  auto shaped = [&](Value value) -> Value {
    perChannel[1] = B::typeOf(value).getNumElements();
    return perChannel[1] == 1 || perChannel[1] == channels ? b.reshape(value, perChannel) : Value();
  };
  Value bias = c.has(8) ? shaped(c.in(8)) : Value(), weightScale = shaped(b.castTo(c.in(4), f32)),
        inScale = shaped(b.castTo(c.in(1), f32)), outScale = shaped(b.castTo(c.in(6), f32)),
        zero = shaped(c.widened(7, f32));
  if ((c.has(8) && (!bias || B::elementOf(bias) != B::elementOf(*y))) || !weightScale || !inScale || !outScale || !zero)
    return c.fail("scales, zero points or bias do not fit the channels", "E313");
  b.unsignedElement = Type(); // the sums are signed
  Value sum = bias ? b.add(*y, bias) : *y;
  Value scaled = b.mul(b.castTo(sum, f32), b.div(b.mul(inScale, weightScale), outScale));
  c.resultUnsigned = c.isUnsigned(7);
  return c.done(quantised(c, scaled, zero, element, c.isUnsigned(7)));
}
} // namespace

void addQuantizeOps(OpTable &table) {
  table.add("QuantizeLinear", quantizeLinear);
  table.add("DequantizeLinear", dequantizeLinear);
  table.add("DynamicQuantizeLinear", dynamicQuantize);
  table.add("MatMulInteger", matMulInteger);
  table.add("QLinearMatMul", qLinearMatMul);
  table.add("ConvInteger", convInteger);
  table.add("QLinearConv", qLinearConv);
  table.addMs("QuantizeLinear", quantizeLinear);
  table.addMs("DequantizeLinear", dequantizeLinear);
}

} // namespace mlir::comm
