// RUN: comm-opt %s --split-input-file --comm-split-tokens="min-rows=2 tile=2" --canonicalize | FileCheck %s
// RUN: comm-opt %s --split-input-file --comm-split-tokens="min-rows=2 tile=2" --comm-shard-residual --canonicalize --comm-make-async --comm-sink-waits --comm-verify-form=form=async | FileCheck %s --check-prefix=ORDER

// Causal attention behind a cache of one position: the first part sees cache and own keys, the second everything, with its queries two further on.
// The cache that goes out is put together once. Weights are read by both parts.
comm.grid @grid ["tp"] = [2]
// CHECK-LABEL: func.func @causal
// CHECK-SAME:    (%[[X:.*]]: tensor<1x4x8xf32>, %[[PAST:[a-z0-9]+]]: tensor<1x1x1x8xf32>
// CHECK:         %[[W:.*]] = comm.weight "w"
// CHECK:         %[[X0:.*]] = tensor.extract_slice %[[X]][0, 0, 0] [1, 2, 8]
// CHECK:         comm.matmul %[[X0]], %[[W]]
// CHECK:         %[[K0:.*]] = tensor.concat dim(2) %[[PAST]], %[[N0:.*]] :
// CHECK:         comm.attention %{{.*}}, %[[K0]], %[[K0]] scale 1.000000e+00 causal 1 : tensor<1x1x2x8xf32>, tensor<1x1x3x8xf32>
// CHECK:         comm.all_reduce_norm
// CHECK:         %[[X1:.*]] = tensor.extract_slice %[[X]][0, 2, 0] [1, 2, 8]
// CHECK:         comm.matmul %[[X1]], %[[W]]
// CHECK:         %[[K:.*]] = tensor.concat dim(2) %[[K0]], %{{.*}} : (tensor<1x1x3x8xf32>, tensor<1x1x2x8xf32>)
// CHECK:         comm.attention %{{.*}}, %[[K]], %[[K]] scale 1.000000e+00 causal 3 : tensor<1x1x2x8xf32>, tensor<1x1x5x8xf32>
// CHECK:         comm.all_reduce_norm
// CHECK:         %[[Y:.*]] = tensor.concat dim(1)
// CHECK:         return %[[Y]], %[[K]]

// The four windows: attention of the first part, its norm under the attention of the second, whose norm runs under the products of the first ...
// ORDER-LABEL: func.func @causal
// ORDER:         comm.attention {{.*}} causal 1
// ORDER:         comm.start order 0
// ORDER-NEXT:      comm.scatter_norm_gather
// ORDER:         comm.attention {{.*}} causal 3
// ORDER:         comm.start order 1
// ORDER:         comm.wait
// ORDER:         comm.silu
// ORDER:         comm.start order 2
// ORDER:         comm.wait
// ORDER:         comm.silu
// ORDER:         comm.start order 3
// ORDER:         comm.wait
// ORDER:         comm.wait
func.func @causal(%x: tensor<1x4x8xf32>, %past: tensor<1x1x1x8xf32>, %g: tensor<8xf32>) -> (tensor<1x4x8xf32>, tensor<1x1x5x8xf32>) {
  %w = comm.weight "w" in "f" at 0 : tensor<8x8xf32> -> tensor<8x8xf32>
  %q = comm.matmul %x, %w : tensor<1x4x8xf32>, tensor<8x8xf32> -> tensor<1x4x8xf32>
  %h = tensor.expand_shape %q [[0, 1], [2], [3]] output_shape [1, 1, 4, 8] : tensor<1x4x8xf32> into tensor<1x1x4x8xf32>
  %k = tensor.concat dim(2) %past, %h : (tensor<1x1x1x8xf32>, tensor<1x1x4x8xf32>) -> tensor<1x1x5x8xf32>
  %a = comm.attention %h, %k, %k scale 1.0 causal 1 : tensor<1x1x4x8xf32>, tensor<1x1x5x8xf32>, tensor<1x1x5x8xf32> -> tensor<1x1x4x8xf32>
  %c = tensor.collapse_shape %a [[0, 1], [2], [3]] : tensor<1x1x4x8xf32> into tensor<1x4x8xf32>
  %p = comm.matmul %c, %w : tensor<1x4x8xf32>, tensor<8x8xf32> -> tensor<1x4x8xf32>
  %n, %s = comm.all_reduce_norm %p, %x, %g epsilon 1.0e-5 over @grid["tp"] : tensor<1x4x8xf32>, tensor<8xf32>
  %u = comm.silu %n : tensor<1x4x8xf32>
  %d = comm.matmul %u, %w : tensor<1x4x8xf32>, tensor<8x8xf32> -> tensor<1x4x8xf32>
  %n2, %s2 = comm.all_reduce_norm %d, %s, %g epsilon 1.0e-5 over @grid["tp"] : tensor<1x4x8xf32>, tensor<8xf32>
  return %n2, %k : tensor<1x4x8xf32>, tensor<1x1x5x8xf32>
}

// -----
// Attention that is not causal is not cut inside a sequence, but between the two of a batch.
comm.grid @grid ["tp"] = [2]
// CHECK-LABEL: func.func @batch
// CHECK:         comm.attention {{.*}} : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>
// CHECK:         comm.all_reduce {{.*}} : tensor<1x4x8xf32>
// CHECK:         comm.attention {{.*}} : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>
// CHECK:         comm.all_reduce {{.*}} : tensor<1x4x8xf32>
// CHECK:         tensor.concat dim(0)
// ORDER-LABEL: func.func @batch
func.func @batch(%x: tensor<2x4x8xf32>) -> tensor<2x4x8xf32> {
  %h = tensor.expand_shape %x [[0], [1, 2], [3]] output_shape [2, 1, 4, 8] : tensor<2x4x8xf32> into tensor<2x1x4x8xf32>
  %a = comm.attention %h, %h, %h scale 1.0 : tensor<2x1x4x8xf32>, tensor<2x1x4x8xf32>, tensor<2x1x4x8xf32> -> tensor<2x1x4x8xf32>
  %c = tensor.collapse_shape %a [[0], [1, 2], [3]] : tensor<2x1x4x8xf32> into tensor<2x4x8xf32>
  %r = comm.all_reduce sum %c over @grid["tp"] : tensor<2x4x8xf32>
  return %r : tensor<2x4x8xf32>
}

// -----
// One sequence, not causal: refused, with the reason.
comm.grid @grid ["tp"] = [2]
// CHECK: comm.explain = [{{.*}}not split in two: {{.*}}attention is not causal: the first part would need keys of the second
// CHECK-LABEL: func.func @one_sequence
// CHECK:         comm.attention {{.*}} : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>
// CHECK-NOT:     comm.attention
// ORDER-LABEL: func.func @one_sequence
func.func @one_sequence(%x: tensor<1x1x4x8xf32>) -> tensor<1x1x4x8xf32> {
  %a = comm.attention %x, %x, %x scale 1.0 : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x1x4x8xf32>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf32>
  return %r : tensor<1x1x4x8xf32>
}

// -----
// A causal mask that is not aligned at the end: the first part would see keys of the second.
comm.grid @grid ["tp"] = [2]
// CHECK: comm.explain = [{{.*}}the causal mask is not aligned at the end
// CHECK-LABEL: func.func @offset
// CHECK-NOT:     tensor.extract_slice
// ORDER-LABEL: func.func @offset
func.func @offset(%x: tensor<1x1x4x8xf32>) -> tensor<1x1x4x8xf32> {
  %a = comm.attention %x, %x, %x scale 1.0 causal 2 : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x1x4x8xf32>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf32>
  return %r : tensor<1x1x4x8xf32>
}

// -----
// Rows and positions are mixed by an op without a rule for it (a sum over positions), and one token cannot be cut.
comm.grid @grid ["tp"] = [2]
// CHECK-LABEL: func.func @mixes
// CHECK-NOT:     tensor.extract_slice
// CHECK:         return
// ORDER-LABEL: func.func @mixes
func.func @mixes(%x: tensor<4x8xf32>, %y: tensor<1x8xf32>, %e: tensor<8xf32>) -> (tensor<8xf32>, tensor<1x8xf32>) {
  %m = linalg.reduce ins(%x : tensor<4x8xf32>) outs(%e : tensor<8xf32>) dimensions = [0]
    (%a: f32, %b: f32) { %s = arith.maximumf %a, %b : f32  linalg.yield %s : f32 }
  %r = comm.all_reduce sum %m over @grid["tp"] : tensor<8xf32>
  %t = comm.all_reduce sum %y over @grid["tp"] : tensor<1x8xf32>
  return %r, %t : tensor<8xf32>, tensor<1x8xf32>
}

// -----
// Not called causal, but its mask compares constant positions, joined with one that comes from outside: later keys are hidden.
comm.grid @grid ["tp"] = [2]
// CHECK-LABEL: func.func @masked
// CHECK:         comm.attention {{.*}} mask {{.*}} : tensor<1x1x2x2xi1> {{.*}} : tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>
// CHECK:         comm.attention {{.*}} mask {{.*}} : tensor<1x1x2x4xi1> {{.*}} : tensor<1x1x2x8xf32>, tensor<1x1x4x8xf32>
// ORDER-LABEL: func.func @masked
func.func @masked(%x: tensor<1x1x4x8xf32>, %pad: tensor<1x1x4x4xi1>) -> tensor<1x1x4x8xf32> {
  %p = arith.constant dense<[0, 1, 2, 3]> : tensor<4xi64>
  %e = tensor.empty() : tensor<1x1x4x4xi64>
  %k = linalg.broadcast ins(%p : tensor<4xi64>) outs(%e : tensor<1x1x4x4xi64>) dimensions = [0, 1, 2]
  %q = linalg.broadcast ins(%p : tensor<4xi64>) outs(%e : tensor<1x1x4x4xi64>) dimensions = [0, 1, 3]
  %c = arith.cmpi sle, %k, %q : tensor<1x1x4x4xi64>
  %m = arith.andi %c, %pad : tensor<1x1x4x4xi1>
  %a = comm.attention %x, %x, %x mask %m : tensor<1x1x4x4xi1> scale 1.0 : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x1x4x8xf32>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf32>
  return %r : tensor<1x1x4x8xf32>
}

// -----
// The same as minus infinity added to the scores.
comm.grid @grid ["tp"] = [2]
// CHECK-LABEL: func.func @added
// CHECK:         comm.attention {{.*}} : tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>
// CHECK:         comm.attention {{.*}} : tensor<1x1x2x8xf32>, tensor<1x1x4x8xf32>
// ORDER-LABEL: func.func @added
func.func @added(%x: tensor<1x1x4x8xf32>, %bias: tensor<1x1x4x4xf32>) -> tensor<1x1x4x8xf32> {
  %c = arith.constant dense<[[[[true, false, false, false], [true, true, false, false], [true, true, true, false], [true, true, true, true]]]]> : tensor<1x1x4x4xi1>
  %low = arith.constant dense<0xFF800000> : tensor<1x1x4x4xf32>
  %m = arith.select %c, %bias, %low : tensor<1x1x4x4xi1>, tensor<1x1x4x4xf32>
  %a = comm.attention %x, %x, %x mask %m : tensor<1x1x4x4xf32> scale 1.0 : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x1x4x8xf32>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf32>
  return %r : tensor<1x1x4x8xf32>
}

// -----
// One key of the second part is seen by a query of the first: refused.
comm.grid @grid ["tp"] = [2]
// CHECK-LABEL: func.func @leaks
// CHECK-NOT:     tensor.extract_slice
// ORDER-LABEL: func.func @leaks
func.func @leaks(%x: tensor<1x1x4x8xf32>) -> tensor<1x1x4x8xf32> {
  %c = arith.constant dense<[[[[true, false, false, false], [true, true, true, false], [true, true, true, false], [true, true, true, true]]]]> : tensor<1x1x4x4xi1>
  %a = comm.attention %x, %x, %x mask %c : tensor<1x1x4x4xi1> scale 1.0 : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x1x4x8xf32>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf32>
  return %r : tensor<1x1x4x8xf32>
}
