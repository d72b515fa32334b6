//===- Elementwise.cpp - one element at a time ----------------------------===//
// To add an operator: a line in addElementwiseOps; its ONNX node tests then join test/data/onnx_node_passing.txt.
//===----------------------------------------------------------------------===//
#include "OpTable.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;
using FP = arith::CmpFPredicate;
using IP = arith::CmpIPredicate;

/// A function of one float tensor.
template <Value (*make)(B &, Value)> LogicalResult floatUnary(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  return c.done(make(c.b, c.in(0)));
}
template <typename OpTy> Value mathOp(B &b, Value x) { return b.create<OpTy>(x); }
template <typename OpTy> LogicalResult math1(NodeContext &c) { return floatUnary<mathOp<OpTy>>(c); }

/// A function of two tensors of one type.
template <Value (B::*make)(Value, Value)> LogicalResult arith2(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needSameElement(0, 1)) || failed(c.needBroadcast(c.in(0), c.in(1))))
    return failure();
  if (B::elementOf(c.in(0)).isInteger(1))
    return c.fail("arithmetic on booleans");
  return c.done((c.b.*make)(c.in(0), c.in(1)));
}

/// Integer division by a constant zero has no value; leave it to nobody.
LogicalResult divide(NodeContext &c) {
  if (failed(c.needInputs(2, 2)))
    return failure();
  if (auto values = B::getConstantInts(c.in(1)); values && llvm::is_contained(*values, 0))
    return c.fail("integer division by zero", "E313");
  return arith2<&B::div>(c);
}

template <FP floatCase, IP intCase> LogicalResult compare(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needSameElement(0, 1)) || failed(c.needBroadcast(c.in(0), c.in(1))))
    return failure();
  Value a = c.in(0), other = c.in(1);
  if (B::elementOf(a).isInteger(1)) { // signed i1 would order true before false
    Type i8 = c.b.getBuilder().getIntegerType(8);
    a = c.b.castTo(a, i8);
    other = c.b.castTo(other, i8);
  }
  return c.done(c.b.compare(floatCase, intCase, a, other));
}

template <typename OpTy> LogicalResult logical(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needSameElement(0, 1)) || failed(c.needBroadcast(c.in(0), c.in(1))))
    return failure();
  if (!isa<IntegerType>(B::elementOf(c.in(0))))
    return c.fail("operands are not integers or booleans");
  Value a = c.in(0), other = c.in(1);
  c.b.broadcastPair(a, other);
  return c.done(c.b.create<OpTy>(a, other));
}
LogicalResult logicalNot(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  return B::elementOf(c.in(0)).isInteger(1) ? c.done(c.b.logicalNot(c.in(0))) : c.fail("operand is not boolean");
}
LogicalResult bitwiseNot(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || !isa<IntegerType>(B::elementOf(c.in(0))))
    return c.fail("operand is not an integer");
  return c.done(c.b.create<arith::XOrIOp>(c.in(0), c.b.splatLike(c.in(0), -1)));
}

template <Value (B::*make)(Value, Value)> LogicalResult variadic(NodeContext &c) {
  if (failed(c.needInputs(1, 1 << 16)))
    return failure();
  Value result = c.in(0);
  for (size_t i = 1; i < c.numInputs(); ++i) {
    if (!c.has(i) || failed(c.needSameElement(0, i)) || failed(c.needBroadcast(result, c.in(i))))
      return failure();
    result = (c.b.*make)(result, c.in(i));
  }
  return c.done(result);
}
LogicalResult meanOfAll(NodeContext &c) {
  if (failed(c.needInputs(1, 1 << 16)) || failed(c.needFloat(0)))
    return failure();
  Value result = c.in(0);
  for (size_t i = 1; i < c.numInputs(); ++i) {
    if (!c.has(i) || failed(c.needSameElement(0, i)) || failed(c.needBroadcast(result, c.in(i))))
      return failure();
    result = c.b.add(result, c.in(i));
  }
  return c.done(c.b.div(result, c.b.splatLike(result, static_cast<double>(c.numInputs()))));
}

LogicalResult where(NodeContext &c) {
  if (failed(c.needInputs(3, 3)) || failed(c.needSameElement(1, 2)))
    return failure();
  if (!B::elementOf(c.in(0)).isInteger(1))
    return c.fail("condition is not boolean");
  SmallVector<int64_t> shape;
  if (failed(c.needBroadcast(c.in(1), c.in(2))) || !B::broadcastShapes(c.shape(1), c.shape(2), shape))
    return failure();
  SmallVector<int64_t> all;
  if (!B::broadcastShapes(c.shape(0), shape, all))
    return c.fail("condition does not broadcast", "E313");
  if (failed(c.needBudget(all, B::elementOf(c.in(1)))))
    return failure();
  return c.done(c.b.select(c.in(0), c.in(1), c.in(2)));
}

LogicalResult power(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needBroadcast(c.in(0), c.in(1))))
    return failure();
  Value x = c.in(0), y = c.in(1);
  Type element = B::elementOf(x);
  std::optional<double> exponent = B::getSplat(y);
  SmallVector<int64_t> shape;
  B::broadcastShapes(c.shape(0), c.shape(1), shape);
  if (exponent && (*exponent == 1 || *exponent == 2 || *exponent == 3 || (*exponent == 0.5 && B::isFloat(x)))) {
    x = c.b.broadcastTo(x, shape);
    if (*exponent == 0.5)
      return c.done(c.b.unary<math::SqrtOp>(x));
    c.resultUnsigned = c.isUnsigned(0);
    Value square = *exponent == 1 ? x : c.b.mul(x, x);
    return c.done(*exponent == 3 ? c.b.mul(square, x) : square);
  }
  Type work = B::isFloat(x) ? element : Type(c.b.getBuilder().getF64Type());
  Value base = c.widened(0, work), power = c.widened(1, work);
  c.b.broadcastPair(base, power);
  c.resultUnsigned = c.isUnsigned(0);
  return c.done(c.b.castTo(c.b.create<math::PowFOp>(base, power), element, c.isUnsigned(0)));
}

LogicalResult modulo(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needSameElement(0, 1)) || failed(c.needBroadcast(c.in(0), c.in(1))))
    return failure();
  Value x = c.in(0), y = c.in(1);
  c.b.broadcastPair(x, y);
  if (auto values = B::getConstantInts(y); values && llvm::is_contained(*values, 0))
    return c.fail("integer division by zero", "E313");
  Value rest = B::isFloat(x)     ? c.b.create<arith::RemFOp>(x, y)
               : c.isUnsigned(0) ? c.b.create<arith::RemUIOp>(x, y)
                                 : c.b.create<arith::RemSIOp>(x, y);
  if (c.getInt("fmod", 0) || c.isUnsigned(0) ||
      (B::isFloat(x) && c.opset() < 28)) // the sign of the dividend; floats had no other choice before
    return c.done(rest);
  Value zero = c.b.splatLike(rest, 0), restNegative = c.b.compare(FP::OLT, IP::slt, rest, zero),
        divisorNegative = c.b.compare(FP::OLT, IP::slt, y, zero);
  Value adjust = c.b.create<arith::AndIOp>(c.b.create<arith::XOrIOp>(restNegative, divisorNegative),
                                           c.b.compare(FP::UNE, IP::ne, rest, zero));
  return c.done(c.b.select(adjust, c.b.add(rest, y), rest));
}

LogicalResult clip(NodeContext &c) {
  if (failed(c.needInputs(1, 3)))
    return failure();
  Value x = c.in(0);
  Value low = c.has(1) ? c.in(1) : c.hasAttr("min") ? c.b.splatLike(x, c.getFloat("min", 0)) : Value();
  Value high = c.has(2) ? c.in(2) : c.hasAttr("max") ? c.b.splatLike(x, c.getFloat("max", 0)) : Value();
  for (Value bound : {low, high})
    if (bound && (B::typeOf(bound).getNumElements() != 1 && B::typeOf(bound) != B::typeOf(x)))
      return c.fail("a bound is not a scalar");
  for (size_t i = 1; i < 3; ++i)
    if (c.has(i) && failed(c.needSameElement(0, i)))
      return failure();
  if (low)
    x = c.b.max(x, c.b.reshape(low, B::typeOf(low).getNumElements() == 1 ? ArrayRef<int64_t>{} : B::shapeOf(low)));
  if (high)
    x = c.b.min(x, c.b.reshape(high, B::typeOf(high).getNumElements() == 1 ? ArrayRef<int64_t>{} : B::shapeOf(high)));
  return c.done(x);
}

/// Bytes cut to the bits that the result holds, by its sign.
Value narrowed(NodeContext &c, Value bytes) {
  if (c.resultBits.value_or(0) == 0)
    return bytes;
  Value by = c.b.splatLike(bytes, 8 - *c.resultBits), top = c.b.create<arith::ShLIOp>(bytes, by);
  return *c.resultUnsigned ? c.b.create<arith::ShRUIOp>(top, by) : c.b.create<arith::ShRSIOp>(top, by);
}

LogicalResult cast(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  int64_t to = c.getInt("to", 0);
  Type target = c.elementType(to);
  c.resultUnsigned = NodeContext::isUnsignedType(to);
  c.resultBits = NodeContext::narrowBits(to);
  return target ? c.done(narrowed(c, c.b.castTo(c.in(0), target, *c.resultUnsigned))) : failure();
}
LogicalResult castLike(NodeContext &c) {
  if (failed(c.needInputs(2, 2)))
    return failure();
  c.resultUnsigned = c.isUnsigned(1);
  c.resultBits = c.bitsOf(1);
  Type element = B::elementOf(c.in(1));
  if (isa<FloatType>(B::elementOf(c.in(0))) && isa<IntegerType>(element))
    return c.done(narrowed(c, c.b.castTo(c.in(0), element, c.isUnsigned(1))));
  return c.done(narrowed(c, c.widened(0, element)));
}
LogicalResult identity(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  c.markAlias(0, 0);
  return c.done(c.in(0));
}
LogicalResult dropout(NodeContext &c) {
  if (failed(c.needInputs(1, 3)))
    return failure();
  if (c.has(2)) {
    FailureOr<double> training = c.constantScalar(2, "whether this is training");
    FailureOr<double> ratio = c.has(1) ? c.constantScalar(1, "the ratio") : FailureOr<double>(c.getFloat("ratio", 0.5));
    if (failed(training) || failed(ratio))
      return failure();
    if (*training != 0 && *ratio != 0)
      return c.fail("training mode draws random numbers");
  }
  c.markAlias(0, 0);
  RankedTensorType mask = B::withElement(c.in(0), c.b.getBuilder().getI1Type());
  return success(succeeded(c.done(c.in(0))) && succeeded(c.setOut(1, c.b.splat(mask, 1))));
}
LogicalResult negate(NodeContext &c) { return failed(c.needInputs(1, 1)) ? failure() : c.done(c.b.neg(c.in(0))); }
LogicalResult absolute(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  if (c.isUnsigned(0))
    return c.done(c.in(0));
  return c.done(B::isFloat(c.in(0)) ? c.b.create<math::AbsFOp>(c.in(0)) : c.b.max(c.in(0), c.b.neg(c.in(0))));
}
LogicalResult relu(NodeContext &c) {
  return failed(c.needInputs(1, 1)) ? failure() : c.done(c.b.max(c.in(0), c.b.splatLike(c.in(0), 0)));
}
LogicalResult sign(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  Value x = c.in(0), zero = c.b.splatLike(x, 0);
  Value positive = c.b.castTo(c.b.compare(FP::OGT, IP::sgt, x, zero), B::elementOf(x));
  Value negative = c.b.castTo(c.b.compare(FP::OLT, IP::slt, x, zero), B::elementOf(x));
  return c.done(c.b.sub(positive, negative));
}
LogicalResult isInf(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  Value x = c.in(0);
  double infinity = INFINITY;
  Value up = c.b.compare(FP::OEQ, IP::eq, x, c.b.splatLike(x, infinity)),
        down = c.b.compare(FP::OEQ, IP::eq, x, c.b.splatLike(x, -infinity));
  bool wantsUp = c.getInt("detect_positive", 1), wantsDown = c.getInt("detect_negative", 1);
  if (wantsUp && wantsDown)
    return c.done(c.b.create<arith::OrIOp>(up, down));
  return c.done(wantsUp ? up : wantsDown ? down : c.b.splat(B::typeOf(up), 0));
}
Value isNaN(B &b, Value x) { return b.create<arith::CmpFOp>(FP::UNO, x, x); }
Value reciprocal(B &b, Value x) { return b.div(b.splatLike(x, 1), x); }
Value sigmoid(B &b, Value x) { return b.sigmoid(x); }
Value softplus(B &b, Value x) { // max(x, 0) + log1p(exp(-|x|)) does not overflow
  Value tail = b.create<math::Log1pOp>(b.create<math::ExpOp>(b.neg(b.create<math::AbsFOp>(x))));
  return b.add(b.max(x, b.splatLike(x, 0)), tail);
}
Value softsign(B &b, Value x) { return b.div(x, b.addScalar(b.create<math::AbsFOp>(x), 1)); }
Value hardSwish(B &b, Value x) {
  Value gate = b.min(b.max(b.addScalar(b.mulScalar(x, 1.0 / 6), 0.5), b.splatLike(x, 0)), b.splatLike(x, 1));
  return b.mul(x, gate);
}
Value mish(B &b, Value x) { return b.mul(x, b.create<math::TanhOp>(softplus(b, x))); }

/// Functions with attributes, all of one float tensor.
template <Value (*make)(NodeContext &, Value)> LogicalResult withAttributes(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  return c.done(make(c, c.in(0)));
}
Value positivePart(B &b, Value x, Value ifPositive, Value otherwise) {
  return b.select(b.compare(FP::OGT, IP::sgt, x, b.splatLike(x, 0)), ifPositive, otherwise);
}
Value leakyRelu(NodeContext &c, Value x) {
  return positivePart(c.b, x, x, c.b.mulScalar(x, c.getFloat("alpha", 0.01f)));
}
Value elu(NodeContext &c, Value x) {
  return positivePart(c.b, x, x, c.b.mulScalar(c.b.create<math::ExpM1Op>(x), c.getFloat("alpha", 1)));
}
Value celu(NodeContext &c, Value x) {
  double alpha = c.getFloat("alpha", 1);
  Value scaled = c.b.div(x, c.b.splatLike(x, alpha));
  return positivePart(c.b, x, x, c.b.mulScalar(c.b.create<math::ExpM1Op>(scaled), alpha));
}
Value selu(NodeContext &c, Value x) {
  double alpha = c.getFloat("alpha", 1.67326319217681884765625), gamma = c.getFloat("gamma", 1.05070102214813232421875);
  return c.b.mulScalar(positivePart(c.b, x, x, c.b.mulScalar(c.b.create<math::ExpM1Op>(x), alpha)), gamma);
}
Value hardSigmoid(NodeContext &c, Value x) {
  Value line = c.b.addScalar(c.b.mulScalar(x, c.getFloat("alpha", 0.2f)), c.getFloat("beta", 0.5));
  return c.b.min(c.b.max(line, c.b.splatLike(x, 0)), c.b.splatLike(x, 1));
}
Value thresholdedRelu(NodeContext &c, Value x) {
  Value over = c.b.compare(FP::OGT, IP::sgt, x, c.b.splatLike(x, c.getFloat("alpha", 1)));
  return c.b.select(over, x, c.b.splatLike(x, 0));
}
Value shrink(NodeContext &c, Value x) {
  double lambd = c.getFloat("lambd", 0.5), bias = c.getFloat("bias", 0);
  Value low = c.b.compare(FP::OLT, IP::slt, x, c.b.splatLike(x, -lambd)),
        high = c.b.compare(FP::OGT, IP::sgt, x, c.b.splatLike(x, lambd));
  return c.b.select(low, c.b.addScalar(x, bias), c.b.select(high, c.b.addScalar(x, -bias), c.b.splatLike(x, 0)));
}
Value swish(NodeContext &c, Value x) {
  double alpha = c.getFloat("alpha", 1);
  return alpha == 1 ? c.b.create<SiluOp>(x) : c.b.mul(x, c.b.sigmoid(c.b.mulScalar(x, alpha)));
}
LogicalResult gelu(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  std::string kind = c.getString("approximate", "none");
  if (kind != "none" && kind != "tanh")
    return c.fail("approximate = '" + kind + "'");
  return c.done(c.b.create<GeluOp>(kind == "tanh" ? GeluKind::Tanh : GeluKind::Erf, c.in(0)));
}
/// Swish of the first operand times the second.
LogicalResult swiglu(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needFloat(0)) || failed(c.needSameElement(0, 1)))
    return failure();
  if (c.shape(0) != c.shape(1))
    return c.fail("the operands differ in shape", "E313");
  return c.done(c.b.mul(swish(c, c.in(0)), c.in(1)));
}
LogicalResult prelu(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needFloat(0)) || failed(c.needSameElement(0, 1)) ||
      failed(c.needBroadcastTo(c.in(1), c.shape(0))))
    return failure();
  return c.done(positivePart(c.b, c.in(0), c.in(0), c.b.mul(c.in(0), c.in(1))));
}
} // namespace

void addElementwiseOps(OpTable &table) {
  table.add("Add", arith2<&B::add>);
  table.add("Sub", arith2<&B::sub>);
  table.add("Mul", arith2<&B::mul>);
  table.add("Div", divide);
  table.add("Mod", modulo);
  table.add("Pow", power);
  table.add("Max", variadic<&B::max>);
  table.add("Min", variadic<&B::min>);
  table.add("Sum", variadic<&B::add>);
  table.add("Mean", meanOfAll);
  table.add("Equal", compare<FP::OEQ, IP::eq>);
  table.add("Less", compare<FP::OLT, IP::slt>);
  table.add("Greater", compare<FP::OGT, IP::sgt>);
  table.add("LessOrEqual", compare<FP::OLE, IP::sle>);
  table.add("GreaterOrEqual", compare<FP::OGE, IP::sge>);
  table.add("And", logical<arith::AndIOp>);
  table.add("Or", logical<arith::OrIOp>);
  table.add("Xor", logical<arith::XOrIOp>);
  table.add("Not", logicalNot);
  table.add("BitwiseAnd", logical<arith::AndIOp>);
  table.add("BitwiseOr", logical<arith::OrIOp>);
  table.add("BitwiseXor", logical<arith::XOrIOp>);
  table.add("BitwiseNot", bitwiseNot);
  table.add("Where", where);
  table.add("Clip", clip);
  table.add("Cast", cast);
  table.add("CastLike", castLike);
  table.add("Identity", identity);
  table.add("Dropout", dropout);
  table.add("Neg", negate);
  table.add("Abs", absolute);
  table.add("Sign", sign);
  table.add("Relu", relu);
  table.add("IsInf", isInf);
  table.add("IsNaN", floatUnary<isNaN>);
  table.add("Sqrt", math1<math::SqrtOp>);
  table.add("Exp", math1<math::ExpOp>);
  table.add("Log", math1<math::LogOp>);
  table.add("Erf", math1<math::ErfOp>);
  table.add("Sin", math1<math::SinOp>);
  table.add("Cos", math1<math::CosOp>);
  table.add("Tan", math1<math::TanOp>);
  table.add("Tanh", math1<math::TanhOp>);
  table.add("Asin", math1<math::AsinOp>);
  table.add("Acos", math1<math::AcosOp>);
  table.add("Atan", math1<math::AtanOp>);
  table.add("Sinh", math1<math::SinhOp>);
  table.add("Cosh", math1<math::CoshOp>);
  table.add("Asinh", math1<math::AsinhOp>);
  table.add("Acosh", math1<math::AcoshOp>);
  table.add("Atanh", math1<math::AtanhOp>);
  table.add("Ceil", math1<math::CeilOp>);
  table.add("Floor", math1<math::FloorOp>);
  table.add("Round", math1<math::RoundEvenOp>);
  table.add("Reciprocal", floatUnary<reciprocal>);
  table.add("Sigmoid", floatUnary<sigmoid>);
  table.add("Softplus", floatUnary<softplus>);
  table.add("Softsign", floatUnary<softsign>);
  table.add("HardSwish", floatUnary<hardSwish>);
  table.add("Mish", floatUnary<mish>);
  table.add("LeakyRelu", withAttributes<leakyRelu>);
  table.add("Elu", withAttributes<elu>);
  table.add("Celu", withAttributes<celu>);
  table.add("Selu", withAttributes<selu>);
  table.add("HardSigmoid", withAttributes<hardSigmoid>);
  table.add("ThresholdedRelu", withAttributes<thresholdedRelu>);
  table.add("Shrink", withAttributes<shrink>);
  table.add("Swish", withAttributes<swish>);
  table.add("Gelu", gelu);
  table.add("PRelu", prelu);
  table.add("SwiGLU", swiglu);
}

} // namespace mlir::comm
