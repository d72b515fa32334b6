// RUN: comm-opt %s --comm-fuse-all-reduce-norm | FileCheck %s
comm.grid @grid ["tp"] = [2]

// The chain folds; the sum stays available to the next residual.
// CHECK-LABEL: func.func @folds_rms_chain
// CHECK-SAME:    (%[[X:.*]]: tensor<4x8xf32>, %[[R:.*]]: tensor<4x8xf32>, %[[W:.*]]: tensor<8xf32>)
// CHECK-NEXT:    %[[N:.*]], %[[S:.*]] = comm.all_reduce_norm %[[X]], %[[R]], %[[W]] epsilon 1.000000e-05 over @grid["tp"]
// CHECK-NEXT:    return %[[N]], %[[S]]
func.func @folds_rms_chain(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>, %w: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %s = arith.addf %a, %r : tensor<4x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %n, %s : tensor<4x8xf32>, tensor<4x8xf32>
}

// Bias between the reduce and the residual, residual on the left, layer norm with a bias of its own; a weight behind the add moves up.
// CHECK-LABEL: func.func @folds_layer_norm_with_bias
// CHECK-SAME:    (%[[X:.*]]: tensor<4x8xf32>, %[[R:.*]]: tensor<4x8xf32>, %[[B:.*]]: tensor<8xf32>, %[[NB:.*]]: tensor<8xf32>)
// CHECK:         %[[W:.*]] = comm.weight
// CHECK:         comm.all_reduce_norm %[[X]], %[[R]], %[[W]] bias %[[B]] : tensor<8xf32> norm_bias %[[NB]] : tensor<8xf32> epsilon {{.*}} layer_norm over @grid["tp"]
// CHECK-NOT:     comm.layer_norm
func.func @folds_layer_norm_with_bias(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>, %b: tensor<8xf32>, %nb: tensor<8xf32>) -> tensor<4x8xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %bb = linalg.broadcast ins(%b : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %c = arith.addf %a, %bb : tensor<4x8xf32>
  %s = arith.addf %r, %c : tensor<4x8xf32>
  %w = comm.weight "g" in "m.onnx" at 0 : tensor<8xf32> -> tensor<8xf32>
  %n = comm.layer_norm %s, %w bias %nb : tensor<8xf32> epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %n : tensor<4x8xf32>
}

// A reshape between the reduce and the add no longer stops the match: it moves in front of the reduce.
// CHECK-LABEL: func.func @looks_through_reshape
// CHECK:         %[[E:.*]] = tensor.expand_shape %{{.*}} {{\[}}[0, 1], [2]]
// CHECK-NEXT:    comm.all_reduce_norm %[[E]]
func.func @looks_through_reshape(%x: tensor<4x8xf32>, %r: tensor<2x2x8xf32>, %w: tensor<8xf32>) -> tensor<2x2x8xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %y = tensor.expand_shape %a [[0, 1], [2]] output_shape [2, 2, 8] : tensor<4x8xf32> into tensor<2x2x8xf32>
  %s = arith.addf %y, %r : tensor<2x2x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<2x2x8xf32>, tensor<8xf32>
  return %n : tensor<2x2x8xf32>
}

// The same with a bias between the reduce and the reshape, as exporters of GPT-2 write it.
// CHECK-LABEL: func.func @looks_through_bias_and_reshape
// CHECK-SAME:    %{{.*}}: tensor<4x8xf32>, %{{.*}}: tensor<2x2x8xf32>, %[[B:.*]]: tensor<8xf32>
// CHECK:         comm.all_reduce_norm %{{.*}}, %{{.*}}, %{{.*}} bias %[[B]]
// CHECK-NOT:     comm.all_reduce {{.*}}sum
func.func @looks_through_bias_and_reshape(%x: tensor<4x8xf32>, %r: tensor<2x2x8xf32>, %b: tensor<8xf32>) -> tensor<2x2x8xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %bb = linalg.broadcast ins(%b : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %c = arith.addf %a, %bb : tensor<4x8xf32>
  %y = tensor.expand_shape %c [[0, 1], [2]] output_shape [2, 2, 8] : tensor<4x8xf32> into tensor<2x2x8xf32>
  %s = arith.addf %y, %r : tensor<2x2x8xf32>
  %n = comm.rms_norm %s, %b epsilon 1.0e-5 : tensor<2x2x8xf32>, tensor<8xf32>
  return %n : tensor<2x2x8xf32>
}

// A reduce with another user stays as it is.
// CHECK-LABEL: func.func @keeps_shared_reduce
// CHECK:         comm.all_reduce
// CHECK-NOT:     comm.all_reduce_norm
func.func @keeps_shared_reduce(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>, %w: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %s = arith.addf %a, %r : tensor<4x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %n, %a : tensor<4x8xf32>, tensor<4x8xf32>
}

// A maximum is not a residual sum; no norm behind the add.
// CHECK-LABEL: func.func @keeps_other_forms
// CHECK:         comm.all_reduce  max
// CHECK:         comm.all_reduce  sum
// CHECK-NOT:     comm.all_reduce_norm
func.func @keeps_other_forms(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>, %w: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %a = comm.all_reduce max %x over @grid["tp"] : tensor<4x8xf32>
  %s = arith.addf %a, %r : tensor<4x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %b = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %t = arith.addf %b, %r : tensor<4x8xf32>
  return %n, %t : tensor<4x8xf32>, tensor<4x8xf32>
}

// A transpose of leading dimensions keeps the rows whole: it moves in front of the reduction, and the chain folds.
// CHECK-LABEL: func.func @moves_transpose
// CHECK:         %[[T:.*]] = linalg.transpose
// CHECK:         comm.all_reduce_norm %[[T]],
func.func @moves_transpose(%x: tensor<2x4x8xf32>, %r: tensor<4x2x8xf32>, %w: tensor<8xf32>) -> tensor<4x2x8xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<2x4x8xf32>
  %e = tensor.empty() : tensor<4x2x8xf32>
  %t = linalg.transpose ins(%a : tensor<2x4x8xf32>) outs(%e : tensor<4x2x8xf32>) permutation = [1, 0, 2]
  %s = arith.addf %t, %r : tensor<4x2x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<4x2x8xf32>, tensor<8xf32>
  return %n : tensor<4x2x8xf32>
}

// One that moves the columns does not keep rows: it stays, and so does the reduction.
// CHECK-LABEL: func.func @keeps_column_transpose
// CHECK:         comm.all_reduce sum
// CHECK:         tensor.empty
// CHECK:         linalg.transpose
func.func @keeps_column_transpose(%x: tensor<8x4xf32>, %r: tensor<4x8xf32>, %w: tensor<8xf32>) -> tensor<4x8xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<8x4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %t = linalg.transpose ins(%a : tensor<8x4xf32>) outs(%e : tensor<4x8xf32>) permutation = [1, 0]
  %s = arith.addf %t, %r : tensor<4x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %n : tensor<4x8xf32>
}

// A norm of a 16-bit sum between casts, its weight widened or a constant that loses nothing: the same norm of 16 bits, and the chain folds.
// CHECK-LABEL: func.func @narrows_norm
// CHECK-SAME:    %[[W:[^:]*]]: tensor<8xf16>)
// CHECK:         comm.all_reduce_norm %{{.*}}, %{{.*}}, %[[W]] epsilon {{.*}} : tensor<4x8xf16>, tensor<8xf16>
// CHECK:         %[[C:.*]] = arith.constant dense<5.000000e-01> : tensor<8xf16>
// CHECK:         comm.all_reduce_norm %{{.*}}, %{{.*}}, %[[C]] norm_bias %[[W]] {{.*}} layer_norm {{.*}} : tensor<4x8xf16>, tensor<8xf16>
// CHECK-NOT:     arith.truncf
func.func @narrows_norm(%x: tensor<4x8xf16>, %r: tensor<4x8xf16>, %w: tensor<8xf16>) -> (tensor<4x8xf16>, tensor<4x8xf16>) {
  %half = arith.constant dense<0.5> : tensor<8xf32>
  %v = arith.extf %w : tensor<8xf16> to tensor<8xf32>
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf16>
  %s = arith.addf %a, %r : tensor<4x8xf16>
  %d = arith.extf %s : tensor<4x8xf16> to tensor<4x8xf32>
  %n = comm.rms_norm %d, %v epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %y = arith.truncf %n : tensor<4x8xf32> to tensor<4x8xf16>
  %b = comm.all_reduce sum %y over @grid["tp"] : tensor<4x8xf16>
  %t = arith.addf %b, %r : tensor<4x8xf16>
  %e = arith.extf %t : tensor<4x8xf16> to tensor<4x8xf32>
  %m = comm.layer_norm %e, %half bias %v : tensor<8xf32> epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %z = arith.truncf %m : tensor<4x8xf32> to tensor<4x8xf16>
  return %y, %z : tensor<4x8xf16>, tensor<4x8xf16>
}

// A weight of 1/3 is another number in 16 bits: the norm stays between its casts.
// CHECK-LABEL: func.func @keeps_wide_norm
// CHECK:         comm.rms_norm {{.*}} : tensor<4x8xf32>
func.func @keeps_wide_norm(%x: tensor<4x8xbf16>, %r: tensor<4x8xbf16>) -> tensor<4x8xbf16> {
  %third = arith.constant dense<0.333333343> : tensor<8xf32>
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xbf16>
  %s = arith.addf %a, %r : tensor<4x8xbf16>
  %d = arith.extf %s : tensor<4x8xbf16> to tensor<4x8xf32>
  %n = comm.rms_norm %d, %third epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %y = arith.truncf %n : tensor<4x8xf32> to tensor<4x8xbf16>
  return %y : tensor<4x8xbf16>
}
