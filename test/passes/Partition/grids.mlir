// RUN: split-file %s %t
// RUN: comm-opt %t/dp-tp.mlir --comm-choose-layouts --comm-split-tensors | FileCheck %t/dp-tp.mlir
// RUN: comm-opt %t/reshards.mlir --comm-choose-layouts --comm-split-tensors | FileCheck %t/reshards.mlir
// RUN: comm-opt %t/rows.mlir --comm-choose-layouts --comm-split-tensors | FileCheck %t/rows.mlir

// Rows of the batch over dp, columns and rows of the weights over tp: the all_reduce spans tp only.
//--- dp-tp.mlir
comm.grid @grid ["dp", "tp"] = [2, 2]
// CHECK-LABEL: func.func @mlp
// CHECK:         comm.shard_slice %{{.*}} dim 0 over @grid["dp"] : tensor<4x8xf32> -> tensor<2x8xf32>
// CHECK:         comm.weight "w1" {{.*}} layout <{{\[\[}}], ["tp"]]> : tensor<8x16xf32> -> tensor<8x8xf32>
// CHECK:         comm.weight "w2" {{.*}} layout <{{\[\[}}"tp"], []]>
// CHECK:         comm.all_reduce sum {{.*}} over @grid["tp"] : tensor<2x8xf32>
// CHECK:         comm.all_gather {{.*}} dim 0 over @grid["dp"] : tensor<2x8xf32> -> tensor<4x8xf32>
func.func @mlp(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {comm.entry} {
  %w1 = comm.weight "w1" in "m" at 0 : tensor<8x16xf32> -> tensor<8x16xf32>
  %w2 = comm.weight "w2" in "m" at 512 : tensor<16x8xf32> -> tensor<16x8xf32>
  %h = comm.matmul %x, %w1 : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
  %g = comm.gelu erf %h : tensor<4x16xf32>
  %y = comm.matmul %g, %w2 : tensor<4x16xf32>, tensor<16x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Ways between layouts of two axes that other partitioners get wrong; the unit test runs all pairs.
//--- reshards.mlir
comm.grid @grid ["a", "b"] = [2, 2]
// CHECK-LABEL: func.func @gather_both
// CHECK:         comm.all_gather {{.*}} dim 0 over @grid["b"]
// CHECK:         comm.all_gather {{.*}} dim 0 over @grid["a"]
func.func @gather_both(%x: tensor<8x8xf32> {comm.layout = #comm.layout<[["a", "b"], []]>}) -> tensor<8x8xf32> {
  return %x : tensor<8x8xf32>
}
// CHECK-LABEL: func.func @swap_order
// CHECK:         comm.all_gather {{.*}} over @grid["b"]
// CHECK:         comm.all_gather {{.*}} over @grid["a"]
// CHECK:         comm.shard_slice {{.*}} over @grid["b"]
// CHECK:         comm.shard_slice {{.*}} over @grid["a"]
func.func @swap_order(%x: tensor<8x8xf32> {comm.layout = #comm.layout<[["a", "b"], []]>}) -> (tensor<8x8xf32> {comm.layout = #comm.layout<[["b", "a"], []]>}) {
  return %x : tensor<8x8xf32>
}
// CHECK-LABEL: func.func @move_minor
// CHECK-NOT:     comm.all_gather
// CHECK:         comm.all_to_all {{.*}} split 1 concat 0 over @grid["b"]
// CHECK-NOT:     comm.all_gather
func.func @move_minor(%x: tensor<8x8xf32> {comm.layout = #comm.layout<[["a", "b"], []]>}) -> (tensor<8x8xf32> {comm.layout = #comm.layout<[["a"], ["b"]]>}) {
  return %x : tensor<8x8xf32>
}
// Five blocks on 2 x 2 do not nest, so both axes move at once.
// CHECK-LABEL: func.func @not_nested
// CHECK:         comm.all_gather {{.*}} dim 0 over @grid["a", "b"] : tensor<2x8xf32> -> tensor<5x8xf32>
func.func @not_nested(%x: tensor<5x8xf32> {comm.layout = #comm.layout<[["a", "b"], []]>}) -> (tensor<5x8xf32> {comm.layout = #comm.layout<[["a"], []]>}) {
  return %x : tensor<5x8xf32>
}

// Seven rows on four ranks: two each, the last has one and fill; the gather trims it.
//--- rows.mlir
comm.grid @grid ["dp"] = [4]
// CHECK: 7 do not divide by 4: 2 each, 1 of them fill
// CHECK-LABEL: func.func @seven_rows
// CHECK:         comm.shard_slice {{.*}} dim 0 over @grid["dp"] : tensor<7x8xf32> -> tensor<2x8xf32>
// CHECK:         comm.all_gather {{.*}} dim 0 over @grid["dp"] : tensor<2x4xf32> -> tensor<7x4xf32>
func.func @seven_rows(%x: tensor<7x8xf32>) -> tensor<7x4xf32> attributes {comm.entry} {
  %w = comm.weight "w" in "m" at 0 : tensor<8x4xf32> -> tensor<8x4xf32>
  %y = comm.matmul %x, %w : tensor<7x8xf32>, tensor<8x4xf32> -> tensor<7x4xf32>
  return %y : tensor<7x4xf32>
}
