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
    else is ready. Program order decides between equals, and starts keep their order; the result is the same on all ranks. What the pipeline falls back on
    when comm-schedule-overlap is off. Leaves functions without starts as they are.
    Example: test/passes/Schedule/sink-waits.mlir
  }];
  let statistics = [Statistic<"numOverlapped", "num-overlapped", "collectives with work between start and wait">];
}

defvar PredictionOptions = [
  Option<"topology", "topology", "std::string", "\"\"", "preset or file that predictions are made for; empty: cpu">,
  Option<"link", "link", "std::string", "\"\"", "rate and latency of every rank's link, as 1Gbit,50us; empty: the topology's">,
  Option<"tuning", "tuning", "std::string", "\"\"", "tuning file whose rows override the formulas; empty: none">];

def ChunkCollectivesPass : Pass<"comm-chunk-collectives", "::mlir::func::FuncOp"> {
  let summary = "run a collective and what follows it row by row in parts";
  let description = [{
    A collective on rows, and all that follows from it and treats each row by itself (adds, norms, products with weights, further collectives), is done on
    parts of the rows: one part is communicated while the other computes. Attention and whatever else mixes rows reads the parts put together. Lossless: the same
    operations on the same rows. All sites are cut in 2, in 4 or in 8 parts, or none: the function is scheduled each way and the fastest stays, the whole one unless
    the gain is above `min-gain`. Holds back on collectives below `min-bytes`, on fewer than `tile` rows a part, where a limit on memory could not be kept.
    Example: test/passes/Schedule/chunk-collectives.mlir
  }];
  let options = !listconcat(PredictionOptions, [
    Option<"chunks", "chunks", "int64_t", "0", "so many parts whatever is predicted; 0: what is predicted to be fastest, whole included">,
    Option<"minBytes", "min-bytes", "int64_t", "65536", "smaller collectives stay whole">,
    Option<"tile", "tile", "int64_t", "16", "fewest rows of a part">,
    Option<"minGain", "min-gain", "double", "0.02", "share of the predicted time that must be saved">,
    Option<"memoryLimit", "memory-limit", "int64_t", "0", "bytes per rank, weights, inputs and outputs included; 0: none">]);
  let statistics = [Statistic<"numChunked", "num-chunked", "collectives cut">];
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"];
}

def BucketCollectivesPass : Pass<"comm-bucket-collectives", "::mlir::func::FuncOp"> {
  let summary = "run small independent reductions as one";
  let description = [{
    all_reduces of one kind, group and element type that do not need each other are put behind one another and reduced together: one latency instead of
    several. Lossless: each element is summed in the order of the ranks as before. The function is scheduled both ways; it changes only when that is
    predicted to be faster and not to expose more communication (combining collectives can make overlap impossible). Holds back on collectives above
    `max-bytes` and on chains.
    Example: test/passes/Schedule/bucket-collectives.mlir
  }];
  let options = !listconcat(PredictionOptions, [
    Option<"maxBytes", "max-bytes", "int64_t", "1048576", "larger collectives stay apart">,
    Option<"memoryLimit", "memory-limit", "int64_t", "0", "bytes per rank, weights, inputs and outputs included; 0: none">]);
  let statistics = [Statistic<"numBucketed", "num-bucketed", "collectives that became part of another">];
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::tensor::TensorDialect"];
}

def ScheduleOverlapPass : Pass<"comm-schedule-overlap", "::mlir::func::FuncOp"> {
  let summary = "place starts and waits by predicted time, within a memory limit";
  let description = [{
    The block becomes an overlap problem: what one loop nest will compute is one op, collectives run on their link, values take memory from their producer to
    their last user. List scheduling by critical path in several variants; the program order competes, so the result is never predicted to be slower. The
    limit on memory is never exceeded; when no order keeps it, that is an error with the smallest peak found. Every start gets its place in the one total
    order and what carries it. Leaves functions without starts, and
    ops whose order gains nothing, as they are.
    Example: test/passes/Schedule/schedule-overlap.mlir
  }];
  let options = !listconcat(PredictionOptions, [
    Option<"memoryLimit", "memory-limit", "int64_t", "0", "bytes per rank, weights, inputs and outputs included; 0: none">,
    Option<"maxInFlight", "max-in-flight", "int64_t", "8", "most collectives started and not awaited; 0: no limit">,
    Option<"keepOrder", "keep-order", "bool", "false", "compute keeps its order and memory does not rise: only starts and waits move">,
    Option<"strict", "strict", "bool", "true", "false: a limit that cannot be kept is a remark, not an error">]);
  let statistics = [Statistic<"numStarts", "num-starts", "starts placed">, Statistic<"numOverlapped", "num-overlapped", "of them with work to hide behind">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}

def PredictOverlapPass : Pass<"comm-predict-overlap", "::mlir::func::FuncOp"> {
  let summary = "predict the time of a run and give every collective its verdict";
  let description = [{
    Whatever put the block in its order: the run is evaluated in virtual time, and each collective gets exactly one remark: what hides it and how much, or
    one reason from the closed list of docs/reference/explain.md why it is exposed. One more remark counts the verdicts. The attribute comm.predicted keeps the sums for
    the executable. Changes no op; unsplit reference models are left out.
    Example: test/passes/Schedule/predict-overlap.mlir
  }];
  let options = !listconcat(PredictionOptions, [
    Option<"memoryLimit", "memory-limit", "int64_t", "0", "the limit that the schedule had to keep">,
    Option<"maxInFlight", "max-in-flight", "int64_t", "8", "the limit that the schedule had to keep">,
    Option<"off", "off", "bool", "false", "overlap was switched off by request">]);
  let statistics = [Statistic<"numCollectives", "num-collectives", "verdicts given">,
                    Statistic<"numOverlapped", "num-overlapped", "collectives hidden by a twentieth or more">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}
#endif
