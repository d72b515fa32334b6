//===- ModelOps.cpp - the comm model layer on host tensors ----------------===//
// Under integer stand-ins each nonlinear op keeps what partitioning may rely on: which elements depend on which,
// linearity where the sharding rule claims it, and zero in, zero out where zero fill is claimed to be harmless.
//===----------------------------------------------------------------------===//
#include "Experts.h"
#include "Internal.h"
#include "comm/IR/Precision.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <limits>
#include <numeric>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::detail;

namespace {
/// Float arithmetic in the reals or in the prime field.
struct Field {
  bool standIns;
  double add(double a, double b) const {
    return standIns ? static_cast<double>(toField(static_cast<int64_t>(a) + static_cast<int64_t>(b))) : a + b;
  }
  double mul(double a, double b) const {
    return standIns ? static_cast<double>(toField(static_cast<int64_t>(a) * static_cast<int64_t>(b))) : a * b;
  }
  double sub(double a, double b) const {
    return standIns ? static_cast<double>(toField(static_cast<int64_t>(a) - static_cast<int64_t>(b))) : a - b;
  }
};

Result one(HostTensor tensor) {
  SmallVector<HostTensor> out;
  out.push_back(std::move(tensor));
  return out;
}

void roundAll(HostTensor &out, bool standIns) {
  if (standIns)
    return;
  Type element = out.type.getElementType();
  for (double &x : out.floats)
    x = roundTo(element, x);
}

/// An operand of a product under a precision. Stand-ins are numbers of a field, which no rounding keeps.
HostTensor rounded(HostTensor tensor, StringRef precision, bool standIns) {
  if (precision.empty() || standIns)
    return tensor;
  MLIRContext *context = tensor.type.getContext();
  Type element = precision == kBF16 ? Type(BFloat16Type::get(context)) : Type(Float16Type::get(context));
  for (double &x : tensor.floats)
    x = roundTo(element, x);
  return tensor;
}

Result matmul(MatmulOp op, ArrayRef<HostTensor> in, bool standIns) {
  Field field{standIns};
  HostTensor out = HostTensor::zeros(op.getType());
  StringRef precision = getPrecision(op);
  HostTensor lhs = rounded(in[0], precision == kBF16 ? precision : "", standIns),
             rhs = rounded(in[1], precision, standIns);
  int64_t rank = out.type.getRank();
  SmallVector<int64_t> ls = stridesOf(lhs.type.getShape()), rs = stridesOf(rhs.type.getShape());
  auto batchStrides = [&](const HostTensor &t, ArrayRef<int64_t> strides) {
    SmallVector<int64_t> result(rank, 0);
    int64_t skip = rank - t.type.getRank();
    for (int64_t i = skip; i < rank - 2; ++i)
      result[i] = t.type.getDimSize(i - skip) == 1 ? 0 : strides[i - skip];
    return result;
  };
  SmallVector<int64_t> lb = batchStrides(lhs, ls), rb = batchStrides(rhs, rs);
  int64_t lm = ls[ls.size() - 2], lk = ls.back(), rk = rs[rs.size() - 2], rn = rs.back();
  int64_t k = lhs.type.getShape().back();
  if (op.getTransposeLhs()) {
    std::swap(lm, lk);
    k = lhs.type.getDimSize(lhs.type.getRank() - 2);
  }
  if (op.getTransposeRhs())
    std::swap(rk, rn);
  lb[rank - 2] = lm;
  rb[rank - 1] = rn;
  int64_t at = 0;
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> index) {
    int64_t l = dot(index, lb), r = dot(index, rb);
    if (out.isFloat()) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i)
        sum = field.add(sum, field.mul(lhs.floats[l + i * lk], rhs.floats[r + i * rk]));
      out.floats[at++] = sum;
    } else {
      uint64_t sum = 0;
      for (int64_t i = 0; i < k; ++i)
        sum += static_cast<uint64_t>(lhs.ints[l + i * lk]) * static_cast<uint64_t>(rhs.ints[r + i * rk]);
      out.ints[at++] = wrapTo(out.type.getElementType(), static_cast<int64_t>(sum));
    }
  });
  roundAll(out, standIns);
  return one(std::move(out));
}

/// Integers of `bits` bits in rows of bytes, the lowest bits first.
struct PackedIntegers {
  const HostTensor &bytes;
  int64_t bits, rowBytes;
  bool isSigned;
  int64_t at(int64_t row, int64_t column) const {
    int64_t number = bytes.ints[row * rowBytes + column * bits / 8] >> (column * bits % 8) & ((1 << bits) - 1);
    return isSigned && number >> (bits - 1) ? number - (int64_t(1) << bits) : number;
  }
};

/// Without the rounding that `int8` allows.
Result quantizedMatmul(QuantizedMatmulOp op, ArrayRef<HostTensor> in, bool standIns) {
  Field field{standIns};
  HostTensor out = HostTensor::zeros(op.getType());
  const HostTensor &x = in[0], &w = in[1], &scales = in[2];
  int64_t bits = op.getBits(), block = op.getBlock(), k = x.type.getShape().back(), n = out.type.getShape().back();
  bool kMajor = op.getKMajor(), isSigned = op.getIsSigned();
  PackedIntegers numbers{w, bits, w.type.getDimSize(2), isSigned};
  int64_t blocks = w.type.getDimSize(kMajor ? 0 : 1), scaleRows = scales.type.getDimSize(0),
          scaleColumns = scales.type.getDimSize(1);
  auto weight = [&](int64_t j, int64_t i) {
    int64_t group = i / block, row = kMajor ? group : j, column = kMajor ? j : group;
    row = scaleRows == 1 ? 0 : row, column = scaleColumns == 1 ? 0 : column;
    double zero = isSigned ? 0 : std::ldexp(1.0, static_cast<int>(bits) - 1);
    if (op.getZeroPoints()) {
      const HostTensor &zeros = in[3];
      zero = zeros.isFloat()
                 ? zeros.floats[row * scaleColumns + column]
                 : static_cast<double>(PackedIntegers{zeros, bits, zeros.type.getDimSize(1), isSigned}.at(row, column));
    }
    int64_t q = kMajor ? numbers.at(i, j) : numbers.at(j * blocks + group, i % block);
    return field.mul(field.sub(static_cast<double>(q), zero), scales.floats[row * scaleColumns + column]);
  };
  std::vector<double> column(k);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < k; ++i)
      column[i] = weight(j, i);
    for (int64_t row = 0; row * n < out.size(); ++row) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i)
        sum = field.add(sum, field.mul(x.floats[row * k + i], column[i]));
      out.floats[row * n + j] = sum;
    }
  }
  roundAll(out, standIns);
  return one(std::move(out));
}

Result attention(AttentionOp op, ArrayRef<HostTensor> in, bool standIns) {
  Field field{standIns};
  // The weights of the softmax stay as they are: what is rounded of them differs by implementation.
  StringRef precision = getPrecision(op);
  HostTensor q = rounded(in[0], precision, standIns), k = rounded(in[1], precision, standIns),
             v = rounded(in[2], precision, standIns);
  const HostTensor *mask = op.getMask() ? &in[3] : nullptr, *lengths = op.getLengths() ? &in.back() : nullptr;
  HostTensor out = HostTensor::zeros(op.getType());
  int64_t heads = q.type.getDimSize(1), group = heads / k.type.getDimSize(1), keys = k.type.getDimSize(2);
  int64_t depth = q.type.getDimSize(3), depthV = v.type.getDimSize(3);
  SmallVector<int64_t> qs = stridesOf(q.type.getShape()), ks = stridesOf(k.type.getShape()),
                       vs = stridesOf(v.type.getShape());
  double scale = op.getScale().convertToDouble(), softcap = op.getSoftcap().convertToDouble();
  SmallVector<int64_t> ms;
  if (mask) {
    ms = stridesOf(mask->type.getShape());
    for (int64_t dim = 0; dim < 4; ++dim)
      if (mask->type.getDimSize(dim) == 1)
        ms[dim] = 0;
  }
  int64_t at = 0;
  forEachIndex(q.type.getShape().take_front(3), [&](ArrayRef<int64_t> i) {
    int64_t kvHead = i[1] / group;
    SmallVector<double> weights(keys, 0.0);
    double top = -std::numeric_limits<double>::infinity();
    for (int64_t t = 0; t < keys; ++t) {
      int64_t maskAt = mask ? i[0] * ms[0] + i[1] * ms[1] + i[2] * ms[2] + t * ms[3] : 0;
      bool masked = (op.isCausal() && t - i[2] > static_cast<int64_t>(*op.getCausalOffset())) ||
                    (lengths && t >= lengths->ints[i[0]]) || (mask && !mask->isFloat() && !mask->ints[maskAt]);
      double score = 0;
      for (int64_t d = 0; d < depth; ++d)
        score = field.add(score, field.mul(q.floats[i[0] * qs[0] + i[1] * qs[1] + i[2] * qs[2] + d],
                                           k.floats[i[0] * ks[0] + kvHead * ks[1] + t * ks[2] + d]));
      if (standIns) {
        score = field.add(score, mask && mask->isFloat() ? mask->floats[maskAt] : 0);
        weights[t] = masked ? 0 : field.add(field.mul(score, score), 7);
        continue;
      }
      score *= scale;
      if (softcap > 0)
        score = softcap * std::tanh(score / softcap);
      if (mask && mask->isFloat())
        score += mask->floats[maskAt];
      weights[t] = masked ? -std::numeric_limits<double>::infinity() : score;
      top = std::isnan(weights[t]) || weights[t] > top ? weights[t] : top; // NaN stays
    }
    if (!standIns) {
      double sum = 0;
      for (double &w : weights)
        sum += (w = std::isinf(top) && top < 0 ? 0.0 : std::exp(w - top));
      for (double &w : weights)
        w = sum == 0 ? 0.0 : w / sum;
    }
    for (int64_t d = 0; d < depthV; ++d) {
      double sum = 0;
      for (int64_t t = 0; t < keys; ++t)
        if (weights[t] != 0)
          sum = field.add(sum, field.mul(weights[t], v.floats[i[0] * vs[0] + kvHead * vs[1] + t * vs[2] + d]));
      out.floats[at++] = sum;
    }
  });
  roundAll(out, standIns);
  return one(std::move(out));
}

/// Calls `row(in, out, size)` for every vector of the last dimension.
template <typename Row> Result rowWise(Operation *op, const HostTensor &in, bool standIns, Row row) {
  HostTensor out = HostTensor::zeros(cast<RankedTensorType>(op->getResult(0).getType()));
  int64_t size = in.type.getRank() ? in.type.getShape().back() : 1;
  for (int64_t base = 0; size && base < in.size(); base += size)
    row(&in.floats[base], &out.floats[base], size);
  roundAll(out, standIns);
  return one(std::move(out));
}

Result norm(Operation *op, ArrayRef<HostTensor> in, double epsilon, bool center, bool standIns) {
  Field field{standIns};
  const HostTensor &weight = in[1];
  const HostTensor *bias = in.size() > 2 ? &in[2] : nullptr;
  return rowWise(op, in[0], standIns, [&](const double *x, double *y, int64_t n) {
    double mean = 0, squares = 0;
    if (standIns) {
      for (int64_t i = 0; i < n; ++i)
        squares = field.add(squares, field.mul(x[i], field.add(x[i], center)));
      for (int64_t i = 0; i < n; ++i)
        y[i] =
            field.add(field.mul(field.mul(x[i], field.add(squares, 1)), weight.floats[i]), bias ? bias->floats[i] : 0);
      return;
    }
    for (int64_t i = 0; center && i < n; ++i)
      mean += x[i] / n;
    for (int64_t i = 0; i < n; ++i)
      squares += (x[i] - mean) * (x[i] - mean) / n;
    for (int64_t i = 0; i < n; ++i)
      y[i] = (x[i] - mean) / std::sqrt(squares + epsilon) * weight.floats[i] + (bias ? bias->floats[i] : 0);
  });
}

Result softmax(SoftmaxOp op, ArrayRef<HostTensor> in, bool standIns) {
  Field field{standIns};
  return rowWise(op, in[0], standIns, [&](const double *x, double *y, int64_t n) {
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t i = 0; i < n; ++i)
      top = standIns ? field.add(i ? top : 1, field.mul(x[i], x[i])) : std::max(top, x[i]);
    for (int64_t i = 0; i < n; ++i)
      sum += (y[i] = standIns ? field.mul(field.mul(x[i], x[i]), top) : std::exp(x[i] - top));
    for (int64_t i = 0; !standIns && i < n; ++i)
      y[i] /= sum;
  });
}

Result rotary(RotaryOp op, ArrayRef<HostTensor> in, bool standIns) {
  Field field{standIns};
  HostTensor out = in[0];
  SmallVector<int64_t> xs = stridesOf(in[0].type.getShape()), cs = stridesOf(in[1].type.getShape());
  int64_t half = in[1].type.getDimSize(2);
  if (in[1].type.getDimSize(0) == 1)
    cs[0] = 0;
  forEachIndex(in[0].type.getShape().take_front(3), [&](ArrayRef<int64_t> i) {
    int64_t base = i[0] * xs[0] + i[1] * xs[1] + i[2] * xs[2], angle = i[0] * cs[0] + i[2] * cs[1];
    for (int64_t j = 0; j < half; ++j) {
      int64_t a = base + (op.getInterleaved() ? 2 * j : j), b = op.getInterleaved() ? a + 1 : a + half;
      double c = in[1].floats[angle + j], s = in[2].floats[angle + j], x = in[0].floats[a], y = in[0].floats[b];
      out.floats[a] = field.sub(field.mul(x, c), field.mul(y, s));
      out.floats[b] = field.add(field.mul(y, c), field.mul(x, s));
    }
  });
  roundAll(out, standIns);
  return one(std::move(out));
}

/// Index made non-negative; -1 when out of range.
int64_t normalise(int64_t index, int64_t size) {
  index += index < 0 ? size : 0;
  return index >= 0 && index < size ? index : -1;
}

Result gather(const HostTensor &data, const HostTensor &indices, int64_t axis, RankedTensorType type) {
  HostTensor out = HostTensor::zeros(type);
  SmallVector<int64_t> ds = stridesOf(data.type.getShape()), is = stridesOf(indices.type.getShape());
  int64_t ranks = indices.type.getRank(), at = 0;
  bool ok = true;
  forEachIndex(type.getShape(), [&](ArrayRef<int64_t> i) {
    int64_t index = normalise(indices.ints[dot(i.slice(axis, ranks), is)], data.type.getDimSize(axis));
    int64_t from = index * ds[axis];
    for (int64_t dim = 0; dim < data.type.getRank(); ++dim)
      if (dim != axis)
        from += i[dim < axis ? dim : dim + ranks - 1] * ds[dim];
    ok &= index >= 0;
    if (index >= 0)
      copyElement(out, at, data, from);
    ++at;
  });
  return ok ? one(std::move(out)) : Result(failure());
}

Result gatherND(GatherNDOp op, const HostTensor &data, const HostTensor &indices) {
  HostTensor out = HostTensor::zeros(op.getType());
  SmallVector<int64_t> ds = stridesOf(data.type.getShape()), is = stridesOf(indices.type.getShape());
  int64_t batch = op.getBatchDims(), tuple = indices.type.getShape().back(), lead = indices.type.getRank() - 1, at = 0;
  bool ok = true;
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> i) {
    int64_t tupleAt = 0, from = 0;
    for (int64_t dim = 0; dim < lead; ++dim)
      tupleAt += i[dim] * is[dim];
    for (int64_t dim = 0; dim < batch; ++dim)
      from += i[dim] * ds[dim];
    bool inside = true;
    for (int64_t j = 0; j < tuple; ++j) {
      int64_t index = normalise(indices.ints[tupleAt + j], data.type.getDimSize(batch + j));
      inside &= index >= 0;
      from += index * ds[batch + j];
    }
    for (int64_t dim = batch + tuple; dim < data.type.getRank(); ++dim)
      from += i[lead + dim - batch - tuple] * ds[dim];
    ok &= inside;
    if (inside)
      copyElement(out, at, data, from);
    ++at;
  });
  return ok ? one(std::move(out)) : Result(failure());
}

Result gatherElements(GatherElementsOp op, const HostTensor &data, const HostTensor &indices) {
  HostTensor out = HostTensor::zeros(op.getType());
  SmallVector<int64_t> ds = stridesOf(data.type.getShape());
  int64_t axis = op.getAxis(), at = 0;
  bool ok = true;
  for (int64_t dim = 0; dim < out.type.getRank(); ++dim)
    if (dim != axis && out.type.getDimSize(dim) > data.type.getDimSize(dim))
      return failure();
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> i) {
    int64_t index = normalise(indices.ints[at], data.type.getDimSize(axis));
    ok &= index >= 0;
    if (index >= 0)
      copyElement(out, at, data, dot(i, ds) + (index - i[axis]) * ds[axis]);
    ++at;
  });
  return ok ? one(std::move(out)) : Result(failure());
}

Result scatterND(ScatterNDOp op, ArrayRef<HostTensor> in, const Field &field) {
  HostTensor out = in[0];
  const HostTensor &indices = in[1], &updates = in[2];
  SmallVector<int64_t> ds = stridesOf(out.type.getShape());
  int64_t tuple = indices.type.getShape().back(), slice = 1;
  for (int64_t size : out.type.getShape().drop_front(tuple))
    slice *= size;
  auto join = [&](auto there, auto update) {
    switch (op.getKind()) {
    case ScatterKind::Set:
      return update;
    case ScatterKind::Sum:
      return static_cast<decltype(there)>(out.isFloat() ? field.add(there, update) : there + update);
    case ScatterKind::Prod:
      return static_cast<decltype(there)>(out.isFloat() ? field.mul(there, update) : there * update);
    case ScatterKind::Max:
      return std::max(there, update);
    case ScatterKind::Min:
      return std::min(there, update);
    }
    return update;
  };
  for (int64_t i = 0; slice && i < updates.size() / slice; ++i) {
    int64_t base = 0;
    for (int64_t j = 0; j < tuple; ++j) {
      int64_t index = normalise(indices.ints[i * tuple + j], out.type.getDimSize(j));
      if (index < 0)
        return failure();
      base += index * ds[j];
    }
    for (int64_t j = 0; j < slice; ++j)
      if (out.isFloat())
        out.floats[base + j] = join(out.floats[base + j], updates.floats[i * slice + j]);
      else
        out.ints[base + j] = wrapTo(out.type.getElementType(), join(out.ints[base + j], updates.ints[i * slice + j]));
  }
  roundAll(out, field.standIns);
  return one(std::move(out));
}

Result topK(TopKOp op, const HostTensor &in) {
  HostTensor out = HostTensor::zeros(cast<RankedTensorType>(op.getType()));
  int64_t n = in.type.getShape().back(), k = static_cast<int64_t>(op.getK());
  SmallVector<int64_t> order(n);
  for (int64_t row = 0; n && k && row < in.size() / n; ++row) {
    std::iota(order.begin(), order.end(), row * n);
    auto larger = [&](int64_t a, int64_t b) {
      if (!in.isFloat())
        return in.ints[a] > in.ints[b];
      double x = in.floats[a], y = in.floats[b];
      return std::isnan(x) ? !std::isnan(y) : x > y;
    };
    llvm::stable_sort(order, [&](int64_t a, int64_t b) { return op.getLargest() ? larger(a, b) : larger(b, a); });
    for (int64_t i = 0; i < k; ++i)
      out.ints[row * k + i] = order[i] - row * n;
  }
  return one(std::move(out));
}

Result windows(WindowsOp op, const HostTensor &in) {
  HostTensor out = HostTensor::zeros(cast<RankedTensorType>(op.getType()));
  SmallVector<int64_t> strides = stridesOf(in.type.getShape());
  int64_t count = static_cast<int64_t>(op.getSizes().size()), lead = in.type.getRank() - count, at = 0;
  forEachIndex(out.type.getShape(), [&](ArrayRef<int64_t> index) {
    int64_t from = dot(index.take_front(lead), ArrayRef(strides).take_front(lead));
    for (int64_t i = 0; i < count; ++i)
      from +=
          (index[lead + count + i] * op.getStrides()[i] + index[lead + i] * op.getDilations()[i]) * strides[lead + i];
    copyElement(out, at++, in, from);
  });
  return one(std::move(out));
}

Result unary(Operation *op, const HostTensor &in, bool standIns, double (*f)(double), int64_t salt) {
  Field field{standIns};
  HostTensor out = in;
  for (double &x : out.floats)
    x = standIns ? field.mul(x, field.add(x, static_cast<double>(salt))) : f(x);
  roundAll(out, standIns);
  return one(std::move(out));
}
double geluErf(double x) { return 0.5 * x * (1 + std::erf(x * 0.70710678118654752440)); }
double geluTanh(double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))); }
double silu(double x) { return x / (1 + std::exp(-x)); }
} // namespace

FailureOr<HostTensor> comm::detail::expertMatmul(ExpertMatmulOp op, ArrayRef<HostTensor> in, int64_t first,
                                                 int64_t count, int64_t experts, bool standIns) {
  Field field{standIns};
  HostTensor out = HostTensor::zeros(op.getType());
  const HostTensor &x = in[0], &ids = in[1], &w = in[2];
  int64_t k = x.type.getShape().back(), n = out.type.getShape().back();
  int64_t each = x.type.getRank() == ids.type.getRank() ? ids.type.getShape().back() : 1;
  int64_t wk = op.getTranspose() ? 1 : n, wn = op.getTranspose() ? k : 1;
  for (auto [row, id] : llvm::enumerate(ids.ints)) {
    if (id < 0 || id >= experts)
      return failure();
    if (id < first || id >= first + count)
      continue;
    int64_t from = static_cast<int64_t>(row) / each * k, matrix = (id - first) * k * n;
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i)
        sum = field.add(sum, field.mul(x.floats[from + i], w.floats[matrix + i * wk + j * wn]));
      out.floats[row * n + j] = sum;
    }
  }
  roundAll(out, standIns);
  return out;
}

bool comm::detail::knowsModelOp(Operation *op) {
  return isa<MatmulOp, QuantizedMatmulOp, AttentionOp, RMSNormOp, LayerNormOp, SoftmaxOp, RotaryOp, EmbeddingOp,
             ExpertMatmulOp, GatherOp, GatherNDOp, GatherElementsOp, GeluOp, SiluOp, ScatterNDOp, TopKOp, WindowsOp>(
      op);
}

Result comm::detail::evaluateModelOp(Operation *op, ArrayRef<HostTensor> in, const InterpreterOptions &options) {
  bool standIns = options.integerStandIns;
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](MatmulOp m) { return matmul(m, in, standIns); })
      .Case([&](QuantizedMatmulOp q) { return quantizedMatmul(q, in, standIns); })
      .Case([&](AttentionOp a) { return attention(a, in, standIns); })
      .Case([&](RMSNormOp n) { return norm(n, in, n.getEpsilon().convertToDouble(), false, standIns); })
      .Case([&](LayerNormOp n) { return norm(n, in, n.getEpsilon().convertToDouble(), true, standIns); })
      .Case([&](SoftmaxOp s) { return softmax(s, in, standIns); })
      .Case([&](RotaryOp r) { return rotary(r, in, standIns); })
      .Case([&](EmbeddingOp e) -> Result {
        return e.getVocab() ? Result(failure()) : gather(in[0], in[1], 0, e.getType());
      })
      .Case([&](ExpertMatmulOp e) -> Result {
        int64_t experts = e.getWeights().getType().getDimSize(0);
        if (e.getExperts())
          return failure();
        FailureOr<HostTensor> product = expertMatmul(e, in, 0, experts, experts, standIns);
        return failed(product) ? Result(failure()) : one(std::move(*product));
      })
      .Case([&](GatherOp g) { return gather(in[0], in[1], g.getAxis(), g.getType()); })
      .Case([&](GatherNDOp g) { return gatherND(g, in[0], in[1]); })
      .Case([&](GatherElementsOp g) { return gatherElements(g, in[0], in[1]); })
      .Case([&](ScatterNDOp s) { return scatterND(s, in, Field{standIns}); })
      .Case([&](TopKOp t) { return topK(t, in[0]); })
      .Case([&](WindowsOp w) { return windows(w, in[0]); })
      .Case([&](GeluOp g) { return unary(g, in[0], standIns, g.getKind() == GeluKind::Erf ? geluErf : geluTanh, 5); })
      .Case([&](SiluOp s) { return unary(s, in[0], standIns, silu, 7); })
      .Default([](Operation *) -> Result { return failure(); });
}
