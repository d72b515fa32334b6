//===- CommAsyncOps.td - layer 3: start and wait --------------------------===//
// Both write the network: never merged, dropped or reordered against each other, even when unused.
//===----------------------------------------------------------------------===//
#ifndef COMM_ASYNC_OPS_TD
#define COMM_ASYNC_OPS_TD
include "comm/IR/CommBase.td"

def Comm_StartOp : Comm_Op<"start", [SingleBlock, NoRegionArguments, MemoryEffects<[MemWrite<Comm_Network>]>]> {
  let summary = "hand a collective to its queue and go on";
  let description = [{
    The body holds one collective on values from outside; its operands stay live, unwritten, until the wait. `order` is the place in the one total
    order of collectives that all ranks follow. (C1) One op that is a collective, then the yield of its results. (C2) The token carries the results'
    types. (C3) order >= 0. (Form `async`: orders rise in block order and every token is waited exactly once, in the same block.) Cost: the collective's, on the link.
    ```mlir
    %t = comm.start order 0 : !comm.token<tensor<2xf32>> {
      %r = comm.all_reduce sum %x over @grid["tp"] : tensor<2xf32>
      comm.yield %r : tensor<2xf32>
    }
    ```
  }];
  let arguments = (ins I64Attr:$order);
  let results = (outs Comm_TokenType:$token);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`order` $order attr-dict `:` type($token) $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The collective in the body; null while malformed.
    ::mlir::Operation *getCollective();
  }];
}

def Comm_WaitOp : Comm_Op<"wait", [MemoryEffects<[MemWrite<Comm_Network>]>, InferTypeOpAdaptor]> {
  let summary = "block until a started collective is done and give its results";
  let description = [{
    (C1) The result types are the token's: one, and `others` of a collective that gives several. Cost: what of the collective is still exposed.
    ```mlir
    %y = comm.wait %t : !comm.token<tensor<2xf32>>
    ```
  }];
  let arguments = (ins Comm_TokenType:$token);
  let results = (outs Comm_AnyTensor:$result, Variadic<Comm_AnyTensor>:$others);
  let assemblyFormat = "$token attr-dict `:` type($token)";
}

def Comm_YieldOp : Comm_Op<"yield", [Pure, Terminator, ReturnLike]> {
  let summary = "results of a body";
  let description = [{
    Cost: none.
    ```mlir
    comm.yield %r : tensor<2xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}
#endif
