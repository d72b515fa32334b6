//===- NarrowPairs.h - 32 numbers of a row as bf16 --------------*- C++ -*-===//
// Included once by each file that is compiled for AVX512_BF16. Everything is in an unnamed
// namespace.
//===----------------------------------------------------------------------===//
#include <immintrin.h>

namespace {
/// The first `count` of 32 numbers, zeros behind them; f32 is rounded to nearest even.
inline __m512i pairs(const float *a, int64_t count) {
  __mmask16 low = count >= 16 ? 0xffff : __mmask16((1u << count) - 1);
  __mmask16 high = count >= 32 ? 0xffff : count <= 16 ? 0 : __mmask16((1u << (count - 16)) - 1);
  return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, a + 16), _mm512_maskz_loadu_ps(low, a));
}
inline __m512i pairs(const uint16_t *a, int64_t count) {
  return _mm512_maskz_loadu_epi16(count >= 32 ? 0xffffffffu : (1u << count) - 1, a);
}
} // namespace
