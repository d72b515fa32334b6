//===- Match.cpp - looking through broadcasts and reshapes ----------------===//
#include "passes/Import/Match.h"
#include "mlir/Dialect/Utils/ReshapeOpsUtils.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include <cmath>

namespace mlir::comm {

View::View(Value start) : value(start) {
  for (int64_t dim = 0; dim < tensorTypeOf(start).getRank(); ++dim)
    dims.push_back(shapeOf(start)[dim] == 1 ? -1 : dim);
}

/// For a reshape that only moves ones: old dimension (not 1) -> new dimension. False when it does more.
static bool mapNonUnit(ArrayRef<int64_t> from, ArrayRef<int64_t> to, SmallVectorImpl<int64_t> &map) {
  map.assign(from.size(), -1);
  size_t j = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] == 1)
      continue;
    while (j < to.size() && to[j] == 1)
      ++j;
    if (j == to.size() || to[j] != from[i])
      return false;
    map[i] = static_cast<int64_t>(j++);
  }
  while (j < to.size())
    if (to[j++] != 1)
      return false;
  return true;
}

void View::skip() {
  while (Operation *op = value.getDefiningOp()) {
    SmallVector<int64_t> map; // dimension of the result -> dimension of the operand
    Value source;
    if (auto broadcast = dyn_cast<linalg::BroadcastOp>(op)) {
      source = broadcast.getInput();
      int64_t next = 0;
      for (int64_t dim = 0; dim < tensorTypeOf(value).getRank(); ++dim)
        map.push_back(llvm::is_contained(broadcast.getDimensions(), dim) ? -1 : next++);
    } else if (auto transpose = dyn_cast<linalg::TransposeOp>(op)) {
      source = transpose.getInput();
      map.assign(transpose.getPermutation().begin(), transpose.getPermutation().end());
    } else if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op)) {
      source = op->getOperand(0);
      if (!mapNonUnit(shapeOf(value), shapeOf(source), map))
        return;
    } else {
      return;
    }
    for (int64_t &dim : dims)
      if (dim >= 0)
        dim = map[dim] >= 0 && shapeOf(source)[map[dim]] != 1 ? map[dim] : -1;
    value = source;
  }
}

void View::into(Value operand) {
  value = operand;
  skip();
}

bool View::isPrefix(ArrayRef<int64_t> startShape, size_t count) const {
  for (size_t dim = 0; dim < dims.size(); ++dim)
    if (dim >= count ? dims[dim] != -1 : startShape[dim] != 1 && dims[dim] != static_cast<int64_t>(dim))
      return false;
  return true;
}

bool View::isLastDim() const {
  for (size_t dim = 0; dim + 1 < dims.size(); ++dim)
    if (dims[dim] != -1)
      return false;
  return !dims.empty() && tensorTypeOf(value).getRank() == 1 && (dims.back() == 0 || shapeOf(value)[0] == 1);
}

std::optional<double> getSplatNumber(Value value) {
  View view(value);
  view.skip();
  DenseElementsAttr attr;
  if (!matchPattern(view.value, m_Constant(&attr)) || !attr.isSplat() || !isa<FloatType>(attr.getElementType()))
    return std::nullopt;
  APFloat number = attr.getSplatValue<APFloat>();
  bool losesInfo;
  number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
  return number.convertToDouble();
}

bool isSplatOf(Value value, double number, double tolerance) {
  std::optional<double> splat = getSplatNumber(value);
  return splat && std::abs(*splat - number) <= tolerance * std::abs(number);
}

bool matchScaled(Value value, Value &x, double &factor) {
  if (matchWithSplat<arith::MulFOp>(value, x, factor))
    return true;
  auto div = value.getDefiningOp<arith::DivFOp>();
  std::optional<double> divisor = div ? getSplatNumber(div.getRhs()) : std::nullopt;
  if (!divisor || *divisor == 0)
    return false;
  x = div.getLhs();
  factor = 1 / *divisor;
  return true;
}

Value buildReshape(OpBuilder &builder, Location loc, Value value, ArrayRef<int64_t> shape) {
  RankedTensorType type = tensorTypeOf(value), target = RankedTensorType::get(shape, type.getElementType());
  if (type == target)
    return value;
  if (type.getRank() > target.getRank())
    if (auto groups = getReassociationIndicesForReshape(type, target))
      return tensor::CollapseShapeOp::create(builder, loc, target, value, *groups);
  if (type.getRank() < target.getRank())
    if (auto groups = getReassociationIndicesForReshape(type, target))
      return tensor::ExpandShapeOp::create(builder, loc, target, value, *groups);
  SmallVector<int64_t> squeezed;
  for (int64_t size : type.getShape())
    if (size != 1)
      squeezed.push_back(size);
  if (squeezed.size() == type.getShape().size()) // equal ranks or no common groups: by way of one dimension
    squeezed = {type.getNumElements()};
  return buildReshape(builder, loc, buildReshape(builder, loc, value, squeezed), shape);
}

Value buildTranspose(OpBuilder &builder, Location loc, Value value, ArrayRef<int64_t> permutation) {
  SmallVector<int64_t> shape, order(permutation);
  if (auto inner = value.getDefiningOp<linalg::TransposeOp>()) {
    for (int64_t &dim : order)
      dim = inner.getPermutation()[dim];
    value = inner.getInput();
  }
  bool identity = true;
  for (auto [position, dim] : llvm::enumerate(order)) {
    identity &= static_cast<int64_t>(position) == dim;
    shape.push_back(shapeOf(value)[dim]);
  }
  if (identity)
    return value;
  Value init = tensor::EmptyOp::create(builder, loc, shape, tensorTypeOf(value).getElementType());
  return linalg::TransposeOp::create(builder, loc, value, init, order)->getResult(0);
}

Value buildSplat(OpBuilder &builder, Location loc, RankedTensorType type, double number) {
  return arith::ConstantOp::create(
      builder, loc, DenseElementsAttr::get(type, Attribute(builder.getFloatAttr(type.getElementType(), number))));
}

Value buildWeightSlice(OpBuilder &builder, WeightOp weight, int64_t dim, int64_t start, int64_t size) {
  auto stored = cast<RankedTensorType>(weight.getStored());
  SmallVector<int64_t> shape(shapeOf(weight));
  shape[dim] = size;
  SmallVector<Attribute> slices;
  int64_t base = 0;
  if (ArrayAttr present = weight.getSlicesAttr())
    for (SliceAttr slice : present.getAsRange<SliceAttr>()) {
      if (slice.getDim() == dim)
        base = slice.getStart();
      else
        slices.push_back(slice);
    }
  if (size != stored.getDimSize(dim))
    slices.push_back(SliceAttr::get(builder.getContext(), dim, base + start, size));
  return WeightOp::create(builder, weight.getLoc(), RankedTensorType::get(shape, stored.getElementType()),
                          weight.getNameAttr(), weight.getFileAttr(), weight.getOffsetAttr(), weight.getStoredAttr(),
                          slices.empty() ? ArrayAttr() : builder.getArrayAttr(slices), LayoutAttr());
}

Value buildVectorSlice(OpBuilder &builder, Location loc, Value vector, int64_t start, int64_t size) {
  if (auto weight = vector.getDefiningOp<WeightOp>(); weight && !weight.getLayout())
    return buildWeightSlice(builder, weight, 0, start, size);
  OpFoldResult one = builder.getIndexAttr(1);
  auto type = RankedTensorType::get({size}, tensorTypeOf(vector).getElementType());
  return tensor::ExtractSliceOp::create(builder, loc, type, vector, {OpFoldResult(builder.getIndexAttr(start))},
                                        {OpFoldResult(builder.getIndexAttr(size))}, {one});
}

void eraseDeadOps(Operation *function) {
  for (Region &region : function->getRegions())
    for (Block &block : region)
      for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
        if (isOpTriviallyDead(&op))
          op.erase();
}

} // namespace mlir::comm
