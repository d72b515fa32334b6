//===- NarrowAvx512.cpp - 14 x 32 tiles of pairs; compiled for AVX512_BF16 ===//
// A step sums a pair: the odd product first, then the even one, each with one rounding.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Matmul/NarrowKernel.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include "runtime/Kernels/Matmul/NarrowPairs.h"
#include <immintrin.h>

namespace {
constexpr int64_t width = 32, maxRows = 14, rowPadding = 32; // rows a power of two apart share one cache set

int64_t leftStride(int64_t k) { return (k + 31) / 32 * 32 + rowPadding; } // in bf16
int64_t leftBytes(int64_t rows, int64_t k) { return rows * leftStride(k) * 2; }

template <typename T> void packRows(const T *a, int64_t stride, int64_t rows, int64_t k, uint16_t *out) {
  for (int64_t r = 0; r < rows; ++r, out += leftStride(k))
    for (int64_t p = 0; p < k; p += 32)
      _mm512_storeu_si512(out + p, pairs(a + r * stride + p, k - p));
}

void packLeft(bool isF32, const void *a, int64_t stride, int64_t rows, int64_t k, void *out) {
  if (isF32)
    packRows(static_cast<const float *>(a), stride, rows, k, static_cast<uint16_t *>(out));
  else
    packRows(static_cast<const uint16_t *>(a), stride, rows, k, static_cast<uint16_t *>(out));
}

/// Rows x Panels * 32 of C. One row takes several panels: enough independent sums to hide the latency of a step.
template <int Rows, int Panels>
void tile(int64_t steps, const uint16_t *a, int64_t lda, const char *b, int64_t panelStride, float *c, int64_t ldc,
          bool accumulate) {
  __m512 sum[Rows][2 * Panels];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < 2 * Panels; ++v)
      sum[r][v] = accumulate ? _mm512_loadu_ps(c + r * ldc + v * 16) : _mm512_setzero_ps();
  for (int64_t p = 0; p < steps; ++p) {
    __m512bh right[2 * Panels];
    for (int v = 0; v < 2 * Panels; ++v)
      right[v] = (__m512bh)_mm512_loadu_si512(b + v / 2 * panelStride + p * 128 + v % 2 * 64);
    for (int r = 0; r < Rows; ++r) {
      int32_t both;
      __builtin_memcpy(&both, a + r * lda + 2 * p, 4);
      __m512bh left = (__m512bh)_mm512_set1_epi32(both);
      for (int v = 0; v < 2 * Panels; ++v)
        sum[r][v] = _mm512_dpbf16_ps(sum[r][v], left, right[v]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < 2 * Panels; ++v)
      _mm512_storeu_ps(c + r * ldc + v * 16, sum[r][v]);
}

template <int Rows>
void someRows(int64_t rows, int64_t steps, const uint16_t *a, int64_t lda, const char *b, float *c, int64_t ldc,
              bool accumulate) {
  if constexpr (Rows > 0) {
    if (rows == Rows)
      return tile<Rows, 1>(steps, a, lda, b, 0, c, ldc, accumulate);
    return someRows<Rows - 1>(rows, steps, a, lda, b, c, ldc, accumulate);
  }
}

void multiply(int64_t rows, int64_t k, const void *left, int64_t panels, const void *right, int64_t panelStride,
              float *c, int64_t ldc, bool accumulate) {
  const uint16_t *a = static_cast<const uint16_t *>(left);
  const char *b = static_cast<const char *>(right);
  int64_t lda = leftStride(k), whole = (k + 1) / 2, tiles = (rows + maxRows - 1) / maxRows;
  if (rows == 1) {
    for (; panels >= 4; panels -= 4, b += 4 * panelStride, c += 4 * width)
      tile<1, 4>(whole, a, lda, b, panelStride, c, ldc, accumulate);
    for (; panels > 0; --panels, b += panelStride, c += width)
      tile<1, 1>(whole, a, lda, b, panelStride, c, ldc, accumulate);
    return;
  }
  constexpr int64_t block = 512; // of k: a panel's part stays in the first cache level
  for (int64_t p = 0; p < panels; ++p)
    for (int64_t k0 = 0; k0 < k; k0 += block) {
      int64_t steps = k - k0 < block ? (k - k0 + 1) / 2 : block / 2;
      for (int64_t t = 0, i = 0; t < tiles; ++t) { // even tiles: 15 rows are 8 + 7, not 14 + 1
        int64_t next = rows * (t + 1) / tiles;
        someRows<maxRows>(next - i, steps, a + i * lda + k0, lda, b + p * panelStride + k0 * width * 2,
                          c + i * ldc + p * width, ldc, accumulate || k0 > 0);
        i = next;
      }
    }
}

void nothing() {}

constexpr comm::rt::NarrowKernel kernel = {"avx512bf16 14x32", width,    2,       leftBytes,
                                           packLeft,           multiply, nothing, nothing};
} // namespace
const comm::rt::NarrowKernel *comm::rt::avx512NarrowKernel() { return &kernel; }
#else
const comm::rt::NarrowKernel *comm::rt::avx512NarrowKernel() { return nullptr; }
#endif
