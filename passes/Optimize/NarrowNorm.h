//===- NarrowNorm.h - a norm between casts as a norm of 16 bits -*- C++ -*-===//
#ifndef PASSES_OPTIMIZE_NARROWNORM_H
#define PASSES_OPTIMIZE_NARROWNORM_H
#include "mlir/IR/PatternMatch.h"
#include <string>

namespace mlir::comm {

/// The rms_norm or layer_norm that reads `sum` (f16 or bf16) through a widening cast; null when there is none.
Operation *findWideNorm(Value sum);
/// truncf(norm(extf(x), extf(w))) -> norm(x, w): norms of 16-bit floats are computed in f32 and rounded once, so this
/// is the same number. Why it cannot be done, empty when it was: the norm is gone.
std::string narrowNorm(Operation *norm, RewriterBase &rewriter);

} // namespace mlir::comm
#endif
