//===- Passes.td - local -> async -----------------------------------------===//
#ifndef PASSES_SCHEDULE_PASSES_TD
#define PASSES_SCHEDULE_PASSES_TD
include "mlir/Pass/PassBase.td"

def MakeAsyncPass : Pass<"comm-make-async", "::mlir::func::FuncOp"> {
  let summary = "split every collective into start and wait";
  let description = [{
    A collective becomes comm.start where it stood and comm.wait behind it; comm.all_reduce_norm starts its all_reduce and leaves bias, residual and norm as value ops
    behind the wait. Orders are numbered in program order, the one total order that all ranks follow. Dead collectives must be gone before this
    pass: from here on nothing removes them. Leaves functions without collectives as they are.
    Example: test/passes/Schedule/make-async.mlir
  }];
  let statistics = [Statistic<"numStarted", "num-started", "collectives split into start and wait">];
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"];
}

def SinkWaitsPass : Pass<"comm-sink-waits", "::mlir::func::FuncOp"> {
  let summary = "place waits as late and starts as early as dependences allow";
  let description = [{
    List scheduling of the block: a start goes as soon as its operands are there, an op that needs no pending wait goes before every wait, and a wait goes only when nothing
    else is ready. Program order decides between equals, and starts keep their order; the result is the same on all ranks. One remark per collective says
    what runs between its start and its wait, or that its first user needs it at once. Leaves functions without starts as they are.
    Example: test/passes/Schedule/sink-waits.mlir
  }];
  let statistics = [Statistic<"numOverlapped", "num-overlapped", "collectives with work between start and wait">];
}
#endif
