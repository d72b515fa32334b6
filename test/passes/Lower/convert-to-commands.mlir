// RUN: comm-opt %s --comm-convert-to-commands | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Arguments, then outputs; the last op writes the output itself.
// CHECK-LABEL: func.func @matmul(
// CHECK-SAME:    %[[X:.*]]: memref<4x8xf32> {comm.name = "x"}, %[[Y:.*]]: memref<4x2xf32> {comm.name = "y", comm.output}) attributes {comm.entry}
// CHECK:         %[[W:.*]] = comm.loaded_weight "w" in "m.data" at 64 layout <{{.*}}> : tensor<4x8xf32> -> memref<2x8xf32>
// CHECK:         comm.command "matmul" ins(%[[X]], %[[W]] : {{.*}}) outs(%[[Y]] : memref<4x2xf32>) {transpose_a = 0 : i64, transpose_b = 1 : i64}
// CHECK-NEXT:    return
func.func @matmul(%x: tensor<4x8xf32> {comm.name = "x"}) -> (tensor<4x2xf32> {comm.name = "y"}) attributes {comm.entry} {
  %w = comm.weight "w" in "m.data" at 64 layout <[["tp"], []]> : tensor<4x8xf32> -> tensor<2x8xf32>
  %y = comm.matmul %x, %w transposed : tensor<4x8xf32>, tensor<2x8xf32> -> tensor<4x2xf32>
  return %y : tensor<4x2xf32>
}

// The integers go to the command as they are stored.
// CHECK-LABEL: func.func @quantized(
// CHECK-SAME:    %[[X:.*]]: memref<4x32xf32>
// CHECK:         %[[W:.*]] = comm.loaded_weight "w" in "m.data" at 0 : tensor<8x1x16xi8> -> memref<8x1x16xi8>
// CHECK:         %[[S:.*]] = comm.loaded_weight "s" in "m.data" at 128
// CHECK:         comm.command "quantized_matmul" ins(%[[X]], %[[W]], %[[S]] : {{.*}}) outs({{.*}} : memref<4x8xf32>) {bits = 4 : i64, block = 32 : i64, int8 = 1 : i64, k_major = 0 : i64, signed = 0 : i64}
// CHECK-NEXT:    return
func.func @quantized(%x: tensor<4x32xf32>) -> tensor<4x8xf32> {
  %w = comm.weight "w" in "m.data" at 0 : tensor<8x1x16xi8> -> tensor<8x1x16xi8>
  %s = comm.weight "s" in "m.data" at 128 : tensor<8x1xf32> -> tensor<8x1xf32>
  %y = comm.quantized_matmul %x, %w scales %s : tensor<8x1xf32> bits 4 block 32 int8 : tensor<4x32xf32>, tensor<8x1x16xi8> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Reshapes, contiguous slices and transposes that move nothing are views; nothing is copied but the outputs.
// CHECK-LABEL: func.func @views
// CHECK-SAME:    (%[[X:.*]]: memref<2x1x4xf32>,
// CHECK:         %[[V:.*]] = comm.view %[[X]] at 16 : memref<2x1x4xf32> -> memref<4xf32>
// CHECK-NEXT:    comm.command "copy" ins(%[[V]] : memref<4xf32>)
// CHECK-NEXT:    %[[T:.*]] = comm.view %[[X]] at 0 : memref<2x1x4xf32> -> memref<1x2x4xf32>
// CHECK-NEXT:    comm.command "copy" ins(%[[T]]
// CHECK-NEXT:    return
func.func @views(%x: tensor<2x1x4xf32>) -> (tensor<4xf32>, tensor<1x2x4xf32>) {
  %r = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x1x4xf32> into tensor<2x4xf32>
  %s = tensor.extract_slice %r[1, 0] [1, 4] [1, 1] : tensor<2x4xf32> to tensor<4xf32>
  %e = tensor.empty() : tensor<1x2x4xf32>
  %t = linalg.transpose ins(%x : tensor<2x1x4xf32>) outs(%e : tensor<1x2x4xf32>) permutation = [1, 0, 2]
  return %s, %t : tensor<4xf32>, tensor<1x2x4xf32>
}

// What moves: strides in elements, merged where dimensions continue each other; zero strides broadcast.
// CHECK-LABEL: func.func @moves
// CHECK:         "copy" {{.*}} {dims = array<i64: 4, 3>, in_strides = array<i64: 1, 4>, out_strides = array<i64: 3, 1>}
// CHECK:         "copy" {{.*}} {dims = array<i64: 5, 12>, in_strides = array<i64: 0, 1>, out_strides = array<i64: 12, 1>}
// CHECK:         "copy" {{.*}} {dims = array<i64: 3, 2>, in_offset = 1 : i64, in_strides = array<i64: 4, 1>, out_strides = array<i64: 2, 1>}
// CHECK:         "copy" {{.*}} {dims = array<i64: 3, 4>, in_strides = array<i64: 4, 1>, out_strides = array<i64: 6, 1>}
// CHECK:         "copy" {{.*}} {dims = array<i64: 3, 2>, in_strides = array<i64: 2, 1>, out_offset = 4 : i64, out_strides = array<i64: 6, 1>}
func.func @moves(%x: tensor<3x4xf32>) -> (tensor<4x3xf32>, tensor<5x3x4xf32>, tensor<3x6xf32>) {
  %e = tensor.empty() : tensor<4x3xf32>
  %t = linalg.transpose ins(%x : tensor<3x4xf32>) outs(%e : tensor<4x3xf32>) permutation = [1, 0]
  %f = tensor.empty() : tensor<5x3x4xf32>
  %b = linalg.broadcast ins(%x : tensor<3x4xf32>) outs(%f : tensor<5x3x4xf32>) dimensions = [0]
  %s = tensor.extract_slice %x[0, 1] [3, 2] [1, 1] : tensor<3x4xf32> to tensor<3x2xf32>
  %c = tensor.concat dim(1) %x, %s : (tensor<3x4xf32>, tensor<3x2xf32>) -> tensor<3x6xf32>
  return %t, %b, %c : tensor<4x3xf32>, tensor<5x3x4xf32>, tensor<3x6xf32>
}

// Windows are one copy, in which neighbours overlap; scatters and positions are commands of their own.
// CHECK-LABEL: func.func @windows
// CHECK:         "copy" {{.*}} {dims = array<i64: 3, 2, 3>, in_strides = array<i64: 8, 2, 2>, out_strides = array<i64: 6, 3, 1>}
// CHECK:         "scatter_nd" {{.*}} {kind = "max"}
// CHECK:         "top_k" {{.*}} {largest = 0 : i64}
func.func @windows(%x: tensor<3x8xf32>, %i: tensor<2x1xi64>, %u: tensor<2x8xf32>)
    -> (tensor<3x2x3xf32>, tensor<3x8xf32>, tensor<3x2xi64>) {
  %w = comm.windows %x sizes [2] strides [2] dilations [2] : tensor<3x8xf32> -> tensor<3x2x3xf32>
  %s = comm.scatter_nd max %x, %i, %u : tensor<3x8xf32>, tensor<2x1xi64>, tensor<2x8xf32>
  %k = comm.top_k %x 2 : tensor<3x8xf32> -> tensor<3x2xi64>
  return %w, %s, %k : tensor<3x2x3xf32>, tensor<3x8xf32>, tensor<3x2xi64>
}

// Small constants are data, large splats are filled; padding is a fill and a copy.
// CHECK-LABEL: func.func @constants
// CHECK:         comm.data dense<[1, 2]> : tensor<2xi64> -> memref<2xi64>
// CHECK:         comm.command "fill" outs(%{{.*}} : memref<2000xf32>) {value = 1.500000e+00 : f64}
// CHECK:         comm.command "fill" outs(%{{.*}} : memref<4x4xi32>) {value = -1 : i64}
// CHECK-NEXT:    comm.command "copy" {{.*}} {dims = array<i64: 2, 2>, in_strides = array<i64: 2, 1>, out_offset = 5 : i64, out_strides = array<i64: 4, 1>}
func.func @constants(%x: tensor<2x2xi32>) -> (tensor<2xi64>, tensor<2000xf32>, tensor<4x4xi32>) {
  %c = arith.constant dense<[1, 2]> : tensor<2xi64>
  %big = arith.constant dense<1.5> : tensor<2000xf32>
  %minus = arith.constant -1 : i32
  %p = tensor.pad %x low[1, 1] high[1, 1] {
  ^bb0(%i: index, %j: index):
    tensor.yield %minus : i32
  } : tensor<2x2xi32> to tensor<4x4xi32>
  return %c, %big, %p : tensor<2xi64>, tensor<2000xf32>, tensor<4x4xi32>
}

// A collective reads and writes the arena: an argument is copied in, the result is copied out. Shapes are blocks [members, ...].
// CHECK-LABEL: func.func @collectives
// CHECK-SAME:    (%[[X:.*]]: memref<2x3xf32>, %[[Y:.*]]: memref<4x3xf32> {comm.output})
// CHECK:         %[[I:.*]] = comm.buffer : memref<2x3xf32>
// CHECK-NEXT:    comm.command "copy" ins(%[[X]] : memref<2x3xf32>) outs(%[[I]] : memref<2x3xf32>)
// CHECK-NEXT:    %[[O:.*]] = comm.buffer : memref<4x3xf32>
// CHECK-NEXT:    %[[V:.*]] = comm.view %[[O]] at 0 : memref<4x3xf32> -> memref<2x2x3xf32>
// CHECK-NEXT:    comm.command "start" ins(%[[I]] : memref<2x3xf32>) outs(%[[V]] : memref<2x2x3xf32>) {axes = ["tp"], collective = "all_gather", plan_id = 0 : i64, token = 0 : i64}
// CHECK-NEXT:    comm.command "wait" {token = 0 : i64}
// CHECK-NEXT:    comm.command "copy" ins(%[[O]] : memref<4x3xf32>) outs(%[[Y]] : memref<4x3xf32>)
func.func @collectives(%x: tensor<2x3xf32>) -> tensor<4x3xf32> {
  %t = comm.start order 7 : !comm.token<tensor<4x3xf32>> {
    %r = comm.all_gather %x dim 0 over @grid["tp"] : tensor<2x3xf32> -> tensor<4x3xf32>
    comm.yield %r : tensor<4x3xf32>
  }
  %y = comm.wait %t : !comm.token<tensor<4x3xf32>>
  return %y : tensor<4x3xf32>
}

// Twice the same result: computed into the first output, copied to the second. An argument that is returned is copied.
// CHECK-LABEL: func.func @twice
// CHECK-SAME:    (%[[X:.*]]: memref<2x2xf32>, %[[A:.*]]: memref<2x2xf32> {comm.output}, %[[B:.*]]: memref<4xf32> {comm.output}, %[[C:.*]]: memref<2x2xf32> {comm.output})
// CHECK:         comm.command "matmul" {{.*}} outs(%[[A]] : memref<2x2xf32>)
// CHECK:         comm.command "copy" {{.*}} outs(%[[B]] : memref<4xf32>)
// CHECK:         comm.command "copy" ins(%[[X]] : memref<2x2xf32>) outs(%[[C]] : memref<2x2xf32>)
func.func @twice(%x: tensor<2x2xf32>) -> (tensor<2x2xf32>, tensor<4xf32>, tensor<2x2xf32>) {
  %m = comm.matmul %x, %x : tensor<2x2xf32>, tensor<2x2xf32> -> tensor<2x2xf32>
  %f = tensor.collapse_shape %m [[0, 1]] : tensor<2x2xf32> into tensor<4xf32>
  return %m, %f, %x : tensor<2x2xf32>, tensor<4xf32>, tensor<2x2xf32>
}

// What a ring is made of: every rank takes another shard, and gives its own on.
// CHECK-LABEL: func.func @ring
// CHECK:         "shard_copy" {{.*}} {axes = ["tp"], dim = 0 : i64, grain = 1 : i64, shift = 1 : i64}
// CHECK:         "start" {{.*}} {axes = ["tp"], collective = "permute", plan_id = 0 : i64, shift = -1 : i64, token = 0 : i64}
// CHECK:         "wait"
// CHECK:         "unpack_shards" {{.*}} {axes = ["tp"], dim = 0 : i64, grain = 1 : i64, rotated = 1 : i64}
func.func @ring(%x: tensor<4x3xf32>) -> (tensor<2x3xf32>, tensor<6xf32>) {
  %s = comm.shard_slice %x dim 0 over @grid["tp"] {shift = 1 : i64} : tensor<4x3xf32> -> tensor<2x3xf32>
  %t = comm.start order 0 : !comm.token<tensor<2x3xf32>> {
    %p = comm.permute %s shift -1 over @grid["tp"] : tensor<2x3xf32>
    comm.yield %p : tensor<2x3xf32>
  }
  %w = comm.wait %t : !comm.token<tensor<2x3xf32>>
  %u = comm.unpack_shards %w dim 0 over @grid["tp"] {rotated} : tensor<2x3xf32> -> tensor<6xf32>
  return %s, %u : tensor<2x3xf32>, tensor<6xf32>
}

// The other ops with a command of their own.
// CHECK-LABEL: func.func @others
// CHECK:         "embedding" {{.*}} {axes = ["tp"], grain = 1 : i64, vocab = 10 : i64}
// CHECK:         "shard_copy" {{.*}} {axes = ["tp"], dim = 1 : i64, grain = 1 : i64}
// CHECK:         "rank_mask" {{.*}} {axes = ["tp"]}
// CHECK:         "gather" {{.*}} {axis = 1 : i64}
// CHECK:         "expert_matmul" {{.*}} {axes = ["tp"], experts = 10 : i64, grain = 1 : i64, transpose = 1 : i64}
// CHECK:         "expert_matmul" {{.*}} {axes = [], experts = 5 : i64, grain = 1 : i64, transpose = 0 : i64}
// CHECK:         "attention" {{.*}} {causal = 1 : i64, causal_offset = 2 : i64, has_lengths = 0 : i64, has_mask = 1 : i64, scale = 5.000000e-01 : f64, softcap = 0.000000e+00 : f64}
func.func @others(%t: tensor<5x4xf32>, %i: tensor<2xi64>, %q: tensor<1x1x3x4xf32>, %k: tensor<1x1x5x4xf32>, %mask: tensor<1x1x1x5xi1>,
                  %w: tensor<5x4x4xf32>) -> (tensor<2x2xf32>, tensor<2x4xf32>, tensor<5x2xf32>, tensor<1x1x3x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) {
  %e = comm.embedding %t, %i vocab 10 over ["tp"] : tensor<5x4xf32>, tensor<2xi64> -> tensor<2x4xf32>
  %s = comm.shard_slice %e dim 1 over @grid["tp"] : tensor<2x4xf32> -> tensor<2x2xf32>
  %m = comm.rank_mask %e over @grid["tp"] : tensor<2x4xf32>
  %g = comm.gather %t, %i axis 1 : tensor<5x4xf32>, tensor<2xi64> -> tensor<5x2xf32>
  %p = comm.expert_matmul %e, %i, %w transpose experts 10 over ["tp"] : tensor<2x4xf32>, tensor<2xi64>, tensor<5x4x4xf32> -> tensor<2x4xf32>
  %o = comm.expert_matmul %e, %i, %w : tensor<2x4xf32>, tensor<2xi64>, tensor<5x4x4xf32> -> tensor<2x4xf32>
  %a = comm.attention %q, %k, %k mask %mask : tensor<1x1x1x5xi1> scale 5.0e-1 causal 2 : tensor<1x1x3x4xf32>, tensor<1x1x5x4xf32>, tensor<1x1x5x4xf32> -> tensor<1x1x3x4xf32>
  return %s, %m, %g, %a, %p, %o : tensor<2x2xf32>, tensor<2x4xf32>, tensor<5x2xf32>, tensor<1x1x3x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>
}

// Parts of a concatenation are computed in their place; a value that two parts show is not, as it would be copied within one buffer.
// CHECK-LABEL: func.func @concat_in_place
// CHECK-SAME:    (%[[X:.*]]: memref<2x4xf32>, %[[W:.*]]: memref<4x4xf32>, %[[Y:.*]]: memref<4x4xf32> {comm.output}, %[[Z:.*]]: memref<4x4xf32> {comm.output})
// CHECK-NEXT:    %[[A:.*]] = comm.view %[[Y]] at 0
// CHECK-NEXT:    comm.command "matmul" ins(%[[X]], %[[W]] : {{.*}}) outs(%[[A]] :
// CHECK:         %[[B:.*]] = comm.view %[[Y]] at 32
// CHECK-NEXT:    comm.command "matmul" {{.*}} outs(%[[B]] :
// CHECK:         %[[M:.*]] = comm.buffer : memref<2x4xf32>
// CHECK-NEXT:    comm.command "matmul" {{.*}} outs(%[[M]] :
// CHECK-NEXT:    comm.command "copy" ins(%[[M]] : memref<2x4xf32>) outs(%[[Z]] :
// CHECK-NEXT:    comm.command "copy" ins(%[[M]] : memref<2x4xf32>) outs(%[[Z]] :
// CHECK-NEXT:    return
func.func @concat_in_place(%x: tensor<2x4xf32>, %w: tensor<4x4xf32>) -> (tensor<4x4xf32>, tensor<4x4xf32>) {
  %a = comm.matmul %x, %w : tensor<2x4xf32>, tensor<4x4xf32> -> tensor<2x4xf32>
  %b = comm.matmul %a, %w : tensor<2x4xf32>, tensor<4x4xf32> -> tensor<2x4xf32>
  %y = tensor.concat dim(0) %a, %b : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<4x4xf32>
  %m = comm.matmul %b, %w : tensor<2x4xf32>, tensor<4x4xf32> -> tensor<2x4xf32>
  %z = tensor.concat dim(0) %m, %m : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<4x4xf32>
  return %y, %z : tensor<4x4xf32>, tensor<4x4xf32>
}
