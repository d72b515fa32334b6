// RUN: comm-opt %s --comm-choose-layouts --comm-split-tensors | FileCheck %s
comm.grid @grid ["tp"] = [4]

// One all_reduce; weights and the bias are cut where they are used.
// CHECK-LABEL: func.func @mlp
// CHECK-SAME:    (%[[X:.*]]: tensor<4x16xf32>)
// CHECK:         %[[W1:.*]] = comm.weight "w1" {{.*}} layout <{{\[\[}}], ["tp"]]> : tensor<16x64xf32> -> tensor<16x16xf32>
// CHECK:         %[[H:.*]] = comm.matmul %[[X]], %[[W1]] : tensor<4x16xf32>, tensor<16x16xf32> -> tensor<4x16xf32>
// CHECK:         comm.weight "b1" {{.*}} layout <{{\[\[}}"tp"]]> : tensor<64xf32> -> tensor<16xf32>
// CHECK:         %[[B:.*]] = linalg.broadcast {{.*}} outs({{.*}} : tensor<4x16xf32>)
// CHECK:         %[[HB:.*]] = arith.addf %[[H]], %[[B]] : tensor<4x16xf32>
// CHECK:         %[[A:.*]] = comm.gelu erf %[[HB]] : tensor<4x16xf32>
// CHECK:         %[[W2:.*]] = comm.weight "w2" {{.*}} layout <{{\[\[}}"tp"], []]> : tensor<64x16xf32> -> tensor<16x16xf32>
// CHECK:         %[[P:.*]] = comm.matmul %[[A]], %[[W2]]
// CHECK:         %[[Y:.*]] = comm.all_reduce sum %[[P]] over @grid["tp"]
// CHECK:         %[[R:.*]] = arith.addf %[[X]], %[[Y]]
// CHECK:         return %[[R]]
func.func @mlp(%x: tensor<4x16xf32>) -> tensor<4x16xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m.data" at 0 : tensor<16x64xf32> -> tensor<16x64xf32>
  %b1 = comm.weight "b1" in "m.data" at 4096 : tensor<64xf32> -> tensor<64xf32>
  %w2 = comm.weight "w2" in "m.data" at 8192 : tensor<64x16xf32> -> tensor<64x16xf32>
  %h = comm.matmul %x, %w1 : tensor<4x16xf32>, tensor<16x64xf32> -> tensor<4x64xf32>
  %e = tensor.empty() : tensor<4x64xf32>
  %bb = linalg.broadcast ins(%b1 : tensor<64xf32>) outs(%e : tensor<4x64xf32>) dimensions = [0]
  %hb = arith.addf %h, %bb : tensor<4x64xf32>
  %a = comm.gelu erf %hb : tensor<4x64xf32>
  %y = comm.matmul %a, %w2 : tensor<4x64xf32>, tensor<64x16xf32> -> tensor<4x16xf32>
  %r = arith.addf %x, %y : tensor<4x16xf32>
  return %r : tensor<4x16xf32>
}
