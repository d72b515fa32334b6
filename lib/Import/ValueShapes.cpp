//===- ValueShapes.cpp - the same elements in other shapes and orders -----===//
#include "ValueBuilder.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace mlir::comm {

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

std::string textOf(ArrayRef<int64_t> shape) {
  std::string text;
  for (int64_t size : shape)
    text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}
int64_t productOf(ArrayRef<int64_t> shape) {
  int64_t product = 1;
  for (int64_t size : shape)
    product *= size;
  return product;
}
} // namespace

Value ValueBuilder::reshape(Value value, ArrayRef<int64_t> shape) {
  RankedTensorType type = typeOf(value);
  if (!need(bytesWithin(shape, elementOf(value), maxBytes) && productOf(shape) == type.getNumElements(),
            "elements of shape " + textOf(type.getShape()) + " do not fill " + textOf(shape)))
    return standIn(shape, type.getElementType());
  RankedTensorType target = withShape(value, shape);
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
  SmallVector<int64_t> sorted(permutation);
  llvm::sort(sorted);
  if (!need(ArrayRef<int64_t>(sorted) == ArrayRef(llvm::to_vector(llvm::seq<int64_t>(0, typeOf(value).getRank()))),
            "an order of dimensions that are not those of " + textOf(shapeOf(value))))
    return standIn(SmallVector<int64_t>(permutation.size(), 1), elementOf(value));
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
  RankedTensorType type = typeOf(value);
  SmallVector<int64_t> common;
  if (!need(broadcastShapes(type.getShape(), shape, common) && ArrayRef<int64_t>(common) == shape,
            "shape " + textOf(type.getShape()) + " does not broadcast to " + textOf(shape)) ||
      !need(bytesWithin(shape, elementOf(value), maxBytes).has_value(), "a value of shape " + textOf(shape), "E304"))
    return standIn(shape, type.getElementType());
  RankedTensorType target = withShape(value, shape);
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

/// Whether the elements that are asked for are there.
static bool liesInside(ArrayRef<int64_t> shape, ArrayRef<int64_t> offsets, ArrayRef<int64_t> sizes,
                       ArrayRef<int64_t> strides) {
  if (offsets.size() != shape.size() || sizes.size() != shape.size() || strides.size() != shape.size())
    return false;
  for (auto [whole, offset, size, stride] : llvm::zip_equal(shape, offsets, sizes, strides)) {
    int64_t last;
    if (offset < 0 || offset > whole || size < 0 || stride < 1 ||
        (size > 0 && (__builtin_mul_overflow(size - 1, stride, &last) || last >= whole - offset)))
      return false;
  }
  return true;
}

Value ValueBuilder::slice(Value value, ArrayRef<int64_t> offsets, ArrayRef<int64_t> sizes, ArrayRef<int64_t> strides) {
  if (!need(liesInside(shapeOf(value), offsets, sizes, strides), "a part of shape " + textOf(sizes) + " from " +
                                                                     textOf(offsets) + " does not lie inside " +
                                                                     textOf(shapeOf(value))))
    return standIn(sizes, elementOf(value));
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
  if (!need(dim >= 0 && dim < typeOf(value).getRank(), "a part along dimension " + Twine(dim)))
    return standIn(typeOf(value));
  offsets[dim] = start;
  sizes[dim] = size;
  strides[dim] = stride;
  return slice(value, offsets, sizes, strides);
}

Value ValueBuilder::concat(ArrayRef<Value> values, int64_t dim) {
  SmallVector<Value> parts;
  SmallVector<int64_t> shape(shapeOf(values[0]));
  bool good = dim >= 0 && dim < static_cast<int64_t>(shape.size());
  int64_t total = 0;
  for (Value value : values) {
    SmallVector<int64_t> other(shapeOf(value));
    good = good && other.size() == shape.size() && !__builtin_add_overflow(total, other[dim], &total);
    if (!good)
      break;
    if (other[dim] != 0)
      parts.push_back(value);
    other[dim] = shape[dim];
    good = other == shape && elementOf(value) == elementOf(values[0]);
  }
  if (!need(good, "parts that differ in shape or element type are joined"))
    return standIn(typeOf(values[0]));
  if (parts.empty())
    return values[0];
  if (parts.size() == 1)
    return parts[0];
  shape[dim] = total;
  return create<tensor::ConcatOp>(withShape(parts[0], shape), dim, parts);
}

Value ValueBuilder::pad(Value value, int64_t dim, int64_t before, int64_t after, double fill) {
  auto isCount = [](int64_t count) { return count >= -(int64_t(1) << 40) && count <= int64_t(1) << 40; };
  if (!need(dim >= 0 && dim < typeOf(value).getRank() && isCount(before) && isCount(after),
            "padding by " + Twine(before) + " and " + Twine(after)))
    return standIn(typeOf(value));
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
  if (!need(dim >= 0 && dim < typeOf(value).getRank(), "an order along dimension " + Twine(dim)) ||
      !needListed(shapeOf(value)[dim]))
    return standIn(typeOf(value));
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
  if (need(broadcastShapes(shapeOf(lhs), shapeOf(rhs), shape),
           "shapes " + textOf(shapeOf(lhs)) + " and " + textOf(shapeOf(rhs)) + " do not broadcast")) {
    lhs = broadcastTo(lhs, shape);
    rhs = broadcastTo(rhs, shape);
    return;
  }
  RankedTensorType larger = typeOf(typeOf(lhs).getRank() < typeOf(rhs).getRank() ? rhs : lhs);
  lhs = standIn(larger.clone(elementOf(lhs)));
  rhs = standIn(larger.clone(elementOf(rhs)));
}

} // namespace mlir::comm
