// RUN: comm-opt %s --comm-decompose-collectives | FileCheck %s
comm.grid @grid ["dp", "tp"] = [1, 2]

// An inner dimension: gathered as blocks, then unpacked behind the wait.
// CHECK-LABEL: func.func @gather_inner
// CHECK-SAME:    (%[[X:.*]]: tensor<3x2xf32>)
// CHECK:         %[[E:.*]] = tensor.expand_shape %[[X]] {{\[\[}}0, 1], [2]] {{.*}} into tensor<1x3x2xf32>
// CHECK:         %[[T:.*]] = comm.start order 3
// CHECK-NEXT:      %[[G:.*]] = comm.all_gather %[[E]] dim 0 over @grid["tp"] : tensor<1x3x2xf32> -> tensor<2x3x2xf32>
// CHECK-NEXT:      comm.yield %[[G]]
// CHECK:         math.exp
// CHECK:         %[[W:.*]] = comm.wait %[[T]]
// CHECK:         comm.unpack_shards %[[W]] dim 1 over @grid["tp"] : tensor<2x3x2xf32> -> tensor<3x4xf32>
func.func @gather_inner(%x: tensor<3x2xf32>) -> (tensor<3x4xf32>, tensor<3x2xf32>) {
  %t = comm.start order 3 : !comm.token<tensor<3x4xf32>> {
    %r = comm.all_gather %x dim 1 over @grid["tp"] : tensor<3x2xf32> -> tensor<3x4xf32>
    comm.yield %r : tensor<3x4xf32>
  }
  %e = math.exp %x : tensor<3x2xf32>
  %y = comm.wait %t : !comm.token<tensor<3x4xf32>>
  return %y, %e : tensor<3x4xf32>, tensor<3x2xf32>
}

// 5 over 2 ranks: blocks of 3, the last one zero-filled.
// CHECK-LABEL: func.func @scatter_uneven
// CHECK:         %[[P:.*]] = comm.pack_shards %{{.*}} dim 0 over @grid["tp"] : tensor<5xf32> -> tensor<2x3xf32>
// CHECK:         %[[R:.*]] = comm.reduce_scatter sum %[[P]] dim 0 over @grid["tp"] : tensor<2x3xf32> -> tensor<1x3xf32>
// CHECK:         tensor.collapse_shape %[[R]] {{\[\[}}0, 1]] : tensor<1x3xf32> into tensor<3xf32>
func.func @scatter_uneven(%x: tensor<5xf32>) -> tensor<3xf32> {
  %y = comm.reduce_scatter sum %x dim 0 over @grid["tp"] : tensor<5xf32> -> tensor<3xf32>
  return %y : tensor<3xf32>
}

// Outermost and even on the side that is split: a reshape there, unpacking on the other.
// CHECK-LABEL: func.func @all_to_all
// CHECK-NOT:     comm.pack_shards
// CHECK:         %[[A:.*]] = comm.all_to_all %{{.*}} split 0 concat 1 over @grid["tp"] : tensor<2x1x2x3xf32> -> tensor<1x2x2x3xf32>
// CHECK:         comm.unpack_shards %{{.*}} dim 1 over @grid["tp"] : tensor<2x2x3xf32> -> tensor<2x6xf32>
func.func @all_to_all(%x: tensor<4x3xf32>) -> tensor<2x6xf32> {
  %y = comm.all_to_all %x split 0 concat 1 over @grid["tp"] : tensor<4x3xf32> -> tensor<2x6xf32>
  return %y : tensor<2x6xf32>
}

// The fused form becomes its parts, in the same order of additions.
// CHECK-LABEL: func.func @norm
// CHECK-SAME:    (%[[X:.*]]: tensor<2x4xf32>, %[[R:.*]]: tensor<2x4xf32>, %[[W:.*]]: tensor<4xf32>)
// CHECK:         %[[A:.*]] = comm.all_reduce sum %[[X]] over @grid["tp"]
// CHECK:         %[[B:.*]] = linalg.broadcast ins(%[[W]]
// CHECK:         %[[C:.*]] = arith.addf %[[A]], %[[B]]
// CHECK:         %[[S:.*]] = arith.addf %[[C]], %[[R]]
// CHECK:         %[[N:.*]] = comm.layer_norm %[[S]], %[[W]] bias %[[W]]
// CHECK:         return %[[N]], %[[S]]
func.func @norm(%x: tensor<2x4xf32>, %r: tensor<2x4xf32>, %w: tensor<4xf32>) -> (tensor<2x4xf32>, tensor<2x4xf32>) {
  %n, %s = comm.all_reduce_norm %x, %r, %w bias %w : tensor<4xf32> norm_bias %w : tensor<4xf32> epsilon 1.0e-5 layer_norm over @grid["tp"] : tensor<2x4xf32>, tensor<4xf32>
  return %n, %s : tensor<2x4xf32>, tensor<2x4xf32>
}

// An axis of one rank: nothing to send.
// CHECK-LABEL: func.func @one_rank
// CHECK-SAME:    (%[[X:.*]]: tensor<4xf32>)
// CHECK-NEXT:    return %[[X]]
func.func @one_rank(%x: tensor<4xf32>) -> tensor<4xf32> {
  %t = comm.start order 0 : !comm.token<tensor<4xf32>> {
    %r = comm.all_reduce sum %x over @grid["dp"] : tensor<4xf32>
    comm.yield %r : tensor<4xf32>
  }
  %y = comm.wait %t : !comm.token<tensor<4xf32>>
  return %y : tensor<4xf32>
}

// Must not fire: the bytes lie as the transport moves them, behind dimensions of size 1 too.
// CHECK-LABEL: func.func @already_blocks
// CHECK-NOT:     tensor.
// CHECK-NOT:     comm.unpack_shards
// CHECK:         comm.all_gather %{{.*}} dim 1 over @grid["tp"] : tensor<1x2x3xf32> -> tensor<1x4x3xf32>
// CHECK-NEXT:    comm.reduce_scatter sum %{{.*}} dim 0 over @grid["tp"] : tensor<4xf32> -> tensor<2xf32>
// CHECK-NEXT:    return
func.func @already_blocks(%x: tensor<1x2x3xf32>, %p: tensor<4xf32>) -> (tensor<1x4x3xf32>, tensor<2xf32>) {
  %y = comm.all_gather %x dim 1 over @grid["tp"] : tensor<1x2x3xf32> -> tensor<1x4x3xf32>
  %z = comm.reduce_scatter sum %p dim 0 over @grid["tp"] : tensor<4xf32> -> tensor<2xf32>
  return %y, %z : tensor<1x4x3xf32>, tensor<2xf32>
}
