// RUN: comm-opt %s --split-input-file --verify-diagnostics --comm-verify-form=form=global
// RUN: not comm-opt %s --split-input-file --comm-verify-form=form=sideways 2>&1 | FileCheck %s --check-prefix=FORM
// RUN: split-file %S/Inputs/async-errors.mlir %t && not comm-opt %t/orders.mlir --comm-verify-form=form=async 2>&1 | FileCheck %s --check-prefix=ORDER
// RUN: not comm-opt %t/unwaited.mlir --comm-verify-form=form=async 2>&1 | FileCheck %s --check-prefix=TOKEN
// FORM: unknown form 'sideways'; use global, local, async or command
// ORDER: order 1 does not rise above 1
// TOKEN: expected the token to be waited exactly once, found 0 waits

comm.grid @grid ["tp"] = [2]
// Every illegal op is listed, not only the first.
func.func @main(%x: tensor<4xf32>) -> tensor<2xf32> {
  // expected-error @+1 {{'global' does not allow 'comm.all_reduce': there is no communication before tensors are split}}
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  // expected-error @+1 {{'global' does not allow 'comm.shard_slice'}}
  %b = comm.shard_slice %a dim 0 over @grid["tp"] : tensor<4xf32> -> tensor<2xf32>
  return %b : tensor<2xf32>
}

// -----

func.func @dynamic(%x: tensor<?xf32>) -> tensor<?xf32> {
  // expected-error @+1 {{'global' does not allow 'math.tanh': types must be static tensors}}
  %a = math.tanh %x : tensor<?xf32>
  return %a : tensor<?xf32>
}
