//===- Transpose.h - small out-of-place transposes --------------*- C++ -*-===//
#pragma once
#include <cstdint>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace comm::rt {

template <typename T>
void transposeScalar(const T *in, T *out, int64_t rows, int64_t columns, int64_t inStride, int64_t outStride) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      out[r * outStride + c] = in[c * inStride + r];
}

/// out[r * outStride + c] = in[c * inStride + r]; for tiles that stay within the first cache level.
template <typename T>
void transposeTile(const T *in, T *out, int64_t rows, int64_t columns, int64_t inStride, int64_t outStride) {
  int64_t r = 0;
#if defined(__SSE2__)
  if constexpr (sizeof(T) == 4)
    for (; r + 4 <= rows; r += 4) {
      int64_t c = 0;
      for (; c + 4 <= columns; c += 4) {
        const T *from = in + c * inStride + r;
        __m128 v[4];
        for (int i = 0; i < 4; ++i)
          v[i] = _mm_castsi128_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i * inStride)));
        _MM_TRANSPOSE4_PS(v[0], v[1], v[2], v[3]);
        T *to = out + r * outStride + c;
        for (int i = 0; i < 4; ++i)
          _mm_storeu_si128(reinterpret_cast<__m128i *>(to + i * outStride), _mm_castps_si128(v[i]));
      }
      transposeScalar(in + c * inStride + r, out + r * outStride + c, 4, columns - c, inStride, outStride);
    }
#endif
  transposeScalar(in + r, out + r * outStride, rows - r, columns, inStride, outStride);
}

} // namespace comm::rt
