//===- Gather.cpp - elements by index -------------------------------------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;

LogicalResult needIndices(NodeContext &c, size_t index) {
  Type element = B::elementOf(c.in(index));
  return element.isInteger(32) || element.isInteger(64) ? success() : c.fail("indices are not int32 or int64");
}

/// Constant indices must be inside; the runtime only sees those that are not.
LogicalResult needRange(NodeContext &c, size_t index, int64_t size) {
  if (auto values = B::getConstantInts(c.in(index)))
    for (int64_t value : *values)
      if (value < -size || value >= size)
        return c.fail("index " + Twine(value) + " is outside a dimension of size " + Twine(size), "E313");
  return success();
}

LogicalResult gather(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(needIndices(c, 1)))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", 0), c.rank(0));
  if (failed(axis) || failed(needRange(c, 1, c.shape(0)[*axis])))
    return failure();
  Value data = c.in(0), indices = c.in(1);
  SmallVector<int64_t> shape(c.shape(0).take_front(*axis));
  llvm::append_range(shape, c.shape(1));
  llvm::append_range(shape, c.shape(0).drop_front(*axis + 1));
  if (failed(c.needBudget(shape, B::elementOf(data))))
    return failure();
  // A run of neighbours is a slice: position tables become parts of a weight.
  if (auto values = B::getConstantInts(indices); values && !values->empty()) {
    int64_t size = c.shape(0)[*axis], first = values->front() + (values->front() < 0 ? size : 0);
    bool run = true;
    for (auto [i, value] : llvm::enumerate(*values))
      run &= value + (value < 0 ? size : 0) == first + static_cast<int64_t>(i);
    if (run)
      return c.done(c.b.reshape(c.b.sliceDim(data, *axis, first, static_cast<int64_t>(values->size())), shape));
  }
  if (*axis == 0 && c.rank(0) == 2 && data.getDefiningOp<WeightOp>() && B::isFloat(data))
    return c.done(c.b.create<EmbeddingOp>(data, indices, IntegerAttr(), ArrayAttr()));
  return c.done(c.b.create<GatherOp>(data, indices, *axis));
}

LogicalResult gatherElements(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(needIndices(c, 1)) || failed(c.needRank(1, c.rank(0))))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", 0), c.rank(0));
  if (failed(axis) || failed(needRange(c, 1, c.shape(0)[*axis])))
    return failure();
  for (int64_t dim = 0; dim < c.rank(0); ++dim)
    if (dim != *axis && c.shape(1)[dim] > c.shape(0)[dim])
      return c.fail("indices are larger than the data in dimension " + Twine(dim), "E313");
  return c.done(c.b.create<GatherElementsOp>(c.in(0), c.in(1), *axis));
}

LogicalResult gatherND(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(needIndices(c, 1)))
    return failure();
  int64_t batch = c.getInt("batch_dims", 0), rank = c.rank(0);
  if (c.rank(1) < 1 || batch < 0 || batch >= c.rank(1) || batch > rank || c.shape(1).back() > rank - batch ||
      c.shape(1).back() < 1 || c.shape(0).take_front(batch) != c.shape(1).take_front(batch))
    return c.fail("indices do not fit the data", "E313");
  Value data = c.in(0), indices = c.in(1);
  int64_t width = c.shape(1).back();
  SmallVector<int64_t> shape(c.shape(1).drop_back());
  llvm::append_range(shape, c.shape(0).drop_front(batch + width));
  if (failed(c.needBudget(shape, B::elementOf(data))))
    return failure();
  if (auto values = B::getConstantInts(indices)) {
    // Constant tuples that run through the data in order are only a reshape: exporters index masks that way.
    bool inOrder =
        batch == 0 && width == rank && static_cast<int64_t>(values->size()) / width == B::typeOf(data).getNumElements();
    for (int64_t i = 0; i < static_cast<int64_t>(values->size()); i += width) {
      int64_t flat = 0;
      for (int64_t j = 0; j < width; ++j) {
        int64_t size = c.shape(0)[batch + j], value = (*values)[i + j];
        if (value < -size || value >= size)
          return c.fail("index " + Twine(value) + " is outside a dimension of size " + Twine(size), "E313");
        flat = flat * size + (value < 0 ? value + size : value);
      }
      inOrder &= flat == i / width;
    }
    if (inOrder)
      return c.done(c.b.reshape(data, shape));
  }
  return c.done(c.b.create<GatherNDOp>(data, indices, batch));
}
} // namespace

void addGatherOps(OpTable &table) {
  table.add("Gather", gather);
  table.add("GatherElements", gatherElements);
  table.add("GatherND", gatherND);
}

} // namespace mlir::comm
