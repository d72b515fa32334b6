//===- Passes.td - async -> command ---------------------------------------===//
#ifndef PASSES_LOWER_PASSES_TD
#define PASSES_LOWER_PASSES_TD
include "mlir/Pass/PassBase.td"

def DecomposeCollectivesPass : Pass<"comm-decompose-collectives", "::mlir::func::FuncOp"> {
  let summary = "give every collective the layout that the transport moves";
  let description = [{
    A transport moves whole blocks: gathers and scatters work on the outermost dimension. A collective on another dimension, or one that does not
    divide, gets comm.pack_shards before it, comm.unpack_shards after it, or both; on an outermost dimension that divides, reshapes at most. Collectives
    over one rank vanish. comm.all_reduce_norm becomes the reduction, the adds and the norm, which comm-fuse-elementwise puts into one kernel.
    Start and wait stay where they are. Holds back on collectives that already have the layout.
    Example: test/passes/Lower/decompose-collectives.mlir
  }];
  let statistics = [Statistic<"numRelayouts", "num-relayouts", "blocks packed or unpacked around collectives">,
                    Statistic<"numDropped", "num-dropped", "collectives over one rank">];
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"];
}

def FuseElementwisePass : Pass<"comm-fuse-elementwise", "::mlir::func::FuncOp"> {
  let summary = "group ops that one loop nest computes";
  let description = [{
    Elementwise ops, norms, softmax and row reductions on one iteration space become one comm.fused, so that a value is read and written once.
    Broadcasts and splat constants go into each group that reads them; no other op is computed twice. What stays alone is a group of one.
    Holds back where a value in between is needed by an op outside before the group ends, across a comm.wait (work that hides communication stays in
    front of it), and between different spaces. Also reshapes are moved behind elementwise ops when that joins two spaces.
    Example: test/passes/Lower/fuse-elementwise.mlir
  }];
  let options = [Option<"fuse", "fuse", "bool", "true", "false: every op is a kernel of its own">,
                 Option<"maxOps", "max-ops", "int64_t", "64", "most ops in one group: bounds the size of a kernel">];
  let statistics = [Statistic<"numGroups", "num-groups", "groups made">, Statistic<"numFused", "num-fused", "ops that joined another's group">,
                    Statistic<"numSplit", "num-split", "groups given up because the code generator refused them">];
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"];
}

def OutlineKernelsPass : Pass<"comm-outline-kernels", "::mlir::ModuleOp"> {
  let summary = "make each group a kernel with a name";
  let description = [{
    Equal bodies become one comm.kernel, named by a hash of its text, so that 80 equal layers compile their kernels once. A body that the code
    generator cannot compile is an error with its reason. Leaves a comm.call_kernel in place of the group.
    Example: test/passes/Lower/outline-kernels.mlir
  }];
  let statistics = [Statistic<"numKernels", "num-kernels", "different kernels">, Statistic<"numCalls", "num-calls", "calls of them">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}

def ConvertToCommandsPass : Pass<"comm-convert-to-commands", "::mlir::ModuleOp"> {
  let summary = "values become buffers, ops become commands";
  let description = [{
    Every function becomes a list of commands on comm.buffer, its results become arguments that it writes. Reshapes, contiguous slices and
    transposes that move nothing are views; other data movement is a `copy` or `fill`. A result is written in place of a buffer of its own, unless it is
    an input, a constant, a communication buffer or used twice: then it is copied. Collectives read and write the arena only. Ops without a command are
    listed, all of them, as errors. Example: test/passes/Lower/convert-to-commands.mlir
  }];
  let options = [Option<"maxDataBytes", "max-data-bytes", "int64_t", "4096", "larger splat constants are filled at run time, not stored">];
  let statistics = [Statistic<"numCommands", "num-commands", "commands and launches">, Statistic<"numCopies", "num-copies", "of them copies">,
                    Statistic<"numViews", "num-views", "ops that became views">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}

def PlanBuffersPass : Pass<"comm-plan-buffers", "::mlir::ModuleOp"> {
  let summary = "place every buffer in the arena";
  let description = [{
    Lifetimes come from the order of the commands: operands of a started collective live until its wait, its result from the start. Buffers of
    collectives lie in the first bytes, which peers may read. An all_reduce whose operand ends there works in place. The left operand of a product of few
    rows lives, where the limit allows it, until the kernels right behind it are done: a rank takes them over the columns as they become final. Greedy best fit in several orders,
    the smallest wins; while that exceeds the limit although no more bytes are alive at once, other placements are tried. The plan is checked again before it is
    written. Reports the peak, and fails when it exceeds the limit.
    Example: test/passes/Lower/plan-buffers.mlir
  }];
  let options = [Option<"memoryLimit", "memory-limit", "int64_t", "0", "bytes per rank for weights, arena, inputs and outputs; 0: none">,
                 Option<"inPlace", "in-place", "bool", "true", "let collectives reuse their operand">,
                 Option<"strict", "strict", "bool", "true", "false: an arena that exceeds the limit is no error; comm.over_bytes of the module says by how much">];
  let statistics = [Statistic<"numBuffers", "num-buffers", "buffers placed">, Statistic<"numInPlace", "num-in-place", "results that took over an operand">,
                    Statistic<"numHeld", "num-held", "operands of products that live until the kernels behind them">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}
#endif
