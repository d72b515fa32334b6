// RUN: comm-opt %s --comm-verify-form=form=local | FileCheck %s
// A local function with collectives passes unchanged.
// CHECK: comm.all_reduce
comm.grid @grid ["tp"] = [2]
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  return %a : tensor<4xf32>
}
