// RUN: comm-opt %s --comm-choose-layouts --comm-split-tensors | FileCheck %s
comm.grid @grid ["tp"] = [2]

// The cache comes and goes by heads, alike on both sides, although nobody asked for it.
// CHECK-LABEL: func.func @prefill
// CHECK-SAME:    %{{.*}}: tensor<1x1x0x4xf32> {comm.layout = #comm.layout<{{\[\[}}], ["tp"], [], []]>, comm.state = "k", comm.whole = tensor<1x2x0x4xf32>}
// CHECK-SAME:    tensor<1x1x3x4xf32> {comm.layout = #comm.layout<{{\[\[}}], ["tp"], [], []]>, comm.state = "k", comm.whole = tensor<1x2x3x4xf32>}
// CHECK:         return
func.func @prefill(%x: tensor<1x3x8xf32>, %past: tensor<1x2x0x4xf32> {comm.state = "k"})
    -> (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32> {comm.state = "k"}) attributes {comm.entry} {
  %w = comm.weight "q" in "m" at 0 : tensor<8x8xf32> -> tensor<8x8xf32>
  %q = comm.matmul %x, %w : tensor<1x3x8xf32>, tensor<8x8xf32> -> tensor<1x3x8xf32>
  %h = tensor.expand_shape %q [[0], [1], [2, 3]] output_shape [1, 3, 2, 4] : tensor<1x3x8xf32> into tensor<1x3x2x4xf32>
  %i = tensor.empty() : tensor<1x2x3x4xf32>
  %t = linalg.transpose ins(%h : tensor<1x3x2x4xf32>) outs(%i : tensor<1x2x3x4xf32>) permutation = [0, 2, 1, 3]
  %k = tensor.concat dim(2) %past, %t : (tensor<1x2x0x4xf32>, tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf32>
  %a = comm.attention %t, %k, %k scale 0.5 : tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32> -> tensor<1x2x3x4xf32>
  return %a, %k : tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>
}

// A later entry holds the cache as the first one does, even where it has no use for that.
// CHECK-LABEL: func.func @decode
// CHECK-SAME:    tensor<1x1x3x4xf32> {comm.layout = #comm.layout<{{\[\[}}], ["tp"], [], []]>, comm.state = "k"
func.func @decode(%past: tensor<1x2x3x4xf32> {comm.state = "k"}) -> (tensor<1x2x3x4xf32> {comm.state = "k"}) attributes {comm.entry} {
  %k = comm.silu %past : tensor<1x2x3x4xf32>
  return %k : tensor<1x2x3x4xf32>
}
