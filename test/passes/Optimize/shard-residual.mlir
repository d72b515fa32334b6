// RUN: comm-opt %s --comm-shard-residual | FileCheck %s
// RUN: comm-opt %s --comm-shard-residual --comm-make-async --comm-sink-waits --comm-verify-form=form=async | FileCheck %s --check-prefix=ASYNC
comm.grid @grid ["dp", "tp"] = [1, 2]

// Two sites in a chain: the residual is cut once, the sum of the first feeds the second as it is, nothing is gathered.
// CHECK-LABEL: func.func @chain
// CHECK-SAME:    (%[[X:.*]]: tensor<1x4x8xf32>, %[[R:.*]]: tensor<1x4x8xf32>, %[[W:.*]]: tensor<8xf32>)
// CHECK-NEXT:    %[[FLAT:.*]] = tensor.collapse_shape %[[R]]
// CHECK-NEXT:    %[[ROWS:.*]] = comm.shard_slice %[[FLAT]] dim 0 over @grid["tp"] : tensor<4x8xf32> -> tensor<2x8xf32>
// CHECK-NEXT:    %[[N1:.*]], %[[S1:.*]] = comm.scatter_norm_gather %[[X]], %[[ROWS]], %[[W]]
// CHECK-NEXT:    %[[N2:.*]], %{{.*}} = comm.scatter_norm_gather %[[N1]], %[[S1]], %[[W]]
// CHECK-NEXT:    return %[[N2]]
// ASYNC-LABEL: func.func @chain
// ASYNC:         %[[T:.*]] = comm.start order 0 : <tensor<1x4x8xf32>, tensor<2x8xf32>> {
// ASYNC-NEXT:      %[[N:.*]], %[[S:.*]] = comm.scatter_norm_gather
// ASYNC-NEXT:      comm.yield %[[N]], %[[S]]
// ASYNC:         %{{.*}}, %{{.*}} = comm.wait %[[T]]
func.func @chain(%x: tensor<1x4x8xf32>, %r: tensor<1x4x8xf32>, %w: tensor<8xf32>) -> tensor<1x4x8xf32> {
  %n1, %s1 = comm.all_reduce_norm %x, %r, %w epsilon 1.0e-5 over @grid["tp"] : tensor<1x4x8xf32>, tensor<8xf32>
  %n2, %s2 = comm.all_reduce_norm %n1, %s1, %w epsilon 1.0e-5 over @grid["tp"] : tensor<1x4x8xf32>, tensor<8xf32>
  return %n2 : tensor<1x4x8xf32>
}

// The sum is also a result and feeds an op: one gather serves both. Rows do not divide: 5 over 2 ranks are 3 and 2.
// CHECK-LABEL: func.func @read_whole
// CHECK:         %[[N:.*]], %[[S:.*]] = comm.scatter_norm_gather %{{.*}} layer_norm {{.*}} tensor<5x8xf32>, tensor<3x8xf32>
// CHECK-NEXT:    %[[G:.*]] = comm.all_gather %[[S]] dim 0 over @grid["tp"] : tensor<3x8xf32> -> tensor<5x8xf32>
// CHECK-NOT:     all_gather
// CHECK:         %[[T:.*]] = math.tanh %[[G]]
// CHECK-NEXT:    return %[[N]], %[[G]], %[[T]]
func.func @read_whole(%x: tensor<5x8xf32>, %r: tensor<5x8xf32>, %w: tensor<8xf32>) -> (tensor<5x8xf32>, tensor<5x8xf32>, tensor<5x8xf32>) {
  %n, %s = comm.all_reduce_norm %x, %r, %w bias %w : tensor<8xf32> norm_bias %w : tensor<8xf32> epsilon 1.0e-5 layer_norm over @grid["tp"] : tensor<5x8xf32>, tensor<8xf32>
  %t = math.tanh %s : tensor<5x8xf32>
  return %n, %s, %t : tensor<5x8xf32>, tensor<5x8xf32>, tensor<5x8xf32>
}

// Between the sites the residual is reshaped and cast: both are done on the own rows.
// CHECK-LABEL: func.func @through_reshape_and_cast
// CHECK:         %[[N:.*]], %[[S:.*]] = comm.scatter_norm_gather
// CHECK-NEXT:    %[[C:.*]] = arith.extf %[[S]] : tensor<2x8xf16> to tensor<2x8xf32>
// CHECK-NEXT:    comm.scatter_norm_gather %{{.*}}, %[[C]],
// CHECK-NOT:     all_gather
// CHECK:         return
func.func @through_reshape_and_cast(%x: tensor<1x4x8xf16>, %r: tensor<1x4x8xf16>, %w: tensor<8xf16>, %y: tensor<4x8xf32>, %g: tensor<8xf32>) -> (tensor<1x4x8xf16>, tensor<4x8xf32>) {
  %n1, %s1 = comm.all_reduce_norm %x, %r, %w epsilon 1.0e-5 over @grid["tp"] : tensor<1x4x8xf16>, tensor<8xf16>
  %flat = tensor.collapse_shape %s1 [[0, 1], [2]] : tensor<1x4x8xf16> into tensor<4x8xf16>
  %wide = arith.extf %flat : tensor<4x8xf16> to tensor<4x8xf32>
  %n2, %s2 = comm.all_reduce_norm %y, %wide, %g epsilon 1.0e-5 over @grid["tp"] : tensor<4x8xf32>, tensor<8xf32>
  return %n1, %n2 : tensor<1x4x8xf16>, tensor<4x8xf32>
}

// Fewer rows than ranks, and a group of one rank: nothing changes.
// CHECK-LABEL: func.func @too_few_rows
// CHECK-NEXT:    comm.all_reduce_norm
// CHECK-NEXT:    comm.all_reduce_norm
// CHECK-NEXT:    return
func.func @too_few_rows(%x: tensor<1x8xf32>, %y: tensor<4x8xf32>, %w: tensor<8xf32>) -> (tensor<1x8xf32>, tensor<4x8xf32>) {
  %n, %s = comm.all_reduce_norm %x, %x, %w epsilon 1.0e-5 over @grid["tp"] : tensor<1x8xf32>, tensor<8xf32>
  %m, %t = comm.all_reduce_norm %y, %y, %w epsilon 1.0e-5 over @grid["dp"] : tensor<4x8xf32>, tensor<8xf32>
  return %n, %m : tensor<1x8xf32>, tensor<4x8xf32>
}
