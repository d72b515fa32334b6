//===- ValueBuilder.cpp - small words for building form `global` ----------===//
#include "ValueBuilder.h"
#include "comm/Interpreter/Interpreter.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"

namespace mlir::comm {

Value ValueBuilder::constant(DenseElementsAttr value) { return arith::ConstantOp::create(builder, loc, value); }

Value ValueBuilder::splat(RankedTensorType type, double value) {
  Attribute element;
  if (auto floatType = dyn_cast<FloatType>(type.getElementType())) {
    APFloat number(value);
    bool losesInfo;
    number.convert(floatType.getFloatSemantics(), APFloat::rmNearestTiesToEven, &losesInfo);
    element = FloatAttr::get(floatType, number);
  } else {
    element = IntegerAttr::get(
        type.getElementType(),
        APInt(64, static_cast<uint64_t>(static_cast<int64_t>(value))).sextOrTrunc(type.getElementTypeBitWidth()));
  }
  return constant(DenseElementsAttr::get(type, element));
}

Value ValueBuilder::ints(ArrayRef<int64_t> values, ArrayRef<int64_t> shape, Type element) {
  unsigned width = element.getIntOrFloatBitWidth();
  SmallVector<APInt> elements;
  for (int64_t value : values)
    elements.push_back(APInt(64, value, true).sextOrTrunc(width));
  return constant(DenseElementsAttr::get(RankedTensorType::get(shape, element), elements));
}

Value ValueBuilder::floats(ArrayRef<double> values, ArrayRef<int64_t> shape, Type element) {
  SmallVector<Attribute> elements;
  for (double value : values)
    elements.push_back(FloatAttr::get(element, value));
  return constant(DenseElementsAttr::get(RankedTensorType::get(shape, element), elements));
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
  if (type.getNumElements() == 0 && !isa<tensor::EmptyOp>(op))
    return replaceBy(constant(DenseElementsAttr::get(type, ArrayRef<Attribute>{})));
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

Value ValueBuilder::empty(RankedTensorType type) {
  return tensor::EmptyOp::create(builder, loc, type.getShape(), type.getElementType());
}

namespace {
struct Group {
  SmallVector<int64_t, 2> source, target; ///< dimensions
  int64_t size = 1;
};
/// Smallest groups of neighbouring dimensions whose products agree. No dimension is 0, ranks are positive.
SmallVector<Group> groupDims(ArrayRef<int64_t> source, ArrayRef<int64_t> target) {
  SmallVector<Group> groups;
  size_t i = 0, j = 0;
  while (i < source.size() && j < target.size()) {
    Group group;
    int64_t a = source[i], b = target[j];
    group.source.push_back(i++);
    group.target.push_back(j++);
    while (a != b) {
      if (a < b)
        a *= source[i], group.source.push_back(i++);
      else
        b *= target[j], group.target.push_back(j++);
    }
    // Left-over ones join here unless the other side has a partner for them.
    while (i < source.size() && source[i] == 1 && (j == target.size() || target[j] != 1))
      group.source.push_back(i++);
    while (j < target.size() && target[j] == 1 && (i == source.size() || source[i] != 1))
      group.target.push_back(j++);
    group.size = a;
    groups.push_back(group);
  }
  return groups;
}
} // namespace

Value ValueBuilder::reshape(Value value, ArrayRef<int64_t> shape) {
  RankedTensorType type = typeOf(value), target = withShape(value, shape);
  if (type == target)
    return value;
  if (DenseElementsAttr attr = getConstant(value))
    return constant(attr.reshape(target));
  if (type.getNumElements() == 0)
    return constant(DenseElementsAttr::get(target, ArrayRef<Attribute>{}));
  if (type.getRank() == 0)
    return create<tensor::ExpandShapeOp>(target, value, ArrayRef<ReassociationIndices>{});
  if (shape.empty())
    return create<tensor::CollapseShapeOp>(target, value, ArrayRef<ReassociationIndices>{});
  SmallVector<ReassociationIndices> collapse, expand;
  SmallVector<int64_t> middle;
  bool needsCollapse = false, needsExpand = false;
  for (const Group &group : groupDims(type.getShape(), shape)) {
    middle.push_back(group.size);
    collapse.emplace_back(group.source.begin(), group.source.end());
    expand.emplace_back(group.target.begin(), group.target.end());
    needsCollapse |= group.source.size() > 1;
    needsExpand |= group.target.size() > 1;
  }
  if (needsCollapse)
    value = create<tensor::CollapseShapeOp>(withShape(value, middle), value, collapse);
  if (needsExpand)
    value = create<tensor::ExpandShapeOp>(target, value, expand);
  return value;
}

Value ValueBuilder::transpose(Value value, ArrayRef<int64_t> permutation) {
  bool identity = true, movesOnlyOnes = true;
  SmallVector<int64_t> shape;
  int64_t last = -1;
  for (auto [position, dim] : llvm::enumerate(permutation)) {
    identity &= static_cast<int64_t>(position) == dim;
    shape.push_back(shapeOf(value)[dim]);
    if (shape.back() != 1) {
      movesOnlyOnes &= dim > last;
      last = dim;
    }
  }
  if (identity)
    return value;
  if (movesOnlyOnes && getConstant(value))
    return reshape(value, shape);
  return fold(linalg::TransposeOp::create(builder, loc, value, empty(withShape(value, shape)), permutation));
}

Value ValueBuilder::broadcastTo(Value value, ArrayRef<int64_t> shape) {
  RankedTensorType type = typeOf(value), target = withShape(value, shape);
  if (type == target)
    return value;
  if (DenseElementsAttr attr = getConstant(value); attr && attr.isSplat())
    return constant(attr.resizeSplat(target));
  SmallVector<int64_t> kept, added;
  int64_t lead = target.getRank() - type.getRank();
  for (int64_t dim = 0; dim < target.getRank(); ++dim) {
    if (dim < lead || (type.getDimSize(dim - lead) == 1 && shape[dim] != 1))
      added.push_back(dim);
    else
      kept.push_back(shape[dim]);
  }
  if (llvm::all_of(added, [&](int64_t dim) { return shape[dim] == 1; }))
    return reshape(value, shape);
  value = reshape(value, kept);
  return fold(linalg::BroadcastOp::create(builder, loc, value, empty(target), added));
}

/// A window of a weight is a weight: nothing is copied, and each rank reads its part only. Null when the form does not
/// allow it.
Value ValueBuilder::sliceWeight(Value value, ArrayRef<int64_t> offsets, ArrayRef<int64_t> sizes,
                                ArrayRef<int64_t> strides) {
  auto weight = value.getDefiningOp<WeightOp>();
  if (!weight || weight.getLayout() || llvm::any_of(strides, [](int64_t stride) { return stride != 1; }))
    return nullptr;
  SmallVector<int64_t> start(offsets.size(), 0);
  if (ArrayAttr slices = weight.getSlicesAttr())
    for (SliceAttr slice : slices.getAsRange<SliceAttr>())
      start[slice.getDim()] = slice.getStart();
  auto stored = cast<RankedTensorType>(weight.getStored());
  SmallVector<Attribute> slices;
  for (int64_t dim = 0; dim < static_cast<int64_t>(sizes.size()); ++dim)
    if (sizes[dim] != stored.getDimSize(dim))
      slices.push_back(SliceAttr::get(getContext(), dim, start[dim] + offsets[dim], sizes[dim]));
  return WeightOp::create(builder, weight.getLoc(), withShape(value, sizes), weight.getNameAttr(), weight.getFileAttr(),
                          weight.getOffsetAttr(), weight.getStoredAttr(),
                          slices.empty() ? ArrayAttr() : builder.getArrayAttr(slices), LayoutAttr());
}

Value ValueBuilder::slice(Value value, ArrayRef<int64_t> offsets, ArrayRef<int64_t> sizes, ArrayRef<int64_t> strides) {
  if (sizes == shapeOf(value) && llvm::all_of(strides, [](int64_t stride) { return stride == 1; }))
    return value;
  if (std::optional<double> number = getSplat(value))
    return constant(getConstant(value).resizeSplat(withShape(value, sizes)));
  if (Value weight = sliceWeight(value, offsets, sizes, strides))
    return weight;
  auto toFold = [&](ArrayRef<int64_t> numbers) {
    SmallVector<OpFoldResult> result;
    for (int64_t number : numbers)
      result.push_back(builder.getIndexAttr(number));
    return result;
  };
  return fold(tensor::ExtractSliceOp::create(builder, loc, withShape(value, sizes), value, toFold(offsets),
                                             toFold(sizes), toFold(strides)));
}

Value ValueBuilder::sliceDim(Value value, int64_t dim, int64_t start, int64_t size, int64_t stride) {
  SmallVector<int64_t> offsets(typeOf(value).getRank(), 0), sizes(shapeOf(value)), strides(offsets.size(), 1);
  offsets[dim] = start;
  sizes[dim] = size;
  strides[dim] = stride;
  return slice(value, offsets, sizes, strides);
}

Value ValueBuilder::concat(ArrayRef<Value> values, int64_t dim) {
  SmallVector<Value> parts;
  for (Value value : values)
    if (shapeOf(value)[dim] != 0)
      parts.push_back(value);
  if (parts.empty())
    return values[0];
  if (parts.size() == 1)
    return parts[0];
  SmallVector<int64_t> shape(shapeOf(parts[0]));
  shape[dim] = 0;
  for (Value part : parts)
    shape[dim] += shapeOf(part)[dim];
  return create<tensor::ConcatOp>(withShape(parts[0], shape), dim, parts);
}

Value ValueBuilder::pad(Value value, int64_t dim, int64_t before, int64_t after, double fill) {
  int64_t cut = std::max<int64_t>(0, -before), size = shapeOf(value)[dim] - cut - std::max<int64_t>(0, -after);
  SmallVector<Value> parts = {sliceDim(value, dim, cut, size)};
  auto filler = [&](int64_t count) {
    SmallVector<int64_t> shape(shapeOf(value));
    shape[dim] = count;
    return splat(withShape(value, shape), fill);
  };
  if (before > 0)
    parts.insert(parts.begin(), filler(before));
  if (after > 0)
    parts.push_back(filler(after));
  return concat(parts, dim);
}

Value ValueBuilder::reverse(Value value, int64_t dim) {
  int64_t size = shapeOf(value)[dim];
  SmallVector<int64_t> order;
  for (int64_t i = size - 1; i >= 0; --i)
    order.push_back(i);
  return create<GatherOp>(value, ints(order), dim);
}

bool ValueBuilder::broadcastShapes(ArrayRef<int64_t> lhs, ArrayRef<int64_t> rhs, SmallVectorImpl<int64_t> &result) {
  size_t rank = std::max(lhs.size(), rhs.size());
  result.assign(rank, 1);
  for (size_t i = 0; i < rank; ++i) {
    int64_t a = i < rank - lhs.size() ? 1 : lhs[i - (rank - lhs.size())];
    int64_t b = i < rank - rhs.size() ? 1 : rhs[i - (rank - rhs.size())];
    if (a != b && a != 1 && b != 1)
      return false;
    result[i] = a == 1 ? b : a;
  }
  return true;
}

void ValueBuilder::broadcastPair(Value &lhs, Value &rhs) {
  SmallVector<int64_t> shape;
  bool fits = broadcastShapes(shapeOf(lhs), shapeOf(rhs), shape);
  assert(fits && "callers check shapes");
  (void)fits;
  lhs = broadcastTo(lhs, shape);
  rhs = broadcastTo(rhs, shape);
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
  Value sum = reduce(Reduction::Sum, half ? castTo(value, builder.getF32Type()) : value, dims, keepDims);
  return castTo(div(sum, splatLike(sum, static_cast<double>(count))), element);
}

Value ValueBuilder::matmul(Value a, Value b, bool transposeA, bool transposeB) {
  auto transposed = [&](bool on) { return on ? builder.getUnitAttr() : UnitAttr(); };
  return create<MatmulOp>(a, b, transposed(transposeA), transposed(transposeB));
}

} // namespace mlir::comm
