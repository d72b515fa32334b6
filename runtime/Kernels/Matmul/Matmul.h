//===- Matmul.h - shapes of a product, after broadcasting -------*- C++ -*-===//
#pragma once
#include "runtime/Kernels/Support.h"

namespace comm::rt {

/// y[b] = a[b] x b[b] for all batches; offsets in matrices of each operand.
struct MatmulShape {
  int64_t m = 0, n = 0, k = 0, batches = 1;
  bool transposeA = false, transposeB = false;
  exe::Shape batchDims;
  std::vector<int64_t> strideA, strideB; ///< per batch dimension, 0 where it broadcasts
  int64_t matricesB = 1;
  /// Which matrix of a and of b batch `index` uses.
  void matricesOf(int64_t index, int64_t &a, int64_t &b) const;
};

/// f64 and 32- or 64-bit integers: plain loops. Integers wrap.
std::unique_ptr<Kernel> makePlainMatmul(exe::DType type, const MatmulShape &shape);

} // namespace comm::rt
