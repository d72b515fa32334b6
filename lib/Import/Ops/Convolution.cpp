//===- Convolution.cpp - convolutions as products of patches --------------===//
// The patches are comm.windows; the product is comm.matmul, so that it is split and scheduled like any other.
//===----------------------------------------------------------------------===//
#include "OpTable.h"
#include "Window.h"

namespace mlir::comm {
using B = ValueBuilder;

LogicalResult checkConvolution(NodeContext &c, ArrayRef<int64_t> x, ArrayRef<int64_t> w, int64_t groups) {
  if (x.size() < 3 || w.size() != x.size())
    return c.fail("expected input and weights [.., .., positions..] of one rank", "E313");
  if (groups < 1 || groups > std::max<int64_t>(x[1], 1) || x[1] % groups || w[0] % groups || w[1] != x[1] / groups)
    return c.fail(Twine(groups) + " groups do not fit " + Twine(x[1]) + " channels and weights for " + Twine(w[1]),
                  "E313");
  return success();
}

FailureOr<Value> buildConvolution(NodeContext &c, Value x, Value w, int64_t groups, const Window &window) {
  B &b = c.b;
  SmallVector<int64_t> shape(B::shapeOf(x)), weights(B::shapeOf(w));
  FailureOr<Value> windows = buildWindows(c, window, x, 0);
  if (failed(windows))
    return failure();
  int64_t taps = 1, places = 1, n = shape[0], m = weights[0];
  for (int64_t size : window.sizes)
    taps *= size;
  for (int64_t size : window.out)
    places *= size;
  int64_t inner = weights[1] * taps;
  SmallVector<int64_t> result = {n, m};
  llvm::append_range(result, window.out);
  if (failed(c.needBudget(result, B::elementOf(x))))
    return failure();
  if (llvm::is_contained(result, 0) || inner == 0)
    return b.splat(B::withShape(x, result), 0);
  if (groups == 1)
    return b.reshape(b.matmul(b.reshape(w, {m, inner}), b.reshape(*windows, {n, inner, places})), result);
  Value patches = b.reshape(*windows, {n, groups, inner, places});
  return b.reshape(b.matmul(b.reshape(w, {groups, m / groups, inner}), patches), result);
}

namespace {
Value addChannelBias(NodeContext &c, Value y, Value bias) {
  SmallVector<int64_t> shape(B::typeOf(y).getRank(), 1);
  shape[1] = B::shapeOf(bias)[0];
  return c.b.add(y, c.b.reshape(bias, shape));
}

LogicalResult kernelShapeFits(NodeContext &c, ArrayRef<int64_t> weights) {
  SmallVector<int64_t> given = c.getInts("kernel_shape");
  return given.empty() || ArrayRef<int64_t>(given) == weights.drop_front(2)
             ? success()
             : c.fail("kernel_shape is not the shape of the weights", "E313");
}

LogicalResult conv(NodeContext &c) {
  if (failed(c.needInputs(2, 3)) || failed(c.needFloat(0)) || failed(c.needSameElement(0, 1)))
    return failure();
  int64_t groups = c.getInt("group", 1);
  if (failed(checkConvolution(c, c.shape(0), c.shape(1), groups)) || failed(kernelShapeFits(c, c.shape(1))))
    return failure();
  FailureOr<Window> window = readWindow(c, c.shape(0), c.shape(1).drop_front(2));
  if (failed(window))
    return failure();
  if (c.has(2) && (c.shape(2) != ArrayRef<int64_t>{c.shape(1)[0]} || failed(c.needSameElement(0, 2))))
    return c.fail("the bias is not a vector over the channels", "E313");
  FailureOr<Value> y = buildConvolution(c, c.in(0), c.in(1), groups, *window);
  if (failed(y))
    return failure();
  return c.done(c.has(2) ? addChannelBias(c, *y, c.in(2)) : *y);
}

/// `count` zeros between neighbours of a dimension.
Value spread(B &b, Value x, int64_t dim, int64_t count) {
  int64_t size = B::shapeOf(x)[dim];
  if (count == 0 || size == 0)
    return x;
  SmallVector<int64_t> shape(B::shapeOf(x)), joined(shape);
  shape.insert(shape.begin() + dim + 1, 1);
  joined[dim] = size * (count + 1);
  x = b.reshape(b.pad(b.reshape(x, shape), dim + 1, 0, count, 0), joined);
  return b.sliceDim(x, dim, 0, joined[dim] - count);
}

/// [C, M/g, k..] as the weights of the convolution that undoes: [M, C/g, k..] with the kernel turned round.
Value turned(B &b, Value w, int64_t groups) {
  SmallVector<int64_t> shape(B::shapeOf(w));
  for (int64_t dim = 2; dim < static_cast<int64_t>(shape.size()); ++dim)
    if (shape[dim] > 1)
      w = b.reverse(w, dim);
  SmallVector<int64_t> apart = {groups, shape[0] / groups, shape[1]}, order = {0, 2, 1},
                       joined = {groups * shape[1], shape[0] / groups};
  for (size_t dim = 2; dim < shape.size(); ++dim) {
    apart.push_back(shape[dim]);
    joined.push_back(shape[dim]);
    order.push_back(static_cast<int64_t>(dim) + 1);
  }
  return b.reshape(b.transpose(b.reshape(w, apart), order), joined);
}

LogicalResult convTranspose(NodeContext &c) {
  if (failed(c.needInputs(2, 3)) || failed(c.needFloat(0)) || failed(c.needSameElement(0, 1)))
    return failure();
  ArrayRef<int64_t> x = c.shape(0), w = c.shape(1);
  int64_t groups = c.getInt("group", 1), dims = static_cast<int64_t>(x.size()) - 2;
  if (dims < 1 || w.size() != x.size() || groups < 1 || groups > std::max<int64_t>(x[1], 1) || w[0] != x[1] ||
      x[1] % groups)
    return c.fail("input, weights and groups do not fit", "E313");
  if (failed(kernelShapeFits(c, w)))
    return failure();
  auto list = [&](const char *name, int64_t otherwise) {
    SmallVector<int64_t> values = c.getInts(name);
    if (values.empty())
      values.assign(dims, otherwise);
    return values;
  };
  SmallVector<int64_t> strides = list("strides", 1), dilations = list("dilations", 1), more = list("output_padding", 0),
                       wanted = c.getInts("output_shape"), pads = c.getInts("pads");
  pads.resize(pads.empty() ? 2 * dims : pads.size(), 0);
  if (static_cast<int64_t>(wanted.size()) == dims + 2)
    wanted.erase(wanted.begin(), wanted.begin() + 2);
  auto size = static_cast<size_t>(dims);
  auto outside = [](ArrayRef<int64_t> list, int64_t low) {
    return llvm::any_of(list, [&](int64_t x) { return x < low || x > INT32_MAX; });
  };
  if (strides.size() != size || dilations.size() != size || more.size() != size || pads.size() != 2 * size ||
      (!wanted.empty() && wanted.size() != size) || outside(strides, 1) ||
      llvm::any_of(strides, [](int64_t x) { return x > 1 << 20; }) || outside(dilations, 1) || outside(more, 0) ||
      outside(w.drop_front(2), 0) || outside(pads, INT32_MIN) || outside(wanted, 1))
    return c.fail("strides, dilations, pads, output_padding and output_shape do not fit", "E313");
  std::string mode = c.getString("auto_pad", "NOTSET");
  if (mode == "VALID")
    std::fill(pads.begin(), pads.end(), 0);
  Window window{SmallVector<int64_t>(w.drop_front(2)), SmallVector<int64_t>(dims, 1), dilations, {}, {}, {}, {}};
  window.extra.assign(dims, 0);
  Value value = c.in(0);
  for (int64_t i = 0; i < dims; ++i) {
    int64_t full = strides[i] * (x[i + 2] - 1) + window.extent(i), out = full + more[i] - pads[i] - pads[i + dims];
    if (!wanted.empty() || mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      out = wanted.empty() ? x[i + 2] * strides[i] : wanted[i];
      int64_t total = full + more[i] - out;
      int64_t lower = (total - (total < 0 && total % 2 ? 1 : 0)) / 2; // towards minus infinity
      pads[i] = mode == "SAME_UPPER" ? lower : total - lower;
      pads[i + dims] = total - pads[i];
    }
    if (out < 1 || out > INT32_MAX)
      return c.fail("dimension " + Twine(i + 2) + " of the result would have size " + Twine(out), "E313");
    SmallVector<int64_t> spreadShape(B::shapeOf(value));
    spreadShape[i + 2] = strides[i] * x[i + 2];
    if (failed(c.needBudget(spreadShape, B::elementOf(value))))
      return failure();
    value = spread(c.b, value, i + 2, strides[i] - 1);
    window.before.push_back(window.extent(i) - 1 - pads[i]);
    window.after.push_back(window.extent(i) - 1 - pads[i + dims] + more[i]);
    window.out.push_back(out);
  }
  FailureOr<Value> y = buildConvolution(c, value, turned(c.b, c.in(1), groups), groups, window);
  if (failed(y))
    return failure();
  if (c.has(2) && (c.rank(2) != 1 || c.shape(2)[0] != B::shapeOf(*y)[1] || failed(c.needSameElement(0, 2))))
    return c.fail("the bias is not a vector over the channels", "E313");
  return c.done(c.has(2) ? addChannelBias(c, *y, c.in(2)) : *y);
}

/// CausalConvWithState: every channel by itself, over its past and itself.
LogicalResult causalConv(NodeContext &c) {
  if (failed(c.needInputs(2, 4)) || failed(c.needRank(0, 3)) || failed(c.needRank(1, 3)) || failed(c.needFloat(0)) ||
      failed(c.needSameElement(0, 1)))
    return failure();
  int64_t batch = c.shape(0)[0], channels = c.shape(0)[1], length = c.shape(0)[2], taps = c.shape(1)[2];
  if (c.shape(1)[0] != channels || c.shape(1)[1] != 1 || taps < 1)
    return c.fail("expected weights [channels, 1, taps]", "E313");
  if (c.has(2) && (c.shape(2) != ArrayRef<int64_t>{channels} || failed(c.needSameElement(0, 2))))
    return c.fail("the bias is not a vector over the channels", "E313");
  Value x = c.in(0);
  if (c.has(3)) {
    if (c.shape(3) != ArrayRef<int64_t>{batch, channels, taps - 1} || failed(c.needSameElement(0, 3)))
      return c.fail("expected past_state [batch, channels, taps - 1]", "E313");
    x = c.b.concat({c.in(3), x}, 2);
  } else {
    x = c.b.pad(x, 2, taps - 1, 0, 0);
  }
  Window window{{taps}, {1}, {1}, {0}, {0}, {0}, {length}};
  FailureOr<Value> y = buildConvolution(c, x, c.in(1), channels, window);
  if (failed(y))
    return failure();
  Value result = c.has(2) ? addChannelBias(c, *y, c.in(2)) : *y;
  std::string activation = c.getString("activation", "none");
  if (activation == "silu" || activation == "swish")
    result = c.b.create<SiluOp>(result);
  else if (activation != "none")
    return c.fail("activation '" + activation + "'");
  return success(succeeded(c.done(result)) && succeeded(c.setOut(1, c.b.sliceDim(x, 2, length, taps - 1))));
}
} // namespace

void addConvolutionOps(OpTable &table) {
  table.add("Conv", conv);
  table.add("ConvTranspose", convTranspose);
  table.add("CausalConvWithState", causalConv);
}

} // namespace mlir::comm
