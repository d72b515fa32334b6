// RUN: comm-opt %s --comm-raise-norms --split-input-file | FileCheck %s

// As torch exports it: mean of squares, 1/sqrt, then the weight on the left.
// CHECK-LABEL: func.func @rms_norm
// CHECK-SAME:    (%[[X:.*]]: tensor<2x4x8xf32>, %[[W:.*]]: tensor<8xf32>)
// CHECK-NEXT:    %[[Y:.*]] = comm.rms_norm %[[X]], %[[W]] epsilon
// CHECK-NEXT:    return %[[Y]]
func.func @rms_norm(%x: tensor<2x4x8xf32>, %w: tensor<8xf32>) -> tensor<2x4x8xf32> {
  %zero = arith.constant dense<0.0> : tensor<2x4xf32>
  %size = arith.constant dense<8.0> : tensor<2x4x1xf32>
  %eps = arith.constant dense<1.0e-6> : tensor<2x4x1xf32>
  %one = arith.constant dense<1.0> : tensor<2x4x1xf32>
  %square = arith.mulf %x, %x : tensor<2x4x8xf32>
  %sum = linalg.reduce {arith.addf} ins(%square : tensor<2x4x8xf32>) outs(%zero : tensor<2x4xf32>) dimensions = [2]
  %kept = tensor.expand_shape %sum [[0], [1, 2]] output_shape [2, 4, 1] : tensor<2x4xf32> into tensor<2x4x1xf32>
  %mean = arith.divf %kept, %size : tensor<2x4x1xf32>
  %shifted = arith.addf %mean, %eps : tensor<2x4x1xf32>
  %root = math.sqrt %shifted : tensor<2x4x1xf32>
  %inverse = arith.divf %one, %root : tensor<2x4x1xf32>
  %flat = tensor.collapse_shape %inverse [[0], [1, 2]] : tensor<2x4x1xf32> into tensor<2x4xf32>
  %e = tensor.empty() : tensor<2x4x8xf32>
  %wide = linalg.broadcast ins(%flat : tensor<2x4xf32>) outs(%e : tensor<2x4x8xf32>) dimensions = [2]
  %normed = arith.mulf %x, %wide : tensor<2x4x8xf32>
  %weights = linalg.broadcast ins(%w : tensor<8xf32>) outs(%e : tensor<2x4x8xf32>) dimensions = [0, 1]
  %y = arith.mulf %weights, %normed : tensor<2x4x8xf32>
  return %y : tensor<2x4x8xf32>
}

// -----
// Half precision, rsqrt, no weight: the widening and narrowing belong to the op.
// CHECK-LABEL: func.func @rms_norm_half
// CHECK-SAME:    (%[[X:.*]]: tensor<4x8xf16>)
// CHECK:         %[[W:.*]] = arith.constant dense<1.000000e+00> : tensor<8xf16>
// CHECK:         %[[Y:.*]] = comm.rms_norm %[[X]], %[[W]] epsilon
// CHECK:         return %[[Y]]
func.func @rms_norm_half(%x: tensor<4x8xf16>) -> tensor<4x8xf16> {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %factor = arith.constant dense<0.125> : tensor<4xf32>
  %eps = arith.constant dense<1.0e-6> : tensor<4xf32>
  %f = arith.extf %x : tensor<4x8xf16> to tensor<4x8xf32>
  %square = arith.mulf %f, %f : tensor<4x8xf32>
  %sum = linalg.reduce {arith.addf} ins(%square : tensor<4x8xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
  %mean = arith.mulf %sum, %factor : tensor<4xf32>
  %shifted = arith.addf %eps, %mean : tensor<4xf32>
  %inverse = math.rsqrt %shifted : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %wide = linalg.broadcast ins(%inverse : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %normed = arith.mulf %wide, %f : tensor<4x8xf32>
  %y = arith.truncf %normed : tensor<4x8xf32> to tensor<4x8xf16>
  return %y : tensor<4x8xf16>
}

// -----
// CHECK-LABEL: func.func @layer_norm
// CHECK-SAME:    (%[[X:.*]]: tensor<4x8xf32>, %[[W:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<8xf32>)
// CHECK-NEXT:    %[[Y:.*]] = comm.layer_norm %[[X]], %[[W]] bias %[[B]] : tensor<8xf32> epsilon
// CHECK-NEXT:    return %[[Y]]
func.func @layer_norm(%x: tensor<4x8xf32>, %w: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %size = arith.constant dense<8.0> : tensor<4xf32>
  %eps = arith.constant dense<1.0e-12> : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %sum = linalg.reduce {arith.addf} ins(%x : tensor<4x8xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
  %mean = arith.divf %sum, %size : tensor<4xf32>
  %means = linalg.broadcast ins(%mean : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %centred = arith.subf %x, %means : tensor<4x8xf32>
  %square = arith.mulf %centred, %centred : tensor<4x8xf32>
  %squares = linalg.reduce {arith.addf} ins(%square : tensor<4x8xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
  %variance = arith.divf %squares, %size : tensor<4xf32>
  %shifted = arith.addf %variance, %eps : tensor<4xf32>
  %root = math.sqrt %shifted : tensor<4xf32>
  %wide = linalg.broadcast ins(%root : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %normed = arith.divf %centred, %wide : tensor<4x8xf32>
  %weights = linalg.broadcast ins(%w : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %scaled = arith.mulf %normed, %weights : tensor<4x8xf32>
  %biases = linalg.broadcast ins(%b : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %y = arith.addf %scaled, %biases : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----
// Negative twin: divided by 7, not by the size of the dimension.
// CHECK-LABEL: func.func @other_divisor
// CHECK-NOT:     comm.rms_norm
func.func @other_divisor(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %size = arith.constant dense<7.0> : tensor<4xf32>
  %eps = arith.constant dense<1.0e-6> : tensor<4xf32>
  %square = arith.mulf %x, %x : tensor<4x8xf32>
  %sum = linalg.reduce {arith.addf} ins(%square : tensor<4x8xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
  %mean = arith.divf %sum, %size : tensor<4xf32>
  %shifted = arith.addf %mean, %eps : tensor<4xf32>
  %inverse = math.rsqrt %shifted : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %wide = linalg.broadcast ins(%inverse : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %y = arith.mulf %x, %wide : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----
// Negative twin: on a square tensor, the mean is over the first dimension.
// CHECK-LABEL: func.func @other_dimension
// CHECK-NOT:     comm.rms_norm
func.func @other_dimension(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %zero = arith.constant dense<0.0> : tensor<8xf32>
  %size = arith.constant dense<8.0> : tensor<8xf32>
  %eps = arith.constant dense<1.0e-6> : tensor<8xf32>
  %square = arith.mulf %x, %x : tensor<8x8xf32>
  %sum = linalg.reduce {arith.addf} ins(%square : tensor<8x8xf32>) outs(%zero : tensor<8xf32>) dimensions = [0]
  %mean = arith.divf %sum, %size : tensor<8xf32>
  %shifted = arith.addf %mean, %eps : tensor<8xf32>
  %inverse = math.rsqrt %shifted : tensor<8xf32>
  %e = tensor.empty() : tensor<8x8xf32>
  %wide = linalg.broadcast ins(%inverse : tensor<8xf32>) outs(%e : tensor<8x8xf32>) dimensions = [1]
  %y = arith.mulf %x, %wide : tensor<8x8xf32>
  return %y : tensor<8x8xf32>
}

// -----
// Negative twin: the squares are those of another value.
// CHECK-LABEL: func.func @other_value
// CHECK-NOT:     comm.rms_norm
func.func @other_value(%x: tensor<4x8xf32>, %z: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %size = arith.constant dense<8.0> : tensor<4xf32>
  %eps = arith.constant dense<1.0e-6> : tensor<4xf32>
  %square = arith.mulf %x, %z : tensor<4x8xf32>
  %sum = linalg.reduce {arith.addf} ins(%square : tensor<4x8xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
  %mean = arith.divf %sum, %size : tensor<4xf32>
  %shifted = arith.addf %mean, %eps : tensor<4xf32>
  %inverse = math.rsqrt %shifted : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %wide = linalg.broadcast ins(%inverse : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %y = arith.mulf %x, %wide : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
