//===- ValueBuilder.cpp - small words for building form `global` ----------===//
#include "ValueBuilder.h"
#include "comm/Interpreter/Interpreter.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/Verifier.h"

namespace mlir::comm {

void ValueBuilder::refuse(const Twine &what, const char *code) {
  if (fits())
    misfit = {code, what.str()};
}

bool ValueBuilder::need(bool good, const Twine &what, const char *code) {
  if (!good)
    refuse(what, code);
  return fits();
}

std::optional<int64_t> ValueBuilder::bytesWithin(ArrayRef<int64_t> shape, Type element, int64_t maxBytes) {
  int64_t bytes = getElementBytes(element);
  bool good = shape.size() <= kMaxRank;
  for (int64_t size : shape)
    good = good && size >= 0 && !__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes);
  return good && bytes <= maxBytes ? std::optional(bytes) : std::nullopt;
}

bool ValueBuilder::needType(RankedTensorType type) {
  return need(bytesWithin(type.getShape(), type.getElementType(), maxBytes).has_value(),
              "a value on the way is above the limit of " + Twine(maxBytes) + " bytes", "E304");
}

bool ValueBuilder::needListed(int64_t count) {
  return need(count <= kMaxListed, "a table of " + Twine(count) + " numbers", "E304");
}

bool ValueBuilder::holds(function_ref<LogicalResult()> check) {
  std::string said;
  ScopedDiagnosticHandler handler(getContext(), [&](Diagnostic &diagnostic) {
    if (said.empty())
      said = diagnostic.str();
    return success();
  });
  return need(succeeded(check()), "the operands do not fit: " + said);
}

Value ValueBuilder::standIn(RankedTensorType type) {
  if (!type)
    type = RankedTensorType::get({}, builder.getF32Type());
  if (!bytesWithin(type.getShape(), type.getElementType(), maxBytes))
    type = RankedTensorType::get(SmallVector<int64_t>(type.getRank(), 1), type.getElementType());
  return constant(DenseElementsAttr::get(type, builder.getZeroAttr(type.getElementType())));
}

Value ValueBuilder::standIn(ArrayRef<int64_t> shape, Type element) {
  SmallVector<int64_t> sizes;
  for (int64_t size : shape)
    sizes.push_back(std::max<int64_t>(size, 0)); // a type takes no negative one
  return standIn(RankedTensorType::get(sizes, element));
}

Value ValueBuilder::constant(DenseElementsAttr value) { return arith::ConstantOp::create(builder, loc, value); }

/// The integer nearest to a number; casts of what is outside have no value in C++.
static int64_t toInteger(double value) {
  return value >= 0x1p63 ? INT64_MAX : value >= -0x1p63 ? static_cast<int64_t>(value) : value < 0 ? INT64_MIN : 0;
}

Value ValueBuilder::splat(RankedTensorType type, double value) {
  if (!needType(type))
    return standIn(type);
  Attribute element;
  if (auto floatType = dyn_cast<FloatType>(type.getElementType())) {
    APFloat number(value);
    bool losesInfo;
    number.convert(floatType.getFloatSemantics(), APFloat::rmNearestTiesToEven, &losesInfo);
    element = FloatAttr::get(floatType, number);
  } else {
    element =
        IntegerAttr::get(type.getElementType(),
                         APInt(64, static_cast<uint64_t>(toInteger(value))).sextOrTrunc(type.getElementTypeBitWidth()));
  }
  return constant(DenseElementsAttr::get(type, element));
}

/// Whether `count` numbers fill the shape.
static bool fills(size_t count, ArrayRef<int64_t> shape) {
  int64_t size = 1;
  for (int64_t dim : shape)
    if (dim < 0 || __builtin_mul_overflow(size, dim, &size))
      return false;
  return static_cast<size_t>(size) == count;
}

Value ValueBuilder::ints(ArrayRef<int64_t> values, ArrayRef<int64_t> shape, Type element) {
  if (!need(fills(values.size(), shape), Twine(values.size()) + " numbers for another shape"))
    return standIn(shape, element);
  unsigned width = element.getIntOrFloatBitWidth();
  SmallVector<APInt> elements;
  for (int64_t value : values)
    elements.push_back(APInt(64, value, true).sextOrTrunc(width));
  return constant(DenseElementsAttr::get(RankedTensorType::get(shape, element), elements));
}

Value ValueBuilder::floats(ArrayRef<double> values, ArrayRef<int64_t> shape, Type element) {
  if (!need(fills(values.size(), shape), Twine(values.size()) + " numbers for another shape"))
    return standIn(shape, element);
  SmallVector<APFloat> elements;
  for (double value : values) {
    bool losesInfo;
    elements.emplace_back(value);
    elements.back().convert(cast<FloatType>(element).getFloatSemantics(), APFloat::rmNearestTiesToEven, &losesInfo);
  }
  return constant(DenseElementsAttr::get(RankedTensorType::get(shape, element), elements));
}

Value ValueBuilder::countFrom(int64_t start, int64_t count, ArrayRef<int64_t> shape, Type element) {
  if (!needListed(count))
    return standIn(shape, element);
  SmallVector<int64_t> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(start + i);
  return ints(values, shape, element);
}

DenseElementsAttr ValueBuilder::getConstant(Value value) {
  DenseElementsAttr attr;
  if (value && matchPattern(value, m_Constant(&attr)))
    return attr;
  return nullptr;
}

std::optional<SmallVector<int64_t>> ValueBuilder::getConstantInts(Value value) {
  DenseElementsAttr attr = getConstant(value);
  if (!attr || !isa<IntegerType>(attr.getElementType()) || attr.getNumElements() > kMaxFoldedElements)
    return std::nullopt;
  bool isBool = attr.getElementType().isInteger(1);
  SmallVector<int64_t> result;
  for (const APInt &element : attr.getValues<APInt>())
    result.push_back(isBool ? element.getZExtValue() : element.getSExtValue());
  return result;
}

std::optional<double> ValueBuilder::getSplat(Value value) {
  DenseElementsAttr attr = getConstant(value);
  if (!attr || !attr.isSplat())
    return std::nullopt;
  if (isa<FloatType>(attr.getElementType())) {
    APFloat number = attr.getSplatValue<APFloat>();
    bool losesInfo;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
    return number.convertToDouble();
  }
  APInt number = attr.getSplatValue<APInt>();
  if (number.getBitWidth() == 1)
    return number.isOne() ? 1 : 0;
  return static_cast<double>(number.getSExtValue());
}

/// Constants in, constant out: this is how integer shape arithmetic disappears. Falls back to the op's own folder (x &
/// true, reshape of a reshape).
Value ValueBuilder::fold(Operation *op) {
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  auto replaceBy = [&](Value value) {
    op->erase();
    return value;
  };
  if (!needType(type))
    return replaceBy(standIn(type));
  if (type.getNumElements() == 0 && !isa<tensor::EmptyOp>(op))
    return replaceBy(
        constant(DenseElementsAttr::get(type, ArrayRef<Attribute>{}))); // no op takes a part behind the end
  if (!holds([&] { return verify(op); }))
    return replaceBy(standIn(type));
  bool allConstant = op->getNumOperands() > 0 && type.getNumElements() <= kMaxFoldedElements;
  SmallVector<HostTensor> operands;
  for (Value operand : op->getOperands()) {
    auto operandType = dyn_cast<RankedTensorType>(operand.getType());
    if (!allConstant || !operandType || operandType.getNumElements() > kMaxFoldedElements) {
      allConstant = false;
      break;
    }
    if (operand.getDefiningOp<tensor::EmptyOp>())
      operands.push_back(HostTensor::zeros(operandType));
    else if (DenseElementsAttr attr = getConstant(operand))
      operands.push_back(HostTensor::fromAttr(attr));
    else
      allConstant = false;
  }
  if (allConstant) {
    FailureOr<SmallVector<HostTensor>> result = evaluateOp(op, operands);
    if (succeeded(result)) {
      SmallVector<Operation *> inits;
      for (Value operand : op->getOperands())
        if (auto init = operand.getDefiningOp<tensor::EmptyOp>())
          inits.push_back(init);
      Value value = replaceBy(constant((*result)[0].toAttr()));
      for (Operation *init : inits)
        if (init->use_empty())
          init->erase();
      return value;
    }
  }
  SmallVector<OpFoldResult> folded;
  if (succeeded(op->fold(folded)) && folded.size() == 1) {
    if (auto value = dyn_cast<Value>(folded[0]); value && value.getType() == type)
      return replaceBy(value);
    if (auto attr = dyn_cast<DenseElementsAttr>(dyn_cast<Attribute>(folded[0])); attr && attr.getType() == type)
      return replaceBy(constant(attr));
  }
  return op->getResult(0);
}

Value ValueBuilder::binary(Value a, Value b, function_ref<Value(Value, Value)> make) {
  broadcastPair(a, b);
  return make(a, b);
}

Value ValueBuilder::add(Value a, Value b) {
  return binary(
      a, b, [&](Value x, Value y) { return isFloat(x) ? create<arith::AddFOp>(x, y) : create<arith::AddIOp>(x, y); });
}
Value ValueBuilder::sub(Value a, Value b) {
  return binary(
      a, b, [&](Value x, Value y) { return isFloat(x) ? create<arith::SubFOp>(x, y) : create<arith::SubIOp>(x, y); });
}
Value ValueBuilder::mul(Value a, Value b) {
  return binary(
      a, b, [&](Value x, Value y) { return isFloat(x) ? create<arith::MulFOp>(x, y) : create<arith::MulIOp>(x, y); });
}
Value ValueBuilder::div(Value a, Value b) {
  return binary(a, b, [&](Value x, Value y) {
    return isFloat(x)      ? create<arith::DivFOp>(x, y)
           : isUnsigned(x) ? create<arith::DivUIOp>(x, y)
                           : create<arith::DivSIOp>(x, y);
  });
}
Value ValueBuilder::max(Value a, Value b) {
  return binary(a, b, [&](Value x, Value y) {
    return isFloat(x)      ? create<arith::MaximumFOp>(x, y)
           : isUnsigned(x) ? create<arith::MaxUIOp>(x, y)
                           : create<arith::MaxSIOp>(x, y);
  });
}
Value ValueBuilder::min(Value a, Value b) {
  return binary(a, b, [&](Value x, Value y) {
    return isFloat(x)      ? create<arith::MinimumFOp>(x, y)
           : isUnsigned(x) ? create<arith::MinUIOp>(x, y)
                           : create<arith::MinSIOp>(x, y);
  });
}
static arith::CmpIPredicate unsignedForm(arith::CmpIPredicate predicate) {
  switch (predicate) {
  case arith::CmpIPredicate::slt:
    return arith::CmpIPredicate::ult;
  case arith::CmpIPredicate::sle:
    return arith::CmpIPredicate::ule;
  case arith::CmpIPredicate::sgt:
    return arith::CmpIPredicate::ugt;
  case arith::CmpIPredicate::sge:
    return arith::CmpIPredicate::uge;
  default:
    return predicate;
  }
}
Value ValueBuilder::compare(arith::CmpFPredicate floatCase, arith::CmpIPredicate intCase, Value a, Value b) {
  return binary(a, b, [&](Value x, Value y) {
    return isFloat(x) ? create<arith::CmpFOp>(floatCase, x, y)
                      : create<arith::CmpIOp>(isUnsigned(x) ? unsignedForm(intCase) : intCase, x, y);
  });
}
Value ValueBuilder::select(Value condition, Value a, Value b) {
  broadcastPair(a, b);
  broadcastPair(condition, a);
  b = broadcastTo(b, shapeOf(a));
  return create<arith::SelectOp>(condition, a, b);
}
Value ValueBuilder::logicalNot(Value a) { return create<arith::XOrIOp>(a, splatLike(a, 1)); }
Value ValueBuilder::neg(Value a) {
  return isFloat(a) ? create<arith::NegFOp>(a) : create<arith::SubIOp>(splatLike(a, 0), a);
}
Value ValueBuilder::sigmoid(Value a) { return div(splatLike(a, 1), addScalar(unary<math::ExpOp>(neg(a)), 1)); }

Value ValueBuilder::castTo(Value value, Type element, bool toUnsigned) {
  Type from = elementOf(value);
  bool fromUnsigned = from.isInteger(1) || isUnsigned(value);
  if (from == element)
    return value;
  RankedTensorType type = withElement(value, element);
  if (element.isInteger(1)) // not the truncated value: anything but zero is true
    return compare(arith::CmpFPredicate::UNE, arith::CmpIPredicate::ne, value, splatLike(value, 0));
  unsigned fromWidth = from.getIntOrFloatBitWidth(), toWidth = element.getIntOrFloatBitWidth();
  bool fromFloat = isa<FloatType>(from), toFloat = isa<FloatType>(element);
  if (fromFloat && toFloat) {
    if (fromWidth == toWidth) // f16 and bf16: by way of f32
      return castTo(castTo(value, builder.getF32Type()), element);
    return fromWidth < toWidth ? create<arith::ExtFOp>(type, value) : create<arith::TruncFOp>(type, value);
  }
  if (fromFloat)
    return toUnsigned && toWidth == 64  ? create<arith::FPToUIOp>(type, value)
           : toUnsigned || toWidth < 32 ? throughWide(value, type)
                                        : create<arith::FPToSIOp>(type, value);
  if (toFloat)
    return fromUnsigned ? create<arith::UIToFPOp>(type, value) : create<arith::SIToFPOp>(type, value);
  if (fromWidth > toWidth)
    return create<arith::TruncIOp>(type, value);
  return fromUnsigned ? create<arith::ExtUIOp>(type, value) : create<arith::ExtSIOp>(type, value);
}

/// A float as a narrow or unsigned integer of fewer than 64 bits: what does not fit wraps, as it does in numpy here.
Value ValueBuilder::throughWide(Value value, RankedTensorType type) {
  unsigned width = type.getElementTypeBitWidth();
  Type wide = width == 32 ? builder.getI64Type() : builder.getI32Type();
  return create<arith::TruncIOp>(type, create<arith::FPToSIOp>(withElement(value, wide), value));
}

Value ValueBuilder::reduce(Reduction kind, Value value, ArrayRef<int64_t> dims, bool keepDims) {
  RankedTensorType type = typeOf(value);
  if (!need(llvm::all_of(dims, [&](int64_t dim) { return dim >= 0 && dim < type.getRank(); }),
            "a dimension is outside"))
    return standIn(type);
  Type element = type.getElementType();
  SmallVector<int64_t> sorted(dims), kept, keptOnes;
  llvm::sort(sorted);
  for (int64_t dim = 0; dim < type.getRank(); ++dim) {
    bool reduced = llvm::is_contained(sorted, dim);
    if (!reduced)
      kept.push_back(type.getDimSize(dim));
    keptOnes.push_back(reduced ? 1 : type.getDimSize(dim));
  }
  bool half = isa<FloatType>(element) && element.getIntOrFloatBitWidth() < 32 &&
              (kind == Reduction::Sum || kind == Reduction::Prod);
  Value result = half ? castTo(value, builder.getF32Type()) : value;
  if (!sorted.empty()) {
    Type work = elementOf(result);
    double infinity = std::numeric_limits<double>::infinity();
    RankedTensorType initType = RankedTensorType::get(kept, work);
    Value init;
    if (isa<FloatType>(work) || kind == Reduction::Sum || kind == Reduction::Prod) {
      init = splat(initType, kind == Reduction::Sum    ? 0
                             : kind == Reduction::Prod ? 1
                             : kind == Reduction::Max  ? -infinity
                                                       : infinity);
    } else {
      unsigned width = work.getIntOrFloatBitWidth();
      bool natural = width == 1 || isUnsigned(result);
      APInt extreme = kind == Reduction::Max ? (natural ? APInt::getZero(width) : APInt::getSignedMinValue(width))
                                             : (natural ? APInt::getAllOnes(width) : APInt::getSignedMaxValue(width));
      init = constant(DenseElementsAttr::get(initType, extreme));
    }
    bool noSign = isUnsigned(result);
    auto body = [&](OpBuilder &inner, Location at, ValueRange args) {
      bool isFp = isa<FloatType>(work), isBool = work.isInteger(1);
      Value combined;
      if (kind == Reduction::Sum)
        combined = isFp ? Value(arith::AddFOp::create(inner, at, args[0], args[1]))
                        : Value(arith::AddIOp::create(inner, at, args[0], args[1]));
      else if (kind == Reduction::Prod)
        combined = isFp ? Value(arith::MulFOp::create(inner, at, args[0], args[1]))
                        : Value(arith::MulIOp::create(inner, at, args[0], args[1]));
      else if (kind == Reduction::Max)
        combined = isFp     ? Value(arith::MaximumFOp::create(inner, at, args[0], args[1]))
                   : isBool ? Value(arith::OrIOp::create(inner, at, args[0], args[1]))
                   : noSign ? Value(arith::MaxUIOp::create(inner, at, args[0], args[1]))
                            : Value(arith::MaxSIOp::create(inner, at, args[0], args[1]));
      else
        combined = isFp     ? Value(arith::MinimumFOp::create(inner, at, args[0], args[1]))
                   : isBool ? Value(arith::AndIOp::create(inner, at, args[0], args[1]))
                   : noSign ? Value(arith::MinUIOp::create(inner, at, args[0], args[1]))
                            : Value(arith::MinSIOp::create(inner, at, args[0], args[1]));
      linalg::YieldOp::create(inner, at, combined);
    };
    if (type.getNumElements() == 0)
      result = init; // the sum of nothing
    else
      result = fold(linalg::ReduceOp::create(builder, loc, ValueRange{result}, ValueRange{init}, sorted, body));
  }
  if (half)
    result = castTo(result, element);
  return keepDims ? reshape(result, keptOnes) : result;
}

Value ValueBuilder::mean(Value value, ArrayRef<int64_t> dims, bool keepDims) {
  Type element = elementOf(value);
  bool half = isa<FloatType>(element) && element.getIntOrFloatBitWidth() < 32;
  int64_t count = 1;
  for (int64_t dim : dims)
    count *= shapeOf(value)[dim];
  if (!need(count != 0 || isa<FloatType>(element), "the mean of no integers has no value"))
    return standIn(typeOf(value));
  Value sum = reduce(Reduction::Sum, half ? castTo(value, builder.getF32Type()) : value, dims, keepDims);
  return castTo(div(sum, splatLike(sum, static_cast<double>(count))), element);
}

Value ValueBuilder::matmul(Value a, Value b, bool transposeA, bool transposeB) {
  auto transposed = [&](bool on) { return on ? builder.getUnitAttr() : UnitAttr(); };
  Value product = create<MatmulOp>(a, b, transposed(transposeA), transposed(transposeB));
  bool ofNothing = fits() && shapeOf(a)[typeOf(a).getRank() - (transposeA ? 2 : 1)] == 0;
  return ofNothing ? splatLike(product, 0) : product;
}

} // namespace mlir::comm
