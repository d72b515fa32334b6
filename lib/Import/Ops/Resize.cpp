//===- Resize.cpp - Resize and Upsample as one product per dimension ------===//
// Every mode is separable and linear: a dimension is multiplied by a matrix of weights that is known when the sizes
// are.
//===----------------------------------------------------------------------===//
#include "OpTable.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;

struct ResizeMode {
  std::string mode, coordinates, nearest;
  bool antialias = false, excludeOutside = false;
  double cubic = -0.75, extrapolation = 0;
};
struct Axis {
  int64_t in = 0, out = 0;
  double scale = 1, roiStart = 0, roiEnd = 1;
};

double cubicAt(double x, double a) {
  x = std::fabs(x);
  if (x <= 1)
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/// Weights of the neighbours of a position that lies `ratio` in (0, 1] behind one.
SmallVector<double> weightsAt(const ResizeMode &m, double ratio, double scale) {
  if (m.mode == "nearest") {
    bool right = ratio == 1 || m.nearest == "ceil" || (m.nearest == "round_prefer_floor" && ratio > 0.5) ||
                 (m.nearest == "round_prefer_ceil" && ratio >= 0.5);
    return right ? SmallVector<double>{0, 1} : SmallVector<double>{1, 0};
  }
  bool linear = m.mode == "linear";
  if (!m.antialias) {
    if (linear)
      return {1 - ratio, ratio};
    return {cubicAt(ratio + 1, m.cubic), cubicAt(ratio, m.cubic), cubicAt(1 - ratio, m.cubic),
            cubicAt(2 - ratio, m.cubic)};
  }
  scale = std::min(scale, 1.0);
  double reach = linear ? 1 : 2, total = 0;
  auto start = static_cast<int64_t>(std::floor(-reach / scale) + 1), end = 2 - start;
  SmallVector<double> weights;
  for (int64_t i = start; i < end; ++i) {
    double x = (static_cast<double>(i) - ratio) * scale;
    weights.push_back(linear ? std::clamp(1 - std::fabs(x), 0.0, 1.0) : cubicAt(x, m.cubic));
    total += weights.back();
  }
  for (double &weight : weights)
    weight /= total;
  return weights;
}

/// Position in the input of output element `y`.
double sourceOf(const ResizeMode &m, const Axis &axis, double y) {
  auto in = static_cast<double>(axis.in), width = axis.scale * in;
  if (m.coordinates == "align_corners")
    return width == 1 ? 0 : y * (in - 1) / (width - 1);
  if (m.coordinates == "asymmetric")
    return y / axis.scale;
  if (m.coordinates == "tf_crop_and_resize") {
    double span = (axis.roiEnd - axis.roiStart) * (in - 1);
    return axis.roiStart * (in - 1) + (width == 1 ? span / 2 : y * span / (width - 1));
  }
  if (m.coordinates == "pytorch_half_pixel" && width == 1)
    return -0.5;
  double half = (y + 0.5) / axis.scale - 0.5;
  if (m.coordinates == "half_pixel_symmetric")
    half += in / 2 * (1 - static_cast<double>(axis.out) / width);
  return half;
}

/// Row `y`: how much of every input element output element y takes. `outside`: it is extrapolated.
void fillRow(const ResizeMode &m, const Axis &axis, int64_t y, MutableArrayRef<double> row, bool &outside) {
  // Far outside, only the border counts.
  double x = std::clamp(sourceOf(m, axis, static_cast<double>(y)), -0x1p31, 0x1p31 + static_cast<double>(axis.in)),
         floor = std::floor(x);
  outside = m.coordinates == "tf_crop_and_resize" && (x < 0 || x > static_cast<double>(axis.in - 1));
  SmallVector<double> weights = weightsAt(m, x == floor ? 1 : x - floor, axis.scale);
  auto count = static_cast<int64_t>(weights.size()), base = static_cast<int64_t>(floor);
  // The neighbours nearest to x, the lower of two equally near ones.
  int64_t start = count % 2 == 0 ? base + (x == floor ? -(count / 2) : 1 - count / 2)
                                 : base - (count - 1) / 2 + (x - floor > 0.5 ? 1 : 0);
  double total = 0;
  for (int64_t i = 0; i < count; ++i) {
    bool inside = start + i >= 0 && start + i < axis.in;
    if (m.excludeOutside && !inside)
      weights[i] = 0;
    total += weights[i];
  }
  for (int64_t i = 0; i < count; ++i) // the border goes on for ever
    row[std::clamp<int64_t>(start + i, 0, axis.in - 1)] +=
        m.excludeOutside && total != 0 ? weights[i] / total : weights[i];
}

LogicalResult resizeAxes(NodeContext &c, const ResizeMode &m, ArrayRef<int64_t> dims, ArrayRef<Axis> axes) {
  B &b = c.b;
  Value x = c.in(0);
  Type element = B::elementOf(x);
  Type work = element.isF64() ? element : Type(b.getBuilder().getF32Type());
  bool moves = m.mode == "nearest" && m.coordinates != "tf_crop_and_resize";
  if (!moves)
    x = b.castTo(x, work);
  for (auto [dim, axis] : llvm::zip_equal(dims, axes)) {
    bool whole = axis.roiStart == 0 && axis.roiEnd == 1;
    if (std::fabs(axis.scale - 1) < 1e-9 && axis.out == axis.in && (whole || m.coordinates != "tf_crop_and_resize"))
      continue;
    SmallVector<int64_t> shape(B::shapeOf(x)), swap;
    shape[dim] = axis.out;
    if (failed(c.needBudget(shape, element)))
      return failure();
    if (axis.out > (1 << 24) / std::max<int64_t>(axis.in, 1))
      return c.fail("dimension " + Twine(dim) + " of size " + Twine(axis.in) + " resized to " + Twine(axis.out));
    if (axis.in == 0 && axis.out != 0)
      return c.fail("dimension " + Twine(dim) + " is empty", "E313");
    SmallVector<double> matrix(axis.in * axis.out, 0.0);
    SmallVector<int64_t> outside, from;
    for (int64_t y = 0; y < axis.out; ++y) {
      MutableArrayRef<double> row = MutableArrayRef<double>(matrix).slice(y * axis.in, axis.in);
      bool extrapolated = false;
      fillRow(m, axis, y, row, extrapolated);
      outside.push_back(extrapolated);
      from.push_back(std::max_element(row.begin(), row.end()) - row.begin());
    }
    if (moves) {
      x = b.create<GatherOp>(x, b.ints(from), dim);
      continue;
    }
    for (int64_t other = 0; other < B::typeOf(x).getRank(); ++other)
      swap.push_back(other == dim ? B::typeOf(x).getRank() - 1 : other == B::typeOf(x).getRank() - 1 ? dim : other);
    Value rows = b.transpose(x, swap);
    SmallVector<int64_t> moved(B::shapeOf(rows));
    int64_t rest = 1;
    for (int64_t size : ArrayRef<int64_t>(moved).drop_back())
      rest *= size;
    moved.back() = axis.out;
    if (rest == 0 || axis.out == 0) {
      x = b.splat(RankedTensorType::get(shape, work), 0);
      continue;
    }
    Value product =
        b.matmul(b.reshape(rows, {rest, axis.in}), b.floats(matrix, {axis.out, axis.in}, work), false, true);
    x = b.transpose(b.reshape(product, moved), swap);
    if (llvm::is_contained(outside, 1)) {
      SmallVector<int64_t> maskShape(shape.size(), 1);
      maskShape[dim] = axis.out;
      Value mask = b.ints(outside, maskShape, b.getBuilder().getI1Type());
      x = b.select(mask, b.splatLike(x, m.extrapolation), x);
    }
  }
  if (isa<IntegerType>(element) && !moves)
    x = b.create<math::RoundEvenOp>(x);
  return c.done(b.castTo(x, element));
}

/// The numbers of a float constant; fails with a problem when it is none.
FailureOr<SmallVector<double>> constantFloats(NodeContext &c, size_t index, const char *what) {
  DenseElementsAttr attr = B::getConstant(c.in(index));
  if (!attr || !isa<FloatType>(attr.getElementType())) {
    if (failed(c.constantInts(index, what)))
      return failure();
    return c.fail(Twine(what) + " are not floats", "E313");
  }
  SmallVector<double> values;
  for (APFloat value : attr.getValues<APFloat>()) {
    bool lost;
    value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
    values.push_back(value.convertToDouble());
  }
  return values;
}

/// A size times a scale; what is too large stays so.
int64_t scaled(int64_t size, double scale) {
  return static_cast<int64_t>(std::min(std::floor(scale * static_cast<double>(size)), 0x1p53));
}

LogicalResult resize(NodeContext &c) {
  if (failed(c.needInputs(1, 4)))
    return failure();
  if (c.opset() < 11)
    return c.fail("Resize before opset 11 places its samples otherwise");
  ResizeMode m;
  m.mode = c.getString("mode", "nearest");
  m.coordinates = c.getString("coordinate_transformation_mode", "half_pixel");
  m.nearest = c.getString("nearest_mode", "round_prefer_floor");
  m.antialias = c.getInt("antialias", 0);
  m.excludeOutside = c.getInt("exclude_outside", 0);
  m.cubic = c.getFloat("cubic_coeff_a", -0.75);
  m.extrapolation = c.getFloat("extrapolation_value", 0);
  if ((m.mode != "nearest" && m.mode != "linear" && m.mode != "cubic") || (m.antialias && m.mode == "nearest"))
    return c.fail("mode '" + m.mode + "'");
  SmallVector<int64_t> dims = c.getInts("axes");
  if (!c.hasAttr("axes"))
    dims = llvm::to_vector(llvm::seq<int64_t>(0, c.rank(0)));
  if (failed(c.axes(dims, c.rank(0))))
    return failure();
  for (int64_t &dim : dims)
    dim += dim < 0 ? c.rank(0) : 0;
  SmallVector<Axis> axes(dims.size());
  for (auto [dim, axis] : llvm::zip_equal(dims, axes))
    axis.in = c.shape(0)[dim];
  auto given = [&](size_t index) { return c.has(index) && B::typeOf(c.in(index)).getNumElements() > 0; };
  if (given(3)) {
    FailureOr<SmallVector<int64_t>> sizes = c.constantInts(3, "the sizes");
    if (failed(sizes) || sizes->size() != axes.size() ||
        llvm::any_of(*sizes, [](int64_t x) { return x < 0 || x > INT32_MAX; }))
      return failed(sizes) ? failure() : c.fail("expected one size per axis", "E313");
    std::string policy = c.getString("keep_aspect_ratio_policy", "stretch");
    double chosen = policy == "not_larger" ? INFINITY : 0;
    for (auto [axis, size] : llvm::zip_equal(axes, *sizes)) {
      axis.out = size;
      axis.scale = static_cast<double>(size) / static_cast<double>(std::max<int64_t>(axis.in, 1));
      chosen = policy == "not_larger" ? std::min(chosen, axis.scale) : std::max(chosen, axis.scale);
    }
    for (Axis &axis : axes)
      if (policy != "stretch") {
        axis.scale = chosen;
        axis.out = static_cast<int64_t>(chosen * static_cast<double>(axis.in) + 0.5);
      }
  } else if (given(2)) {
    FailureOr<SmallVector<double>> scales = constantFloats(c, 2, "the scales");
    if (failed(scales) || scales->size() != axes.size() ||
        llvm::any_of(*scales, [](double x) { return !(x > 0 && x < 1e9); }))
      return failed(scales) ? failure() : c.fail("expected one positive scale per axis", "E313");
    for (auto [axis, scale] : llvm::zip_equal(axes, *scales)) {
      axis.scale = scale;
      axis.out = scaled(axis.in, scale);
    }
  } else {
    return c.fail("neither scales nor sizes are given", "E313");
  }
  if (m.coordinates == "tf_crop_and_resize") {
    FailureOr<SmallVector<double>> roi = constantFloats(c, 1, "the region");
    if (failed(roi) || roi->size() != 2 * axes.size() ||
        llvm::any_of(*roi, [](double x) { return !(std::fabs(x) < 1e9); }))
      return failed(roi) ? failure() : c.fail("expected a possible start and end per axis", "E313");
    for (auto [i, axis] : llvm::enumerate(axes)) {
      axis.roiStart = (*roi)[i];
      axis.roiEnd = (*roi)[i + axes.size()];
    }
  }
  return resizeAxes(c, m, dims, axes);
}

/// The older name: nearest takes the element below, linear has no offset.
LogicalResult upsample(NodeContext &c) {
  if (failed(c.needInputs(1, 2)))
    return failure();
  ResizeMode m{c.getString("mode", "nearest"), "asymmetric", "floor"};
  if (m.mode != "nearest" && m.mode != "linear")
    return c.fail("mode '" + m.mode + "'");
  SmallVector<double> scales;
  if (c.has(1)) {
    FailureOr<SmallVector<double>> given = constantFloats(c, 1, "the scales");
    if (failed(given))
      return failure();
    scales = *given;
  } else if (const onnx::Attribute *attribute = c.getAttr("scales")) {
    scales.assign(attribute->floats.begin(), attribute->floats.end());
  }
  if (static_cast<int64_t>(scales.size()) != c.rank(0) ||
      llvm::any_of(scales, [](double x) { return !(x >= 1 && x < 1e9); }))
    return c.fail("expected one scale of 1 or more per dimension", "E313");
  SmallVector<Axis> axes;
  for (auto [size, scale] : llvm::zip_equal(c.shape(0), scales))
    axes.push_back({size, scaled(size, scale), scale});
  return resizeAxes(c, m, llvm::to_vector(llvm::seq<int64_t>(0, c.rank(0))), axes);
}
} // namespace

void addResizeOps(OpTable &table) {
  table.add("Resize", resize);
  table.add("Upsample", upsample);
}

} // namespace mlir::comm
