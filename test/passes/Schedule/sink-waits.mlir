// RUN: comm-opt %s --comm-sink-waits --comm-verify-form=form=async | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Independent work moves between start and wait; the start moves up to its operand.
// CHECK-LABEL: func.func @hides_behind_independent_work
// CHECK-SAME:    (%[[X:.*]]: tensor<4xf32>, %[[Y:.*]]: tensor<4xf32>)
// CHECK-NEXT:    %[[T:.*]] = comm.start order 0
// CHECK:         %[[U:.*]] = math.tanh %[[Y]]
// CHECK-NEXT:    %[[V:.*]] = math.exp %[[U]]
// CHECK-NEXT:    %[[R:.*]] = comm.wait %[[T]]
// CHECK-NEXT:    arith.addf %[[R]], %[[V]]
func.func @hides_behind_independent_work(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
  %u = math.tanh %y : tensor<4xf32>
  %t = comm.start order 0 : !comm.token<tensor<4xf32>> {
    %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
    comm.yield %a : tensor<4xf32>
  }
  %r = comm.wait %t : !comm.token<tensor<4xf32>>
  %v = math.exp %u : tensor<4xf32>
  %s = arith.addf %r, %v : tensor<4xf32>
  return %s : tensor<4xf32>
}

// Two starts keep their order, even when the second could go first; orders stay dense.
// CHECK-LABEL: func.func @keeps_one_total_order
// CHECK:         comm.start order 0
// CHECK-NEXT:      comm.all_reduce  sum
// CHECK:         comm.start order 1
// CHECK-NEXT:      comm.all_reduce  max
func.func @keeps_one_total_order(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %u = math.tanh %x : tensor<4xf32>
  %t = comm.start order 3 : !comm.token<tensor<4xf32>> {
    %a = comm.all_reduce sum %u over @grid["tp"] : tensor<4xf32>
    comm.yield %a : tensor<4xf32>
  }
  %p = comm.start order 7 : !comm.token<tensor<4xf32>> {
    %b = comm.all_reduce max %x over @grid["tp"] : tensor<4xf32>
    comm.yield %b : tensor<4xf32>
  }
  %q = comm.wait %p : !comm.token<tensor<4xf32>>
  %r = comm.wait %t : !comm.token<tensor<4xf32>>
  return %r, %q : tensor<4xf32>, tensor<4xf32>
}

// A function without starts keeps its order.
// CHECK-LABEL: func.func @leaves_synchronous_code
// CHECK-NEXT:    math.tanh
// CHECK-NEXT:    comm.all_reduce
// CHECK-NEXT:    math.exp
func.func @leaves_synchronous_code(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %u = math.tanh %x : tensor<4xf32>
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  %v = math.exp %x : tensor<4xf32>
  %w = arith.addf %u, %v : tensor<4xf32>
  return %w, %a : tensor<4xf32>, tensor<4xf32>
}
