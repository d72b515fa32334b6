//===- ConvertTensors.cpp - ops that move elements as views, copies and fills ===//
#include "mlir/IR/Matchers.h"
#include "passes/Lower/Converter.h"

namespace mlir::comm {

void Converter::convertMove(Operation *op, const StridedCopy &move) {
  Value input = op->getOperand(0), result = op->getResult(0);
  Place place = places.lookup(input);
  if (move.isContiguous() && !inOutput.count(result)) {
    auto type = cast<RankedTensorType>(input.getType());
    places[result] = {place.root, place.offset + move.inOffset * getElementBytes(type.getElementType())};
    ++numViews;
    return;
  }
  Value in = use(op->getLoc(), input);
  commands.copy(op->getLoc(), in, define(op->getLoc(), result), move);
}

LogicalResult Converter::convertConstant(arith::ConstantOp constant) {
  auto value = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!value)
    return constant.emitError(unknown(constant));
  Location loc = constant.getLoc();
  if (value.isSplat() && getTensorBytes(constant.getType()) > maxDataBytes)
    commands.fill(loc, define(loc, constant.getResult()), value.getSplatValue<Attribute>());
  else
    places[constant.getResult()] = {DataOp::create(builder, loc, commands.bufferType(constant.getType()), value), 0};
  return success();
}

LogicalResult Converter::convertConcat(tensor::ConcatOp op) {
  // Where a part was computed in place, there is a buffer already.
  Value out = places.count(op.getResult()) ? use(op.getLoc(), op.getResult()) : define(op.getLoc(), op.getResult());
  Place whole = places.lookup(op.getResult());
  SmallVector<int64_t> strides = rowMajorStrides(op.getResultType().getShape());
  int64_t offset = 0;
  for (Value input : op.getInputs()) {
    auto type = cast<RankedTensorType>(input.getType());
    Place place = places.lookup(input);
    bool inPlace = inConcat.count(wholeSource(input)) && place.root == whole.root &&
                   place.offset == whole.offset + offset * getElementBytes(type.getElementType());
    if (type.getNumElements() > 0 && !inPlace)
      commands.copy(op.getLoc(), use(op.getLoc(), input), out,
                    {SmallVector<int64_t>(type.getShape()), rowMajorStrides(type.getShape()), strides, 0, offset});
    offset += type.getDimSize(op.getDim()) * strides[op.getDim()];
  }
  return success();
}

LogicalResult Converter::convertInsert(tensor::InsertSliceOp op) {
  if (op->getNumOperands() != 2)
    return op.emitError(unknown(op));
  Value out = define(op.getLoc(), op.getResult());
  commands.copyWhole(op.getLoc(), use(op.getLoc(), op.getDest()), out);
  SmallVector<int64_t> strides = rowMajorStrides(op.getType().getShape()), outStrides;
  llvm::SmallBitVector dropped = op.getDroppedDims();
  int64_t offset = 0;
  for (int64_t dim = 0; dim < op.getType().getRank(); ++dim) {
    offset += op.getStaticOffset(dim) * strides[dim];
    if (!dropped.test(dim))
      outStrides.push_back(strides[dim] * op.getStaticStride(dim));
  }
  ArrayRef<int64_t> shape = op.getSourceType().getShape();
  commands.copy(op.getLoc(), use(op.getLoc(), op.getSource()), out,
                {SmallVector<int64_t>(shape), rowMajorStrides(shape), outStrides, 0, offset});
  return success();
}

LogicalResult Converter::convertPad(tensor::PadOp op) {
  Attribute value;
  Value padding = op.getConstantPaddingValue();
  if (!padding || !matchPattern(padding, m_Constant(&value)) || op->getNumOperands() != 1 ||
      llvm::any_of(op.getStaticLow(), [](int64_t d) { return d < 0; }) ||
      llvm::any_of(op.getStaticHigh(), [](int64_t d) { return d < 0; }))
    return op.emitError(unknown(op));
  Value out = define(op.getLoc(), op.getResult());
  commands.fill(op.getLoc(), out, value);
  SmallVector<int64_t> strides = rowMajorStrides(op.getResultType().getShape());
  int64_t offset = 0;
  for (auto [low, stride] : llvm::zip_equal(op.getStaticLow(), strides))
    offset += low * stride;
  ArrayRef<int64_t> shape = op.getSourceType().getShape();
  commands.copy(op.getLoc(), use(op.getLoc(), op.getSource()), out,
                {SmallVector<int64_t>(shape), rowMajorStrides(shape), strides, 0, offset});
  return success();
}

} // namespace mlir::comm
