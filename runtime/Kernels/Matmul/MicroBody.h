//===- MicroBody.h - the micro-kernel for one vector type -----------------===//
// Included once per ISA file, which defines before: vector type V (f32 lanes), I (i32 lanes), constants lanes, vectors
// (per panel row), maxRows, rowPanels, and in an unnamed namespace load(const float *), load(const BF16 *), load(const
// F16 *), store, broadcast, fma, reduce. Everything here is in an unnamed namespace.
//===----------------------------------------------------------------------===//
namespace {
using comm::rt::Ahead;
constexpr int64_t width = int64_t(lanes) * vectors;

template <int Rows, typename T>
void tileRows(int64_t k, const float *a, int64_t lda, const T *b, int64_t ldb, float *c, int64_t ldc, bool accumulate,
              const Ahead &ahead) {
  const char *next = static_cast<const char *>(ahead.data);
  V sum[Rows][vectors];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < vectors; ++v)
      sum[r][v] = accumulate ? load(c + r * ldc + v * lanes) : broadcast(0.0f);
  for (int64_t p = 0; p < k; ++p) {
    __builtin_prefetch(next, 0, 2);
    next += ahead.step;
    V right[vectors];
    for (int v = 0; v < vectors; ++v)
      right[v] = load(b + p * ldb + v * lanes);
    for (int r = 0; r < Rows; ++r) {
      V left = broadcast(a[r * lda + p]);
      for (int v = 0; v < vectors; ++v)
        sum[r][v] = fma(left, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < vectors; ++v)
      store(c + r * ldc + v * lanes, sum[r][v]);
}

template <int Rows, typename T>
void tile(int64_t rows, int64_t k, const float *a, int64_t lda, const void *b, int64_t ldb, float *c, int64_t ldc,
          bool accumulate, const Ahead &ahead) {
  if constexpr (Rows > 0) {
    if (rows == Rows)
      return tileRows<Rows>(k, a, lda, static_cast<const T *>(b), ldb, c, ldc, accumulate, ahead);
    return tile<Rows - 1, T>(rows, k, a, lda, b, ldb, c, ldc, accumulate, ahead);
  }
}

/// Several panels side by side: enough independent sums to hide the latency of one product.
template <int Panels, typename T>
void rowBlock(int64_t k, const float *a, const T *b, int64_t ldb, int64_t panelStride, float *c, bool accumulate) {
  V sum[Panels][vectors];
  for (int q = 0; q < Panels; ++q)
    for (int v = 0; v < vectors; ++v)
      sum[q][v] = accumulate ? load(c + q * width + v * lanes) : broadcast(0.0f);
  for (int64_t p = 0; p < k; ++p) {
    V left = broadcast(a[p]);
    for (int q = 0; q < Panels; ++q)
      for (int v = 0; v < vectors; ++v)
        sum[q][v] = fma(left, load(b + q * panelStride + p * ldb + v * lanes), sum[q][v]);
  }
  for (int q = 0; q < Panels; ++q)
    for (int v = 0; v < vectors; ++v)
      store(c + q * width + v * lanes, sum[q][v]);
}

template <typename T>
void row(int64_t panels, int64_t k, const float *a, const void *data, int64_t ldb, int64_t panelStride, float *c,
         bool accumulate) {
  const T *b = static_cast<const T *>(data);
  for (; panels >= rowPanels; panels -= rowPanels, b += rowPanels * panelStride, c += rowPanels * width)
    rowBlock<rowPanels>(k, a, b, ldb, panelStride, c, accumulate);
  if (panels >= 2) {
    rowBlock<2>(k, a, b, ldb, panelStride, c, accumulate);
    panels -= 2, b += 2 * panelStride, c += 2 * width;
  }
  if (panels > 0)
    rowBlock<1>(k, a, b, ldb, panelStride, c, accumulate);
}

template <int Rows> void dotRows(int64_t depth, const float *q, const float *k, int64_t ldk, float *out) {
  V sum[Rows];
  for (int r = 0; r < Rows; ++r)
    sum[r] = broadcast(0.0f);
  int64_t d = 0;
  for (; d + lanes <= depth; d += lanes) {
    V left = load(q + d);
    for (int r = 0; r < Rows; ++r)
      sum[r] = fma(left, load(k + r * ldk + d), sum[r]);
  }
  for (int r = 0; r < Rows; ++r) {
    float total = reduce(sum[r]);
    for (int64_t e = d; e < depth; ++e)
      total += q[e] * k[r * ldk + e];
    out[r] = total;
  }
}

void dots(int64_t rows, int64_t depth, const float *q, const float *k, int64_t ldk, float *out) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    dotRows<4>(depth, q, k + r * ldk, ldk, out + r);
  for (; r < rows; ++r)
    dotRows<1>(depth, q, k + r * ldk, ldk, out + r);
}

inline V larger(V a, V b) { return a > b ? a : b; }

float rowMax(const float *s, int64_t n) {
  V best = load(s);
  for (int64_t i = lanes; i < n; i += lanes)
    best = larger(load(s + i), best);
  float result = best[0];
  for (int i = 1; i < lanes; ++i)
    result = best[i] > result ? best[i] : result;
  return result;
}

/// exp(x) for x <= 0: x = n ln2 + r, a polynomial for r in [-ln2/2, ln2/2]; below the normal numbers 0. Relative error
/// 2e-7.
inline V expOf(V x) {
  V clamped = larger(broadcast(-87.3f), x);
  I n = __builtin_convertvector(clamped * broadcast(1.44269504f) - broadcast(0.5f), I); // truncates: rounds to nearest
  V whole = __builtin_convertvector(n, V);
  V r = fma(whole, broadcast(-0.693359375f), clamped);
  r = fma(whole, broadcast(2.12194440e-4f), r);
  V p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, r * r, r) + broadcast(1.0f);
  I power = (n + 127) << 23;
  V scale = (V)power;
  V result = p * scale;
  result = x < broadcast(-87.3f) ? broadcast(0.0f) : result;
  return x == x ? result : x; // a NaN stays
}

float expSum(float *s, int64_t n, float max) {
  V sum = broadcast(0.0f), shift = broadcast(max);
  for (int64_t i = 0; i < n; i += lanes) {
    V e = expOf(load(s + i) - shift);
    store(s + i, e);
    sum += e;
  }
  float result = 0;
  for (int i = 0; i < lanes; ++i)
    result += sum[i];
  return result;
}

void scaleRow(float *s, int64_t n, float factor) {
  V f = broadcast(factor);
  for (int64_t i = 0; i < n; i += lanes)
    store(s + i, load(s + i) * f);
}
} // namespace

#define COMM_MICRO_KERNEL(NAME)                                                                                        \
  {NAME,                                                                                                               \
   maxRows,                                                                                                            \
   width,                                                                                                              \
   {tile<maxRows, float>, tile<maxRows, BF16>, tile<maxRows, F16>},                                                    \
   {row<float>, row<BF16>, row<F16>},                                                                                  \
   dots,                                                                                                               \
   rowMax,                                                                                                             \
   expSum,                                                                                                             \
   scaleRow}
