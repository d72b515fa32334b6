// RUN: split-file %s %t
// RUN: comm-opt %t/gqa.mlir --comm-choose-layouts --comm-split-tensors | FileCheck %t/gqa.mlir
// RUN: comm-opt %t/uneven.mlir --comm-choose-layouts --comm-split-tensors | FileCheck %t/uneven.mlir
// RUN: comm-opt %t/odd.mlir --comm-choose-layouts --comm-split-tensors | FileCheck %t/odd.mlir

// Two kv heads on four ranks: each rank has one kv head, which lies on two of them, and two of the query heads that read it.
//--- gqa.mlir
comm.grid @grid ["tp"] = [4]
// CHECK: by kv heads (2) and query groups within
// CHECK-SAME: each kv head lies on several ranks
// CHECK-LABEL: func.func @gqa
// CHECK:         comm.weight "q" {{.*}} layout <{{\[\[}}], ["tp"]]> : tensor<16x32xf32> -> tensor<16x8xf32>
// CHECK:         comm.weight "k" {{.*}} layout <{{\[\[}}], ["tp"]] grain [1, 4]> : tensor<16x8xf32> -> tensor<16x4xf32>
// CHECK:         comm.attention {{.*}} tensor<1x2x3x4xf32>, tensor<1x1x3x4xf32>, tensor<1x1x3x4xf32> -> tensor<1x2x3x4xf32>
// CHECK:         comm.weight "o" {{.*}} layout <{{\[\[}}"tp"], []]>
// CHECK-NOT:     comm.all_gather
// CHECK:         comm.all_reduce
func.func @gqa(%x: tensor<1x3x16xf32>) -> tensor<1x3x16xf32> attributes {comm.entry} {
  %wq = comm.weight "q" in "m" at 0 : tensor<16x32xf32> -> tensor<16x32xf32>
  %wk = comm.weight "k" in "m" at 2048 : tensor<16x8xf32> -> tensor<16x8xf32>
  %wv = comm.weight "v" in "m" at 4096 : tensor<16x8xf32> -> tensor<16x8xf32>
  %wo = comm.weight "o" in "m" at 8192 : tensor<32x16xf32> -> tensor<32x16xf32>
  %q = comm.matmul %x, %wq : tensor<1x3x16xf32>, tensor<16x32xf32> -> tensor<1x3x32xf32>
  %k = comm.matmul %x, %wk : tensor<1x3x16xf32>, tensor<16x8xf32> -> tensor<1x3x8xf32>
  %v = comm.matmul %x, %wv : tensor<1x3x16xf32>, tensor<16x8xf32> -> tensor<1x3x8xf32>
  %qh = tensor.expand_shape %q [[0], [1], [2, 3]] output_shape [1, 3, 8, 4] : tensor<1x3x32xf32> into tensor<1x3x8x4xf32>
  %kh = tensor.expand_shape %k [[0], [1], [2, 3]] output_shape [1, 3, 2, 4] : tensor<1x3x8xf32> into tensor<1x3x2x4xf32>
  %vh = tensor.expand_shape %v [[0], [1], [2, 3]] output_shape [1, 3, 2, 4] : tensor<1x3x8xf32> into tensor<1x3x2x4xf32>
  %qi = tensor.empty() : tensor<1x8x3x4xf32>
  %ki = tensor.empty() : tensor<1x2x3x4xf32>
  %qt = linalg.transpose ins(%qh : tensor<1x3x8x4xf32>) outs(%qi : tensor<1x8x3x4xf32>) permutation = [0, 2, 1, 3]
  %kt = linalg.transpose ins(%kh : tensor<1x3x2x4xf32>) outs(%ki : tensor<1x2x3x4xf32>) permutation = [0, 2, 1, 3]
  %vt = linalg.transpose ins(%vh : tensor<1x3x2x4xf32>) outs(%ki : tensor<1x2x3x4xf32>) permutation = [0, 2, 1, 3]
  %a = comm.attention %qt, %kt, %vt scale 0.5 : tensor<1x8x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32> -> tensor<1x8x3x4xf32>
  %ai = tensor.empty() : tensor<1x3x8x4xf32>
  %at = linalg.transpose ins(%a : tensor<1x8x3x4xf32>) outs(%ai : tensor<1x3x8x4xf32>) permutation = [0, 2, 1, 3]
  %ac = tensor.collapse_shape %at [[0], [1], [2, 3]] : tensor<1x3x8x4xf32> into tensor<1x3x32xf32>
  %o = comm.matmul %ac, %wo : tensor<1x3x32xf32>, tensor<32x16xf32> -> tensor<1x3x16xf32>
  return %o : tensor<1x3x16xf32>
}

// Five heads of four on two ranks: three heads and two heads with one of fill; the columns and rows of the weights are cut in heads.
//--- uneven.mlir
comm.grid @grid ["tp"] = [2]
// CHECK: 5 do not divide by 2: 3 each, 1 of them fill
// CHECK-LABEL: func.func @five_heads
// CHECK:         comm.weight "q" {{.*}} layout <{{\[\[}}], ["tp"]] grain [1, 4]> : tensor<8x20xf32> -> tensor<8x12xf32>
// CHECK:         comm.attention {{.*}} -> tensor<1x3x3x4xf32>
// CHECK:         comm.weight "o" {{.*}} layout <{{\[\[}}"tp"], []] grain [4, 1]> : tensor<20x8xf32> -> tensor<12x8xf32>
// CHECK:         comm.all_reduce
func.func @five_heads(%x: tensor<1x3x8xf32>) -> tensor<1x3x8xf32> attributes {comm.entry} {
  %wq = comm.weight "q" in "m" at 0 : tensor<8x20xf32> -> tensor<8x20xf32>
  %wo = comm.weight "o" in "m" at 8192 : tensor<20x8xf32> -> tensor<20x8xf32>
  %q = comm.matmul %x, %wq : tensor<1x3x8xf32>, tensor<8x20xf32> -> tensor<1x3x20xf32>
  %qh = tensor.expand_shape %q [[0], [1], [2, 3]] output_shape [1, 3, 5, 4] : tensor<1x3x20xf32> into tensor<1x3x5x4xf32>
  %qi = tensor.empty() : tensor<1x5x3x4xf32>
  %qt = linalg.transpose ins(%qh : tensor<1x3x5x4xf32>) outs(%qi : tensor<1x5x3x4xf32>) permutation = [0, 2, 1, 3]
  %a = comm.attention %qt, %qt, %qt scale 0.5 : tensor<1x5x3x4xf32>, tensor<1x5x3x4xf32>, tensor<1x5x3x4xf32> -> tensor<1x5x3x4xf32>
  %ai = tensor.empty() : tensor<1x3x5x4xf32>
  %at = linalg.transpose ins(%a : tensor<1x5x3x4xf32>) outs(%ai : tensor<1x3x5x4xf32>) permutation = [0, 2, 1, 3]
  %ac = tensor.collapse_shape %at [[0], [1], [2, 3]] : tensor<1x3x5x4xf32> into tensor<1x3x20xf32>
  %o = comm.matmul %ac, %wo : tensor<1x3x20xf32>, tensor<20x8xf32> -> tensor<1x3x8xf32>
  return %o : tensor<1x3x8xf32>
}

// One head cannot be shared out: every rank computes it, and the plan says so. The cache stays whole.
//--- odd.mlir
comm.grid @grid ["tp"] = [2]
// CHECK: heads cannot be shared out over 2 ranks
// CHECK-LABEL: func.func @one_head
// CHECK:         comm.attention {{.*}} -> tensor<1x1x3x4xf32>
func.func @one_head(%q: tensor<1x1x3x4xf32>) -> tensor<1x1x3x4xf32> attributes {comm.entry} {
  %a = comm.attention %q, %q, %q scale 0.5 : tensor<1x1x3x4xf32>, tensor<1x1x3x4xf32>, tensor<1x1x3x4xf32> -> tensor<1x1x3x4xf32>
  return %a : tensor<1x1x3x4xf32>
}
