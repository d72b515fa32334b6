//===- Slice.cpp - parts of a tensor --------------------------------------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;

LogicalResult slice(NodeContext &c) {
  if (failed(c.needInputs(1, 5)))
    return failure();
  SmallVector<int64_t> starts = c.getInts("starts"), ends = c.getInts("ends"), axes = c.getInts("axes"), steps;
  if (c.opset() >= 10) {
    if (failed(c.needInputs(3, 5)))
      return failure();
    FailureOr<SmallVector<int64_t>> startsIn = c.constantInts(1, "starts"), endsIn = c.constantInts(2, "ends");
    FailureOr<SmallVector<int64_t>> axesIn =
        c.has(3) ? c.constantInts(3, "axes") : FailureOr<SmallVector<int64_t>>(SmallVector<int64_t>());
    FailureOr<SmallVector<int64_t>> stepsIn =
        c.has(4) ? c.constantInts(4, "steps") : FailureOr<SmallVector<int64_t>>(SmallVector<int64_t>());
    if (failed(startsIn) || failed(endsIn) || failed(axesIn) || failed(stepsIn))
      return failure();
    starts = *startsIn, ends = *endsIn, axes = *axesIn, steps = *stepsIn;
  }
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i)
      axes.push_back(static_cast<int64_t>(i));
  if (steps.empty())
    steps.assign(starts.size(), 1);
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    return c.fail("starts, ends, axes and steps differ in length", "E313");
  if (failed(c.axes(axes, c.rank(0))))
    return failure();
  SmallVector<int64_t> offsets(c.rank(0), 0), sizes(c.shape(0)), strides(c.rank(0), 1);
  Value value = c.in(0);
  for (auto [start, end, axis, step] : llvm::zip(starts, ends, axes, steps)) {
    int64_t dim = axis < 0 ? axis + c.rank(0) : axis, size = c.shape(0)[dim];
    if (step == 0 || step == INT64_MIN)
      return c.fail("a step of " + Twine(step), "E313");
    auto clamp = [&](int64_t at, int64_t low, int64_t high) {
      return std::min(std::max(at < 0 ? (at < -size ? low : at + size) : at, low), high);
    };
    if (step > 0) {
      int64_t from = clamp(start, 0, size), to = clamp(end, 0, size);
      offsets[dim] = from;
      sizes[dim] = to > from ? (to - from - 1) / step + 1 : 0;
      strides[dim] = std::min(step, std::max<int64_t>(size, 1));
      continue;
    }
    // Backwards: the same elements forwards, then turned round.
    int64_t from = clamp(start, -1, size - 1), to = end < -size ? -1 : clamp(end, -1, size - 1);
    sizes[dim] = from > to ? (from - to - 1) / -step + 1 : 0;
    strides[dim] = std::min(-step, std::max<int64_t>(size, 1));
    offsets[dim] = sizes[dim] ? from - (sizes[dim] - 1) * strides[dim] : 0;
  }
  for (int64_t dim = 0; dim < c.rank(0); ++dim) {
    if (sizes[dim] == 0)
      offsets[dim] = 0;
    if (sizes[dim] <= 1)
      strides[dim] = 1;
  }
  value = c.b.slice(value, offsets, sizes, strides);
  for (auto [axis, step] : llvm::zip(axes, steps)) {
    int64_t dim = axis < 0 ? axis + c.rank(0) : axis;
    if (step < 0 && sizes[dim] > 1)
      value = c.b.reverse(value, dim);
  }
  return c.done(value);
}

LogicalResult split(NodeContext &c) {
  if (failed(c.needInputs(1, 2)))
    return failure();
  FailureOr<int64_t> axis = c.axis(c.getInt("axis", 0), c.rank(0));
  if (failed(axis))
    return failure();
  int64_t size = c.shape(0)[*axis], count = static_cast<int64_t>(c.node.outputs.size());
  SmallVector<int64_t> sizes = c.getInts("split");
  if (c.has(1)) {
    FailureOr<SmallVector<int64_t>> given = c.constantInts(1, "the sizes of the parts");
    if (failed(given))
      return failure();
    sizes = *given;
  }
  if (sizes.empty()) {
    int64_t part = (size + count - 1) / count;
    for (int64_t i = 0; i < count; ++i)
      sizes.push_back(std::max<int64_t>(0, std::min(part, size - i * part)));
  }
  int64_t total = 0;
  bool good = static_cast<int64_t>(sizes.size()) == count;
  for (int64_t part : sizes)
    good &= part >= 0 && part <= size && (total += part) <= size;
  if (!good || total != size)
    return c.fail("the parts do not add up to the size " + Twine(size) + " of dimension " + Twine(*axis), "E313");
  int64_t start = 0;
  for (int64_t i = 0; i < count; start += sizes[i++])
    if (failed(c.setOut(i, c.b.sliceDim(c.in(0), *axis, start, sizes[i]))))
      return failure();
  return success();
}

LogicalResult trilu(NodeContext &c) {
  if (failed(c.needInputs(1, 2)))
    return failure();
  if (c.rank(0) < 2)
    return c.fail("expected rank 2 or more", "E313");
  int64_t k = 0, rows = c.shape(0)[c.rank(0) - 2], columns = c.shape(0)[c.rank(0) - 1];
  if (c.has(1)) {
    FailureOr<int64_t> given = c.constantInt(1, "k");
    if (failed(given))
      return failure();
    k = *given;
  }
  bool upper = c.getInt("upper", 1);
  SmallVector<int64_t> keep;
  if (rows * columns > B::kMaxListed)
    return c.fail("a triangle of this size");
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      keep.push_back(upper ? column >= row + k : column <= row + k);
  Value mask = c.b.ints(keep, {rows, columns}, c.b.getBuilder().getI1Type());
  return c.done(c.b.select(mask, c.in(0), c.b.splatLike(c.in(0), 0)));
}

/// Edge, reflect and wrap: every new element is one that is there.
Value padByCopy(B &b, Value value, int64_t dim, int64_t before, int64_t after, const std::string &mode) {
  int64_t size = B::shapeOf(value)[dim], turn = 2 * std::max<int64_t>(size - 1, 1);
  SmallVector<int64_t> from;
  for (int64_t i = -before; i < size + after; ++i) {
    if (mode == "edge")
      from.push_back(std::clamp<int64_t>(i, 0, size - 1));
    else if (mode == "wrap")
      from.push_back((i % size + size) % size);
    else {
      int64_t at = (i % turn + turn) % turn;
      from.push_back(size == 1 ? 0 : std::min(at, turn - at));
    }
  }
  return b.create<GatherOp>(value, b.ints(from), dim);
}

/// Padding along one dimension at a time; negative pads cut.
LogicalResult pad(NodeContext &c) {
  if (failed(c.needInputs(1, 4)))
    return failure();
  std::string mode = c.getString("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap")
    return c.fail("mode '" + mode + "'");
  SmallVector<int64_t> pads = c.getInts("pads"), axes;
  if (c.has(1)) {
    FailureOr<SmallVector<int64_t>> given = c.constantInts(1, "the pads");
    if (failed(given))
      return failure();
    pads = *given;
  }
  for (int64_t dim = 0; dim < c.rank(0); ++dim)
    axes.push_back(dim);
  if (c.has(3)) {
    FailureOr<SmallVector<int64_t>> given = c.constantInts(3, "the axes");
    if (failed(given) || failed(c.axes(*given, c.rank(0))))
      return failure();
    axes = *given;
  }
  if (pads.size() != axes.size() * 2)
    return c.fail("expected two pads per axis", "E313");
  Value value = c.in(0), fill = c.has(2) ? c.in(2) : Value();
  std::optional<double> number = fill ? B::getSplat(fill) : c.getFloat("value", 0);
  if (!number && mode == "constant" && failed(c.constantScalar(2, "the fill")))
    return failure();
  for (auto [i, axis] : llvm::enumerate(axes)) {
    int64_t dim = axis < 0 ? axis + c.rank(0) : axis, before = pads[i], after = pads[i + axes.size()],
            size = B::shapeOf(value)[dim];
    int64_t cutBefore = std::max<int64_t>(0, -before), cutAfter = std::max<int64_t>(0, -after);
    if (before < -size || after < -size || cutBefore + cutAfter > size || before > INT32_MAX || after > INT32_MAX)
      return c.fail("pads " + Twine(before) + " and " + Twine(after) + " on a dimension of size " + Twine(size),
                    "E313");
    value = c.b.sliceDim(value, dim, cutBefore, size - cutBefore - cutAfter);
    SmallVector<Value> parts = {value};
    auto filler = [&](int64_t count) {
      SmallVector<int64_t> shape(B::shapeOf(value));
      shape[dim] = count;
      return c.b.splat(B::withShape(value, shape), *number);
    };
    SmallVector<int64_t> result(B::shapeOf(value));
    result[dim] += std::max<int64_t>(before, 0) + std::max<int64_t>(after, 0);
    if (failed(c.needBudget(result, B::elementOf(value))))
      return failure();
    if (mode != "constant") {
      if (size == 0 && result[dim] != 0)
        return c.fail("dimension " + Twine(dim) + " has no element to repeat", "E313");
      if (failed(c.needListed(result[dim])))
        return failure();
      if (before != 0 || after != 0)
        value = padByCopy(c.b, value, dim, std::max<int64_t>(before, 0), std::max<int64_t>(after, 0), mode);
      continue;
    }
    if (before > 0)
      parts.insert(parts.begin(), filler(before));
    if (after > 0)
      parts.push_back(filler(after));
    value = c.b.concat(parts, dim);
  }
  return c.done(value);
}
} // namespace

void addSliceOps(OpTable &table) {
  table.add("Slice", slice);
  table.add("Split", split);
  table.add("Trilu", trilu);
  table.add("Pad", pad);
}

} // namespace mlir::comm
