// RUN: comm-opt %s --comm-choose-layouts --comm-split-tensors | FileCheck %s
comm.grid @grid ["tp"] = [4]

// The table by rows, the head, which is the same table, by columns: one all_reduce behind the lookup, one all_gather of the logits. 63 rows on 4 ranks: 16 each, one of fill.
// CHECK-LABEL: func.func @vocabulary
// CHECK:         %[[T:.*]] = comm.weight "table" {{.*}} layout <{{\[\[}}"tp"], []]> : tensor<63x8xf32> -> tensor<16x8xf32>
// CHECK:         %[[E:.*]] = comm.embedding {{.*}} vocab 63 over ["tp"]
// CHECK:         %[[X:.*]] = comm.all_reduce sum %[[E]]
// CHECK:         comm.rms_norm %[[X]]
// CHECK:         %[[L:.*]] = comm.matmul {{.*}}, %[[T]] transposed {{.*}} -> tensor<1x3x16xf32>
// CHECK:         %[[Y:.*]] = comm.all_gather %[[L]] dim 2 over @grid["tp"] : tensor<1x3x16xf32> -> tensor<1x3x63xf32>
// CHECK:         return %[[Y]]
func.func @vocabulary(%ids: tensor<1x3xi64>) -> tensor<1x3x63xf32> attributes {comm.entry} {
  %t = comm.weight "table" in "m" at 0 : tensor<63x8xf32> -> tensor<63x8xf32>
  %n = comm.weight "n" in "m" at 4096 : tensor<8xf32> -> tensor<8xf32>
  %e = comm.embedding %t, %ids : tensor<63x8xf32>, tensor<1x3xi64> -> tensor<1x3x8xf32>
  %x = comm.rms_norm %e, %n epsilon 1.0e-5 : tensor<1x3x8xf32>, tensor<8xf32>
  %y = comm.matmul %x, %t transposed : tensor<1x3x8xf32>, tensor<63x8xf32> -> tensor<1x3x63xf32>
  return %y : tensor<1x3x63xf32>
}

// A few rows (positions, segments) are not a vocabulary: the small table is whole on every rank and no collective is spent on it.
// CHECK-LABEL: func.func @positions
// CHECK-NOT:     vocab
// CHECK-NOT:     comm.all_reduce
// CHECK:         return
func.func @positions(%ids: tensor<1x3xi64>) -> tensor<1x3x8xf32> attributes {comm.entry} {
  %t = comm.weight "positions" in "m" at 0 : tensor<4x8xf32> -> tensor<4x8xf32>
  %e = comm.embedding %t, %ids : tensor<4x8xf32>, tensor<1x3xi64> -> tensor<1x3x8xf32>
  return %e : tensor<1x3x8xf32>
}
