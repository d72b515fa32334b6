//===- CommCommandOps.td - layer 4: commands over planned buffers ---------===//
#ifndef COMM_COMMAND_OPS_TD
#define COMM_COMMAND_OPS_TD
include "comm/IR/CommBase.td"

def Comm_FusedOp : Comm_Op<"fused", [IsolatedFromAbove, SingleBlock, RecursiveMemoryEffects]> {
  let summary = "value ops that one kernel computes";
  let description = [{
    A group of elementwise, norm, softmax, rotary and row-reduction ops that are compiled into one loop nest. Operands are block arguments of the body.
    (C1) As many block arguments as inputs, of their types. (C2) The yield gives the result types. Cost: reads inputs once, writes results once.
    ```mlir
    %y = comm.fused ins(%x : tensor<4xf32>) -> tensor<4xf32> {
    ^bb0(%a: tensor<4xf32>):
      %r = math.tanh %a : tensor<4xf32>
      comm.yield %r : tensor<4xf32>
    }
    ```
  }];
  let arguments = (ins Variadic<Comm_AnyTensor>:$inputs);
  let results = (outs Variadic<Comm_AnyTensor>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`ins` `(` ($inputs^ `:` type($inputs))? `)` (`->` type($outputs)^)? attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}
#endif
