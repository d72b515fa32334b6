//===- PackNarrow.cpp - right operands as 16-bit panels -------------------===//
// From f32, rounded while they are packed, and pairs of k for the units that multiply bf16.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Copy/Transpose.h"
#include "runtime/Kernels/Matmul/Pack.h"
#include <algorithm>
#include <cstring>

using namespace comm;
using namespace comm::rt;

namespace {
struct FromF32 {
  using Stored = float;
  static uint32_t bf16(float x) { return toBF16(x); }
};
struct FromBF16 {
  using Stored = uint16_t;
  static uint32_t bf16(uint16_t x) { return x; }
};

/// The elements of both rows (the second one null: zeros) as pairs.
template <typename From>
void makePairs(const typename From::Stored *even, const typename From::Stored *odd, int64_t n, uint32_t *out) {
  if (odd)
    for (int64_t i = 0; i < n; ++i)
      out[i] = From::bf16(even[i]) | From::bf16(odd[i]) << 16;
  else
    for (int64_t i = 0; i < n; ++i)
      out[i] = From::bf16(even[i]);
}

/// Row-major B, two rows at a time and several panels of each: short pieces a large stride apart defeat the prefetcher.
template <typename From>
void packPairs(const RightMatrix &m, int64_t width, int64_t begin, int64_t end, uint32_t *out) {
  constexpr int64_t together = 4;
  const auto *b = reinterpret_cast<const typename From::Stored *>(m.data);
  int64_t half = m.depth() / 2;
  for (int64_t p = begin; p < end; p += together) {
    int64_t last = std::min(end, p + together);
    for (int64_t j = 0; j < half; ++j)
      for (int64_t q = p; q < last; ++q) {
        int64_t some = std::min(width, m.n - q * width);
        uint32_t *to = out + ((q - begin) * half + j) * width;
        const auto *from = b + 2 * j * m.n + q * width;
        if (2 * j < m.k)
          makePairs<From>(from, 2 * j + 1 < m.k ? from + m.n : nullptr, some, to);
        else
          some = 0;
        std::fill(to + some, to + width, 0);
      }
  }
}

/// B stored as [n, k]: pairs lie side by side, so they are transposed as 32-bit numbers.
template <typename From>
void packPairsTransposed(const RightMatrix &m, int64_t width, int64_t begin, int64_t end, uint32_t *out) {
  constexpr int64_t step = 32, maxWidth = 64;
  uint32_t block[maxWidth * step];
  const auto *b = reinterpret_cast<const typename From::Stored *>(m.data);
  int64_t half = m.depth() / 2;
  for (int64_t p = begin; p < end; ++p, out += half * width) {
    int64_t first = p * width, some = std::min(width, m.n - first);
    for (int64_t j = 0; j < half; j += step) {
      int64_t pairs = std::min(step, half - j), whole = std::clamp<int64_t>(m.k / 2 - j, 0, pairs);
      for (int64_t c = 0; c < width; ++c) {
        const auto *from = b + (first + c) * m.k + 2 * j;
        uint32_t *to = block + c * step;
        int64_t q = 0;
        if (c < some) {
          for (; q < whole; ++q)
            to[q] = From::bf16(from[2 * q]) | From::bf16(from[2 * q + 1]) << 16;
          if (q < pairs && 2 * (j + q) < m.k) { // half of a pair
            to[q] = From::bf16(from[2 * q]);
            ++q;
          }
        }
        std::fill(to + q, to + pairs, 0);
      }
      transposeTile(block, out + j * width, pairs, width, step, width);
    }
  }
}

/// Rows of k, rounded: what the f32 micro-kernels widen again.
void packRounded(const RightMatrix &m, int64_t width, int64_t begin, int64_t end, uint16_t *out) {
  const float *b = reinterpret_cast<const float *>(m.data);
  bool brain = m.type == PanelType::BF16;
  int64_t columnStride = m.transposed ? m.k : 1, rowStride = m.transposed ? 1 : m.n;
  for (int64_t p = begin; p < end; ++p, out += m.k * width) {
    int64_t some = std::min(width, m.n - p * width);
    for (int64_t j = 0; j < m.k; ++j)
      for (int64_t c = 0; c < width; ++c) {
        float x = c < some ? b[j * rowStride + (p * width + c) * columnStride] : 0.0f;
        out[j * width + c] = brain ? toBF16(x) : toF16(x);
      }
  }
}
} // namespace

void comm::rt::packNarrowPanels(const RightMatrix &m, int64_t width, int64_t begin, int64_t end, char *out) {
  uint32_t *pairs = reinterpret_cast<uint32_t *>(out);
  if (!m.pairs)
    packRounded(m, width, begin, end, reinterpret_cast<uint16_t *>(out));
  else if (m.transposed)
    m.fromF32 ? packPairsTransposed<FromF32>(m, width, begin, end, pairs)
              : packPairsTransposed<FromBF16>(m, width, begin, end, pairs);
  else
    m.fromF32 ? packPairs<FromF32>(m, width, begin, end, pairs) : packPairs<FromBF16>(m, width, begin, end, pairs);
}
