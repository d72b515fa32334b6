//===- Reduce.cpp - reductions, softmax, arg max, cumulative sums ---------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;
using FP = arith::CmpFPredicate;
using IP = arith::CmpIPredicate;

/// The reduced dimensions; axes are an attribute in old opsets, an input in new ones. None: a no-op was asked for.
FailureOr<std::optional<SmallVector<int64_t>>> reducedDims(NodeContext &c) {
  SmallVector<int64_t> given = c.getInts("axes");
  if (c.has(1)) {
    FailureOr<SmallVector<int64_t>> values = c.constantInts(1, "the axes");
    if (failed(values))
      return failure();
    given = *values;
  }
  if (given.empty() && c.getInt("noop_with_empty_axes", 0))
    return std::optional<SmallVector<int64_t>>();
  if (given.empty())
    for (int64_t dim = 0; dim < c.rank(0); ++dim)
      given.push_back(dim);
  FailureOr<SmallVector<int64_t>> dims = c.axes(given, c.rank(0));
  if (failed(dims))
    return failure();
  return std::optional<SmallVector<int64_t>>(*dims);
}

using Step = Value (*)(B &, Value);
Value nothing(B &, Value x) { return x; }
Value absolute(B &b, Value x) { return B::isFloat(x) ? b.create<math::AbsFOp>(x) : b.max(x, b.neg(x)); }
Value square(B &b, Value x) { return b.mul(x, x); }
Value root(B &b, Value x) { return b.create<math::SqrtOp>(x); }
Value logarithm(B &b, Value x) { return b.create<math::LogOp>(x); }

/// before(x), reduced, then after().
template <Reduction kind, Step before = nothing, Step after = nothing> LogicalResult reduce(NodeContext &c) {
  if (failed(c.needInputs(1, 2)))
    return failure();
  if ((after == root || after == logarithm) && failed(c.needFloat(0)))
    return failure();
  auto dims = reducedDims(c);
  if (failed(dims))
    return failure();
  Value x = before(c.b, c.in(0));
  if (*dims)
    x = c.b.reduce(kind, x, **dims, c.getInt("keepdims", 1));
  return c.done(after(c.b, x));
}

LogicalResult reduceMean(NodeContext &c) {
  if (failed(c.needInputs(1, 2)))
    return failure();
  auto dims = reducedDims(c);
  if (failed(dims))
    return failure();
  return c.done(*dims ? c.b.mean(c.in(0), **dims, c.getInt("keepdims", 1)) : c.in(0));
}

LogicalResult reduceLogSumExp(NodeContext &c) {
  if (failed(c.needInputs(1, 2)) || failed(c.needFloat(0)))
    return failure();
  auto dims = reducedDims(c);
  if (failed(dims))
    return failure();
  if (!*dims)
    return c.done(c.in(0));
  Value top = c.b.reduce(Reduction::Max, c.in(0), **dims, true);
  Value finite = c.b.select(c.b.compare(FP::OEQ, IP::eq, c.b.create<math::AbsFOp>(top),
                                        c.b.splatLike(top, std::numeric_limits<double>::infinity())),
                            c.b.splatLike(top, 0), top);
  Value sum = c.b.reduce(Reduction::Sum, c.b.create<math::ExpOp>(c.b.sub(c.in(0), finite)), **dims, true);
  Value result = c.b.add(c.b.create<math::LogOp>(sum), finite);
  SmallVector<int64_t> shape;
  for (auto [dim, size] : llvm::enumerate(B::shapeOf(result)))
    if (c.getInt("keepdims", 1) || !llvm::is_contained(**dims, static_cast<int64_t>(dim)))
      shape.push_back(size);
  return c.done(c.b.reshape(result, shape));
}

/// `make` over one dimension, brought to the end. Before opset 13 softmax and its kin flatten to 2-D at the axis.
LogicalResult overAxis(NodeContext &c, function_ref<Value(Value)> make) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  int64_t rank = c.rank(0);
  if (rank == 0)
    return c.fail("expected a tensor of rank 1 or more", "E313");
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", c.opset() < 13 ? 1 : -1), rank);
  if (failed(axis))
    return failure();
  Value x = c.in(0);
  if (c.opset() < 13) {
    int64_t rows = 1, columns = 1;
    for (int64_t dim = 0; dim < rank; ++dim)
      (dim < *axis ? rows : columns) *= c.shape(0)[dim];
    return c.done(c.b.reshape(make(*axis == rank - 1 ? x : c.b.reshape(x, {rows, columns})), c.shape(0)));
  }
  SmallVector<int64_t> swap;
  for (int64_t dim = 0; dim < rank; ++dim)
    swap.push_back(dim == *axis ? rank - 1 : dim == rank - 1 ? *axis : dim);
  return c.done(c.b.transpose(make(c.b.transpose(x, swap)), swap));
}
LogicalResult softmax(NodeContext &c) {
  return overAxis(c, [&](Value x) { return c.b.create<SoftmaxOp>(x); });
}
LogicalResult logSoftmax(NodeContext &c) {
  return overAxis(c, [&](Value x) {
    int64_t last = B::typeOf(x).getRank() - 1;
    Value shifted = c.b.sub(x, c.b.reduce(Reduction::Max, x, {last}, true));
    return c.b.sub(shifted,
                   c.b.create<math::LogOp>(c.b.reduce(Reduction::Sum, c.b.create<math::ExpOp>(shifted), {last}, true)));
  });
}

/// 0, 1, 2, ... along one dimension, shaped to broadcast over `rank` dimensions.
Value iota(B &b, int64_t size, int64_t dim, int64_t rank, Type element) {
  SmallVector<int64_t> shape(rank, 1);
  shape[dim] = size;
  return b.countFrom(0, size, shape, element);
}

/// Position of the first (or last) extreme: the least (greatest) index whose element equals it.
Value argExtreme(NodeContext &c, Value x, Reduction kind, int64_t axis, bool last) {
  OpBuilder &builder = c.b.getBuilder();
  int64_t size = B::shapeOf(x)[axis];
  Value extreme = c.b.reduce(kind, x, {axis}, true);
  Value index = c.b.broadcastTo(iota(c.b, size, axis, B::typeOf(x).getRank(), builder.getI64Type()), B::shapeOf(x));
  Value hit = c.b.compare(FP::OEQ, IP::eq, x, extreme);
  Value marked = c.b.select(hit, index, c.b.splatLike(index, last ? -1 : static_cast<double>(size)));
  return c.b.reduce(last ? Reduction::Max : Reduction::Min, marked, {axis}, true);
}
template <Reduction kind> LogicalResult arg(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", 0), c.rank(0));
  if (failed(axis))
    return failure();
  if (c.isUnsigned(0) && B::elementOf(c.in(0)).isInteger(64))
    return c.fail("uint64 values"); // their order and that of positions differ in sign
  Value result = argExtreme(c, c.in(0), kind, *axis, c.getInt("select_last_index", 0));
  SmallVector<int64_t> shape(B::shapeOf(result));
  if (!c.getInt("keepdims", 1))
    shape.erase(shape.begin() + *axis);
  return c.done(c.b.reshape(result, shape));
}
LogicalResult hardmax(NodeContext &c) {
  return overAxis(c, [&](Value x) {
    int64_t last = B::typeOf(x).getRank() - 1;
    Value place = argExtreme(c, x, Reduction::Max, last, false);
    Value index = iota(c.b, B::shapeOf(x)[last], last, last + 1, c.b.getBuilder().getI64Type());
    return c.b.castTo(c.b.compare(FP::OEQ, IP::eq, index, place), B::elementOf(x));
  });
}

/// Running sums or products in steps of 1, 2, 4, ...: after a step every element holds twice as many.
Value scan(NodeContext &c, Value x, int64_t axis, bool products) {
  B &b = c.b;
  int64_t size = B::shapeOf(x)[axis];
  bool reverse = c.getInt("reverse", 0);
  double neutral = products ? 1 : 0;
  auto shifted = [&](Value value, int64_t by) {
    return reverse ? b.pad(value, axis, -by, by, neutral) : b.pad(value, axis, by, -by, neutral);
  };
  if (c.getInt("exclusive", 0) && size > 0)
    x = shifted(x, 1);
  for (int64_t step = 1; step < size; step *= 2)
    x = products ? b.mul(x, shifted(x, step)) : b.add(x, shifted(x, step));
  return x;
}
LogicalResult cumProd(NodeContext &c) {
  if (failed(c.needInputs(2, 2)))
    return failure();
  FailureOr<int64_t> given = c.constantInt(1, "the axis");
  if (failed(given))
    return failure();
  FailureOr<int64_t> axis = c.axis(*given, c.rank(0));
  return failed(axis) ? failure() : c.done(scan(c, c.in(0), *axis, true));
}

/// A product with a triangle of ones: exact for integers, and splittable like any other product.
LogicalResult cumSum(NodeContext &c) {
  if (failed(c.needInputs(2, 2)))
    return failure();
  FailureOr<int64_t> given = c.constantInt(1, "the axis");
  if (failed(given))
    return failure();
  int64_t rank = c.rank(0);
  FailureOr<int64_t> axis = c.axis(*given, rank);
  if (failed(axis))
    return failure();
  int64_t size = c.shape(0)[*axis];
  if (size > 1 << 11 || B::elementOf(c.in(0)).getIntOrFloatBitWidth() < 16)
    return c.done(scan(c, c.in(0), *axis, false));
  bool exclusive = c.getInt("exclusive", 0), reverse = c.getInt("reverse", 0);
  SmallVector<int64_t> ones;
  for (int64_t from = 0; from < size; ++from)
    for (int64_t to = 0; to < size; ++to)
      ones.push_back(from == to ? !exclusive : reverse ? from > to : from < to);
  Value triangle = c.b.castTo(c.b.ints(ones, {size, size}, c.b.getBuilder().getI64Type()), B::elementOf(c.in(0)));
  SmallVector<int64_t> swap, matrix;
  for (int64_t dim = 0; dim < rank; ++dim)
    swap.push_back(dim == *axis ? rank - 1 : dim == rank - 1 ? *axis : dim);
  Value x = c.b.transpose(c.in(0), swap);
  SmallVector<int64_t> moved(B::shapeOf(x));
  if (rank == 1)
    x = c.b.reshape(x, {1, size});
  return c.done(c.b.transpose(c.b.reshape(c.b.matmul(x, triangle), moved), swap));
}

LogicalResult oneHot(NodeContext &c) {
  if (failed(c.needInputs(3, 3)))
    return failure();
  FailureOr<int64_t> depth = c.constantInt(1, "the depth");
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", -1), c.rank(0) + 1);
  if (failed(depth) || failed(axis))
    return failure();
  int64_t size = *depth;
  if (size <= 0 || size > 1 << 20 || c.rank(2) != 1 || c.shape(2)[0] != 2)
    return c.fail("depth or values are not valid", "E313");
  Type i64 = c.b.getBuilder().getI64Type();
  SmallVector<int64_t> shape(c.shape(0));
  shape.insert(shape.begin() + *axis, 1);
  SmallVector<int64_t> full(shape);
  full[*axis] = size;
  if (failed(c.needBudget(full, B::elementOf(c.in(2)))))
    return failure();
  Value index = c.b.reshape(c.b.castTo(c.in(0), i64), shape);
  Value negative = c.b.compare(FP::OLT, IP::slt, index, c.b.splatLike(index, 0));
  index = c.b.select(negative, c.b.addScalar(index, static_cast<double>(size)), index);
  Value hit = c.b.compare(FP::OEQ, IP::eq, iota(c.b, size, *axis, c.rank(0) + 1, i64), index);
  c.resultUnsigned = c.isUnsigned(2);
  Value off = c.b.reshape(c.b.sliceDim(c.in(2), 0, 0, 1), {}), on = c.b.reshape(c.b.sliceDim(c.in(2), 0, 1, 1), {});
  return c.done(c.b.select(hit, on, off));
}

template <bool isMax> LogicalResult globalPool(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)) || c.rank(0) < 3)
    return c.fail("expected a float tensor of rank 3 or more");
  SmallVector<int64_t> dims;
  for (int64_t dim = 2; dim < c.rank(0); ++dim)
    dims.push_back(dim);
  return c.done(isMax ? c.b.reduce(Reduction::Max, c.in(0), dims, true) : c.b.mean(c.in(0), dims, true));
}
} // namespace

void addReduceOps(OpTable &table) {
  table.add("ReduceSum", reduce<Reduction::Sum>);
  table.add("ReduceProd", reduce<Reduction::Prod>);
  table.add("ReduceMax", reduce<Reduction::Max>);
  table.add("ReduceMin", reduce<Reduction::Min>);
  table.add("ReduceMean", reduceMean);
  table.add("ReduceL1", reduce<Reduction::Sum, absolute>);
  table.add("ReduceL2", reduce<Reduction::Sum, square, root>);
  table.add("ReduceSumSquare", reduce<Reduction::Sum, square>);
  table.add("ReduceLogSum", reduce<Reduction::Sum, nothing, logarithm>);
  table.add("ReduceLogSumExp", reduceLogSumExp);
  table.add("Softmax", softmax);
  table.add("LogSoftmax", logSoftmax);
  table.add("Hardmax", hardmax);
  table.add("ArgMax", arg<Reduction::Max>);
  table.add("ArgMin", arg<Reduction::Min>);
  table.add("CumSum", cumSum);
  table.add("CumProd", cumProd);
  table.add("OneHot", oneHot);
  table.add("GlobalAveragePool", globalPool<false>);
  table.add("GlobalMaxPool", globalPool<true>);
}

} // namespace mlir::comm
