// RUN: comm-opt %s --comm-choose-layouts --comm-split-tensors | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Eleven hidden columns on two ranks: fill is zero in the weight's rows, so the sum takes nothing in.
// CHECK: 11 do not divide by 2: 6 each, 1 of them fill
// CHECK: not weight by rows (11): the fill of uneven shards may be infinite and would reach its sum
// CHECK-LABEL: func.func @zero_fill
// CHECK:         comm.weight "w2" {{.*}} layout <{{\[\[}}"tp"], []]> : tensor<11x8xf32> -> tensor<6x8xf32>
// CHECK:         comm.all_reduce
func.func @zero_fill(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m" at 0 : tensor<8x11xf32> -> tensor<8x11xf32>
  %w2 = comm.weight "w2" in "m" at 512 : tensor<11x8xf32> -> tensor<11x8xf32>
  %h = comm.matmul %x, %w1 : tensor<4x8xf32>, tensor<8x11xf32> -> tensor<4x11xf32>
  %g = comm.gelu erf %h : tensor<4x11xf32>
  %y = comm.matmul %g, %w2 : tensor<4x11xf32>, tensor<11x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// A logarithm of the fill is minus infinity, and infinity times zero is no number: the rows are not shared out.
// CHECK-LABEL: func.func @infinite_fill
// CHECK-NOT:     comm.weight "w2" {{.*}} layout <{{\[\[}}"tp"], []]>
// CHECK:         return
func.func @infinite_fill(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m" at 0 : tensor<8x11xf32> -> tensor<8x11xf32>
  %w2 = comm.weight "w2" in "m" at 512 : tensor<11x8xf32> -> tensor<11x8xf32>
  %h = comm.matmul %x, %w1 : tensor<4x8xf32>, tensor<8x11xf32> -> tensor<4x11xf32>
  %g = math.log %h : tensor<4x11xf32>
  %y = comm.matmul %g, %w2 : tensor<4x11xf32>, tensor<11x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
