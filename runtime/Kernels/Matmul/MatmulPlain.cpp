//===- MatmulPlain.cpp - products of types without a micro-kernel ---------===//
#include "runtime/Kernels/Matmul/Matmul.h"
#include <algorithm>

using namespace comm;
using namespace comm::rt;

/// One row of y: sums in the order of k, columns innermost so that they vectorise.
template <typename T> static void plainRow(const MatmulShape &s, const T *a, const T *b, T *y, int64_t i) {
  int64_t stepA = s.transposeA ? s.m : 1;
  a += s.transposeA ? i : i * s.k;
  if (s.transposeB) {
    for (int64_t j = 0; j < s.n; ++j) {
      T sum = 0;
      for (int64_t p = 0; p < s.k; ++p)
        sum += a[p * stepA] * b[j * s.k + p];
      y[j] = sum;
    }
    return;
  }
  std::fill_n(y, s.n, T(0));
  for (int64_t p = 0; p < s.k; ++p) {
    T left = a[p * stepA];
    for (int64_t j = 0; j < s.n; ++j)
      y[j] += left * b[p * s.n + j];
  }
}

template <typename T> static std::unique_ptr<Kernel> makeTyped(const MatmulShape &shape) {
  return makeKernel(shape.n ? shape.batches * shape.m : 0,
                    [shape](void *const *ins, void *const *outs, int64_t begin, int64_t end) {
                      for (int64_t row = begin; row < end; ++row) {
                        int64_t matrixA = 0, matrixB = 0;
                        shape.matricesOf(row / shape.m, matrixA, matrixB);
                        plainRow(shape, static_cast<const T *>(ins[0]) + matrixA * shape.m * shape.k,
                                 static_cast<const T *>(ins[1]) + matrixB * shape.k * shape.n,
                                 static_cast<T *>(outs[0]) + row * shape.n, row % shape.m);
                      }
                      return Status::ok();
                    });
}

std::unique_ptr<Kernel> comm::rt::makePlainMatmul(exe::DType type, const MatmulShape &shape) {
  // Unsigned arithmetic is the same bits as wrapping signed arithmetic, without undefined overflow.
  if (type == exe::DType::F64)
    return makeTyped<double>(shape);
  return exe::byteWidth(type) == 4 ? makeTyped<uint32_t>(shape) : makeTyped<uint64_t>(shape);
}
