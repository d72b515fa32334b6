// RUN: comm-opt %s --comm-raise-attention | FileCheck %s
// Each softmax product gets one remark.
// CHECK: module attributes {comm.explain = [
// CHECK-SAME: recognised: 4 query heads, 4 kv heads, masked
// CHECK-SAME: recognised: 4 query heads, 2 kv heads, causal
// CHECK-SAME: not matched, the scores have other users
// CHECK-SAME: not matched, a mask is scaled or capped
// CHECK-SAME: not matched, a mask has another shape

// Scale on the scores by division, an added float mask.
// CHECK-LABEL: func.func @scaled_scores
// CHECK-SAME:    (%[[Q:.*]]: tensor<2x4x3x16xf32>, %[[K:.*]]: tensor<2x4x5x16xf32>, %[[V:.*]]: tensor<2x4x5x16xf32>, %[[M:.*]]: tensor<2x1x1x5xf32>)
// CHECK:         %[[Y:.*]] = comm.attention %[[Q]], %[[K]], %[[V]] mask %[[M]] : tensor<2x1x1x5xf32> scale 2.500000e-01
// CHECK-NEXT:    return %[[Y]]
func.func @scaled_scores(%q: tensor<2x4x3x16xf32>, %k: tensor<2x4x5x16xf32>, %v: tensor<2x4x5x16xf32>, %m: tensor<2x1x1x5xf32>) -> tensor<2x4x3x16xf32> {
  %four = arith.constant dense<4.0> : tensor<2x4x3x5xf32>
  %scores = comm.matmul %q, %k transposed : tensor<2x4x3x16xf32>, tensor<2x4x5x16xf32> -> tensor<2x4x3x5xf32>
  %scaled = arith.divf %scores, %four : tensor<2x4x3x5xf32>
  %flat = tensor.collapse_shape %m [[0, 1, 2], [3]] : tensor<2x1x1x5xf32> into tensor<2x5xf32>
  %e = tensor.empty() : tensor<2x4x3x5xf32>
  %wide = linalg.broadcast ins(%flat : tensor<2x5xf32>) outs(%e : tensor<2x4x3x5xf32>) dimensions = [1, 2]
  %masked = arith.addf %scaled, %wide : tensor<2x4x3x5xf32>
  %p = comm.softmax %masked : tensor<2x4x3x5xf32>
  %y = comm.matmul %p, %v : tensor<2x4x3x5xf32>, tensor<2x4x5x16xf32> -> tensor<2x4x3x16xf32>
  return %y : tensor<2x4x3x16xf32>
}

// As torch exports grouped heads: scale on both sides, keys and values repeated, a causal mask of 0 and -FLT_MAX, rows cleaned with isnan.
// CHECK-LABEL: func.func @grouped_causal
// CHECK-SAME:    (%[[Q:.*]]: tensor<1x4x3x16xf32>, %[[K:.*]]: tensor<1x2x3x16xf32>, %[[V:.*]]: tensor<1x2x3x16xf32>)
// CHECK-NEXT:    %[[Y:.*]] = comm.attention %[[Q]], %[[K]], %[[V]] scale 2.500000e-01 causal 0 : {{.*}}tensor<1x2x3x16xf32>
// CHECK-NEXT:    return %[[Y]]
func.func @grouped_causal(%q: tensor<1x4x3x16xf32>, %k: tensor<1x2x3x16xf32>, %v: tensor<1x2x3x16xf32>) -> tensor<1x4x3x16xf32> {
  %half = arith.constant dense<0.5> : tensor<1x4x3x16xf32>
  %seen = arith.constant dense<[[[[true, false, false], [true, true, false], [true, true, true]]]]> : tensor<1x1x3x3xi1>
  %zeros = arith.constant dense<0.0> : tensor<1x1x3x3xf32>
  %lowest = arith.constant dense<-3.40282347E+38> : tensor<1x1x3x3xf32>
  %none = arith.constant dense<0.0> : tensor<1x4x3x3xf32>
  %e = tensor.empty() : tensor<1x2x2x3x16xf32>
  %ks = linalg.broadcast ins(%k : tensor<1x2x3x16xf32>) outs(%e : tensor<1x2x2x3x16xf32>) dimensions = [2]
  %k4 = tensor.collapse_shape %ks [[0], [1, 2], [3], [4]] : tensor<1x2x2x3x16xf32> into tensor<1x4x3x16xf32>
  %vs = linalg.broadcast ins(%v : tensor<1x2x3x16xf32>) outs(%e : tensor<1x2x2x3x16xf32>) dimensions = [2]
  %v4 = tensor.collapse_shape %vs [[0], [1, 2], [3], [4]] : tensor<1x2x2x3x16xf32> into tensor<1x4x3x16xf32>
  %qh = arith.mulf %q, %half : tensor<1x4x3x16xf32>
  %kh = arith.mulf %k4, %half : tensor<1x4x3x16xf32>
  %scores = comm.matmul %qh, %kh transposed : tensor<1x4x3x16xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x3xf32>
  %mask = arith.select %seen, %zeros, %lowest : tensor<1x1x3x3xi1>, tensor<1x1x3x3xf32>
  %flat = tensor.collapse_shape %mask [[0, 1], [2], [3]] : tensor<1x1x3x3xf32> into tensor<1x3x3xf32>
  %e4 = tensor.empty() : tensor<1x4x3x3xf32>
  %wide = linalg.broadcast ins(%flat : tensor<1x3x3xf32>) outs(%e4 : tensor<1x4x3x3xf32>) dimensions = [1]
  %masked = arith.addf %scores, %wide : tensor<1x4x3x3xf32>
  %p = comm.softmax %masked : tensor<1x4x3x3xf32>
  %nan = arith.cmpf uno, %p, %p : tensor<1x4x3x3xf32>
  %clean = arith.select %nan, %none, %p : tensor<1x4x3x3xi1>, tensor<1x4x3x3xf32>
  %y = comm.matmul %clean, %v4 : tensor<1x4x3x3xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x16xf32>
  return %y : tensor<1x4x3x16xf32>
}

// Negative twin: the scores are also returned.
// CHECK-LABEL: func.func @scores_used
// CHECK-NOT:     comm.attention
func.func @scores_used(%q: tensor<1x4x3x16xf32>, %k: tensor<1x4x3x16xf32>, %v: tensor<1x4x3x16xf32>) -> (tensor<1x4x3x16xf32>, tensor<1x4x3x3xf32>) {
  %scores = comm.matmul %q, %k transposed : tensor<1x4x3x16xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x3xf32>
  %p = comm.softmax %scores : tensor<1x4x3x3xf32>
  %y = comm.matmul %p, %v : tensor<1x4x3x3xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x16xf32>
  return %y, %scores : tensor<1x4x3x16xf32>, tensor<1x4x3x3xf32>
}

// Negative twin: the scale comes after the mask and scales it too.
// CHECK-LABEL: func.func @mask_scaled
// CHECK-NOT:     comm.attention
func.func @mask_scaled(%q: tensor<1x4x3x16xf32>, %k: tensor<1x4x3x16xf32>, %v: tensor<1x4x3x16xf32>, %m: tensor<1x4x3x3xf32>) -> tensor<1x4x3x16xf32> {
  %four = arith.constant dense<4.0> : tensor<1x4x3x3xf32>
  %scores = comm.matmul %q, %k transposed : tensor<1x4x3x16xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x3xf32>
  %masked = arith.addf %scores, %m : tensor<1x4x3x3xf32>
  %scaled = arith.divf %masked, %four : tensor<1x4x3x3xf32>
  %p = comm.softmax %scaled : tensor<1x4x3x3xf32>
  %y = comm.matmul %p, %v : tensor<1x4x3x3xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x16xf32>
  return %y : tensor<1x4x3x16xf32>
}

// Negative twin: the mask is turned, queries along keys.
// CHECK-LABEL: func.func @mask_turned
// CHECK-NOT:     comm.attention
func.func @mask_turned(%q: tensor<1x4x3x16xf32>, %k: tensor<1x4x3x16xf32>, %v: tensor<1x4x3x16xf32>, %m: tensor<3x3xf32>) -> tensor<1x4x3x16xf32> {
  %scores = comm.matmul %q, %k transposed : tensor<1x4x3x16xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x3xf32>
  %e2 = tensor.empty() : tensor<3x3xf32>
  %turned = linalg.transpose ins(%m : tensor<3x3xf32>) outs(%e2 : tensor<3x3xf32>) permutation = [1, 0]
  %e = tensor.empty() : tensor<1x4x3x3xf32>
  %wide = linalg.broadcast ins(%turned : tensor<3x3xf32>) outs(%e : tensor<1x4x3x3xf32>) dimensions = [0, 1]
  %masked = arith.addf %scores, %wide : tensor<1x4x3x3xf32>
  %p = comm.softmax %masked : tensor<1x4x3x3xf32>
  %y = comm.matmul %p, %v : tensor<1x4x3x3xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x16xf32>
  return %y : tensor<1x4x3x16xf32>
}

// A constant of 0 and -1e4 is causal when it is the only mask; not when padding is added to it, and not when the first query sees nothing.
// CHECK-LABEL: func.func @finite_constant
// CHECK:         comm.attention %{{.*}}, %{{.*}}, %{{.*}} scale 1.000000e+00 causal 0 : tensor<1x1x2x8xf32>
// CHECK:         comm.attention %{{.*}}, %{{.*}}, %{{.*}} mask %{{.*}} : tensor<1x1x2x2xf32> scale 1.000000e+00 : tensor<1x1x2x8xf32>
// CHECK:         comm.attention %{{.*}}, %{{.*}}, %{{.*}} mask %{{.*}} : tensor<1x1x2x2xf32> scale 1.000000e+00 : tensor<1x1x2x8xf32>
func.func @finite_constant(%q: tensor<1x1x2x8xf32>, %pad: tensor<1x1x2x2xf32>) -> (tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>) {
  %m = arith.constant dense<[[[[0.0, -1.0e4], [0.0, 0.0]]]]> : tensor<1x1x2x2xf32>
  %none = arith.constant dense<[[[[-1.0e4, -1.0e4], [0.0, -1.0e4]]]]> : tensor<1x1x2x2xf32>
  %scores = comm.matmul %q, %q transposed : tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32> -> tensor<1x1x2x2xf32>
  %a = arith.addf %scores, %m : tensor<1x1x2x2xf32>
  %p = comm.softmax %a : tensor<1x1x2x2xf32>
  %x = comm.matmul %p, %q : tensor<1x1x2x2xf32>, tensor<1x1x2x8xf32> -> tensor<1x1x2x8xf32>
  %scores1 = comm.matmul %q, %q transposed : tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32> -> tensor<1x1x2x2xf32>
  %b = arith.addf %scores1, %m : tensor<1x1x2x2xf32>
  %c = arith.addf %b, %pad : tensor<1x1x2x2xf32>
  %r = comm.softmax %c : tensor<1x1x2x2xf32>
  %y = comm.matmul %r, %q : tensor<1x1x2x2xf32>, tensor<1x1x2x8xf32> -> tensor<1x1x2x8xf32>
  %scores2 = comm.matmul %q, %q transposed : tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32> -> tensor<1x1x2x2xf32>
  %d = arith.addf %scores2, %none : tensor<1x1x2x2xf32>
  %s = comm.softmax %d : tensor<1x1x2x2xf32>
  %z = comm.matmul %s, %q : tensor<1x1x2x2xf32>, tensor<1x1x2x8xf32> -> tensor<1x1x2x8xf32>
  return %x, %y, %z : tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>
}

// Positions of keys compared with those of queries are causal whatever their number; strictly less is one fewer, and queries on the left turn it round.
// CHECK-LABEL: func.func @compared_positions
// CHECK:         comm.attention %{{.*}}, %{{.*}}, %{{.*}} scale 1.000000e+00 causal 1 : tensor<1x1x2x8xf32>
// CHECK:         comm.attention %{{.*}}, %{{.*}}, %{{.*}} scale 1.000000e+00 causal 0 : tensor<1x1x2x8xf32>
// CHECK:         comm.attention %{{.*}} mask %{{.*}} : tensor<1x1x2x3xi1>
func.func @compared_positions(%q: tensor<1x1x2x8xf32>, %k: tensor<1x1x3x8xf32>) -> (tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>) {
  %keys = arith.constant dense<[[[4, 5, 6]]]> : tensor<1x1x3xi64>
  %queries = arith.constant dense<[[[5, 6]]]> : tensor<1x1x2xi64>
  %e = tensor.empty() : tensor<1x1x2x3xi64>
  %j = linalg.broadcast ins(%keys : tensor<1x1x3xi64>) outs(%e : tensor<1x1x2x3xi64>) dimensions = [2]
  %i = linalg.broadcast ins(%queries : tensor<1x1x2xi64>) outs(%e : tensor<1x1x2x3xi64>) dimensions = [3]
  %low = arith.constant dense<0xFF800000> : tensor<1x1x2x3xf32>
  %reaches = arith.cmpi sle, %j, %i : tensor<1x1x2x3xi64>
  %scores = comm.matmul %q, %k transposed : tensor<1x1x2x8xf32>, tensor<1x1x3x8xf32> -> tensor<1x1x2x3xf32>
  %a = arith.select %reaches, %scores, %low : tensor<1x1x2x3xi1>, tensor<1x1x2x3xf32>
  %p = comm.softmax %a : tensor<1x1x2x3xf32>
  %x = comm.matmul %p, %k : tensor<1x1x2x3xf32>, tensor<1x1x3x8xf32> -> tensor<1x1x2x8xf32>
  %before = arith.cmpi sgt, %i, %j : tensor<1x1x2x3xi64>
  %scores1 = comm.matmul %q, %k transposed : tensor<1x1x2x8xf32>, tensor<1x1x3x8xf32> -> tensor<1x1x2x3xf32>
  %b = arith.select %before, %scores1, %low : tensor<1x1x2x3xi1>, tensor<1x1x2x3xf32>
  %r = comm.softmax %b : tensor<1x1x2x3xf32>
  %y = comm.matmul %r, %k : tensor<1x1x2x3xf32>, tensor<1x1x3x8xf32> -> tensor<1x1x2x8xf32>
  // Of the future only: a mask, but not a causal one.
  %later = arith.cmpi sge, %j, %i : tensor<1x1x2x3xi64>
  %scores2 = comm.matmul %q, %k transposed : tensor<1x1x2x8xf32>, tensor<1x1x3x8xf32> -> tensor<1x1x2x3xf32>
  %c = arith.select %later, %scores2, %low : tensor<1x1x2x3xi1>, tensor<1x1x2x3xf32>
  %s = comm.softmax %c : tensor<1x1x2x3xf32>
  %z = comm.matmul %s, %k : tensor<1x1x2x3xf32>, tensor<1x1x3x8xf32> -> tensor<1x1x2x8xf32>
  return %x, %y, %z : tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>
}
