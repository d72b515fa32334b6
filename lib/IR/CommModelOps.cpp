//===- CommModelOps.cpp - verifiers of the model layer --------------------===//
#include "comm/IR/CommOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace mlir::comm;

#define GET_OP_CLASSES
#include "comm/IR/CommModelOps.cpp.inc"

LogicalResult GridOp::verify() {
  if (getAxes().size() != getSizes().size())
    return emitOpError("C1: expected one size per axis, got ")
           << getAxes().size() << " axes and " << getSizes().size() << " sizes";
  llvm::StringSet<> seen;
  int64_t ranks = 1;
  for (auto [axis, size] : llvm::zip_equal(getAxes(), getSizes())) {
    StringRef name = cast<StringAttr>(axis).getValue();
    if (name.empty() || !seen.insert(name).second)
      return emitOpError("C2: axis names must be unique and not empty, got \"") << name << "\"";
    if (size < 1 || size > (1 << 20) || (ranks *= size) > (1 << 20))
      return emitOpError("C3: sizes must be at least 1 and their product at most 1048576, got ")
             << size << " for \"" << name << "\"";
  }
  return success();
}

int64_t GridOp::getAxisSize(StringRef axis) {
  for (auto [name, size] : llvm::zip_equal(getAxes(), getSizes()))
    if (cast<StringAttr>(name).getValue() == axis)
      return size;
  return 0;
}
int64_t GridOp::getNumShards(ArrayAttr axes) {
  int64_t shards = 1;
  for (Attribute axis : axes)
    shards *= getAxisSize(cast<StringAttr>(axis).getValue());
  return shards;
}
int64_t GridOp::getNumRanks() {
  int64_t ranks = 1;
  for (int64_t size : getSizes())
    ranks *= size;
  return ranks;
}

SmallVector<int64_t> WeightOp::getSlicedShape() {
  SmallVector<int64_t> shape(cast<RankedTensorType>(getStored()).getShape());
  if (ArrayAttr slices = getSlicesAttr())
    for (Attribute attr : slices) {
      auto slice = cast<SliceAttr>(attr);
      shape[slice.getDim()] = slice.getSize();
    }
  return shape;
}

LogicalResult WeightOp::verify() {
  auto stored = cast<RankedTensorType>(getStored());
  auto result = cast<RankedTensorType>(getType());
  int64_t offset = getOffset(); // getters of integer attributes are unsigned
  if (offset < 0)
    return emitOpError("C1: offset must not be negative, got ") << offset;
  if (!stored.hasStaticShape())
    return emitOpError("C2: the stored shape must be static, got ") << stored;
  llvm::DenseSet<int64_t> sliced;
  if (ArrayAttr slices = getSlicesAttr())
    for (Attribute attr : slices) {
      auto slice = dyn_cast<SliceAttr>(attr);
      if (!slice)
        return emitOpError("C2: expected #comm.slice, got ") << attr;
      if (slice.getDim() < 0 || slice.getDim() >= stored.getRank() || !sliced.insert(slice.getDim()).second)
        return emitOpError("C2: a slice must name a dimension of ") << stored << " once, got " << slice;
      if (slice.getStart() < 0 || slice.getSize() < 0 ||
          slice.getStart() > stored.getDimSize(slice.getDim()) - slice.getSize())
        return emitOpError("C2: ") << slice << " does not lie inside " << stored;
    }
  SmallVector<int64_t> shape = getSlicedShape();
  LayoutAttr layout = getLayoutAttr();
  if (layout) {
    if (layout.getRank() != stored.getRank() || !layout.getPartialAxes().empty())
      return emitOpError("C3: the layout must split the dimensions of ")
             << stored << " and hold no partial sum, got " << layout;
    if (GridOp grid = getGrid(*this))
      for (int64_t dim = 0; dim < stored.getRank(); ++dim)
        if (!layout.getAxes(dim).empty())
          shape[dim] = getLocalSize(shape[dim], layout.getGrainOf(dim),
                                    grid.getNumShards(cast<ArrayAttr>(layout.getSplits()[dim])));
  }
  if (shape != result.getShape())
    return emitOpError("C3: expected result shape [") << shape << "], got " << result;
  if (stored.getElementType() != result.getElementType())
    return emitOpError("C4: expected element type ") << stored.getElementType() << ", got " << result.getElementType();
  return success();
}

static LogicalResult verifyNormParam(Operation *op, StringRef what, RankedTensorType input, Value param) {
  auto type = cast<RankedTensorType>(param.getType());
  if (input.getRank() < 1 || type.getRank() != 1 || type.getDimSize(0) != input.getShape().back() ||
      type.getElementType() != input.getElementType())
    return op->emitOpError("C1: expected ")
           << what << " of the size and type of the last dimension of " << input << ", got " << type;
  return success();
}

LogicalResult RMSNormOp::verify() { return verifyNormParam(*this, "weight", getInput().getType(), getWeight()); }

LogicalResult LayerNormOp::verify() {
  if (failed(verifyNormParam(*this, "weight", getInput().getType(), getWeight())))
    return failure();
  return getBias() ? verifyNormParam(*this, "bias", getInput().getType(), getBias()) : success();
}

LogicalResult RotaryOp::verify() {
  RankedTensorType input = getInput().getType(), cos = getCos().getType();
  if (input.getRank() != 4 || cos.getRank() != 3)
    return emitOpError("C1: expected input of rank 4 and cos, sin of rank 3, got ") << input << " and " << cos;
  if ((cos.getDimSize(0) != 1 && cos.getDimSize(0) != input.getDimSize(0)) || cos.getDimSize(1) != input.getDimSize(2))
    return emitOpError("C2: cos and sin ") << cos << " do not fit batch and sequence of " << input;
  if (2 * cos.getDimSize(2) > input.getDimSize(3))
    return emitOpError("C3: rotary size ") << 2 * cos.getDimSize(2) << " exceeds the head size " << input.getDimSize(3);
  return success();
}

LogicalResult EmbeddingOp::verify() {
  if (getTable().getType().getRank() != 2)
    return emitOpError("C1: expected a table of rank 2, got ") << getTable().getType();
  if (getVocab().has_value() != getVocabAxes().has_value())
    return emitOpError("C2: vocab and vocab_axes come together");
  if (getVocab() && static_cast<int64_t>(*getVocab()) <= 0)
    return emitOpError("C2: vocab must be positive, got ") << static_cast<int64_t>(*getVocab());
  return success();
}

LogicalResult ScatterNDOp::verify() {
  RankedTensorType data = cast<RankedTensorType>(getData().getType()),
                   indices = cast<RankedTensorType>(getIndices().getType()),
                   updates = cast<RankedTensorType>(getUpdates().getType());
  int64_t tuple = indices.getRank() ? indices.getShape().back() : 0;
  if (tuple < 1 || tuple > data.getRank())
    return emitOpError("C1: index tuples ") << indices << " do not fit " << data;
  SmallVector<int64_t> shape(indices.getShape().drop_back());
  llvm::append_range(shape, data.getShape().drop_front(tuple));
  if (updates != RankedTensorType::get(shape, data.getElementType()))
    return emitOpError("C2: expected updates of ")
           << RankedTensorType::get(shape, data.getElementType()) << ", got " << updates;
  return success();
}
