// RUN: comm-opt %s --comm-choose-layouts --comm-split-tensors | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Left alone, the hidden layer is split by columns and summed at the end.
// CHECK-LABEL: func.func @free
// CHECK:         comm.weight "w1" {{.*}} layout <{{\[\[}}], ["tp"]]>
// CHECK:         comm.all_reduce
func.func @free(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m" at 0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %w2 = comm.weight "w2" in "m" at 512 : tensor<16x8xf32> -> tensor<16x8xf32>
  %h = comm.matmul %x, %w1 : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
  %g = comm.gelu erf %h : tensor<4x16xf32>
  %y = comm.matmul %g, %w2 : tensor<4x16xf32>, tensor<16x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Told that the hidden layer lies by rows, the first product takes rows of x and its whole weight; what the user asked for is there.
// CHECK-LABEL: func.func @by_rows
// CHECK:         comm.weight "w1" {{.*}} : tensor<8x16xf32> -> tensor<8x16xf32>
// CHECK:         comm.matmul {{.*}} -> tensor<2x16xf32>
// CHECK-NEXT:    comm.gelu erf {{.*}} : tensor<2x16xf32>
func.func @by_rows(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m" at 0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %w2 = comm.weight "w2" in "m" at 512 : tensor<16x8xf32> -> tensor<16x8xf32>
  %h = comm.matmul %x, %w1 {comm.layout = #comm.layout<[["tp"], []]>} : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
  %g = comm.gelu erf %h : tensor<4x16xf32>
  %y = comm.matmul %g, %w2 : tensor<4x16xf32>, tensor<16x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Inputs and outputs: a split result is left split and says what it is a part of.
// CHECK-LABEL: func.func @ports
// CHECK-SAME:    tensor<2x8xf32> {comm.layout = #comm.layout<{{\[\[}}"tp"], []]>, comm.whole = tensor<4x8xf32>}
// CHECK-SAME:    -> (tensor<4x4xf32> {comm.layout = #comm.layout<{{\[\[}}], ["tp"]]>, comm.whole = tensor<4x8xf32>})
// CHECK:         comm.all_to_all
func.func @ports(%x: tensor<4x8xf32> {comm.layout = #comm.layout<[["tp"], []]>})
    -> (tensor<4x8xf32> {comm.layout = #comm.layout<[[], ["tp"]]>}) attributes {comm.entry} {
  %g = comm.gelu erf %x : tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}
