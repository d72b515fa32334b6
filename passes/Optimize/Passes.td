//===- Passes.td - local -> local -----------------------------------------===//
#ifndef PASSES_OPTIMIZE_PASSES_TD
#define PASSES_OPTIMIZE_PASSES_TD
include "mlir/Pass/PassBase.td"

def FuseAllReduceNormPass : Pass<"comm-fuse-all-reduce-norm", "::mlir::func::FuncOp"> {
  let summary = "fold all_reduce, bias, residual add and norm into one op";
  let description = [{
    The chain all_reduce -> [+ bias] -> + residual -> rms_norm or layer_norm becomes comm.all_reduce_norm, which later phases schedule and lower as a unit: the
    sum is written once and normed while it is at hand. Lossless: the same operations in the same order, unless `settle` adds residuals behind the reduction that
    the plan carried as partial sums (the sum of the same values in another order). A reshape between the all_reduce and the add is
    moved in front of the all_reduce first (trap: reshapes used to stop such matches silently). A norm of a 16-bit sum that is done in f32 between two casts is one of
    16 bits (which is computed in f32, too), provided that its parameters lose nothing. Holds back when the reduced value has another user or is cast itself (widened,
    its norm would be gathered in the wider type), the norm comes from somewhere else, or an operand is defined after the add; each all_reduce that feeds an add and stays gets one remark with the reason.
    Example: test/passes/Optimize/fuse-all-reduce-norm.mlir
  }];
  let options = [Option<"settle", "settle", "bool", "false", "residuals that are carried as partial sums are added behind the reduction, so that the chain matches">];
  let statistics = [Statistic<"numFused", "num-fused", "chains folded">, Statistic<"numSettled", "num-settled", "residuals added behind a reduction">, Statistic<"numMoved", "num-moved", "reshapes moved in front of an all_reduce">,
                    Statistic<"numNearMisses", "num-near-misses", "all_reduces that almost matched">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}

def ShardResidualPass : Pass<"comm-shard-residual", "::mlir::func::FuncOp"> {
  let summary = "keep the residual split by token rows between fused norms";
  let description = [{
    comm.all_reduce_norm becomes comm.scatter_norm_gather: each rank adds and norms 1/n of the rows, and the sum stays split by rows from one site to the
    next, through reshapes that keep the rows and through casts. What else reads a sum (a graph output, another op) gets it from one all_gather; the
    first residual of a chain is cut from the whole value. Lossless: sums keep their bits, norms are taken of the same rows.
    Holds back with fewer rows than ranks or than `min-rows` and on groups of one rank; each such site gets a remark.
    Example: test/passes/Optimize/shard-residual.mlir
  }];
  let options = [Option<"minRows", "min-rows", "int64_t", "2", "fewest rows of a site that is rewritten">];
  let statistics = [Statistic<"numSharded", "num-sharded", "sites rewritten">, Statistic<"numSliced", "num-sliced", "residuals cut from whole values">,
                    Statistic<"numGathered", "num-gathered", "sums gathered for other readers">,
                    Statistic<"numNearMisses", "num-near-misses", "sites left whole">];
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::tensor::TensorDialect"];
}

def SplitTokensPass : Pass<"comm-split-tokens", "::mlir::func::FuncOp"> {
  let summary = "run the model on two parts of its tokens, so that one part's communication runs under the other's compute";
  let description = [{
    Cuts a dimension of an argument in two contiguous parts (tokens of causal models, sequences of a batch otherwise) and repeats every op between the
    reductions on both: weights are read twice, never copied. Ops must be independent per row by their sharding rule; causal attention is split with an
    explicit edge: the first part sees the cache and its own keys, the second also what the first part made. A mask that is known to hide later keys (it compares
    constant positions, whatever else it is joined with) is as good as causal; one that adds a finite number of -9,900 or less does where every query is known to see
    another key, and then results are equal unless the scores of one query differ by 9,796 or more. What needs all rows gets both parts put
    together. The order is that of four windows: first part up to its reduction, second part up to its reduction, and so on, so that each reduction
    runs under the other part's work. Lossless: no value is computed differently, apart from the order of sums inside products of another height.
    Holds back, with a remark, below `min-rows`, where the wave rule finds no cut, on attention that is neither causal nor masked so, or not aligned at the end (a cut inside a
    sequence), on ops whose rows are not known to be independent, and when fewer than half of the reductions could be split.
    Example: test/passes/Optimize/split-tokens.mlir
  }];
  let options = [Option<"cut", "cut", "int64_t", "0", "where the dimension is cut; 0: chosen">,
                 Option<"tile", "tile", "int64_t", "64", "rows of a tile: cuts are multiples of it">,
                 Option<"tileColumns", "tile-columns", "int64_t", "256", "columns of a tile, for the wave rule">,
                 Option<"offset", "offset", "int64_t", "0", "rows that the first part gets beyond half">,
                 Option<"minRows", "min-rows", "int64_t", "256", "fewest rows that are split">,
                 Option<"units", "units", "int64_t", "0", "units that compute tiles side by side (SMs); 0: no wave rule">];
  let statistics = [Statistic<"numSplit", "num-split", "reductions split in two">, Statistic<"numRefused", "num-refused", "functions left whole">];
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"];
}

def PipelineMatmulsPass : Pass<"comm-pipeline-matmuls", "::mlir::func::FuncOp"> {
  let summary = "cut products and the collective beside them into pieces of rows";
  let description = [{
    all_reduce, all_reduce_norm and reduce_scatter of a product, and products of an all_gather, become the same on chunks of rows, so that one chunk is
    communicated while the next is computed. Where shards lie in the rows (gather or scatter over them) a chunk takes the same rows of every shard.
    In ring order there is one step per rank instead: the shard that came from the neighbour is multiplied while the next one travels, or the sum travels and each rank
    adds its product of the shard that it belongs to (comm.permute, comm.shard_slice with a shift, comm.unpack_shards rotated). Shards need not divide.
    Lossless, except that a reduce_scatter in ring order sums its n products in the order of the ring (integers, f32 and f64 only). Does nothing where one piece is predicted to be as fast: small products, collectives much cheaper or dearer than the product, chunks below a
    tile (decomposing always has been slower than not at all on fast links). Holds back on products with other readers, rows that the right operand shares,
    and chunks of shards that do not divide; each collective gets one remark.
    Example: test/passes/Optimize/pipeline-matmuls.mlir
  }];
  let options = [Option<"topology", "topology", "std::string", "\"\"", "preset or file that predictions are made for; empty: cpu">,
                 Option<"link", "link", "std::string", "\"\"", "rate and latency of every rank's link, as 1Gbit,50us; empty: the topology's">,
                 Option<"tuning", "tuning", "std::string", "\"\"", "tuning file whose rows override the formulas; empty: none">,
                 Option<"chunks", "chunks", "int64_t", "0", "chunks of each site; 0: the number that is predicted to be fastest, 1 included">,
                 Option<"order", "order", "std::string", "\"auto\"", "direct: chunks; ring: ring order wherever there is one; auto: what is predicted to be fastest, chunks when their number is given">,
                 Option<"tile", "tile", "int64_t", "64", "rows of a tile: chunks are multiples of it">,
                 Option<"minRows", "min-rows", "int64_t", "128", "fewest rows that are cut">];
  let statistics = [Statistic<"numPipelined", "num-pipelined", "sites cut into chunks or steps">, Statistic<"numRings", "num-rings", "of them in ring order">, Statistic<"numNearMisses", "num-near-misses", "collectives left in one piece">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::comm::CommDialect", "::mlir::tensor::TensorDialect"];
}
#endif
