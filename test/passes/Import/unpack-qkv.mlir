// RUN: comm-opt %s --comm-unpack-qkv | FileCheck %s

// Query, key and value with different sizes, and their bias.
// CHECK-LABEL: func.func @unpacks
// CHECK-SAME:    (%[[X:.*]]: tensor<4x8xf32>)
// CHECK:         %[[WQ:.*]] = comm.weight "w" in "f" at 0 slices [#comm.slice<1, 0, 8>] : tensor<8x16xf32> -> tensor<8x8xf32>
// CHECK:         %[[Q:.*]] = comm.matmul %[[X]], %[[WQ]]
// CHECK:         %[[BQ:.*]] = comm.weight "b" in "f" at 512 slices [#comm.slice<0, 0, 8>] : tensor<16xf32> -> tensor<8xf32>
// CHECK:         comm.weight "w" in "f" at 0 slices [#comm.slice<1, 8, 4>]
// CHECK:         comm.weight "w" in "f" at 0 slices [#comm.slice<1, 12, 4>]
// CHECK-NOT:     tensor.extract_slice
func.func @unpacks(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x4xf32>, tensor<4x4xf32>) {
  %w = comm.weight "w" in "f" at 0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %b = comm.weight "b" in "f" at 512 : tensor<16xf32> -> tensor<16xf32>
  %p = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
  %e = tensor.empty() : tensor<4x16xf32>
  %bias = linalg.broadcast ins(%b : tensor<16xf32>) outs(%e : tensor<4x16xf32>) dimensions = [0]
  %y = arith.addf %p, %bias : tensor<4x16xf32>
  %q = tensor.extract_slice %y[0, 0] [4, 8] [1, 1] : tensor<4x16xf32> to tensor<4x8xf32>
  %k = tensor.extract_slice %y[0, 8] [4, 4] [1, 1] : tensor<4x16xf32> to tensor<4x4xf32>
  %v = tensor.extract_slice %y[0, 12] [4, 4] [1, 1] : tensor<4x16xf32> to tensor<4x4xf32>
  return %q, %k, %v : tensor<4x8xf32>, tensor<4x4xf32>, tensor<4x4xf32>
}

// Quantised columns come apart with their scales and zero points.
// CHECK-LABEL: func.func @unpacks_quantized
// CHECK:         %[[W:.*]] = comm.weight "w" in "f" at 0 slices [#comm.slice<0, 8, 4>] : tensor<12x1x16xi8> -> tensor<4x1x16xi8>
// CHECK:         %[[S:.*]] = comm.weight "s" in "f" at 512 slices [#comm.slice<0, 8, 4>] : tensor<12x1xf32> -> tensor<4x1xf32>
// CHECK:         %[[Z:.*]] = comm.weight "z" in "f" at 1024 slices [#comm.slice<0, 8, 4>] : tensor<12x1xi8> -> tensor<4x1xi8>
// CHECK:         comm.quantized_matmul %{{.*}}, %[[W]] scales %[[S]] : tensor<4x1xf32> zero_points %[[Z]] {{.*}} -> tensor<4x4xf32>
// CHECK-NOT:     tensor.extract_slice
func.func @unpacks_quantized(%x: tensor<4x32xf32>) -> (tensor<4x8xf32>, tensor<4x4xf32>) {
  %w = comm.weight "w" in "f" at 0 : tensor<12x1x16xi8> -> tensor<12x1x16xi8>
  %s = comm.weight "s" in "f" at 512 : tensor<12x1xf32> -> tensor<12x1xf32>
  %z = comm.weight "z" in "f" at 1024 : tensor<12x1xi8> -> tensor<12x1xi8>
  %y = comm.quantized_matmul %x, %w scales %s : tensor<12x1xf32> zero_points %z : tensor<12x1xi8> bits 4 block 32
    : tensor<4x32xf32>, tensor<12x1x16xi8> -> tensor<4x12xf32>
  %q = tensor.extract_slice %y[0, 0] [4, 8] [1, 1] : tensor<4x12xf32> to tensor<4x8xf32>
  %k = tensor.extract_slice %y[0, 8] [4, 4] [1, 1] : tensor<4x12xf32> to tensor<4x4xf32>
  return %q, %k : tensor<4x8xf32>, tensor<4x4xf32>
}

// Negative twin: the packed value is also returned.
// CHECK-LABEL: func.func @also_used_whole
// CHECK-COUNT-1: comm.matmul
// CHECK-NOT:     comm.matmul
func.func @also_used_whole(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x16xf32>) {
  %w = comm.weight "w" in "f" at 0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %p = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
  %q = tensor.extract_slice %p[0, 0] [4, 8] [1, 1] : tensor<4x16xf32> to tensor<4x8xf32>
  return %q, %p : tensor<4x8xf32>, tensor<4x16xf32>
}

// Negative twin: every second element is not a window of the weight.
// CHECK-LABEL: func.func @with_steps
// CHECK-COUNT-1: comm.matmul
// CHECK-NOT:     comm.matmul
func.func @with_steps(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %w = comm.weight "w" in "f" at 0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %p = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
  %even = tensor.extract_slice %p[0, 0] [4, 8] [1, 2] : tensor<4x16xf32> to tensor<4x8xf32>
  %odd = tensor.extract_slice %p[0, 1] [4, 8] [1, 2] : tensor<4x16xf32> to tensor<4x8xf32>
  return %even, %odd : tensor<4x8xf32>, tensor<4x8xf32>
}
