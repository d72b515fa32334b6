// RUN: comm-opt %s --comm-pipeline-matmuls="order=ring min-rows=2" | FileCheck %s
// RUN: comm-opt %s --comm-pipeline-matmuls="order=ring min-rows=2" --comm-make-async --comm-sink-waits --comm-verify-form=form=async | FileCheck %s --check-prefix=ORDER
// RUN: comm-opt %s --comm-pipeline-matmuls="order=direct min-rows=2 tile=2 chunks=2" | FileCheck %s --check-prefix=DIRECT
// RUN: comm-opt %s --comm-pipeline-matmuls="min-rows=2" | FileCheck %s --check-prefix=AUTO
// RUN: comm-opt %s --comm-pipeline-matmuls="link=1Gbit,50us" | FileCheck %s --check-prefix=SLOW
// RUN: not comm-opt %s --comm-pipeline-matmuls="order=tree" 2>&1 | FileCheck %s --check-prefix=WRONG
// WRONG: order is direct, ring or auto, not 'tree'
comm.grid @grid ["dp", "tp"] = [1, 3]

// Predicted times decide where nothing is asked for. On the machine's own memory a small site stays whole, on a slow link a large one goes around the ring.
// AUTO: comm.explain = [{{.*}}all_gather stays in one piece
// SLOW: comm.explain = [{{.*}}run in ring order, 3 steps of 1024 rows (predicted {{[0-9.]+}} us{{.*}}, in one piece {{[0-9.]+}} us)

// The own shard is multiplied while the next one is on its way; the results are turned into their places.
// CHECK-LABEL: func.func @gather(
// CHECK-SAME:    %[[X:.*]]: tensor<4x8xf32>, %[[W:.*]]: tensor<8x6xf32>
// CHECK-NEXT:    %[[X1:.*]] = comm.permute %[[X]] shift -1 over @grid["tp"] : tensor<4x8xf32>
// CHECK-NEXT:    %[[X2:.*]] = comm.permute %[[X1]] shift -1 over @grid["tp"]
// CHECK-NEXT:    %[[P0:.*]] = comm.matmul %[[X]], %[[W]]
// CHECK-NEXT:    %[[E0:.*]] = tensor.expand_shape %[[P0]]
// CHECK-NEXT:    %[[P1:.*]] = comm.matmul %[[X1]], %[[W]]
// CHECK-NEXT:    %[[E1:.*]] = tensor.expand_shape %[[P1]]
// CHECK-NEXT:    %[[P2:.*]] = comm.matmul %[[X2]], %[[W]]
// CHECK-NEXT:    %[[E2:.*]] = tensor.expand_shape %[[P2]]
// CHECK-NEXT:    %[[C:.*]] = tensor.concat dim(0) %[[E0]], %[[E1]], %[[E2]]
// CHECK-NEXT:    %[[U:.*]] = comm.unpack_shards %[[C]] dim 0 over @grid["tp"] {rotated} : tensor<3x4x6xf32> -> tensor<12x6xf32>
// CHECK-NEXT:    return %[[U]]
// ORDER-LABEL: func.func @gather(
// ORDER-NEXT:    comm.start order 0
// ORDER:         comm.matmul
// ORDER:         comm.wait
// ORDER-NEXT:    comm.start order 1
// ORDER:         comm.matmul
// ORDER:         comm.wait
// ORDER:         comm.matmul
// DIRECT-LABEL: func.func @gather(
// DIRECT-NOT:    comm.permute
// DIRECT:        tensor.extract_slice
// AUTO-LABEL: func.func @gather(
// AUTO-NEXT:    comm.all_gather
func.func @gather(%x: tensor<4x8xf32>, %w: tensor<8x6xf32>) -> tensor<12x6xf32> {
  %g = comm.all_gather %x dim 0 over @grid["tp"] : tensor<4x8xf32> -> tensor<12x8xf32>
  %p = comm.matmul %g, %w : tensor<12x8xf32>, tensor<8x6xf32> -> tensor<12x6xf32>
  return %p : tensor<12x6xf32>
}

// The sum travels; in the last step the rank adds its product of its own shard.
// CHECK-LABEL: func.func @scatter(
// CHECK-SAME:    %[[X:.*]]: tensor<12x8xf32>, %[[W:.*]]: tensor<8x6xf32>
// CHECK-NEXT:    %[[S0:.*]] = comm.shard_slice %[[X]] dim 0 over @grid["tp"] {shift = 1 : i64} : tensor<12x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:    %[[P0:.*]] = comm.matmul %[[S0]], %[[W]]
// CHECK-NEXT:    %[[S1:.*]] = comm.shard_slice %[[X]] dim 0 over @grid["tp"] {shift = 2 : i64}
// CHECK-NEXT:    %[[P1:.*]] = comm.matmul %[[S1]], %[[W]]
// CHECK-NEXT:    %[[A0:.*]] = comm.permute %[[P0]] shift -1 over @grid["tp"]
// CHECK-NEXT:    %[[A1:.*]] = arith.addf %[[A0]], %[[P1]]
// CHECK-NEXT:    %[[S2:.*]] = comm.shard_slice %[[X]] dim 0 over @grid["tp"] : tensor
// CHECK-NEXT:    %[[P2:.*]] = comm.matmul %[[S2]], %[[W]]
// CHECK-NEXT:    %[[A2:.*]] = comm.permute %[[A1]] shift -1
// CHECK-NEXT:    %[[A3:.*]] = arith.addf %[[A2]], %[[P2]]
// CHECK-NEXT:    return %[[A3]]
// ORDER-LABEL: func.func @scatter(
// ORDER:         comm.matmul
// ORDER:         comm.start order 0
// ORDER:         comm.matmul
// ORDER:         comm.wait
func.func @scatter(%x: tensor<12x8xf32>, %w: tensor<8x6xf32>) -> tensor<4x6xf32> {
  %p = comm.matmul %x, %w : tensor<12x8xf32>, tensor<8x6xf32> -> tensor<12x6xf32>
  %r = comm.reduce_scatter sum %p dim 0 over @grid["tp"] : tensor<12x6xf32> -> tensor<4x6xf32>
  return %r : tensor<4x6xf32>
}

// Several products share the shards that travel; 7 positions of two sequences over 3 ranks leave fill, which is trimmed.
// CHECK-LABEL: func.func @several(
// CHECK-COUNT-2: comm.permute {{.*}} : tensor<2x3x8xf32>
// CHECK-COUNT-3: comm.matmul {{.*}} -> tensor<2x3x4xf32>
// CHECK:         comm.unpack_shards %{{.*}} dim 1 {{.*}} {rotated} : tensor<3x2x3x4xf32> -> tensor<2x7x4xf32>
// CHECK-COUNT-3: comm.matmul {{.*}} -> tensor<2x3x6xf32>
// CHECK:         comm.unpack_shards %{{.*}} dim 1 {{.*}} {rotated} : tensor<3x2x3x6xf32> -> tensor<2x7x6xf32>
// CHECK-NOT:     comm.all_gather
func.func @several(%x: tensor<2x3x8xf32>, %w: tensor<8x4xf32>, %v: tensor<8x6xf32>) -> (tensor<2x7x4xf32>, tensor<2x7x6xf32>) {
  %g = comm.all_gather %x dim 1 over @grid["tp"] : tensor<2x3x8xf32> -> tensor<2x7x8xf32>
  %p = comm.matmul %g, %w : tensor<2x7x8xf32>, tensor<8x4xf32> -> tensor<2x7x4xf32>
  %q = comm.matmul %g, %v : tensor<2x7x8xf32>, tensor<8x6xf32> -> tensor<2x7x6xf32>
  return %p, %q : tensor<2x7x4xf32>, tensor<2x7x6xf32>
}

// SLOW-LABEL: func.func @predicted(
// SLOW-COUNT-2: comm.permute
// SLOW-NOT:     comm.permute
func.func @predicted(%x: tensor<1024x4096xf32>, %w: tensor<4096x1792xf32>) -> tensor<3072x1792xf32> {
  %g = comm.all_gather %x dim 0 over @grid["tp"] : tensor<1024x4096xf32> -> tensor<3072x4096xf32>
  %p = comm.matmul %g, %w : tensor<3072x4096xf32>, tensor<4096x1792xf32> -> tensor<3072x1792xf32>
  return %p : tensor<3072x1792xf32>
}
