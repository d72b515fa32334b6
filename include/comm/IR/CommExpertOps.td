//===- CommExpertOps.td - layer 1: mixtures of experts --------------------===//
#ifndef COMM_EXPERT_OPS_TD
#define COMM_EXPERT_OPS_TD
include "comm/IR/CommBase.td"

def Comm_ExpertMatmulOp
    : Comm_Op<"expert_matmul", [Pure, DeclareOpInterfaceMethods<Comm_ShardingRuleOpInterface>,
                                DeclareOpInterfaceMethods<Comm_CostOpInterface, ["getFlops", "getBytes"]>,
                                DeclareOpInterfaceMethods<InferTypeOpInterface>]> {
  let summary = "rows times the matrix of the expert that each one chose";
  let description = [{
    The product of a mixture of experts (a grouped GEMM): input [i.., k], ids [i..], weights [E, k, n] (`transpose`: [E, n, k]) -> [i.., n],
    result[i..] = input[i..] weights[ids[i..]]. Where input has one dimension less, its rows are shared by the last dimension of ids. Only what
    is chosen is computed. Split over the experts (`experts`, `expert_axes`, local form only): this rank holds its shard of `experts` matrices;
    rows of experts held elsewhere give zeros, so that the sum over ranks is the product.
    (C1) ids has a dimension; input has the dimensions of ids, or all but the last, and then k. (C2) weights has rank 3 and the k and elements
    of input. (C3) `experts` and `expert_axes` come together, experts > 0. An id outside [0, experts) is an error.
    Cost: 2 k FLOPs per element of the result; reads the weights of at most as many experts as there are ids.
    ```mlir
    %y = comm.expert_matmul %x, %i, %w transpose : tensor<4x8xf32>, tensor<4x2xi64>, tensor<6x16x8xf32> -> tensor<4x2x16xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input, Comm_IndexTensor:$ids, Comm_FloatTensor:$weights, UnitAttr:$transpose,
                       OptionalAttr<I64Attr>:$experts, OptionalAttr<StrArrayAttr>:$expert_axes, DefaultValuedAttr<I64Attr, "1">:$grain);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = [{$input `,` $ids `,` $weights (`transpose` $transpose^)? (`experts` $experts^ `over` $expert_axes)? attr-dict `:` type($input)
                         `,` type($ids) `,` type($weights) `->` type($result)}];
  let hasVerifier = 1;
}
#endif
