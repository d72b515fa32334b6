//===- QuantizedPortable.cpp - for any CPU, and the reference -------------===//
#include "runtime/Kernels/Quantized/QuantizedKernels.h"

namespace {
typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));

template <int Bits, int Shift> inline F number(I group) {
  constexpr int32_t middle = 1 << (Bits - 1), mask = (1 << Bits) - 1;
  return __builtin_convertvector(((group >> Shift) & mask) - middle, F);
}
template <int Bits> inline I start(int32_t sum) { return I{} - sum * (1 << (Bits - 1)); }
template <int Bits> inline I dot(I sum, I numbers, const int8_t *x) {
  for (int j = 0; j < 4; ++j)
    sum += ((numbers >> (8 * j)) & 0xff) * int32_t(x[j]);
  return sum;
}
} // namespace
#include "runtime/Kernels/Quantized/QuantizedBody.h"

static constexpr comm::rt::QuantizedKernels kernels = COMM_QUANTIZED_KERNELS("portable");
const comm::rt::QuantizedKernels *comm::rt::portableQuantizedKernels() { return &kernels; }
