// RUN: comm-opt %s --cse --canonicalize --loop-invariant-code-motion --control-flow-sink | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Equal collectives merge, dead ones vanish.
// CHECK-LABEL: func.func @merges_and_drops
// CHECK-COUNT-1: comm.all_reduce
// CHECK-NOT:     comm.all_reduce
func.func @merges_and_drops(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  %b = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  %dead = comm.all_reduce max %x over @grid["tp"] : tensor<4xf32>
  %s = arith.addf %a, %b : tensor<4xf32>
  return %s : tensor<4xf32>
}

// A collective is not hoisted out of a loop (ordinary work is) ...
// CHECK-LABEL: func.func @stays_in_loop
// CHECK:         math.tanh
// CHECK:         scf.for
// CHECK:           comm.all_reduce
func.func @stays_in_loop(%x: tensor<4xf32>, %n: index) -> tensor<4xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %r = scf.for %i = %c0 to %n step %c1 iter_args(%acc = %x) -> tensor<4xf32> {
    %h = math.tanh %x : tensor<4xf32>
    %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
    %s = arith.addf %acc, %a : tensor<4xf32>
    %t = arith.addf %s, %h : tensor<4xf32>
    scf.yield %t : tensor<4xf32>
  }
  return %r : tensor<4xf32>
}

// ... and not sunk under a branch that only some ranks take (trap: such a sink is a deadlock).
// CHECK-LABEL: func.func @stays_before_branch
// CHECK:         comm.all_reduce
// CHECK:         scf.if
func.func @stays_before_branch(%x: tensor<4xf32>, %c: i1) -> tensor<4xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  %r = scf.if %c -> tensor<4xf32> {
    %t = math.tanh %a : tensor<4xf32>
    scf.yield %t : tensor<4xf32>
  } else {
    scf.yield %x : tensor<4xf32>
  }
  return %r : tensor<4xf32>
}

// Starts and waits are never merged, dropped or reordered.
// CHECK-LABEL: func.func @keeps_starts
// CHECK:         comm.start order 0
// CHECK:         comm.start order 1
// CHECK:         comm.wait
// CHECK:         comm.wait
func.func @keeps_starts(%x: tensor<4xf32>) {
  %t = comm.start order 0 : !comm.token<tensor<4xf32>> {
    %y = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
    comm.yield %y : tensor<4xf32>
  }
  %u = comm.start order 1 : !comm.token<tensor<4xf32>> {
    %y = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
    comm.yield %y : tensor<4xf32>
  }
  %a = comm.wait %t : !comm.token<tensor<4xf32>>
  %b = comm.wait %u : !comm.token<tensor<4xf32>>
  return
}
