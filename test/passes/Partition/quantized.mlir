// RUN: comm-opt %s --comm-choose-layouts --comm-split-tensors | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Columns, then rows in whole blocks: one all_reduce. Integers, scales and zero points are cut where they lie; two blocks that share a
// byte of zero points stay together.
// CHECK-LABEL: func.func @columns_then_rows
// CHECK-DAG:     %[[W1:.*]] = comm.weight "w1" {{.*}} layout <{{\[\[}}"tp"], [], []]> : tensor<128x2x16xi8> -> tensor<64x2x16xi8>
// CHECK-DAG:     %[[S1:.*]] = comm.weight "s1" {{.*}} layout <{{\[\[}}"tp"], []]> : tensor<128x2xf32> -> tensor<64x2xf32>
// CHECK:         %[[H:.*]] = comm.quantized_matmul %{{.*}}, %[[W1]] scales %[[S1]] : {{.*}} -> tensor<1x64xf32>
// CHECK-DAG:     %[[W2:.*]] = comm.weight "w2" {{.*}} layout <{{\[\[}}], ["tp"], []]> : tensor<64x4x16xi8> -> tensor<64x2x16xi8>
// CHECK-DAG:     %[[S2:.*]] = comm.weight "s2" {{.*}} layout <{{\[\[}}], ["tp"]]> : tensor<64x4xf32> -> tensor<64x2xf32>
// CHECK-DAG:     %[[Z2:.*]] = comm.weight "z2" {{.*}} layout <{{\[\[}}], ["tp"]]> : tensor<64x2xi8> -> tensor<64x1xi8>
// CHECK:         %[[P:.*]] = comm.quantized_matmul %[[H]], %[[W2]] scales %[[S2]] : {{.*}} zero_points %[[Z2]] : {{.*}} -> tensor<1x64xf32>
// CHECK:         comm.all_reduce sum %[[P]]
// CHECK-NOT:     comm.shard_slice
// CHECK-NOT:     comm.all_gather
// CHECK:         return
func.func @columns_then_rows(%x: tensor<1x64xf32>) -> tensor<1x64xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m" at 0 : tensor<128x2x16xi8> -> tensor<128x2x16xi8>
  %s1 = comm.weight "s1" in "m" at 4096 : tensor<128x2xf32> -> tensor<128x2xf32>
  %w2 = comm.weight "w2" in "m" at 8192 : tensor<64x4x16xi8> -> tensor<64x4x16xi8>
  %s2 = comm.weight "s2" in "m" at 12288 : tensor<64x4xf32> -> tensor<64x4xf32>
  %z2 = comm.weight "z2" in "m" at 16384 : tensor<64x2xi8> -> tensor<64x2xi8>
  %h = comm.quantized_matmul %x, %w1 scales %s1 : tensor<128x2xf32> bits 4 block 32 : tensor<1x64xf32>, tensor<128x2x16xi8> -> tensor<1x128xf32>
  %y = comm.quantized_matmul %h, %w2 scales %s2 : tensor<64x4xf32> zero_points %z2 : tensor<64x2xi8> bits 4 block 32
    : tensor<1x128xf32>, tensor<64x4x16xi8> -> tensor<1x64xf32>
  return %y : tensor<1x64xf32>
}

// A last block that is not full keeps k whole: no partial sum, the input is gathered.
// CHECK-LABEL: func.func @uneven_blocks
// CHECK:         comm.quantized_matmul
// CHECK:         comm.quantized_matmul
// CHECK-NOT:     comm.all_reduce
// CHECK:         return
func.func @uneven_blocks(%x: tensor<1x64xf32>) -> tensor<1x64xf32> attributes {comm.entry} {
  %w1 = comm.weight "w3" in "m" at 0 : tensor<100x2x16xi8> -> tensor<100x2x16xi8>
  %s1 = comm.weight "s3" in "m" at 4096 : tensor<100x2xf32> -> tensor<100x2xf32>
  %w2 = comm.weight "w4" in "m" at 8192 : tensor<64x4x16xi8> -> tensor<64x4x16xi8>
  %s2 = comm.weight "s4" in "m" at 12288 : tensor<64x4xf32> -> tensor<64x4xf32>
  %h = comm.quantized_matmul %x, %w1 scales %s1 : tensor<100x2xf32> bits 4 block 32 : tensor<1x64xf32>, tensor<100x2x16xi8> -> tensor<1x100xf32>
  %y = comm.quantized_matmul %h, %w2 scales %s2 : tensor<64x4xf32> bits 4 block 32 : tensor<1x100xf32>, tensor<64x4x16xi8> -> tensor<1x64xf32>
  return %y : tensor<1x64xf32>
}
