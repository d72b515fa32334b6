// RUN: comm-opt %s "--comm-bucket-collectives=link=1Gbit,50us" | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Three small reductions at 50 us each become one.
// CHECK-LABEL: func.func @joins_small_ones
// CHECK-SAME:    (%[[X:.*]]: tensor<4x8xf32>, %[[Y:.*]]: tensor<16xf32>, %[[Z:.*]]: tensor<f32>)
// CHECK:         %[[C:.*]] = tensor.concat dim(0)
// CHECK-SAME:      (tensor<32xf32>, tensor<16xf32>, tensor<1xf32>) -> tensor<49xf32>
// CHECK:         %[[S:.*]] = comm.all_reduce sum %[[C]] over @grid["tp"] : tensor<49xf32>
// CHECK:         tensor.extract_slice %[[S]][0] [32] [1]
// CHECK:         tensor.extract_slice %[[S]][32] [16] [1]
// CHECK:         tensor.extract_slice %[[S]][48] [1] [1]
// CHECK-NOT:     comm.all_reduce
func.func @joins_small_ones(%x: tensor<4x8xf32>, %y: tensor<16xf32>, %z: tensor<f32>) -> (tensor<4x8xf32>, tensor<16xf32>, tensor<f32>) {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %t = math.tanh %a : tensor<4x8xf32>
  %b = comm.all_reduce sum %y over @grid["tp"] : tensor<16xf32>
  %c = comm.all_reduce sum %z over @grid["tp"] : tensor<f32>
  return %t, %b, %c : tensor<4x8xf32>, tensor<16xf32>, tensor<f32>
}

// One needs the other; another kind; too large to be bucketed: all stay.
// CHECK-LABEL: func.func @leaves_chains_kinds_and_large_ones
// CHECK-COUNT-4: comm.all_reduce
// CHECK-NOT:     comm.all_reduce
func.func @leaves_chains_kinds_and_large_ones(%x: tensor<16xf32>, %y: tensor<1024x1024xf32>) -> (tensor<16xf32>, tensor<16xf32>, tensor<1024x1024xf32>) {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<16xf32>
  %t = math.tanh %a : tensor<16xf32>
  %b = comm.all_reduce sum %t over @grid["tp"] : tensor<16xf32>
  %m = comm.all_reduce max %x over @grid["tp"] : tensor<16xf32>
  %c = comm.all_reduce sum %y over @grid["tp"] : tensor<1024x1024xf32>
  return %b, %m, %c : tensor<16xf32>, tensor<16xf32>, tensor<1024x1024xf32>
}

// Apart, the first hides behind the product that makes the second; as one, both would be exposed.
// CHECK-LABEL: func.func @keeps_overlap_possible
// CHECK:         comm.all_reduce
// CHECK:         comm.matmul
// CHECK:         comm.all_reduce
func.func @keeps_overlap_possible(%x: tensor<256x512xf32>, %y: tensor<512x512xf32>) -> (tensor<256x512xf32>, tensor<256x512xf32>) {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<256x512xf32>
  %p = comm.matmul %x, %y : tensor<256x512xf32>, tensor<512x512xf32> -> tensor<256x512xf32>
  %b = comm.all_reduce sum %p over @grid["tp"] : tensor<256x512xf32>
  return %a, %b : tensor<256x512xf32>, tensor<256x512xf32>
}
