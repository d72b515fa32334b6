//===- QuantizedAvx512.cpp - compiled with AVX-512 and VNNI flags ---------===//
#include "runtime/Kernels/Quantized/QuantizedKernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include <immintrin.h>

namespace {
typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));

template <int Bits, int Shift> inline F number(I group) {
  if constexpr (Bits == 4) { // only the lowest four bits of a lane choose
    const __m512 table = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return (F)_mm512_permutexvar_ps(_mm512_srli_epi32((__m512i)group, Shift), table);
  } else {
    I flipped = group ^ int32_t(0x80808080);
    return __builtin_convertvector((flipped << (24 - Shift)) >> 24, F);
  }
}
template <int Bits> inline I start(int32_t sum) { return I{} - sum * (1 << (Bits - 1)); }
template <int Bits> inline I dot(I sum, I numbers, const int8_t *x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return (I)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)numbers, _mm512_set1_epi32(four));
}
} // namespace
#include "runtime/Kernels/Quantized/QuantizedBody.h"

static constexpr comm::rt::QuantizedKernels kernels = COMM_QUANTIZED_KERNELS("avx512 vnni");
const comm::rt::QuantizedKernels *comm::rt::avx512QuantizedKernels() { return &kernels; }
#else
const comm::rt::QuantizedKernels *comm::rt::avx512QuantizedKernels() { return nullptr; }
#endif
