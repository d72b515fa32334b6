// RUN: comm-opt %s --comm-fuse-all-reduce-norm=settle=true --canonicalize | FileCheck %s
// RUN: comm-opt %s --comm-fuse-all-reduce-norm | FileCheck %s --check-prefix=OFF
comm.grid @grid ["tp"] = [2]

// A residual that was reduced for the first norm and is carried on as a partial sum: the second reduction has the product only.
// CHECK-LABEL: func.func @carried
// CHECK-SAME:    (%[[E:.*]]: tensor<4x8xf32>, %[[P:.*]]: tensor<4x8xf32>, %[[W:.*]]: tensor<8xf32>)
// CHECK:         %[[R:.*]] = comm.all_reduce sum %[[E]]
// CHECK:         comm.rms_norm %[[R]]
// CHECK:         comm.all_reduce_norm %[[P]], %[[R]], %[[W]]
// CHECK-NOT:     arith.addf
// OFF-LABEL:   func.func @carried
// OFF:           arith.addf
// OFF:           comm.all_reduce sum
// OFF-NOT:       comm.all_reduce_norm
func.func @carried(%e: tensor<4x8xf32>, %p: tensor<4x8xf32>, %w: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %r = comm.all_reduce sum %e over @grid["tp"] : tensor<4x8xf32>
  %n = comm.rms_norm %r, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %c = arith.addf %e, %p : tensor<4x8xf32>
  %a = comm.all_reduce sum %c over @grid["tp"] : tensor<4x8xf32>
  %m = comm.rms_norm %a, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %n, %m : tensor<4x8xf32>, tensor<4x8xf32>
}

// Residual and bias are masked to one rank: both are added behind the reduction, the bias first.
// CHECK-LABEL: func.func @masked
// CHECK-SAME:    (%[[P:.*]]: tensor<4x8xf32>, %[[R:.*]]: tensor<4x8xf32>, %[[B:.*]]: tensor<8xf32>)
// CHECK:         comm.all_reduce_norm %[[P]], %[[R]], %[[B]] bias %[[B]]
// CHECK-NOT:     comm.rank_mask
// OFF-LABEL:   func.func @masked
// OFF-COUNT-2:   comm.rank_mask
func.func @masked(%p: tensor<4x8xf32>, %r: tensor<4x8xf32>, %b: tensor<8xf32>) -> tensor<4x8xf32> {
  %e = tensor.empty() : tensor<4x8xf32>
  %bb = linalg.broadcast ins(%b : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %mb = comm.rank_mask %bb over @grid["tp"] : tensor<4x8xf32>
  %mr = comm.rank_mask %r over @grid["tp"] : tensor<4x8xf32>
  %c = arith.addf %mr, %p : tensor<4x8xf32>
  %d = arith.addf %c, %mb : tensor<4x8xf32>
  %a = comm.all_reduce sum %d over @grid["tp"] : tensor<4x8xf32>
  %m = comm.rms_norm %a, %b epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %m : tensor<4x8xf32>
}

// A sum of partial values only, and one of whole values only: nothing to settle.
// CHECK-LABEL: func.func @nothing
// CHECK:         arith.addf
// CHECK-NEXT:    comm.all_reduce
// CHECK:         comm.rank_mask
// CHECK-NEXT:    comm.all_reduce
func.func @nothing(%p: tensor<4x8xf32>, %q: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %c = arith.addf %p, %q : tensor<4x8xf32>
  %a = comm.all_reduce sum %c over @grid["tp"] : tensor<4x8xf32>
  %m = comm.rank_mask %q over @grid["tp"] : tensor<4x8xf32>
  %b = comm.all_reduce sum %m over @grid["tp"] : tensor<4x8xf32>
  return %a, %b : tensor<4x8xf32>, tensor<4x8xf32>
}
