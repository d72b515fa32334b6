// RUN: comm-opt %s --comm-choose-layouts --comm-split-tensors | FileCheck %s
// RUN: comm-opt %s --comm-choose-layouts=sequence-parallel=true --comm-split-tensors | FileCheck %s --check-prefix=SP
comm.grid @grid ["tp"] = [2]

// Two partial sums are added first and reduced once. By tokens: one reduce_scatter for both.
// CHECK-LABEL: func.func @two_partials
// CHECK:         comm.matmul
// CHECK:         %[[A:.*]] = comm.matmul
// CHECK:         %[[B:.*]] = comm.matmul
// CHECK:         %[[S:.*]] = arith.addf %[[A]], %[[B]] : tensor<4x8xf32>
// CHECK:         %[[R:.*]] = comm.all_reduce sum %[[S]]
// CHECK:         comm.rms_norm %[[R]]
// CHECK-NOT:     comm.all_reduce
// SP-LABEL:    func.func @two_partials
// SP-NOT:        comm.all_reduce
// SP:            comm.reduce_scatter sum {{.*}} dim 0 {{.*}} tensor<4x8xf32> -> tensor<2x8xf32>
// SP-NOT:        comm.reduce_scatter
// SP:            comm.rms_norm {{.*}} : tensor<2x8xf32>
// SP:            comm.all_gather {{.*}} tensor<2x8xf32> -> tensor<4x8xf32>
func.func @two_partials(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m" at 0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %w2 = comm.weight "w2" in "m" at 512 : tensor<16x8xf32> -> tensor<16x8xf32>
  %w3 = comm.weight "w3" in "m" at 1024 : tensor<16x8xf32> -> tensor<16x8xf32>
  %n = comm.weight "n" in "m" at 4096 : tensor<8xf32> -> tensor<8xf32>
  %h = comm.matmul %x, %w1 : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
  %a = comm.matmul %h, %w2 : tensor<4x16xf32>, tensor<16x8xf32> -> tensor<4x8xf32>
  %b = comm.matmul %h, %w3 : tensor<4x16xf32>, tensor<16x8xf32> -> tensor<4x8xf32>
  %s = arith.addf %a, %b : tensor<4x8xf32>
  %y = comm.rms_norm %s, %n epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %y : tensor<4x8xf32>
}

// Several users of one partial sum share one all_reduce.
// CHECK-LABEL: func.func @several_users
// CHECK:         %[[R:.*]] = comm.all_reduce
// CHECK-NOT:     comm.all_reduce
// CHECK:         comm.gelu erf %[[R]]
// CHECK:         comm.silu %[[R]]
func.func @several_users(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m" at 0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %w2 = comm.weight "w2" in "m" at 512 : tensor<16x8xf32> -> tensor<16x8xf32>
  %h = comm.matmul %x, %w1 : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
  %a = comm.matmul %h, %w2 : tensor<4x16xf32>, tensor<16x8xf32> -> tensor<4x8xf32>
  %b = comm.gelu erf %a : tensor<4x8xf32>
  %c = comm.silu %a : tensor<4x8xf32>
  return %b, %c : tensor<4x8xf32>, tensor<4x8xf32>
}
