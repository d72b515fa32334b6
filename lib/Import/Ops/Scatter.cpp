//===- Scatter.cpp - elements to places, and the order of elements --------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// The attribute `reduction`. Maxima and minima compare with sign.
FailureOr<ScatterKind> readKind(NodeContext &c) {
  std::string text = c.getString("reduction", "none");
  std::optional<ScatterKind> kind = text == "none"  ? std::optional(ScatterKind::Set)
                                    : text == "add" ? std::optional(ScatterKind::Sum)
                                    : text == "mul" ? std::optional(ScatterKind::Prod)
                                    : text == "max" ? std::optional(ScatterKind::Max)
                                    : text == "min" ? std::optional(ScatterKind::Min)
                                                    : std::nullopt;
  if (!kind)
    return c.fail("reduction '" + text + "'");
  if (*kind != ScatterKind::Set &&
      (B::elementOf(c.in(0)).isInteger(1) || (c.isUnsigned(0) && (text == "max" || text == "min"))))
    return c.fail("reduction '" + text + "' of booleans or unsigned integers");
  return *kind;
}

LogicalResult needIndices(NodeContext &c, size_t index) {
  Type element = B::elementOf(c.in(index));
  return element.isInteger(32) || element.isInteger(64) ? success() : c.fail("indices are not int32 or int64");
}

LogicalResult scatterND(NodeContext &c) {
  if (failed(c.needInputs(3, 3)) || failed(needIndices(c, 1)) || failed(c.needSameElement(0, 2)))
    return failure();
  FailureOr<ScatterKind> kind = readKind(c);
  if (failed(kind))
    return failure();
  int64_t tuple = c.rank(1) ? c.shape(1).back() : 0;
  if (tuple < 1 || tuple > c.rank(0))
    return c.fail("index tuples of " + Twine(tuple) + " do not fit the data", "E313");
  SmallVector<int64_t> expected(c.shape(1).drop_back());
  llvm::append_range(expected, c.shape(0).drop_front(tuple));
  if (c.shape(2) != ArrayRef<int64_t>(expected))
    return c.fail("the updates do not fit data and indices", "E313");
  return c.done(c.b.create<ScatterNDOp>(*kind, c.in(0), c.in(1), c.in(2)));
}

/// Index tuples that name every dimension: `along` for dimension `axis`, its own place for the others.
Value fullTuples(B &b, Value along, int64_t axis) {
  SmallVector<int64_t> shape(B::shapeOf(along)), column(shape);
  column.push_back(1);
  SmallVector<Value> parts;
  for (int64_t dim = 0; dim < static_cast<int64_t>(shape.size()); ++dim) {
    SmallVector<int64_t> ones(shape.size(), 1);
    ones[dim] = shape[dim];
    Value part = dim == axis ? along : b.broadcastTo(b.countFrom(0, shape[dim], ones, B::elementOf(along)), shape);
    parts.push_back(b.reshape(part, column));
  }
  return b.concat(parts, static_cast<int64_t>(shape.size()));
}

LogicalResult scatterElements(NodeContext &c) {
  if (failed(c.needInputs(3, 3)) || failed(needIndices(c, 1)) || failed(c.needSameElement(0, 2)) ||
      failed(c.needRank(1, c.rank(0))))
    return failure();
  FailureOr<ScatterKind> kind = readKind(c);
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", 0), c.rank(0));
  if (failed(kind) || failed(axis))
    return failure();
  for (int64_t dim = 0; dim < c.rank(0); ++dim)
    if (c.shape(1)[dim] != c.shape(2)[dim] || (dim != *axis && c.shape(1)[dim] > c.shape(0)[dim]))
      return c.fail("indices, updates and data do not fit in dimension " + Twine(dim), "E313");
  if (B::typeOf(c.in(1)).getNumElements() == 0)
    return c.done(c.in(0));
  return c.done(c.b.create<ScatterNDOp>(*kind, c.in(0), fullTuples(c.b, c.in(1), *axis), c.in(2)));
}

/// New tokens at a row's own place in the cache.
LogicalResult tensorScatter(NodeContext &c) {
  if (failed(c.needInputs(2, 3)) || failed(c.needSameElement(0, 1)) || failed(c.needRank(1, c.rank(0))))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", -2), c.rank(0));
  if (failed(axis))
    return failure();
  std::string mode = c.getString("mode", "linear");
  if (*axis == 0 || (mode != "linear" && mode != "circular"))
    return c.fail("axis 0, or mode '" + mode + "'");
  for (int64_t dim = 0; dim < c.rank(0); ++dim)
    if (dim == *axis ? c.shape(1)[dim] > c.shape(0)[dim] : c.shape(1)[dim] != c.shape(0)[dim])
      return c.fail("the update does not fit the cache in dimension " + Twine(dim), "E313");
  B &b = c.b;
  Type i64 = b.getBuilder().getI64Type();
  SmallVector<int64_t> shape(c.shape(1)), rows(shape.size(), 1), steps(shape.size(), 1);
  rows[0] = shape[0];
  steps[*axis] = shape[*axis];
  Value at = b.countFrom(0, shape[*axis], steps, i64);
  if (c.has(2)) {
    if (c.shape(2) != ArrayRef<int64_t>{shape[0]} || failed(needIndices(c, 2)))
      return c.fail("expected one write index per batch row", "E313");
    at = b.add(at, b.reshape(b.castTo(c.in(2), i64), rows));
  }
  if (mode == "circular")
    at = b.create<arith::RemSIOp>(at, b.splatLike(at, static_cast<double>(c.shape(0)[*axis])));
  if (B::typeOf(c.in(1)).getNumElements() == 0)
    return c.done(c.in(0));
  return c.done(
      b.create<ScatterNDOp>(ScatterKind::Set, c.in(0), fullTuples(b, b.broadcastTo(at, shape), *axis), c.in(1)));
}

LogicalResult topK(NodeContext &c) {
  if (failed(c.needInputs(1, 2)))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", -1), c.rank(0));
  if (failed(axis))
    return failure();
  FailureOr<int64_t> given = c.has(1) ? c.constantInt(1, "k") : FailureOr<int64_t>(c.getInt("k", -1));
  if (failed(given))
    return failure();
  int64_t k = *given, last = c.rank(0) - 1;
  if (k < 0 || k > c.shape(0)[*axis])
    return c.fail("the " + Twine(k) + " largest of " + Twine(c.shape(0)[*axis]) + " elements", "E313");
  SmallVector<int64_t> swap = llvm::to_vector(llvm::seq<int64_t>(0, c.rank(0)));
  std::swap(swap[*axis], swap[last]);
  Value x = c.b.transpose(c.in(0), swap), compared = x;
  if (c.isUnsigned(0)) // flipping the highest bit keeps the order
    compared = c.b.create<arith::XOrIOp>(
        x, c.b.constant(DenseElementsAttr::get(B::typeOf(x),
                                               APInt::getSignedMinValue(B::elementOf(x).getIntOrFloatBitWidth()))));
  if (B::elementOf(x).isInteger(1))
    compared = c.b.castTo(x, c.b.getBuilder().getIntegerType(8));
  OpBuilder &builder = c.b.getBuilder();
  Value order = c.b.create<TopKOp>(compared, builder.getI64IntegerAttr(k),
                                   c.getInt("largest", 1) ? builder.getUnitAttr() : UnitAttr());
  Value values = c.b.create<GatherElementsOp>(x, order, last);
  if (failed(c.done(c.b.transpose(values, swap))))
    return failure();
  c.resultUnsigned = false;
  return c.setOut(1, c.b.transpose(order, swap));
}

/// The rows whose condition holds; the condition decides the shape and is therefore known.
LogicalResult compress(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needRank(1, 1)))
    return failure();
  FailureOr<SmallVector<int64_t>> keep = c.constantInts(1, "the condition");
  if (failed(keep))
    return failure();
  Value x = c.in(0);
  int64_t axis = 0;
  if (c.hasAttr("axis")) {
    FailureOr<int64_t> given = c.axis(c.getInt("axis", 0), c.rank(0));
    if (failed(given))
      return failure();
    axis = *given;
  } else {
    x = c.b.reshape(x, {B::typeOf(x).getNumElements()});
  }
  SmallVector<int64_t> rows;
  for (auto [i, yes] : llvm::enumerate(*keep))
    if (yes)
      rows.push_back(static_cast<int64_t>(i));
  if (!rows.empty() && rows.back() >= B::shapeOf(x)[axis])
    return c.fail("the condition is longer than the dimension", "E313");
  return c.done(c.b.create<GatherOp>(x, c.b.ints(rows), axis));
}

/// Where a constant is not zero, dimension by dimension; elsewhere the shape would depend on the data.
LogicalResult nonZero(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  Value x = c.in(0);
  FailureOr<SmallVector<int64_t>> hits =
      B::isFloat(x) && !B::getConstant(x) ? c.constantInts(0, "the tensor") : SmallVector<int64_t>();
  if (failed(hits))
    return failure();
  Value yes = c.b.compare(arith::CmpFPredicate::UNE, arith::CmpIPredicate::ne, x, c.b.splatLike(x, 0));
  hits = B::getConstantInts(yes) ? FailureOr<SmallVector<int64_t>>(*B::getConstantInts(yes))
                                 : c.constantInts(0, "the tensor");
  if (failed(hits))
    return failure();
  SmallVector<SmallVector<int64_t>> places(c.rank(0));
  int64_t count = 0;
  for (auto [i, hit] : llvm::enumerate(*hits)) {
    if (!hit)
      continue;
    ++count;
    auto rest = static_cast<int64_t>(i);
    for (int64_t dim = c.rank(0) - 1; dim >= 0; rest /= c.shape(0)[dim], --dim)
      places[dim].push_back(rest % c.shape(0)[dim]);
  }
  SmallVector<int64_t> flat;
  for (const SmallVector<int64_t> &list : places)
    llvm::append_range(flat, list);
  return c.done(c.b.ints(flat, {c.rank(0), count}, c.b.getBuilder().getI64Type()));
}

/// The first `lengths[b]` elements of every row turned round.
LogicalResult reverseSequence(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(needIndices(c, 1)) || c.rank(0) < 2)
    return c.fail("expected a tensor of rank 2 or more and lengths");
  int64_t batch = c.getInt("batch_axis", 1), time = c.getInt("time_axis", 0);
  if (!(batch == 0 && time == 1) && !(batch == 1 && time == 0))
    return c.fail("batch_axis and time_axis are not 0 and 1");
  if (c.shape(1) != ArrayRef<int64_t>{c.shape(0)[batch]})
    return c.fail("expected one length per row", "E313");
  B &b = c.b;
  Type i64 = b.getBuilder().getI64Type();
  SmallVector<int64_t> rowShape(c.rank(0), 1), stepShape(c.rank(0), 1);
  rowShape[batch] = c.shape(0)[batch];
  stepShape[time] = c.shape(0)[time];
  Value lengths = b.reshape(b.castTo(c.in(1), i64), rowShape), step = b.countFrom(0, c.shape(0)[time], stepShape, i64);
  Value inside = b.compare(arith::CmpFPredicate::OLT, arith::CmpIPredicate::slt, step, lengths);
  Value at = b.select(inside, b.addScalar(b.sub(lengths, step), -1), step);
  return c.done(b.create<GatherElementsOp>(c.in(0), b.broadcastTo(at, c.shape(0)), time));
}
} // namespace

void addScatterOps(OpTable &table) {
  table.add("ScatterND", scatterND);
  table.add("ScatterElements", scatterElements);
  table.add("Scatter", scatterElements);
  table.add("TensorScatter", tensorScatter);
  table.add("TopK", topK);
  table.add("Compress", compress);
  table.add("NonZero", nonZero);
  table.add("ReverseSequence", reverseSequence);
}

} // namespace mlir::comm
