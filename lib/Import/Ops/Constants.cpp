//===- Constants.cpp - Constant, ConstantOfShape, Range, Shape ------------===//
#include "OpTable.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;

LogicalResult constant(NodeContext &c) {
  OpBuilder &builder = c.b.getBuilder();
  std::string name = c.wants(0) ? c.node.outputs[0] : "";
  if (const onnx::Attribute *value = c.getAttr("value"); value && value->tensor) {
    Value result = c.tensorValue(*value->tensor, name);
    c.resultUnsigned = NodeContext::isUnsignedType(value->tensor->dataType);
    c.resultBits = NodeContext::narrowBits(value->tensor->dataType);
    return result ? c.done(result) : failure();
  }
  if (c.hasAttr("value_int"))
    return c.done(c.b.ints({c.getInt("value_int", 0)}, {}, builder.getI64Type()));
  if (c.hasAttr("value_ints"))
    return c.done(c.b.ints(c.getInts("value_ints")));
  if (c.hasAttr("value_float"))
    return c.done(c.b.splat(RankedTensorType::get({}, builder.getF32Type()), c.getFloat("value_float", 0)));
  if (const onnx::Attribute *floats = c.getAttr("value_floats")) {
    auto type = RankedTensorType::get({static_cast<int64_t>(floats->floats.size())}, builder.getF32Type());
    return c.done(c.b.constant(DenseElementsAttr::get(type, ArrayRef<float>(floats->floats))));
  }
  return c.fail("only value, value_int(s) and value_float(s) are supported");
}

LogicalResult constantOfShape(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needRank(0, 1)))
    return failure();
  FailureOr<SmallVector<int64_t>> shape = c.constantInts(0, "the shape");
  if (failed(shape))
    return failure();
  Type element = c.b.getBuilder().getF32Type();
  double number = 0;
  if (const onnx::Attribute *value = c.getAttr("value"); value && value->tensor) {
    Value fill = c.tensorValue(*value->tensor, "value");
    if (!fill)
      return failure();
    c.resultUnsigned = NodeContext::isUnsignedType(value->tensor->dataType);
    c.resultBits = NodeContext::narrowBits(value->tensor->dataType);
    if (!B::getConstant(fill) || B::typeOf(fill).getNumElements() != 1)
      return c.fail("attribute 'value' is not one number");
    if (failed(c.needBudget(*shape, B::elementOf(fill))))
      return failure();
    return c.done(c.b.constant(B::getConstant(fill).resizeSplat(B::withShape(fill, *shape))));
  }
  if (failed(c.needBudget(*shape, element)))
    return failure();
  return c.done(c.b.splat(RankedTensorType::get(*shape, element), number));
}

LogicalResult range(NodeContext &c) {
  if (failed(c.needInputs(3, 3)) || failed(c.needSameElement(0, 1)) || failed(c.needSameElement(0, 2)))
    return failure();
  FailureOr<double> start = c.constantScalar(0, "start"), limit = c.constantScalar(1, "limit"),
                    delta = c.constantScalar(2, "delta");
  if (failed(start) || failed(limit) || failed(delta))
    return failure();
  if (*delta == 0 || !std::isfinite(*delta) || !std::isfinite(*start) || !std::isfinite(*limit))
    return c.fail("start, limit or step of a range is not valid", "E313");
  double count = std::max(0.0, std::ceil((*limit - *start) / *delta));
  if (count > static_cast<double>(1 << 24))
    return c.fail("a range of " + std::to_string(count) + " numbers", "E304");
  Type element = B::elementOf(c.in(0));
  auto type = RankedTensorType::get({static_cast<int64_t>(count)}, element);
  if (!isa<FloatType>(element)) {
    SmallVector<int64_t> values;
    if (std::fabs(*start) > 0x1p53 || std::fabs(*limit) > 0x1p53 || std::fabs(*delta) > 0x1p53)
      return c.fail("a range of numbers above 2^53");
    auto first = static_cast<int64_t>(*start), step = static_cast<int64_t>(*delta);
    for (int64_t i = 0; i < type.getDimSize(0); ++i)
      values.push_back(first + i * step);
    return c.done(c.b.ints(values, type.getShape(), element));
  }
  SmallVector<Attribute> values;
  for (int64_t i = 0; i < type.getDimSize(0); ++i)
    values.push_back(FloatAttr::get(element, *start + static_cast<double>(i) * *delta));
  return c.done(c.b.constant(DenseElementsAttr::get(type, values)));
}

LogicalResult shape(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  int64_t rank = c.rank(0), start = c.getInt("start", 0), end = c.getInt("end", rank);
  auto clamp = [&](int64_t value) { return std::min(std::max(value < 0 ? value + rank : value, int64_t(0)), rank); };
  start = clamp(start);
  end = std::max(start, clamp(end));
  return c.done(c.b.ints(c.shape(0).slice(start, end - start)));
}
LogicalResult size(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  return c.done(c.b.ints({B::typeOf(c.in(0)).getNumElements()}, {}, c.b.getBuilder().getI64Type()));
}

LogicalResult eyeLike(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needRank(0, 2)))
    return failure();
  Type element = c.hasAttr("dtype") ? c.elementType(c.getInt("dtype", 1)) : B::elementOf(c.in(0));
  int64_t rows = c.shape(0)[0], columns = c.shape(0)[1], k = c.getInt("k", 0);
  if (!element)
    return failure();
  c.resultUnsigned = c.hasAttr("dtype") ? NodeContext::isUnsignedType(c.getInt("dtype", 1)) : c.isUnsigned(0);
  if (rows * columns > B::kMaxFoldedElements)
    return c.fail("a diagonal of this size");
  k = std::clamp(k, -rows, columns); // beyond, there is none
  SmallVector<int64_t> values(rows * columns, 0);
  for (int64_t row = 0; row < rows; ++row)
    if (row + k >= 0 && row + k < columns)
      values[row * columns + row + k] = 1;
  return c.done(c.b.castTo(c.b.ints(values, {rows, columns}, c.b.getBuilder().getI64Type()), element));
}
} // namespace

void addConstantOps(OpTable &table) {
  table.add("Constant", constant);
  table.add("ConstantOfShape", constantOfShape);
  table.add("Range", range);
  table.add("Shape", shape);
  table.add("Size", size);
  table.add("EyeLike", eyeLike);
}

} // namespace mlir::comm
