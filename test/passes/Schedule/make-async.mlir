// RUN: comm-opt %s --comm-make-async --comm-verify-form=form=async | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Every collective becomes start and wait, numbered in program order.
// CHECK-LABEL: func.func @numbers_in_order
// CHECK:         %[[T0:.*]] = comm.start order 0
// CHECK-NEXT:      comm.all_reduce
// CHECK:         %[[Y:.*]] = comm.wait %[[T0]]
// CHECK:         comm.start order 1
// CHECK-NEXT:      comm.all_gather %[[Y]]
func.func @numbers_in_order(%x: tensor<4x8xf32>) -> tensor<8x8xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %g = comm.all_gather %a dim 0 over @grid["tp"] : tensor<4x8xf32> -> tensor<8x8xf32>
  return %g : tensor<8x8xf32>
}

// Of the fused op only the reduction is communication: bias, residual and norm run behind the wait, in this order.
// CHECK-LABEL: func.func @splits_fused_norm
// CHECK:         comm.start order 0
// CHECK-NEXT:      comm.all_reduce
// CHECK:         %[[A:.*]] = comm.wait
// CHECK:         %[[B:.*]] = linalg.broadcast
// CHECK:         %[[C:.*]] = arith.addf %[[A]], %[[B]]
// CHECK:         %[[S:.*]] = arith.addf %[[C]], %{{.*}}
// CHECK:         comm.layer_norm %[[S]]
// CHECK-NOT:     comm.all_reduce_norm
func.func @splits_fused_norm(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>, %w: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %n, %s = comm.all_reduce_norm %x, %r, %w bias %w : tensor<8xf32> norm_bias %w : tensor<8xf32> epsilon 1.0e-5 layer_norm over @grid["tp"] : tensor<4x8xf32>, tensor<8xf32>
  return %n, %s : tensor<4x8xf32>, tensor<4x8xf32>
}

// Without collectives nothing changes.
// CHECK-LABEL: func.func @leaves_local_work
// CHECK-NEXT:    math.tanh
// CHECK-NEXT:    return
func.func @leaves_local_work(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = math.tanh %x : tensor<4xf32>
  return %y : tensor<4xf32>
}
