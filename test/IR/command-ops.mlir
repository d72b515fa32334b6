// RUN: comm-opt %s | comm-opt | FileCheck %s
comm.grid @grid ["tp"] = [2]

// A kernel, called on values and launched on buffers.
// CHECK-LABEL: comm.kernel @k_tanh iterations 4 {
// CHECK:         comm.yield %{{.*}} : tensor<4xf32>
comm.kernel @k_tanh iterations 4 {
^bb0(%a: tensor<4xf32>):
  %r = math.tanh %a : tensor<4xf32>
  comm.yield %r : tensor<4xf32>
}

// CHECK-LABEL: func.func @call
// CHECK:         comm.call_kernel @k_tanh(%{{.*}}) : (tensor<4xf32>) -> tensor<4xf32>
func.func @call(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = comm.call_kernel @k_tanh(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// CHECK-LABEL: func.func @blocks
// CHECK:         comm.pack_shards %{{.*}} dim 1 over @grid["tp"] {grain = 2 : i64} : tensor<3x6xf32> -> tensor<2x3x4xf32>
// CHECK:         comm.unpack_shards %{{.*}} dim 1 over @grid["tp"] {grain = 2 : i64} : tensor<2x3x4xf32> -> tensor<3x6xf32>
func.func @blocks(%x: tensor<3x6xf32>) -> tensor<3x6xf32> {
  %p = comm.pack_shards %x dim 1 over @grid["tp"] {grain = 2 : i64} : tensor<3x6xf32> -> tensor<2x3x4xf32>
  %u = comm.unpack_shards %p dim 1 over @grid["tp"] {grain = 2 : i64} : tensor<2x3x4xf32> -> tensor<3x6xf32>
  return %u : tensor<3x6xf32>
}

// CHECK-LABEL: func.func @ring
// CHECK:         comm.permute %{{.*}} shift -1 over @grid["tp"] : tensor<2x3xf32>
// CHECK:         comm.shard_slice %{{.*}} dim 0 over @grid["tp"] {shift = 1 : i64} : tensor<2x3xf32> -> tensor<1x3xf32>
// CHECK:         comm.unpack_shards %{{.*}} dim 0 over @grid["tp"] {rotated} : tensor<2x3xf32> -> tensor<6xf32>
func.func @ring(%x: tensor<2x3xf32>) -> (tensor<1x3xf32>, tensor<6xf32>) {
  %p = comm.permute %x shift -1 over @grid["tp"] : tensor<2x3xf32>
  %s = comm.shard_slice %p dim 0 over @grid["tp"] {shift = 1 : i64} : tensor<2x3xf32> -> tensor<1x3xf32>
  %u = comm.unpack_shards %p dim 0 over @grid["tp"] {rotated} : tensor<2x3xf32> -> tensor<6xf32>
  return %s, %u : tensor<1x3xf32>, tensor<6xf32>
}

// CHECK-LABEL: func.func @main
// CHECK-SAME:    comm.arena_bytes = 256
func.func @main(%x: memref<4xf32> {comm.name = "x"}, %y: memref<4xf32> {comm.name = "y", comm.output}) attributes {comm.entry, comm.arena_bytes = 256 : i64} {
  // CHECK: %[[B:.*]] = comm.buffer at 64 : memref<8xf32>
  %b = comm.buffer at 64 : memref<8xf32>
  // CHECK: %[[V:.*]] = comm.view %[[B]] at 16 : memref<8xf32> -> memref<4xf32>
  %v = comm.view %b at 16 : memref<8xf32> -> memref<4xf32>
  // CHECK: comm.data dense<[1, 2]> : tensor<2xi64> -> memref<2xi64>
  %c = comm.data dense<[1, 2]> : tensor<2xi64> -> memref<2xi64>
  // CHECK: comm.loaded_weight "w" in "m.data" at 64 layout <{{.*}}> : tensor<8xf32> -> memref<4xf32>
  %w = comm.loaded_weight "w" in "m.data" at 64 layout <[["tp"]]> : tensor<8xf32> -> memref<4xf32>
  // CHECK: comm.launch @k_tanh ins(%{{.*}} : memref<4xf32>) outs(%[[V]] : memref<4xf32>)
  comm.launch @k_tanh ins(%x : memref<4xf32>) outs(%v : memref<4xf32>)
  // CHECK: comm.command "start" ins(%[[V]] : memref<4xf32>) outs(%{{.*}} : memref<4xf32>) {axes = ["tp"], collective = "all_reduce", plan_id = 0 : i64, reduce = "sum", token = 0 : i64}
  comm.command "start" ins(%v : memref<4xf32>) outs(%v : memref<4xf32>) {collective = "all_reduce", token = 0 : i64, axes = ["tp"], plan_id = 0 : i64, reduce = "sum"}
  // CHECK: comm.command "wait" {token = 0 : i64}
  comm.command "wait" {token = 0 : i64}
  comm.command "copy" ins(%v : memref<4xf32>) outs(%y : memref<4xf32>) {dims = array<i64: 4>, in_strides = array<i64: 1>, out_strides = array<i64: 1>}
  return
}
