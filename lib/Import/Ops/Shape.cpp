//===- Shape.cpp - the same elements in another shape or order ------------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;

LogicalResult reshapeTo(NodeContext &c, ArrayRef<int64_t> shape) {
  int64_t elements = 1;
  if (failed(c.needBudget(shape, B::elementOf(c.in(0)))))
    return failure();
  for (int64_t size : shape)
    elements *= size;
  if (elements != B::typeOf(c.in(0)).getNumElements())
    return c.fail("cannot reshape " + Twine(B::typeOf(c.in(0)).getNumElements()) + " elements into " + Twine(elements),
                  "E313");
  return c.done(c.b.reshape(c.in(0), shape));
}

LogicalResult reshape(NodeContext &c) {
  if (failed(c.needInputs(2, 2)))
    return failure();
  FailureOr<SmallVector<int64_t>> shape = c.constantInts(1, "the new shape");
  if (failed(shape))
    return failure();
  bool zeroCopies = !c.getInt("allowzero", 0);
  int64_t known = 1, unknown = -1;
  for (auto [dim, size] : llvm::enumerate(*shape)) {
    if (size == 0 && zeroCopies) {
      if (static_cast<int64_t>(dim) >= c.rank(0))
        return c.fail("dimension " + Twine(dim) + " copies one that is not there", "E313");
      size = c.shape(0)[dim];
    }
    if (size < -1 || (size == -1 && unknown >= 0))
      return c.fail("the new shape is not valid", "E313");
    if (size == -1)
      unknown = static_cast<int64_t>(dim);
    else if (__builtin_mul_overflow(known, size, &known))
      return c.fail("the new shape overflows", "E304");
  }
  int64_t elements = B::typeOf(c.in(0)).getNumElements();
  if (unknown >= 0 && (known == 0 ? elements != 0 : elements % known != 0))
    return c.fail("cannot reshape " + Twine(elements) + " elements into rows of " + Twine(known), "E313");
  if (unknown >= 0)
    (*shape)[unknown] = known == 0 ? 0 : elements / known;
  return reshapeTo(c, *shape);
}

LogicalResult flatten(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  int64_t axis = c.getInt("axis", 1), rank = c.rank(0), rows = 1, columns = 1;
  if (axis < -rank || axis > rank)
    return c.fail("axis " + Twine(axis) + " is outside a tensor of rank " + Twine(rank));
  axis += axis < 0 ? rank : 0;
  for (int64_t dim = 0; dim < rank; ++dim)
    (dim < axis ? rows : columns) *= c.shape(0)[dim];
  return reshapeTo(c, {rows, columns});
}

/// Axes are an attribute before opset 13, an input since.
FailureOr<SmallVector<int64_t>> axesOf(NodeContext &c) {
  if (c.has(1))
    return c.constantInts(1, "the axes");
  return c.getInts("axes");
}

LogicalResult squeeze(NodeContext &c) {
  if (failed(c.needInputs(1, 2)))
    return failure();
  FailureOr<SmallVector<int64_t>> given = axesOf(c);
  if (failed(given))
    return failure();
  FailureOr<SmallVector<int64_t>> axes = c.axes(*given, c.rank(0));
  if (failed(axes))
    return failure();
  bool all = !c.has(1) && !c.hasAttr("axes");
  SmallVector<int64_t> shape;
  for (auto [dim, size] : llvm::enumerate(c.shape(0))) {
    bool named = llvm::is_contained(*axes, static_cast<int64_t>(dim));
    if (named && size != 1)
      return c.fail("dimension " + Twine(dim) + " has size " + Twine(size) + " and cannot be squeezed", "E313");
    if (!named && !(all && size == 1))
      shape.push_back(size);
  }
  return reshapeTo(c, shape);
}

LogicalResult unsqueeze(NodeContext &c) {
  if (failed(c.needInputs(1, 2)))
    return failure();
  FailureOr<SmallVector<int64_t>> given = axesOf(c);
  if (failed(given))
    return failure();
  int64_t rank = c.rank(0) + static_cast<int64_t>(given->size());
  if (rank > static_cast<int64_t>(B::kMaxRank))
    return c.fail("a result of " + Twine(rank) + " dimensions", "E304");
  FailureOr<SmallVector<int64_t>> axes = c.axes(*given, rank);
  if (failed(axes))
    return failure();
  SmallVector<int64_t> shape;
  for (int64_t dim = 0, from = 0; dim < rank; ++dim)
    shape.push_back(llvm::is_contained(*axes, dim) ? 1 : c.shape(0)[from++]);
  return reshapeTo(c, shape);
}

LogicalResult transpose(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  SmallVector<int64_t> permutation = c.getInts("perm");
  int64_t rank = c.rank(0);
  if (!c.hasAttr("perm"))
    for (int64_t dim = rank - 1; dim >= 0; --dim)
      permutation.push_back(dim);
  FailureOr<SmallVector<int64_t>> sorted = c.axes(permutation, rank);
  if (failed(sorted) || static_cast<int64_t>(sorted->size()) != rank)
    return failed(sorted) ? failure() : c.fail("perm does not name every dimension", "E313");
  for (int64_t &dim : permutation)
    dim += dim < 0 ? rank : 0;
  return c.done(c.b.transpose(c.in(0), permutation));
}

LogicalResult expand(NodeContext &c) {
  if (failed(c.needInputs(2, 2)))
    return failure();
  FailureOr<SmallVector<int64_t>> target = c.constantInts(1, "the new shape");
  if (failed(target))
    return failure();
  SmallVector<int64_t> shape;
  if (!B::broadcastShapes(c.shape(0), *target, shape))
    return c.fail("the shape does not broadcast", "E313");
  if (failed(c.needBroadcastTo(c.in(0), shape)))
    return failure();
  return c.done(c.b.broadcastTo(c.in(0), shape));
}

LogicalResult tile(NodeContext &c) {
  if (failed(c.needInputs(2, 2)))
    return failure();
  FailureOr<SmallVector<int64_t>> repeats = c.constantInts(1, "the repeats");
  if (failed(repeats))
    return failure();
  int64_t rank = c.rank(0);
  if (static_cast<int64_t>(repeats->size()) != rank)
    return c.fail("expected one repeat per dimension", "E313");
  // [a, b] -> [1, a, 1, b] -> [r, a, s, b] -> [r*a, s*b]
  SmallVector<int64_t> apart, wide, result;
  for (int64_t dim = 0; dim < rank; ++dim) {
    int64_t size = c.shape(0)[dim], repeat = (*repeats)[dim], product;
    if (repeat < 0 || __builtin_mul_overflow(size, repeat, &product))
      return c.fail("repeat " + Twine(repeat) + " is not valid", repeat < 0 ? "E313" : "E304");
    if (repeat != 1) {
      apart.push_back(1);
      wide.push_back(repeat);
    }
    apart.push_back(size);
    wide.push_back(size);
    result.push_back(product);
  }
  if (failed(c.needBudget(result, B::elementOf(c.in(0)))))
    return failure();
  return c.done(c.b.reshape(c.b.broadcastTo(c.b.reshape(c.in(0), apart), wide), result));
}

LogicalResult concat(NodeContext &c) {
  if (failed(c.needInputs(1, 1 << 20)))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", 1), c.rank(0));
  if (failed(axis))
    return failure();
  SmallVector<Value> parts;
  SmallVector<int64_t> result(c.shape(0));
  result[*axis] = 0;
  for (size_t i = 0; i < c.numInputs(); ++i) {
    if (!c.has(i) || failed(c.needSameElement(0, i)) || failed(c.needRank(i, c.rank(0))))
      return failure();
    for (int64_t dim = 0; dim < c.rank(0); ++dim)
      if (dim != *axis && c.shape(i)[dim] != c.shape(0)[dim])
        return c.fail("input " + Twine(i) + " differs in dimension " + Twine(dim), "E313");
    if (__builtin_add_overflow(result[*axis], c.shape(i)[*axis], &result[*axis]))
      return c.fail("the result overflows", "E304");
    parts.push_back(c.in(i));
  }
  if (failed(c.needBudget(result, B::elementOf(c.in(0)))))
    return failure();
  if (c.numInputs() == 2)
    c.markAppended(0, 0);
  return c.done(c.b.concat(parts, *axis));
}

LogicalResult depthToSpace(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needRank(0, 4)))
    return failure();
  int64_t block = c.getInt("blocksize", 0), n = c.shape(0)[0], channels = c.shape(0)[1], h = c.shape(0)[2],
          w = c.shape(0)[3];
  if (block <= 0 || block > 1 << 15 || channels % (block * block))
    return c.fail("blocksize " + Twine(block) + " does not fit", "E313");
  int64_t out = channels / (block * block);
  Value x = c.in(0);
  if (c.getString("mode", "DCR") == "DCR")
    x = c.b.transpose(c.b.reshape(x, {n, block, block, out, h, w}), {0, 3, 4, 1, 5, 2});
  else
    x = c.b.transpose(c.b.reshape(x, {n, out, block, block, h, w}), {0, 1, 4, 2, 5, 3});
  return c.done(c.b.reshape(x, {n, out, h * block, w * block}));
}
LogicalResult spaceToDepth(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needRank(0, 4)))
    return failure();
  int64_t block = c.getInt("blocksize", 0), n = c.shape(0)[0], channels = c.shape(0)[1], h = c.shape(0)[2],
          w = c.shape(0)[3];
  if (block <= 0 || block > 1 << 15 || h % block || w % block)
    return c.fail("blocksize " + Twine(block) + " does not fit", "E313");
  Value blocks = c.b.reshape(c.in(0), {n, channels, h / block, block, w / block, block});
  Value x = c.getString("mode", "DCR") == "DCR" ? c.b.transpose(blocks, {0, 3, 5, 1, 2, 4})
                                                : c.b.transpose(blocks, {0, 1, 3, 5, 2, 4});
  return c.done(c.b.reshape(x, {n, channels * block * block, h / block, w / block}));
}
} // namespace

void addShapeOps(OpTable &table) {
  table.add("Reshape", reshape);
  table.add("Flatten", flatten);
  table.add("Squeeze", squeeze);
  table.add("Unsqueeze", unsqueeze);
  table.add("Transpose", transpose);
  table.add("Expand", expand);
  table.add("Tile", tile);
  table.add("Concat", concat);
  table.add("DepthToSpace", depthToSpace);
  table.add("SpaceToDepth", spaceToDepth);
}

} // namespace mlir::comm
