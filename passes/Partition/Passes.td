//===- Passes.td - global -> local ----------------------------------------===//
#ifndef PASSES_PARTITION_PASSES_TD
#define PASSES_PARTITION_PASSES_TD
include "mlir/Pass/PassBase.td"

def ChooseLayoutsPass : Pass<"comm-choose-layouts", "::mlir::ModuleOp"> {
  let summary = "choose for every value how it lies on the ranks";
  let description = [{
    For each axis of the grid in turn, a beam search over the ops in program order picks one of the factors of each op's sharding rule (or none) and keeps the
    cheapest plans: what the ops compute and read, divided by the split, plus the collectives that turn the state of a value (replicated, split on a dimension,
    partial sum) into the one its user needs. Weights are references and lie as their user asks. The name of an axis seeds the search: `tp` shares out weights,
    heads and vocabularies and leaves tokens alone (with sequence-parallel, norms and residual sums go by tokens), `dp` the batch, `sp` the tokens; other axes are
    free. A `comm.layout` that is there already is a demand and is kept. Writes `comm.layout` on results, arguments and function results, `comm.factors` (the choice
    per axis) on ops, and one remark per decision. Holds back: functions with `comm.reference`, grids of one rank, dimensions that cannot be shared out (replicated,
    with a remark), uneven sums whose fill would not be zero.
    Example: test/passes/Partition/choose-layouts.mlir
  }];
  let options = [
    Option<"beam", "beam", "unsigned", "64", "plans kept per step">,
    Option<"sequenceParallel", "sequence-parallel", "bool", "false", "on tensor axes, split norms and residual sums by tokens">,
    Option<"latencyUs", "latency-us", "double", "5.0", "cost of one message, microseconds">,
    Option<"bandwidthGBs", "bandwidth-gbs", "double", "5.0", "one link, gigabytes per second">,
    Option<"gflops", "gflops", "double", "50.0", "one rank, 10^9 operations per second">,
    Option<"memoryGBs", "memory-gbs", "double", "10.0", "memory of one rank, gigabytes per second">
  ];
  let statistics = [Statistic<"numSplit", "num-split", "ops shared out over ranks">,
                    Statistic<"numReplicated", "num-replicated", "ops that every rank does as a whole">,
                    Statistic<"numRefused", "num-refused", "choices taken back because fill would reach a sum">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}

def SplitTensorsPass : Pass<"comm-split-tensors", "::mlir::ModuleOp"> {
  let summary = "rewrite whole tensors to one rank's, conversions to collectives";
  let description = [{
    Every op is rebuilt on local types under its `comm.factors` (without: the choice that makes its `comm.layout`), every operand is brought into the layout that
    this needs. Between two layouts goes the shortest list of all_gather, all_to_all, reduce_scatter, shard_slice, all_reduce and rank_mask; equal conversions are
    shared. Weights and constants are cut where they are used. Arguments and results that are split keep `comm.layout` and get `comm.whole`, the type of the whole
    tensor. Holds back: functions with `comm.reference`. A layout that cannot be made is an error.
    Example: test/passes/Partition/split-tensors.mlir
  }];
  let statistics = [Statistic<"numCollectives", "num-collectives", "collectives inserted">];
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::tensor::TensorDialect", "::mlir::arith::ArithDialect"];
}
#endif
