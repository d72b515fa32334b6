//===- Passes.h - async -> command ------------------------------*- C++ -*-===//
#ifndef PASSES_LOWER_PASSES_H
#define PASSES_LOWER_PASSES_H
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::comm {
#define GEN_PASS_DECL
#include "passes/Lower/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Lower/Passes.h.inc"

struct LowerOptions {
  bool fuseElementwise = true;
  bool inPlace = true;
  int64_t memoryLimit = 0; ///< bytes per rank; 0: none
  bool strict = true;      ///< false: an arena over the limit is no error, kOverBytesAttr says by how much
};
/// On a module whose arenas exceed the limit, when that is no error: bytes that the worst of them has too many.
inline constexpr llvm::StringLiteral kOverBytesAttr = "comm.over_bytes";
/// Beside it: bytes of which no placement of these buffers needs less.
inline constexpr llvm::StringLiteral kLeastBytesAttr = "comm.least_bytes";

/// From form `async` to form `command`. Native code is made afterwards, by compileKernels
/// (passes/Lower/Codegen/Codegen.h) on the comm.kernel ops.
void buildLowerPhase(OpPassManager &manager, const LowerOptions &options);
} // namespace mlir::comm
#endif
