//===- RowNorm.cpp - adds and norm behind a reduction ---------------------===//
// One thread, the one that communicates, so that compute goes on meanwhile. Sums over a row are kept in lanes, which
// the compiler turns into vectors without being allowed to reorder floats.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Norm/RowNorm.h"
#include "runtime/Kernels/Convert.h"
#include <cmath>
#include <vector>

namespace comm::rt {
namespace {
constexpr int64_t lanes = 16;

/// Sum of term(x[i]).
template <class T, class Term> T sumOf(const T *x, int64_t n, Term term) {
  T lane[lanes] = {}, total = 0;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t l = 0; l < lanes; ++l)
      lane[l] += term(x[i + l]);
  for (; i < n; ++i)
    total += term(x[i]);
  for (T part : lane)
    total += part;
  return total;
}

template <class Type> void addRow(typename Type::Stored *sum, const typename Type::Stored *other, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    sum[i] = Type::narrow(Type::widen(sum[i]) + Type::widen(other[i]));
}

template <class Type>
void run(const RowNorm &op, void *sums, const void *residuals, const void *bias, const void *weight,
         const void *normBias, void *normed) {
  using Stored = typename Type::Stored;
  using Wide = typename Type::Wide;
  int64_t n = op.width;
  auto widen = [n](const void *vector) {
    std::vector<Wide> out;
    if (const auto *from = static_cast<const Stored *>(vector))
      for (int64_t i = 0; i < n; ++i)
        out.push_back(Type::widen(from[i]));
    return out;
  };
  const std::vector<Wide> gain = widen(weight), shift = widen(normBias);
  std::vector<Wide> row(static_cast<size_t>(n));
  for (int64_t r = 0; r < op.rows; ++r) {
    Stored *sum = static_cast<Stored *>(sums) + r * n, *out = static_cast<Stored *>(normed) + r * n;
    if (bias)
      addRow<Type>(sum, static_cast<const Stored *>(bias), n);
    addRow<Type>(sum, static_cast<const Stored *>(residuals) + r * n, n);
    for (int64_t i = 0; i < n; ++i)
      row[static_cast<size_t>(i)] = Type::widen(sum[i]);
    Wide mean = op.layerNorm ? sumOf(row.data(), n, [](Wide x) { return x; }) / static_cast<Wide>(n) : Wide(0);
    Wide square = sumOf(row.data(), n, [mean](Wide x) { return (x - mean) * (x - mean); }) / static_cast<Wide>(n);
    Wide scale = Wide(1) / std::sqrt(square + static_cast<Wide>(op.epsilon));
    const Wide *x = row.data(), *g = gain.data(), *s = shift.data();
    if (shift.empty())
      for (int64_t i = 0; i < n; ++i)
        out[i] = Type::narrow((x[i] - mean) * scale * g[i]);
    else
      for (int64_t i = 0; i < n; ++i)
        out[i] = Type::narrow((x[i] - mean) * scale * g[i] + s[i]);
  }
}
} // namespace

void addAndNorm(const RowNorm &op, void *sum, const void *residual, const void *bias, const void *weight,
                const void *normBias, void *normed) {
  switch (op.dtype) {
  case exe::DType::F16:
    return run<F16Element>(op, sum, residual, bias, weight, normBias, normed);
  case exe::DType::BF16:
    return run<BF16Element>(op, sum, residual, bias, weight, normBias, normed);
  case exe::DType::F64:
    return run<PlainElement<double>>(op, sum, residual, bias, weight, normBias, normed);
  default: // the caller has refused what is not a float
    return run<PlainElement<float>>(op, sum, residual, bias, weight, normBias, normed);
  }
}

} // namespace comm::rt
