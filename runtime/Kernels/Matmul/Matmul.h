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

/// How the operands of a product are rounded first (attribute `precision` of the command).
enum class Precision : uint8_t {
  AsStored, ///< not at all
  BF16,     ///< both f32 operands to bf16; sums and result in f32
  F16       ///< the right f32 operand to f16; f32 arithmetic
};
/// A product of narrow operands: f32 ones under a precision, or bf16 ones where this CPU has a unit for them. `out`
/// stays null when it is not one.
Status prepareNarrowMatmul(const Preparation &p, const MatmulShape &shape, Precision precision,
                           std::unique_ptr<Kernel> &out);

} // namespace comm::rt
