//===- Passes.td - local -> local -----------------------------------------===//
#ifndef PASSES_OPTIMIZE_PASSES_TD
#define PASSES_OPTIMIZE_PASSES_TD
include "mlir/Pass/PassBase.td"

def FuseAllReduceNormPass : Pass<"comm-fuse-all-reduce-norm", "::mlir::func::FuncOp"> {
  let summary = "fold all_reduce, bias, residual add and norm into one op";
  let description = [{
    The chain all_reduce -> [+ bias] -> + residual -> rms_norm or layer_norm becomes comm.all_reduce_norm, which later phases schedule and lower as a unit: the
    sum is written once and normed while it is at hand. Lossless: the same operations in the same order. A reshape between the all_reduce and the add is
    moved in front of the all_reduce first (trap: reshapes used to stop such matches silently). Holds back when the reduced value has another user, the norm comes
    from somewhere else, or an operand is defined after the add; each all_reduce that feeds an add and stays gets one remark with the reason.
    Example: test/passes/Optimize/fuse-all-reduce-norm.mlir
  }];
  let statistics = [Statistic<"numFused", "num-fused", "chains folded">, Statistic<"numMoved", "num-moved", "reshapes moved in front of an all_reduce">,
                    Statistic<"numNearMisses", "num-near-misses", "all_reduces that almost matched">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}
#endif
