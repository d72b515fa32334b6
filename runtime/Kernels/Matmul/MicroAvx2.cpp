//===- MicroAvx2.cpp - 6 x 16 tiles; compiled with AVX2, FMA and F16C flags ===//
#include "runtime/Kernels/Matmul/MicroKernel.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>

namespace {
using V = __m256;
typedef int I __attribute__((vector_size(32)));
struct BF16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};
constexpr int lanes = 8, vectors = 2, maxRows = 6, rowPanels = 4;
inline V load(const float *p) { return _mm256_loadu_ps(p); }
inline V load(const BF16 *p) {
  __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline V load(const F16 *p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }
inline void store(float *p, V v) { _mm256_storeu_ps(p, v); }
inline V broadcast(float f) { return _mm256_set1_ps(f); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline float reduce(V v) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
} // namespace
#include "runtime/Kernels/Matmul/MicroBody.h"

static constexpr comm::rt::MicroKernel kernel = COMM_MICRO_KERNEL("avx2 6x16");
const comm::rt::MicroKernel *comm::rt::avx2MicroKernel() { return &kernel; }
#else
const comm::rt::MicroKernel *comm::rt::avx2MicroKernel() { return nullptr; }
#endif
