// RUN: comm-opt %s --comm-pipeline-matmuls="chunks=2 tile=2 min-rows=2" | FileCheck %s
// RUN: comm-opt %s --comm-pipeline-matmuls="chunks=2 tile=2 min-rows=2" --comm-make-async --comm-sink-waits --comm-verify-form=form=async | FileCheck %s --check-prefix=ORDER
// RUN: comm-opt %s --comm-pipeline-matmuls="tile=2 min-rows=2" | FileCheck %s --check-prefix=WHOLE
// RUN: comm-opt %s --comm-pipeline-matmuls="link=0.1Gbit,50us" | FileCheck %s --check-prefix=SLOW
comm.grid @grid ["dp", "tp"] = [1, 2]

// What is predicted decides: a product of many rows in front of a slow link is cut, one that takes next to nothing beside it is not.
// SLOW-LABEL: func.func @predicted
// SLOW:         tensor.extract_slice
// SLOW:         return
// SLOW-LABEL: func.func @reduce
// SLOW-NEXT:    comm.matmul
// SLOW-NEXT:    comm.all_reduce
func.func @predicted(%x: tensor<2048x8192xf32>, %w: tensor<8192x256xf32>) -> tensor<2048x256xf32> {
  %p = comm.matmul %x, %w : tensor<2048x8192xf32>, tensor<8192x256xf32> -> tensor<2048x256xf32>
  %r = comm.all_reduce sum %p over @grid["tp"] : tensor<2048x256xf32>
  return %r : tensor<2048x256xf32>
}

// Chunk 0 is reduced while chunk 1 is computed. On what is predicted for a machine's own memory the whole is left alone.
// CHECK-LABEL: func.func @reduce(
// CHECK:         %[[P0:.*]] = comm.matmul %{{.*}} : tensor<1x4x8xf32>, tensor<8x8xf32> -> tensor<1x4x8xf32>
// CHECK-NEXT:    %[[R0:.*]] = comm.all_reduce sum %[[P0]]
// CHECK:         %[[P1:.*]] = comm.matmul %{{.*}} : tensor<1x2x8xf32>, tensor<8x8xf32> -> tensor<1x2x8xf32>
// CHECK-NEXT:    %[[R1:.*]] = comm.all_reduce sum %[[P1]]
// CHECK-NEXT:    tensor.concat dim(1) %[[R0]], %[[R1]]
// ORDER-LABEL: func.func @reduce
// ORDER:         comm.matmul
// ORDER:         comm.start order 0
// ORDER:         comm.matmul
// ORDER:         comm.wait
// WHOLE-LABEL: func.func @reduce
// WHOLE-NEXT:    comm.matmul
// WHOLE-NEXT:    comm.all_reduce
// WHOLE-NEXT:    return
func.func @reduce(%x: tensor<1x6x8xf32>, %w: tensor<8x8xf32>) -> tensor<1x6x8xf32> {
  %p = comm.matmul %x, %w : tensor<1x6x8xf32>, tensor<8x8xf32> -> tensor<1x6x8xf32>
  %r = comm.all_reduce sum %p over @grid["tp"] : tensor<1x6x8xf32>
  return %r : tensor<1x6x8xf32>
}

// Shards lie in the rows: a chunk takes the same rows of every shard, so the pieces of this rank follow each other.
// CHECK-LABEL: func.func @scatter
// CHECK:         tensor.extract_slice %{{.*}}[0, 0, 0] [2, 2, 8] [1, 1, 1] : tensor<2x4x8xf32> to tensor<2x2x8xf32>
// CHECK:         comm.reduce_scatter {{.*}} : tensor<4x8xf32> -> tensor<2x8xf32>
// CHECK:         tensor.extract_slice %{{.*}}[0, 2, 0] [2, 2, 8]
// CHECK:         comm.reduce_scatter {{.*}} : tensor<4x8xf32> -> tensor<2x8xf32>
// CHECK:         tensor.concat dim(0) {{.*}} -> tensor<4x8xf32>
func.func @scatter(%x: tensor<8x8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %p = comm.matmul %x, %w : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
  %r = comm.reduce_scatter sum %p dim 0 over @grid["tp"] : tensor<8x8xf32> -> tensor<4x8xf32>
  return %r : tensor<4x8xf32>
}

// The gather of chunk 1 runs under the product of chunk 0.
// CHECK-LABEL: func.func @gather
// CHECK:         comm.all_gather {{.*}} : tensor<2x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:    comm.matmul
// CHECK:         comm.all_gather {{.*}} : tensor<2x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:    comm.matmul
// CHECK:         tensor.concat dim(1) {{.*}} -> tensor<2x4x8xf32>
// ORDER-LABEL: func.func @gather
// ORDER:         comm.start order 0
// ORDER:         comm.start order 1
// ORDER:         comm.wait
// ORDER:         comm.matmul
// ORDER:         comm.wait
// ORDER:         comm.matmul
func.func @gather(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %g = comm.all_gather %x dim 0 over @grid["tp"] : tensor<4x8xf32> -> tensor<8x8xf32>
  %p = comm.matmul %g, %w : tensor<8x8xf32>, tensor<8x8xf32> -> tensor<8x8xf32>
  return %p : tensor<8x8xf32>
}

// With residual and norm: rows of both go along.
// CHECK-LABEL: func.func @norm
// CHECK-COUNT-2: comm.all_reduce_norm {{.*}} : tensor<2x8xf32>, tensor<8xf32>
// CHECK-COUNT-2: tensor.concat dim(0)
func.func @norm(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>, %r: tensor<4x8xf32>, %g: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %p = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %n, %s = comm.all_reduce_norm %p, %r, %g epsilon 1.0e-5 over @grid["tp"] : tensor<4x8xf32>, tensor<8xf32>
  return %n, %s : tensor<4x8xf32>, tensor<4x8xf32>
}

// The product has another reader, the right operand shares the rows, the shards do not divide: nothing changes.
// CHECK-LABEL: func.func @stays
// CHECK-NOT:     tensor.extract_slice
// CHECK:         return
func.func @stays(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>, %b: tensor<2x4x8xf32>, %c: tensor<2x8x8xf32>, %o: tensor<7x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<2x4x8xf32>, tensor<4x8xf32>) {
  %p = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %r = comm.all_reduce sum %p over @grid["tp"] : tensor<4x8xf32>
  %q = comm.matmul %b, %c : tensor<2x4x8xf32>, tensor<2x8x8xf32> -> tensor<2x4x8xf32>
  %s = comm.all_reduce sum %q over @grid["tp"] : tensor<2x4x8xf32>
  %u = comm.matmul %o, %w : tensor<7x8xf32>, tensor<8x8xf32> -> tensor<7x8xf32>
  %t = comm.reduce_scatter sum %u dim 0 over @grid["tp"] : tensor<7x8xf32> -> tensor<4x8xf32>
  return %p, %r, %s, %t : tensor<4x8xf32>, tensor<4x8xf32>, tensor<2x4x8xf32>, tensor<4x8xf32>
}
