//===- Signal.cpp - Fourier transforms and windows ------------------------===//
#include "OpTable.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;
constexpr double kTau = 6.283185307179586476925;

/// Rows of length n (real and imaginary part as [.., n, 2]; n = `columns`) -> `rows` frequencies of a transform of
/// `length`; a product with one constant matrix [2 columns, 2 rows].
FailureOr<Value> transformRows(NodeContext &c, Value x, int64_t columns, int64_t rows, int64_t length, bool inverse) {
  if (columns * rows > 1 << 22)
    return c.fail("a transform of " + Twine(length) + " samples");
  SmallVector<double> matrix(4 * columns * rows);
  double sign = inverse ? 1 : -1, factor = inverse ? 1.0 / static_cast<double>(length) : 1;
  for (int64_t n = 0; n < columns; ++n)
    for (int64_t k = 0; k < rows; ++k) {
      double angle = sign * kTau * static_cast<double>(n * k % length) / static_cast<double>(length);
      double re = n < length ? factor * std::cos(angle) : 0, im = n < length ? factor * std::sin(angle) : 0;
      double *even = &matrix[(2 * n) * 2 * rows + 2 * k], *odd = even + 2 * rows;
      even[0] = re, even[1] = im;
      odd[0] = -im, odd[1] = re;
    }
  SmallVector<int64_t> shape(B::shapeOf(x));
  int64_t batch = 1;
  for (int64_t size : ArrayRef<int64_t>(shape).drop_back(2))
    batch *= size;
  shape[shape.size() - 2] = rows;
  // In f64: frequencies that cancel are to be zero, not noise.
  Type element = B::elementOf(x), f64 = c.b.getBuilder().getF64Type();
  Value table = c.b.floats(matrix, {2 * columns, 2 * rows}, f64);
  return c.b.castTo(c.b.reshape(c.b.matmul(c.b.castTo(c.b.reshape(x, {batch, 2 * columns}), f64), table), shape),
                    element);
}

/// [.., 1] gets an imaginary part of zeros.
Value asComplex(B &b, Value x) {
  int64_t last = B::typeOf(x).getRank() - 1;
  return B::shapeOf(x)[last] == 2 ? x : b.pad(x, last, 0, 1, 0);
}

LogicalResult dft(NodeContext &c) {
  if (failed(c.needInputs(1, 3)) || failed(c.needFloat(0)))
    return failure();
  B &b = c.b;
  int64_t rank = c.rank(0);
  if (rank < 2 || (c.shape(0).back() != 1 && c.shape(0).back() != 2))
    return c.fail("expected [.., samples, .., 1 or 2]", "E313");
  int64_t given = c.opset() >= 20 ? -2 : c.getInt("axis", 1);
  if (c.opset() >= 20 && c.has(2)) {
    FailureOr<int64_t> value = c.constantInt(2, "the axis");
    if (failed(value))
      return failure();
    given = *value;
  }
  FailureOr<int64_t> axis = c.axis(given, rank);
  if (failed(axis) || *axis == rank - 1)
    return failed(axis) ? failure() : c.fail("the axis of the parts", "E313");
  bool inverse = c.getInt("inverse", 0), onesided = c.getInt("onesided", 0);
  int64_t samples = c.shape(0)[*axis], length = inverse && onesided ? 2 * (samples - 1) : samples;
  if (c.has(1)) {
    FailureOr<int64_t> value = c.constantInt(1, "the length");
    if (failed(value))
      return failure();
    length = *value;
  }
  if (length < 1 || length > 1 << 20 || samples < 1)
    return c.fail("a transform of " + Twine(length) + " samples", "E313");
  SmallVector<int64_t> swap = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(swap[*axis], swap[rank - 2]);
  Value x = asComplex(b, b.transpose(c.in(0), swap));
  if (inverse && onesided) { // the other half of the frequencies are conjugates
    int64_t half = length / 2 + 1;
    x = b.pad(x, rank - 2, 0, half - samples, 0);
    if (int64_t mirrored = length - half; mirrored > 0) {
      SmallVector<int64_t> order;
      for (int64_t i = mirrored; i >= 1; --i)
        order.push_back(i);
      Value rest = b.create<GatherOp>(x, b.ints(order), rank - 2);
      SmallVector<int64_t> signShape(rank, 1);
      signShape.back() = 2;
      x = b.concat({x, b.mul(rest, b.floats({1, -1}, signShape, B::elementOf(x)))}, rank - 2);
    }
    samples = length;
  }
  int64_t rows = onesided && !inverse ? length / 2 + 1 : length;
  FailureOr<Value> y = transformRows(c, x, samples, rows, length, inverse);
  if (failed(y))
    return failure();
  Value result = *y;
  if (inverse && onesided)
    result = b.sliceDim(result, rank - 1, 0, 1);
  return c.done(b.transpose(result, swap));
}

LogicalResult stft(NodeContext &c) {
  if (failed(c.needInputs(2, 4)) || failed(c.needFloat(0)) || failed(c.needRank(0, 3)))
    return failure();
  B &b = c.b;
  FailureOr<int64_t> step = c.constantInt(1, "the frame step");
  if (failed(step))
    return failure();
  if (c.has(2) && failed(c.needRank(2, 1)))
    return failure();
  int64_t length = c.has(2) ? c.shape(2)[0] : 0;
  if (c.has(3)) {
    FailureOr<int64_t> value = c.constantInt(3, "the frame length");
    if (failed(value))
      return failure();
    length = *value;
  }
  auto stride = *step;
  int64_t samples = c.shape(0)[1], parts = c.shape(0)[2];
  if (length < 1 || length > samples || stride < 1 || stride > INT32_MAX || parts < 1 || parts > 2 ||
      (c.has(2) && (c.shape(2) != ArrayRef<int64_t>{length} || failed(c.needSameElement(0, 2)))))
    return c.fail("frames of " + Twine(length) + " samples do not fit", "E313");
  OpBuilder &builder = b.getBuilder();
  Value x = b.transpose(c.in(0), {0, 2, 1}); // [batch, parts, samples]
  Value frames = b.create<WindowsOp>(x, builder.getDenseI64ArrayAttr({length}), builder.getDenseI64ArrayAttr({stride}),
                                     builder.getDenseI64ArrayAttr({1}));
  frames = b.transpose(frames, {0, 3, 2, 1}); // [batch, frames, length, parts]
  if (c.has(2))
    frames = b.mul(frames, b.reshape(c.in(2), {1, 1, length, 1}));
  int64_t rows = c.getInt("onesided", 1) ? length / 2 + 1 : length;
  FailureOr<Value> y = transformRows(c, asComplex(b, frames), length, rows, length, false);
  return failed(y) ? failure() : c.done(*y);
}

/// Hann, Hamming and Blackman: sums of a few cosines.
LogicalResult cosineWindow(NodeContext &c, ArrayRef<double> terms) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  FailureOr<int64_t> given = c.constantInt(0, "the size");
  Type element = c.elementType(c.getInt("output_datatype", onnx::Float));
  if (failed(given) || !element || !isa<FloatType>(element))
    return failed(given) || !element ? failure() : c.fail("a window of integers");
  auto size = *given;
  if (size < 0 || size > 1 << 20)
    return c.fail("a window of " + Twine(size) + " samples", "E313");
  auto period = static_cast<double>(c.getInt("periodic", 1) ? size : size - 1);
  SmallVector<double> values;
  for (int64_t i = 0; i < size; ++i) {
    double value = 0;
    for (auto [k, term] : llvm::enumerate(terms))
      value += term * std::cos(kTau * static_cast<double>(k) * static_cast<double>(i) / period);
    values.push_back(value);
  }
  return c.done(c.b.floats(values, {size}, element));
}
LogicalResult hann(NodeContext &c) { return cosineWindow(c, {0.5, -0.5}); }
LogicalResult hamming(NodeContext &c) { return cosineWindow(c, {25.0 / 46, -21.0 / 46}); }
LogicalResult blackman(NodeContext &c) { return cosineWindow(c, {0.42, -0.5, 0.08}); }
} // namespace

void addSignalOps(OpTable &table) {
  table.add("DFT", dft);
  table.add("STFT", stft);
  table.add("HannWindow", hann);
  table.add("HammingWindow", hamming);
  table.add("BlackmanWindow", blackman);
}

} // namespace mlir::comm
