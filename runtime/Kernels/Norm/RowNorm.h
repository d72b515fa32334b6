//===- RowNorm.h - adds and norm behind a reduction -------------*- C++ -*-===//
#pragma once
#include "comm/Executable/Executable.h"

namespace comm::rt {

/// sum += [bias +] residual, normed = rms_norm(sum) or layer_norm(sum), row by row. F32, F16, BF16 and F64. Each add is
/// rounded to the element type; the norm is computed in f32 (f64 for F64) from the rounded sum and rounded once.
struct RowNorm {
  exe::DType dtype = exe::DType::F32;
  int64_t rows = 0, width = 0;
  double epsilon = 0;
  bool layerNorm = false;
};
/// `bias` and `normBias` may be null. `sum` and `normed` do not overlap.
void addAndNorm(const RowNorm &, void *sum, const void *residual, const void *bias, const void *weight,
                const void *normBias, void *normed);

} // namespace comm::rt
