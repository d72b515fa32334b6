// RUN: comm-opt %s -split-input-file --comm-pipeline-matmuls="order=ring min-rows=2 tile=64" | FileCheck %s
// Where there is no ring order, the remark says why.

// Every rank gets the whole sum.
// CHECK: all_reduce stays in one piece: {{[^;]*}}; no ring order: every rank gets the whole sum
// CHECK-NOT: comm.permute
comm.grid @grid ["tp"] = [2]
func.func @all_reduce(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %p = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %r = comm.all_reduce sum %p over @grid["tp"] : tensor<4x8xf32>
  return %r : tensor<4x8xf32>
}

// -----
// Sums of 16-bit elements are taken wide and rounded once; one that travels would be rounded at every step.
// CHECK: reduce_scatter stays in one piece: {{[^;]*}}; no ring order: a sum of 16-bit elements would be rounded at every step
// CHECK-NOT: comm.permute
comm.grid @grid ["tp"] = [2]
func.func @half(%x: tensor<4x8xf16>, %w: tensor<8x8xf16>) -> tensor<2x8xf16> {
  %p = comm.matmul %x, %w : tensor<4x8xf16>, tensor<8x8xf16> -> tensor<4x8xf16>
  %r = comm.reduce_scatter sum %p dim 0 over @grid["tp"] : tensor<4x8xf16> -> tensor<2x8xf16>
  return %r : tensor<2x8xf16>
}

// -----
// Shards in the columns of the product, or in what is summed.
// CHECK: reduce_scatter stays in one piece: {{[^;]*}}; no ring order: its shards do not lie in rows of the product
// CHECK-SAME: all_gather stays in one piece: {{[^;]*}}; no ring order: its shards do not lie in rows of the product
// CHECK-NOT: comm.permute
comm.grid @grid ["tp"] = [2]
func.func @columns(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>, %y: tensor<4x4xf32>) -> (tensor<4x4xf32>, tensor<4x8xf32>) {
  %p = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %r = comm.reduce_scatter sum %p dim 1 over @grid["tp"] : tensor<4x8xf32> -> tensor<4x4xf32>
  %g = comm.all_gather %y dim 1 over @grid["tp"] : tensor<4x4xf32> -> tensor<4x8xf32>
  %q = comm.matmul %g, %w : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  return %r, %q : tensor<4x4xf32>, tensor<4x8xf32>
}

// -----
// Another kind of reduction, too few rows, and a reader that is no product.
// CHECK: no ring order: the reduction is not a sum
// CHECK-SAME: no ring order: there are fewer than 2 rows
// CHECK-SAME: all_gather stays in one piece: not all that reads it is a product with it on the left
// CHECK-NOT: comm.permute
comm.grid @grid ["one", "tp"] = [1, 2]
func.func @others(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>, %y: tensor<1x0x8xf32>, %z: tensor<2x8xf32>) -> (tensor<2x8xf32>, tensor<1x0x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) {
  %p = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %r = comm.reduce_scatter max %p dim 0 over @grid["tp"] : tensor<4x8xf32> -> tensor<2x8xf32>
  %g = comm.all_gather %y dim 1 over @grid["tp"] : tensor<1x0x8xf32> -> tensor<1x0x8xf32>
  %q = comm.matmul %g, %w : tensor<1x0x8xf32>, tensor<8x8xf32> -> tensor<1x0x8xf32>
  %h = comm.all_gather %z dim 0 over @grid["tp"] : tensor<2x8xf32> -> tensor<4x8xf32>
  %s = comm.matmul %h, %w : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  return %r, %q, %s, %h : tensor<2x8xf32>, tensor<1x0x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
}
