//===- Compare.h - are two results the same? --------------------*- C++ -*-===//
#pragma once
#include "Options.h"
#include "Tensor.h"

namespace commrun {

struct Difference {
  bool ok = true;
  double maxAbs = 0; ///< over elements that are numbers on both sides
  double maxRel = 0; ///< maxAbs / max|expected|
  std::string worst; ///< "tensor 'y' at [0, 3]: expected 1, got 2; |difference| 1 > 1e-06 + 0.0001 * max|expected| 3";
                     ///< empty when ok
};

/// Equal NaNs and equal infinities agree. Defaults: f64 and f32 rtol 1e-4 atol 1e-6, f16 1e-2 1e-3, bf16 5e-2 1e-2 (of
/// the coarser of the two types), integers and bool exact.
Difference compare(const std::string &name, const Tensor &got, const Tensor &expected, comm_dtype portType,
                   const Tolerance &);

} // namespace commrun
