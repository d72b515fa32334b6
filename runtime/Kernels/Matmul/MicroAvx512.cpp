//===- MicroAvx512.cpp - 14 x 32 tiles; compiled with AVX-512 flags -------===//
#include "runtime/Kernels/Matmul/MicroKernel.h"

#if defined(__AVX512F__) && defined(__AVX512BW__)
#include <immintrin.h>

namespace {
using V = __m512;
typedef int I __attribute__((vector_size(64)));
struct BF16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};
constexpr int lanes = 16, vectors = 2, maxRows = 14, rowPanels = 4;
inline V load(const float *p) { return _mm512_loadu_ps(p); }
inline V load(const BF16 *p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline V load(const F16 *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))); }
inline void store(float *p, V v) { _mm512_storeu_ps(p, v); }
inline V broadcast(float f) { return _mm512_set1_ps(f); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline float reduce(V v) { return _mm512_reduce_add_ps(v); }
} // namespace
#include "runtime/Kernels/Matmul/MicroBody.h"

static constexpr comm::rt::MicroKernel kernel = COMM_MICRO_KERNEL("avx512 14x32");
const comm::rt::MicroKernel *comm::rt::avx512MicroKernel() { return &kernel; }
#else
const comm::rt::MicroKernel *comm::rt::avx512MicroKernel() { return nullptr; }
#endif
