//===- QuantizedAvx2.cpp - compiled with AVX2 and FMA flags ---------------===//
#include "runtime/Kernels/Quantized/QuantizedKernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

namespace {
typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
struct Halves {
  __m256i low, high;
};
inline Halves halves(I value) {
  Halves out;
  __builtin_memcpy(&out, &value, 64);
  return out;
}
inline I joined(Halves value) {
  I out;
  __builtin_memcpy(&out, &value, 64);
  return out;
}

/// Flipping the top bit makes the number minus half its range a signed one.
template <int Bits, int Shift> inline F number(I group) {
  I flipped = group ^ (Bits == 4 ? int32_t(0x88888888) : int32_t(0x80808080));
  return __builtin_convertvector((flipped << (32 - Bits - Shift)) >> (32 - Bits), F);
}

/// 8-bit numbers are summed as signed ones.
template <int Bits> inline I start(int32_t sum) { return Bits == 4 ? I{} - sum * 8 : I{}; }

/// Products of unsigned and signed bytes are added in pairs to 16 bits, which must not overflow: 2 * 15 * 127 and, with
/// the sign moved to x, 2 * 128 * 127 do not.
template <int Bits> inline __m256i dotHalf(__m256i sum, __m256i numbers, __m256i x) {
  if constexpr (Bits == 8) {
    __m256i centred = _mm256_xor_si256(numbers, _mm256_set1_epi8(-128));
    x = _mm256_sign_epi8(x, centred);
    numbers = _mm256_abs_epi8(centred);
  }
  __m256i pairs = _mm256_maddubs_epi16(numbers, x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
template <int Bits> inline I dot(I sum, I numbers, const int8_t *x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  __m256i each = _mm256_set1_epi32(four);
  Halves s = halves(sum), n = halves(numbers);
  return joined({dotHalf<Bits>(s.low, n.low, each), dotHalf<Bits>(s.high, n.high, each)});
}
} // namespace
#include "runtime/Kernels/Quantized/QuantizedBody.h"

static constexpr comm::rt::QuantizedKernels kernels = COMM_QUANTIZED_KERNELS("avx2");
const comm::rt::QuantizedKernels *comm::rt::avx2QuantizedKernels() { return &kernels; }
#else
const comm::rt::QuantizedKernels *comm::rt::avx2QuantizedKernels() { return nullptr; }
#endif
