//===- CommCollectiveOps.td - layer 2: communication as values ------------===//
// Effects (measured, docs/decisions): a value collective reads the network and is never speculatable. Equal ones merge, dead ones vanish, none is
// hoisted out of a loop or sunk under a branch.
//===----------------------------------------------------------------------===//
#ifndef COMM_COLLECTIVE_OPS_TD
#define COMM_COLLECTIVE_OPS_TD
include "comm/IR/CommBase.td"

class Comm_RankOp<string mnemonic, list<Trait> traits = []>
    : Comm_Op<mnemonic, !listconcat([DeclareOpInterfaceMethods<SymbolUserOpInterface>], traits)>;
class Comm_CollectiveOp<string mnemonic, list<Trait> traits = []>
    : Comm_RankOp<mnemonic, !listconcat([MemoryEffects<[MemRead<Comm_Network>]>,
        DeclareOpInterfaceMethods<ConditionallySpeculatable>,
        DeclareOpInterfaceMethods<Comm_CollectiveOpInterface, ["getBytesSent"]>], traits)>;

def Comm_AllReduceOp : Comm_CollectiveOp<"all_reduce", [AllTypesMatch<["input", "result"]>]> {
  let summary = "combine a tensor across ranks; every rank gets the result";
  let description = [{
    Elementwise over the ranks that differ only in `axes`. (C1) Each axis exists in the grid and is named once. (C2) Integers or floats, no bool.
    Cost on n ranks, ring: 2(n-1) steps, 2(n-1)/n * bytes sent per rank.
    Example: `%x` is [1, 2] on rank 0 and [10, 20] on rank 1.
    ```mlir
    %y = comm.all_reduce sum %x over @grid["tp"] : tensor<2xf32>  // both ranks: [11, 22]
    ```
  }];
  let arguments = (ins Comm_ReduceKindAttr:$kind, Comm_AnyTensor:$input, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$kind $input `over` $grid `` $axes attr-dict `:` type($input)";
}

def Comm_ReduceScatterOp : Comm_CollectiveOp<"reduce_scatter"> {
  let summary = "combine a tensor across ranks; every rank gets its shard";
  let description = [{
    Reduces elementwise, then shard i (coordinate over `axes`) of dimension `dim` goes to rank i, in blocks of `grain`, zero-filled at the end.
    (C1) Each axis exists and is named once. (C2) 0 <= dim < rank. (C3) The result has the local size of that dimension.
    Cost on n ranks: n-1 steps, (n-1)/n * bytes sent per rank.
    Example: `%x` is [1, 2] on rank 0 and [10, 20] on rank 1.
    ```mlir
    %y = comm.reduce_scatter sum %x dim 0 over @grid["tp"] : tensor<2xf32> -> tensor<1xf32>  // [11] and [22]
    ```
  }];
  let arguments = (ins Comm_ReduceKindAttr:$kind, Comm_AnyTensor:$input, I64Attr:$dim, DefaultValuedAttr<I64Attr, "1">:$grain,
                       FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$kind $input `dim` $dim `over` $grid `` $axes attr-dict `:` type($input) `->` type($result)";
}

def Comm_AllGatherOp : Comm_CollectiveOp<"all_gather"> {
  let summary = "put the shards of all ranks together";
  let description = [{
    Inverse of a split of `dim` over `axes` in blocks of `grain`; fill is trimmed, of replicated blocks one is taken.
    (C1) Each axis exists and is named once. (C2) 0 <= dim < rank. (C3) The operand has the local size of the result's dimension.
    Cost on n ranks: n-1 steps, (n-1) * bytes(input) sent per rank.
    Example: `%x` is [1] on rank 0 and [2] on rank 1.
    ```mlir
    %y = comm.all_gather %x dim 0 over @grid["tp"] : tensor<1xf32> -> tensor<2xf32>  // both: [1, 2]
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$input, I64Attr:$dim, DefaultValuedAttr<I64Attr, "1">:$grain, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$input `dim` $dim `over` $grid `` $axes attr-dict `:` type($input) `->` type($result)";
}

def Comm_AllToAllOp : Comm_CollectiveOp<"all_to_all"> {
  let summary = "move a split from one dimension to another";
  let description = [{
    Before: `concat_dim` is split over `axes` (blocks of `concat_grain`); after: `split_dim` is (blocks of `split_grain`) and `concat_dim` is whole.
    (C1) Each axis exists and is named once. (C2) The dimensions differ and are in range. (C3) Sizes agree with the two splits.
    Cost on n ranks: n-1 messages, (n-1)/n * bytes sent per rank.
    Example: rank 0 holds [[1, 2]], rank 1 holds [[3, 4]].
    ```mlir
    %y = comm.all_to_all %x split 1 concat 0 over @grid["tp"] : tensor<1x2xf32> -> tensor<2x1xf32>  // [[1], [3]] and [[2], [4]]
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$input, I64Attr:$split_dim, I64Attr:$concat_dim, DefaultValuedAttr<I64Attr, "1">:$split_grain,
                       DefaultValuedAttr<I64Attr, "1">:$concat_grain, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = [{$input `split` $split_dim `concat` $concat_dim `over` $grid `` $axes attr-dict `:` type($input) `->` type($result)}];
}

def Comm_PermuteOp : Comm_CollectiveOp<"permute", [AllTypesMatch<["input", "result"]>]> {
  let summary = "pass a tensor on around the ring of a group";
  let description = [{
    The rank with coordinate c over `axes` sends `input` to coordinate (c + shift) mod n and gets that of (c - shift) mod n. What a product in ring order is
    made of (comm-pipeline-matmuls). (C1) Each axis exists and is named once.
    Cost: one message, bytes(input) sent per rank.
    Example: `%x` is [1] on rank 0, [2] on rank 1 and [3] on rank 2.
    ```mlir
    %y = comm.permute %x shift 1 over @grid["tp"] : tensor<1xf32>  // [3], [1] and [2]
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$input, I64Attr:$shift, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$input `shift` $shift `over` $grid `` $axes attr-dict `:` type($input)";
}

class Comm_LocalRankOp<string mnemonic, list<Trait> traits = []>
    : Comm_RankOp<mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<Comm_CostOpInterface>], traits)>;

def Comm_ShardSliceOp : Comm_LocalRankOp<"shard_slice"> {
  let summary = "this rank's shard of a whole tensor; no communication";
  let description = [{
    Shard number = (coordinate over `axes` + `shift`) mod n; blocks of `grain`, zero fill at the end. (C1) Each axis exists and is named once.
    (C2) 0 <= dim < rank. (C3) The result has the local size. Cost: one copy of the result.
    Example: `%x` is [1, 2] on both ranks.
    ```mlir
    %y = comm.shard_slice %x dim 0 over @grid["tp"] : tensor<2xf32> -> tensor<1xf32>  // [1] and [2]
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$input, I64Attr:$dim, DefaultValuedAttr<I64Attr, "1">:$grain, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes,
                       DefaultValuedAttr<I64Attr, "0">:$shift);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$input `dim` $dim `over` $grid `` $axes attr-dict `:` type($input) `->` type($result)";
}

def Comm_RankMaskOp : Comm_LocalRankOp<"rank_mask", [AllTypesMatch<["input", "result"]>]> {
  let summary = "keep a value on the first rank of a group, zero elsewhere";
  let description = [{
    Turns a replicated value into a partial sum, so that it can join one. (C1) Each axis exists and is named once. Cost: one copy.
    ```mlir
    %y = comm.rank_mask %x over @grid["tp"] : tensor<2xf32>
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$input, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$input `over` $grid `` $axes attr-dict `:` type($input)";
}

def Comm_AllReduceNormOp : Comm_CollectiveOp<"all_reduce_norm", [AttrSizedOperandSegments, AllTypesMatch<["input", "residual", "sum", "normed"]>]> {
  let summary = "all_reduce, residual add and norm in one op";
  let description = [{
    sum = all_reduce(input) [+ bias] + residual; normed = rms_norm(sum) or, with `layer_norm`, layer_norm(sum). Lossless: same values in the same order
    as the three ops. (C1) Each axis exists and is named once. (C2) weight and norm_bias have the size of the last dimension; bias broadcasts from it.
    (C3) norm_bias needs `layer_norm`. Cost: as all_reduce, plus one read and two writes of the tensor.
    ```mlir
    %n, %s = comm.all_reduce_norm %x, %r, %w epsilon 1.0e-5 over @grid["tp"] : tensor<4x8xf32>, tensor<8xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input, Comm_FloatTensor:$residual, Comm_FloatTensor:$weight, Optional<Comm_FloatTensor>:$bias,
                       Optional<Comm_FloatTensor>:$norm_bias, F64Attr:$epsilon, UnitAttr:$layer_norm, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let results = (outs Comm_FloatTensor:$normed, Comm_FloatTensor:$sum);
  let assemblyFormat = [{$input `,` $residual `,` $weight (`bias` $bias^ `:` type($bias))? (`norm_bias` $norm_bias^ `:` type($norm_bias))?
                         `epsilon` $epsilon (`layer_norm` $layer_norm^)? `over` $grid `` $axes attr-dict `:` type($input) `,` type($weight)}];
}

def Comm_ScatterNormGatherOp : Comm_CollectiveOp<"scatter_norm_gather", [AttrSizedOperandSegments, AllTypesMatch<["input", "normed"]>,
    AllTypesMatch<["residual", "sum"]>]> {
  let summary = "all_reduce_norm with the residual split by rows: reduce-scatter, adds, norm and all-gather in one op";
  let description = [{
    The rows of `input` are its leading dimensions as one; rank k of the group owns rows [k*R, (k+1)*R) with R = ceil(rows / ranks). On the own rows
    sum = reduce_scatter(input) [+ bias] + residual and rms_norm(sum) or, with `layer_norm`, layer_norm(sum); `normed` is the norm of all rows, gathered.
    `residual` and `sum` are the own rows; rows past the last one are fill whose content is undefined and never read by what follows.
    Rounding: the reduction is summed in f32 in the order of the ranks and rounded once, each add is rounded, the norm is computed in f32 (f64 for f64) from
    the rounded sum and rounded once: sums have the bits of comm.all_reduce_norm.
    (C1) Each axis exists and is named once. (C2) weight, bias and norm_bias are vectors of the last dimension. (C3) norm_bias needs `layer_norm`.
    (C4) The input has two dimensions or more, and at least as many rows as ranks. (C5) residual and sum are [R, last dimension].
    Cost on n ranks: as all_reduce, 2(n-1)/n * bytes sent per rank; adds and norm on 1/n of the rows.
    Example: on two ranks `%x` sums to rows a, b, c, d; rank 0 holds the residual of a and b, rank 1 that of c and d.
    ```mlir
    %n, %s = comm.scatter_norm_gather %x, %r, %w epsilon 1.0e-5 over @grid["tp"] : tensor<4x8xf32>, tensor<2x8xf32>, tensor<8xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input, Comm_FloatTensor:$residual, Comm_FloatTensor:$weight, Optional<Comm_FloatTensor>:$bias,
                       Optional<Comm_FloatTensor>:$norm_bias, F64Attr:$epsilon, UnitAttr:$layer_norm, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let results = (outs Comm_FloatTensor:$normed, Comm_FloatTensor:$sum);
  let assemblyFormat = [{$input `,` $residual `,` $weight (`bias` $bias^ `:` type($bias))? (`norm_bias` $norm_bias^ `:` type($norm_bias))?
                         `epsilon` $epsilon (`layer_norm` $layer_norm^)? `over` $grid `` $axes attr-dict
                         `:` type($input) `,` type($residual) `,` type($weight)}];
  let extraClassDeclaration = [{
    /// Rows of a tensor: its leading dimensions as one.
    static int64_t getNumRows(::mlir::RankedTensorType type) { return type.getShape().empty() ? 1 : ::llvm::product_of(type.getShape().drop_back()); }
    int64_t getNumRows() { return getNumRows(getInput().getType()); }
  }];
}
#endif
