//===- Precision.h - how f32 operands of a product are rounded --*- C++ -*-===//
// `comm.precision` (string) on comm.matmul and comm.attention of f32. "bf16": both operands of every product are
// rounded to bf16 (attention: also the weights of its softmax); "f16", comm.matmul only: the right operand is rounded
// to f16. To nearest even; numbers below the normal ones may count as zero. Sums, results and types stay f32. The
// attribute goes wherever the op is copied to; without it the op means what its types say. A sum that is partial may
// pass such a product as it passes one of bf16 tensors.
//===----------------------------------------------------------------------===//
#ifndef COMM_IR_PRECISION_H
#define COMM_IR_PRECISION_H
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Operation.h"

namespace mlir::comm {
inline constexpr llvm::StringLiteral kPrecisionAttr = "comm.precision";
inline constexpr llvm::StringLiteral kBF16 = "bf16";
inline constexpr llvm::StringLiteral kF16 = "f16";

/// kBF16 or kF16; empty where the op has no precision of its own.
inline llvm::StringRef getPrecision(Operation *op) {
  auto name = op->getAttrOfType<StringAttr>(kPrecisionAttr);
  return name ? name.getValue() : llvm::StringRef();
}
/// Empty takes it away.
inline void setPrecision(Operation *op, llvm::StringRef precision) {
  if (precision.empty())
    op->removeAttr(kPrecisionAttr);
  else
    op->setAttr(kPrecisionAttr, StringAttr::get(op->getContext(), precision));
}
} // namespace mlir::comm
#endif
