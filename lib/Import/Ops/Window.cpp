//===- Window.cpp - sliding windows of pools and convolutions -------------===//
#include "Window.h"

namespace mlir::comm {
using B = ValueBuilder;

/// A list attribute with one positive number per spatial dimension; ones where it is absent.
static FailureOr<SmallVector<int64_t>> perDim(NodeContext &c, const char *name, size_t dims) {
  SmallVector<int64_t> values = c.getInts(name);
  if (values.empty())
    values.assign(dims, 1);
  if (values.size() != dims || llvm::any_of(values, [](int64_t x) { return x < 1 || x > INT32_MAX; }))
    return c.fail(Twine(name) + " are not one positive number per spatial dimension", "E313");
  return values;
}

FailureOr<Window> readWindow(NodeContext &c, ArrayRef<int64_t> input, ArrayRef<int64_t> sizes) {
  size_t dims = input.size() < 2 ? 0 : input.size() - 2;
  if (dims == 0 || sizes.size() != dims || llvm::any_of(sizes, [](int64_t x) { return x < 1 || x > INT32_MAX; }))
    return c.fail("the kernel does not have one positive size per spatial dimension", "E313");
  FailureOr<SmallVector<int64_t>> strides = perDim(c, "strides", dims), dilations = perDim(c, "dilations", dims);
  if (failed(strides) || failed(dilations))
    return failure();
  Window w{SmallVector<int64_t>(sizes), *strides, *dilations, {}, {}, {}, {}};
  SmallVector<int64_t> pads = c.getInts("pads");
  pads.resize(pads.empty() ? 2 * dims : pads.size(), 0);
  if (pads.size() != 2 * dims || llvm::any_of(pads, [](int64_t x) { return x < 0 || x > INT32_MAX; }))
    return c.fail("pads are not two numbers per spatial dimension", "E313");
  std::string mode = c.getString("auto_pad", "NOTSET");
  bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER", ceil = c.getInt("ceil_mode", 0);
  if (!same && mode != "NOTSET" && mode != "VALID")
    return c.fail("auto_pad '" + mode + "'");
  for (size_t i = 0; i < dims; ++i) {
    int64_t size = input[i + 2], extent = w.extent(i), stride = w.strides[i], before = pads[i], after = pads[i + dims];
    if (mode == "VALID")
      before = after = 0;
    int64_t out;
    if (same) {
      out = (size + stride - 1) / stride;
      int64_t total = std::max<int64_t>(0, (out - 1) * stride + extent - size);
      before = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      after = total - before;
    } else {
      int64_t room = size + before + after - extent;
      if (room < 0)
        return c.fail("a window of " + Twine(extent) + " does not fit into " + Twine(size + before + after) +
                          " elements of dimension " + Twine(i + 2),
                      "E313");
      out = (ceil ? (room + stride - 1) / stride : room / stride) + 1;
      if (ceil && (out - 1) * stride >= size + before) // would begin in the padding behind
        --out;
    }
    w.before.push_back(before);
    w.after.push_back(after);
    w.extra.push_back(std::max<int64_t>(0, (out - 1) * stride + extent - size - before - after));
    w.out.push_back(out);
  }
  return w;
}

FailureOr<Value> buildWindows(NodeContext &c, const Window &w, Value input, double fill) {
  int64_t dims = w.dims();
  SmallVector<int64_t> padded(B::shapeOf(input)), result(padded.begin(), padded.begin() + 2);
  for (int64_t i = 0; i < dims; ++i) {
    padded[i + 2] += w.before[i] + w.after[i] + w.extra[i];
    if (w.sizes[i] < 1)
      return c.fail("the kernel has no size in dimension " + Twine(i + 2), "E313");
    if (padded[i + 2] < w.extent(i)) // an empty input
      return c.fail("a window of " + Twine(w.extent(i)) + " does not fit into " + Twine(padded[i + 2]) +
                        " elements of dimension " + Twine(i + 2),
                    "E313");
  }
  llvm::append_range(result, w.sizes);
  llvm::append_range(result, w.out);
  if (failed(c.needBudget(padded, B::elementOf(input))) || failed(c.needBudget(result, B::elementOf(input))))
    return failure();
  for (int64_t i = 0; i < dims; ++i)
    input = c.b.pad(input, i + 2, w.before[i], w.after[i] + w.extra[i], fill);
  OpBuilder &builder = c.b.getBuilder();
  Value windows =
      c.b.create<WindowsOp>(input, builder.getDenseI64ArrayAttr(w.sizes), builder.getDenseI64ArrayAttr(w.strides),
                            builder.getDenseI64ArrayAttr(w.dilations));
  for (int64_t i = 0; i < dims; ++i) // strides may leave room for more than was asked for
    windows = c.b.sliceDim(windows, 2 + dims + i, 0, w.out[i]);
  return windows;
}

} // namespace mlir::comm
