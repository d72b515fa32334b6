//===- Image.cpp - crops, grids and samples of images ---------------------===//
#include "OpTable.h"
#include "Window.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;
using FP = arith::CmpFPredicate;
using IP = arith::CmpIPredicate;

LogicalResult centerCropPad(NodeContext &c) {
  if (failed(c.needInputs(2, 2)))
    return failure();
  FailureOr<SmallVector<int64_t>> sizes = c.constantInts(1, "the shape");
  SmallVector<int64_t> axes = c.getInts("axes");
  if (!c.hasAttr("axes"))
    axes = llvm::to_vector(llvm::seq<int64_t>(0, c.rank(0)));
  if (failed(sizes) || failed(c.axes(axes, c.rank(0))))
    return failure();
  if (sizes->size() != axes.size())
    return c.fail("expected one size per axis", "E313");
  Value x = c.in(0);
  for (auto [axis, wanted] : llvm::zip_equal(axes, *sizes)) {
    int64_t dim = axis < 0 ? axis + c.rank(0) : axis, size = B::shapeOf(x)[dim], more = wanted - size;
    if (wanted < 0 || wanted > INT32_MAX)
      return c.fail("a size of " + Twine(wanted), "E313");
    SmallVector<int64_t> shape(B::shapeOf(x));
    shape[dim] = wanted;
    if (failed(c.needBudget(shape, B::elementOf(x))))
      return failure();
    int64_t before = more >= 0 ? more / 2 : -((-more) / 2); // the odd one goes behind
    x = c.b.pad(x, dim, before, more - before, 0);
  }
  return c.done(x);
}

/// The inverse of windows: every column is added to the places that it was read from.
LogicalResult col2Im(NodeContext &c) {
  if (failed(c.needInputs(3, 3)) || failed(c.needRank(0, 3)))
    return failure();
  FailureOr<SmallVector<int64_t>> image = c.constantInts(1, "the image shape"),
                                  block = c.constantInts(2, "the block shape");
  if (failed(image) || failed(block))
    return failure();
  SmallVector<int64_t> input = {1, 1};
  llvm::append_range(input, *image);
  if (failed(c.needBudget(input, B::elementOf(c.in(0)))))
    return failure();
  FailureOr<Window> w = readWindow(c, input, *block);
  if (failed(w))
    return failure();
  B &b = c.b;
  int64_t n = c.shape(0)[0], taps = 1, places = 1, padded = 1, dims = w->dims();
  SmallVector<int64_t> sizes;
  SmallVector<int64_t> whole(input);
  for (int64_t i = 0; i < dims; ++i)
    whole[i + 2] += w->before[i] + w->after[i];
  if (failed(c.needBudget(whole, B::elementOf(c.in(0)))) || llvm::is_contained(input, 0))
    return c.fail("an image of this shape");
  for (int64_t i = 0; i < dims; ++i) {
    taps *= w->sizes[i], places *= w->out[i];
    sizes.push_back((*image)[i] + w->before[i] + w->after[i]);
    padded *= sizes.back();
  }
  if (c.shape(0)[1] % taps || c.shape(0)[2] != places || taps > B::kMaxListed || places > B::kMaxListed / taps)
    return c.fail("the columns do not fit image and block", "E313");
  int64_t channels = c.shape(0)[1] / taps;
  SmallVector<int64_t> at; // of every tap and place, in the padded image
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t place = 0; place < places; ++place) {
      int64_t position = 0, stride = 1;
      for (int64_t i = dims - 1, t = tap, p = place; i >= 0; --i) {
        position += (t % w->sizes[i] * w->dilations[i] + p % w->out[i] * w->strides[i]) * stride;
        t /= w->sizes[i], p /= w->out[i], stride *= sizes[i];
      }
      at.push_back(position);
    }
  if (failed(c.needBudget({padded, n, channels}, B::elementOf(c.in(0)))))
    return failure();
  Value columns = b.transpose(b.reshape(c.in(0), {n, channels, taps * places}), {2, 0, 1});
  Value zeros = b.splat(B::withShape(c.in(0), {padded, n, channels}), 0);
  Value sum = b.create<ScatterNDOp>(ScatterKind::Sum, zeros,
                                    b.ints(at, {taps * places, 1}, b.getBuilder().getI64Type()), columns);
  SmallVector<int64_t> shape = {n, channels};
  llvm::append_range(shape, sizes);
  Value y = b.reshape(b.transpose(sum, {1, 2, 0}), shape);
  for (int64_t i = 0; i < dims; ++i)
    y = b.sliceDim(y, i + 2, w->before[i], (*image)[i]);
  return c.done(y);
}

/// theta [N, d, d + 1] times the coordinates of every place of the image, last dimension first.
LogicalResult affineGrid(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needRank(0, 3)) || failed(c.needFloat(0)))
    return failure();
  FailureOr<SmallVector<int64_t>> size = c.constantInts(1, "the size");
  if (failed(size))
    return failure();
  int64_t dims = static_cast<int64_t>(size->size()) - 2, places = 1;
  if (dims < 2 || dims > 3 || c.shape(0) != ArrayRef<int64_t>{(*size)[0], dims, dims + 1})
    return c.fail("theta does not fit the size", "E313");
  ArrayRef<int64_t> space = ArrayRef<int64_t>(*size).drop_front(2);
  for (int64_t extent : space) {
    if (extent < 1 || __builtin_mul_overflow(places, extent, &places) || places > B::kMaxListed / (dims + 1))
      return c.fail("a grid of this size", "E313");
  }
  bool corners = c.getInt("align_corners", 0);
  SmallVector<double> coordinates((dims + 1) * places);
  for (int64_t place = 0; place < places; ++place) {
    int64_t rest = place;
    for (int64_t dim = dims - 1; dim >= 0; --dim) {
      auto i = static_cast<double>(rest % space[dim]), n = static_cast<double>(space[dim]);
      rest /= space[dim];
      double step = corners ? (n > 1 ? 2 / (n - 1) : 0) : 2 / n;
      coordinates[(dims - 1 - dim) * places + place] = corners ? -1 + i * step : -1 + step / 2 + i * step;
    }
    coordinates[dims * places + place] = 1;
  }
  Value grid = c.b.matmul(c.in(0), c.b.floats(coordinates, {dims + 1, places}, B::elementOf(c.in(0))));
  SmallVector<int64_t> shape = {(*size)[0]};
  llvm::append_range(shape, space);
  shape.push_back(dims);
  return c.done(c.b.reshape(c.b.transpose(grid, {0, 2, 1}), shape));
}

/// Samples of an image at places that are computed: one tap, two or four per dimension.
struct Sampler {
  NodeContext &c;
  B &b;
  std::string mode, padding;
  bool corners = false;
  int64_t dims = 0, places = 1;
  struct Tap {
    Value at, weight; ///< i64 and f32 [N, P]
  };

  Value number(Value like, double x) { return b.splatLike(like, x); }
  Value less(Value a, Value x) { return b.compare(FP::OLT, IP::slt, a, x); }

  /// Turned back at the borders as often as needed.
  Value reflected(Value x, double low, double high) {
    double range = high - low;
    if (range <= 0)
      return number(x, low);
    auto from = [&](Value distance, double start, double sign) { // `sign`: the way back inside
      Value turns = b.create<math::FloorOp>(b.div(distance, number(distance, range)));
      Value rest = b.sub(distance, b.mulScalar(turns, range));
      Value odd = b.compare(FP::ONE, IP::ne, turns, b.mulScalar(b.create<math::FloorOp>(b.mulScalar(turns, 0.5)), 2));
      Value way = b.select(odd, b.sub(number(rest, range), rest), rest);
      return b.addScalar(b.mulScalar(way, sign), start);
    };
    Value below = from(b.sub(number(x, low), x), low, 1), above = from(b.addScalar(x, -high), high, -1);
    return b.select(less(x, number(x, low)), below, b.select(less(number(x, high), x), above, x));
  }
  Value clamped(Value x, double low, double high) { return b.min(b.max(x, number(x, low)), number(x, high)); }

  /// The taps of one dimension; `x` is normalised.
  SmallVector<Tap> taps(Value x, int64_t size) {
    auto n = static_cast<double>(size);
    double low = corners ? 0 : -0.5, high = corners ? n - 1 : n - 0.5;
    x = corners ? b.mulScalar(b.addScalar(x, 1), (n - 1) / 2)
                : b.mulScalar(b.addScalar(b.mulScalar(b.addScalar(x, 1), n), -1), 0.5);
    if (mode == "nearest")
      x = b.create<math::RoundEvenOp>(x);
    Value outside = b.create<arith::OrIOp>(less(x, number(x, low)), less(number(x, high), x));
    if (padding == "border")
      x = b.select(outside, clamped(x, 0, n - 1), x);
    else if (padding == "reflection")
      x = reflected(x, low, high);
    Value base = mode == "nearest" ? b.create<math::RoundEvenOp>(x) : b.create<math::FloorOp>(x), t = b.sub(x, base);
    SmallVector<std::pair<double, Value>> found; // offset and weight
    if (mode == "nearest") {
      found.push_back({0, number(t, 1)});
    } else if (mode == "linear") {
      found.push_back({0, b.sub(number(t, 1), t)});
      found.push_back({1, t});
    } else {
      constexpr double a = -0.75;
      auto near = [&](Value d) { // |d| <= 1
        return b.addScalar(b.mul(b.mul(b.addScalar(b.mulScalar(d, a + 2), -(a + 3)), d), d), 1);
      };
      auto far = [&](Value d) { // 1 <= |d| <= 2
        return b.addScalar(b.mul(b.addScalar(b.mul(b.addScalar(b.mulScalar(d, a), -5 * a), d), 8 * a), d), -4 * a);
      };
      Value rest = b.sub(number(t, 1), t);
      found = {{-1, far(b.addScalar(t, 1))}, {0, near(t)}, {1, near(rest)}, {2, far(b.addScalar(rest, 1))}};
    }
    SmallVector<Tap> result;
    for (auto &[offset, weight] : found) {
      Value at = b.addScalar(base, offset);
      if (padding == "zeros") {
        Value inside = b.create<arith::AndIOp>(b.compare(FP::OGE, IP::sge, at, number(at, 0)), less(at, number(at, n)));
        weight = b.select(inside, weight, number(weight, 0));
      } else if (padding == "reflection") {
        at = reflected(at, low, high);
      }
      at = clamped(at, 0, n - 1);
      result.push_back({b.castTo(at, b.getBuilder().getI64Type()), weight});
    }
    return result;
  }

  LogicalResult run() {
    mode = c.getString("mode", "linear");
    mode = mode == "bilinear" ? "linear" : mode == "bicubic" ? "cubic" : mode;
    padding = c.getString("padding_mode", "zeros");
    corners = c.getInt("align_corners", 0);
    if (failed(c.needInputs(2, 2)))
      return failure();
    dims = c.rank(0) - 2;
    if (failed(c.needFloat(0)) || failed(c.needFloat(1)) || dims < 1 || dims > 3 || failed(c.needRank(1, dims + 2)) ||
        c.shape(1).back() != dims || c.shape(0)[0] != c.shape(1)[0] || llvm::is_contained(c.shape(0), 0))
      return c.fail("the grid does not fit the image", "E313");
    if ((mode != "nearest" && mode != "linear" && mode != "cubic") ||
        (padding != "zeros" && padding != "border" && padding != "reflection"))
      return c.fail("mode '" + mode + "' with padding '" + padding + "'");
    int64_t n = c.shape(0)[0], channels = c.shape(0)[1];
    for (int64_t size : c.shape(1).drop_front().drop_back())
      places *= size;
    Type f32 = b.getBuilder().getF32Type(), element = B::elementOf(c.in(0));
    SmallVector<int64_t> order = {0}, result = {n, channels};
    for (int64_t dim = 0; dim < dims; ++dim)
      order.push_back(dim + 2);
    order.push_back(1);
    llvm::append_range(result, c.shape(1).drop_front().drop_back());
    if (failed(c.needBudget(result, f32)))
      return failure();
    if (places == 0)
      return c.done(b.splat(B::withShape(c.in(0), result), 0));
    Value image = b.transpose(b.castTo(c.in(0), f32), order); // [N, d.., C]
    Value grid = b.reshape(b.castTo(c.in(1), f32), {n, places, dims});
    std::vector<SmallVector<Tap>> perDim;
    for (int64_t dim = 0; dim < dims; ++dim) // the grid names the last dimension first
      perDim.push_back(taps(b.reshape(b.sliceDim(grid, 2, dims - 1 - dim, 1), {n, places}), c.shape(0)[dim + 2]));
    size_t count = 1;
    for (const SmallVector<Tap> &list : perDim)
      count *= list.size();
    Value sum;
    for (size_t i = 0; i < count; ++i) {
      SmallVector<Value> at;
      Value weight;
      size_t rest = i;
      for (const SmallVector<Tap> &list : perDim) {
        const Tap &tap = list[rest % list.size()];
        rest /= list.size();
        at.push_back(b.reshape(tap.at, {n, places, 1}));
        weight = weight ? b.mul(weight, tap.weight) : tap.weight;
      }
      Value pixel = b.create<GatherNDOp>(image, b.concat(at, 2), 1); // [N, P, C]
      Value part = b.mul(pixel, b.reshape(weight, {n, places, 1}));
      sum = sum ? b.add(sum, part) : part;
    }
    return c.done(b.castTo(b.reshape(b.transpose(sum, {0, 2, 1}), result), element));
  }
};
LogicalResult gridSample(NodeContext &c) { return Sampler{c, c.b, "", ""}.run(); }
} // namespace

void addImageOps(OpTable &table) {
  table.add("CenterCropPad", centerCropPad);
  table.add("Col2Im", col2Im);
  table.add("AffineGrid", affineGrid);
  table.add("GridSample", gridSample);
}

} // namespace mlir::comm
