//===- MicroPortable.cpp - 4 x 8 tiles for any CPU, and the reference -----===//
// Vectors of four lanes are the compiler's own (GCC and clang on every CPU).
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Matmul/MicroKernel.h"
#include <cstring>

namespace {
typedef float V __attribute__((vector_size(16)));
typedef int I __attribute__((vector_size(16)));
struct BF16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};
constexpr int lanes = 4, vectors = 2, maxRows = 4, rowPanels = 2;
inline V load(const float *p) {
  V v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
inline V load(const BF16 *p) {
  return V{comm::rt::fromBF16(p[0].bits), comm::rt::fromBF16(p[1].bits), comm::rt::fromBF16(p[2].bits),
           comm::rt::fromBF16(p[3].bits)};
}
inline V load(const F16 *p) {
  return V{comm::rt::fromF16(p[0].bits), comm::rt::fromF16(p[1].bits), comm::rt::fromF16(p[2].bits),
           comm::rt::fromF16(p[3].bits)};
}
inline void store(float *p, V v) { std::memcpy(p, &v, sizeof(v)); }
inline V broadcast(float f) { return V{f, f, f, f}; }
inline V fma(V a, V b, V c) { return a * b + c; }
inline float reduce(V v) { return (v[0] + v[2]) + (v[1] + v[3]); }
} // namespace
#include "runtime/Kernels/Matmul/MicroBody.h"

static constexpr comm::rt::MicroKernel kernel = COMM_MICRO_KERNEL("portable 4x8");
const comm::rt::MicroKernel *comm::rt::portableMicroKernel() { return &kernel; }
