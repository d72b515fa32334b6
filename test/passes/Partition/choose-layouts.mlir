// RUN: comm-opt %s --comm-choose-layouts | FileCheck %s
// CHECK: comm.explain
comm.grid @grid ["tp"] = [4]

// Columns, then rows: the hidden layer is split, the second product is a partial sum, the residual stream stays whole.
// CHECK-LABEL: func.func @mlp
// CHECK:         comm.matmul {{.*}}comm.layout = #comm.layout<{{\[\[}}], ["tp"]]>{{.*}} -> tensor<4x64xf32>
// CHECK:         comm.gelu {{.*}}comm.layout = #comm.layout<{{\[\[}}], ["tp"]]>
// CHECK:         comm.matmul {{.*}}comm.layout = #comm.layout<{{\[\[}}], []] partial ["tp"]>{{.*}} -> tensor<4x16xf32>
// CHECK:         arith.addf {{.*}}comm.layout = #comm.layout<{{\[\[}}], []]>
func.func @mlp(%x: tensor<4x16xf32>) -> tensor<4x16xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m.data" at 0 : tensor<16x64xf32> -> tensor<16x64xf32>
  %w2 = comm.weight "w2" in "m.data" at 8192 : tensor<64x16xf32> -> tensor<64x16xf32>
  %h = comm.matmul %x, %w1 : tensor<4x16xf32>, tensor<16x64xf32> -> tensor<4x64xf32>
  %a = comm.gelu erf %h : tensor<4x64xf32>
  %y = comm.matmul %a, %w2 : tensor<4x64xf32>, tensor<64x16xf32> -> tensor<4x16xf32>
  %r = arith.addf %x, %y : tensor<4x16xf32>
  return %r : tensor<4x16xf32>
}

// The unsplit model stays as it is.
// CHECK-LABEL: func.func @unsplit
// CHECK-NOT:     comm.layout
// CHECK:         return
func.func @unsplit(%x: tensor<4x16xf32>) -> tensor<4x16xf32> attributes {comm.reference = "mlp"} {
  %w = comm.weight "w" in "m.data" at 0 : tensor<16x16xf32> -> tensor<16x16xf32>
  %y = comm.matmul %x, %w : tensor<4x16xf32>, tensor<16x16xf32> -> tensor<4x16xf32>
  return %y : tensor<4x16xf32>
}
