//===- Pool.cpp - pools over windows, normalisation over channels ---------===//
#include "OpTable.h"
#include "Window.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;
using FP = arith::CmpFPredicate;
using IP = arith::CmpIPredicate;

/// The dimensions of a window in [N, C, k.., o..].
SmallVector<int64_t> windowDims(const Window &w) { return llvm::to_vector(llvm::seq<int64_t>(2, 2 + w.dims())); }

FailureOr<Window> readPool(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  if (c.rank(0) < 3)
    return c.fail("expected a tensor [N, C, positions..]", "E313");
  return readWindow(c, c.shape(0), c.getInts("kernel_shape"));
}

/// The least value of the element type: what padding is to a maximum.
double lowest(NodeContext &c) {
  Type element = B::elementOf(c.in(0));
  if (isa<FloatType>(element))
    return -INFINITY;
  return c.isUnsigned(0) ? 0 : -std::ldexp(1.0, static_cast<int>(element.getIntOrFloatBitWidth()) - 1);
}

LogicalResult maxPool(NodeContext &c) {
  FailureOr<Window> w = readPool(c);
  if (failed(w))
    return failure();
  FailureOr<Value> windows = buildWindows(c, *w, c.in(0), lowest(c));
  if (failed(windows))
    return failure();
  Value best = c.b.reduce(Reduction::Max, *windows, windowDims(*w), false);
  if (failed(c.done(best)))
    return failure();
  if (!c.wants(1))
    return success();
  // Where it stands: the first position of the window that holds it, counted through the whole input.
  Type i64 = c.b.getBuilder().getI64Type();
  int64_t positions = 1, dims = w->dims();
  SmallVector<int64_t> shape(c.shape(0)), ones(c.rank(0), 1);
  for (int64_t size : c.shape(0).drop_front(2))
    positions *= size;
  ones[0] = ones[1] = 1;
  std::copy(shape.begin() + 2, shape.end(), ones.begin() + 2);
  if (failed(c.needListed(positions)) || failed(c.needListed(shape[0] * shape[1])))
    return failure();
  double never = static_cast<double>(positions);
  FailureOr<Value> where = buildWindows(c, *w, c.b.countFrom(0, positions, ones, i64), never);
  if (failed(where))
    return failure();
  SmallVector<int64_t> kept(B::shapeOf(*windows));
  std::fill(kept.begin() + 2, kept.begin() + 2 + dims, 1);
  Value hit = c.b.compare(FP::OEQ, IP::eq, *windows, c.b.reshape(best, kept));
  Value at = c.b.broadcastTo(*where, B::shapeOf(*windows));
  at = c.b.reduce(Reduction::Min, c.b.select(hit, at, c.b.splatLike(at, never)), windowDims(*w), false);
  if (c.getInt("storage_order", 0)) { // columns first within one image
    SmallVector<int64_t> order(positions, 0);
    for (int64_t i = 0; i < positions; ++i) {
      int64_t rest = i, stride = positions;
      for (int64_t dim = c.rank(0) - 1; dim >= 2; rest /= shape[dim], --dim)
        order[i] += rest % shape[dim] * (stride /= shape[dim]);
    }
    at = c.b.create<GatherOp>(c.b.ints(order), at, 0);
  }
  SmallVector<int64_t> base, baseShape(B::typeOf(at).getRank(), 1);
  for (int64_t i = 0; i < shape[0] * shape[1]; ++i)
    base.push_back(i * positions);
  baseShape[0] = shape[0], baseShape[1] = shape[1];
  return c.setOut(1, c.b.add(at, c.b.ints(base, baseShape, i64)));
}

/// Elements of every window that count, [1, 1, o..].
Value windowCounts(NodeContext &c, const Window &w, bool includePads, Type element) {
  SmallVector<double> counts = {1};
  SmallVector<int64_t> shape = {1, 1};
  for (int64_t dim = 0; dim < w.dims(); ++dim) {
    int64_t size = c.shape(0)[dim + 2], low = includePads ? -w.before[dim] : 0,
            high = includePads ? size + w.after[dim] : size;
    SmallVector<double> next;
    for (double before : counts)
      for (int64_t o = 0; o < w.out[dim]; ++o) {
        int64_t inside = 0;
        for (int64_t k = 0; k < w.sizes[dim]; ++k) {
          int64_t at = o * w.strides[dim] - w.before[dim] + k * w.dilations[dim];
          inside += at >= low && at < high;
        }
        next.push_back(before * static_cast<double>(inside));
      }
    counts = std::move(next);
    shape.push_back(w.out[dim]);
  }
  return c.b.floats(counts, shape, element);
}

LogicalResult averagePool(NodeContext &c) {
  FailureOr<Window> w = readPool(c);
  if (failed(w) || failed(c.needFloat(0)))
    return failure();
  Type element = B::elementOf(c.in(0)),
       work = element.getIntOrFloatBitWidth() < 32 ? c.b.getBuilder().getF32Type() : element;
  FailureOr<Value> windows = buildWindows(c, *w, c.b.castTo(c.in(0), work), 0);
  if (failed(windows))
    return failure();
  int64_t counted = 1;
  for (int64_t out : w->out)
    counted *= out;
  if (failed(c.needListed(counted)))
    return failure();
  Value sum = c.b.reduce(Reduction::Sum, *windows, windowDims(*w), false);
  return c.done(c.b.castTo(c.b.div(sum, windowCounts(c, *w, c.getInt("count_include_pad", 0), work)), element));
}

LogicalResult lpPool(NodeContext &c) {
  FailureOr<Window> w = readPool(c);
  if (failed(w) || failed(c.needFloat(0)))
    return failure();
  auto p = static_cast<double>(c.getInt("p", 2));
  if (p < 1)
    return c.fail("p = " + Twine(c.getInt("p", 2)), "E313");
  FailureOr<Value> windows = buildWindows(c, *w, c.in(0), 0);
  if (failed(windows))
    return failure();
  Value x = c.b.create<math::AbsFOp>(*windows);
  if (p != 1)
    x = p == 2 ? c.b.mul(x, x) : c.b.create<math::PowFOp>(x, c.b.splatLike(x, p));
  x = c.b.reduce(Reduction::Sum, x, windowDims(*w), false);
  if (p != 1)
    x = p == 2 ? c.b.create<math::SqrtOp>(x) : c.b.create<math::PowFOp>(x, c.b.splatLike(x, 1 / p));
  return c.done(x);
}

/// x / (bias + alpha / size * sum of squares of the channels around)^beta
LogicalResult localResponse(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)) || c.rank(0) < 3)
    return c.fail("expected a float tensor [N, C, positions..]");
  int64_t size = c.getInt("size", 0);
  if (size < 1 || size > INT32_MAX)
    return c.fail("size " + Twine(size), "E313");
  SmallVector<int64_t> shape(c.shape(0));
  int64_t positions = 1;
  for (int64_t extent : c.shape(0).drop_front(2))
    positions *= extent;
  if (llvm::is_contained(shape, 0))
    return c.done(c.in(0));
  if (failed(c.needBudget({shape[0], 1, size, 1, shape[1], positions}, B::elementOf(c.in(0)))) ||
      failed(c.needBudget({shape[0], 1, shape[1] + size, positions}, B::elementOf(c.in(0)))))
    return failure();
  Value x = c.in(0), flat = c.b.reshape(c.b.mul(x, x), {shape[0], 1, shape[1], positions});
  flat = c.b.pad(flat, 2, (size - 1) / 2, size - 1 - (size - 1) / 2, 0);
  OpBuilder &builder = c.b.getBuilder();
  Value windows = c.b.create<WindowsOp>(flat, builder.getDenseI64ArrayAttr({size, 1}),
                                        builder.getDenseI64ArrayAttr({1, 1}), builder.getDenseI64ArrayAttr({1, 1}));
  Value sum = c.b.reshape(c.b.reduce(Reduction::Sum, windows, {2}, false), shape);
  Value base =
      c.b.addScalar(c.b.mulScalar(sum, c.getFloat("alpha", 1e-4f) / static_cast<double>(size)), c.getFloat("bias", 1));
  return c.done(c.b.div(x, c.b.create<math::PowFOp>(base, c.b.splatLike(base, c.getFloat("beta", 0.75)))));
}
} // namespace

void addPoolOps(OpTable &table) {
  table.add("MaxPool", maxPool);
  table.add("AveragePool", averagePool);
  table.add("LpPool", lpPool);
  table.add("LRN", localResponse);
}

} // namespace mlir::comm
