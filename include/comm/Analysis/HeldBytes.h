//===- HeldBytes.h - what a rank holds whatever the schedule ----*- C++ -*-===//
#ifndef COMM_ANALYSIS_HELDBYTES_H
#define COMM_ANALYSIS_HELDBYTES_H
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::comm {

/// Unit, on a module: weights will be copied into the executable, where each begins at a border of elements; in other
/// files one may not, and is then copied when it is loaded.
inline constexpr llvm::StringLiteral kEmbedsWeightsAttr = "comm.embeds_weights";

/// Bytes of one rank beside the arena, as exe::RankMemory has them.
struct HeldBytes {
  int64_t weights = 0; ///< as kernels read them: packed, or copied out of their file
  int64_t mapped = 0;  ///< read in place in a mapped file: pages that the system may take back; not in total()
  int64_t ports = 0;   ///< its parts of inputs and outputs
  int64_t loading = 0; ///< most of `weights` and of what they are packed from at one time
  int64_t total() const { return weights + ports; }
};

/// Of a function of form `local`, `async` or `command`.
HeldBytes getHeldBytes(func::FuncOp function);

} // namespace mlir::comm
#endif
