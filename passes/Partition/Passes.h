//===- Passes.h - global -> local -------------------------------*- C++ -*-===//
#ifndef PASSES_PARTITION_PASSES_H
#define PASSES_PARTITION_PASSES_H
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir {
class OpPassManager;
namespace comm {
#define GEN_PASS_DECL
#include "passes/Partition/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Partition/Passes.h.inc"

/// Options of the phase with their defaults; the costs are those of ranks on one machine.
struct PartitionOptions {
  unsigned beam = 64;            ///< plans kept per step
  bool sequenceParallel = false; ///< on tensor axes, split norms and residual sums by tokens
  double latencyUs = 5, bandwidthGBs = 5, gflops = 50, memoryGBs = 10;
};
/// ChooseLayouts, SplitTensors and the clean-up between them.
void buildPartitionPhase(OpPassManager &manager, const PartitionOptions &options);

/// Writes a user's layout on every value called `name` in `function`: an argument or result by `comm.name`, an op's
/// result by the name of its location. `text` is a
/// `#comm.layout<...>` or, per dimension, axes joined by `+` or `*` for none, then `partial:axis+axis` at will: "*,tp",
/// "dp,*,*,partial:tp". False and a sentence in `error` when there is no such value or the text is wrong.
bool applyUserLayout(func::FuncOp function, llvm::StringRef name, llvm::StringRef text, std::string &error);
} // namespace comm
} // namespace mlir
#endif
