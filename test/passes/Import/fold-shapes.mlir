// RUN: comm-opt %s --comm-fold-shapes | FileCheck %s

// Keys transposed by way of a 3-D reshape: one transpose of the last two dimensions, then a flag of the product.
// CHECK-LABEL: func.func @key_transpose
// CHECK-SAME:    (%[[Q:.*]]: tensor<2x4x3x8xf32>, %[[K:.*]]: tensor<2x4x5x8xf32>)
// CHECK-NEXT:    %[[S:.*]] = comm.matmul %[[Q]], %[[K]] transposed
// CHECK-NEXT:    return %[[S]]
func.func @key_transpose(%q: tensor<2x4x3x8xf32>, %k: tensor<2x4x5x8xf32>) -> tensor<2x4x3x5xf32> {
  %flat = tensor.collapse_shape %k [[0, 1], [2], [3]] : tensor<2x4x5x8xf32> into tensor<8x5x8xf32>
  %e = tensor.empty() : tensor<8x8x5xf32>
  %t = linalg.transpose ins(%flat : tensor<8x5x8xf32>) outs(%e : tensor<8x8x5xf32>) permutation = [0, 2, 1]
  %kt = tensor.expand_shape %t [[0, 1], [2], [3]] output_shape [2, 4, 8, 5] : tensor<8x8x5xf32> into tensor<2x4x8x5xf32>
  %s = comm.matmul %q, %kt : tensor<2x4x3x8xf32>, tensor<2x4x8x5xf32> -> tensor<2x4x3x5xf32>
  return %s : tensor<2x4x3x5xf32>
}

// Tokens flattened for a product with bias, as GPT-2 does: the flattening cancels.
// CHECK-LABEL: func.func @flattened_tokens
// CHECK-SAME:    (%[[X:.*]]: tensor<2x3x8xf32>, %[[W:.*]]: tensor<8x4xf32>, %[[B:.*]]: tensor<4xf32>)
// CHECK:         %[[P:.*]] = comm.matmul %[[X]], %[[W]] : tensor<2x3x8xf32>, tensor<8x4xf32> -> tensor<2x3x4xf32>
// CHECK:         %[[BIAS:.*]] = linalg.broadcast ins(%[[B]] : tensor<4xf32>)
// CHECK:         %[[Y:.*]] = arith.addf %[[P]], %[[BIAS]] : tensor<2x3x4xf32>
// CHECK-NEXT:    return %[[Y]]
func.func @flattened_tokens(%x: tensor<2x3x8xf32>, %w: tensor<8x4xf32>, %b: tensor<4xf32>) -> tensor<2x3x4xf32> {
  %flat = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x3x8xf32> into tensor<6x8xf32>
  %p = comm.matmul %flat, %w : tensor<6x8xf32>, tensor<8x4xf32> -> tensor<6x4xf32>
  %e = tensor.empty() : tensor<6x4xf32>
  %bias = linalg.broadcast ins(%b : tensor<4xf32>) outs(%e : tensor<6x4xf32>) dimensions = [0]
  %sum = arith.addf %p, %bias : tensor<6x4xf32>
  %y = tensor.expand_shape %sum [[0, 1], [2]] output_shape [2, 3, 4] : tensor<6x4xf32> into tensor<2x3x4xf32>
  return %y : tensor<2x3x4xf32>
}

// Negative twin: the reshape merges heads into the contracted dimension and stays.
// CHECK-LABEL: func.func @merges_contracted
// CHECK:         tensor.collapse_shape
// CHECK-NEXT:    comm.matmul {{.*}} : tensor<6x8xf32>, tensor<8x4xf32> -> tensor<6x4xf32>
func.func @merges_contracted(%x: tensor<6x2x4xf32>, %w: tensor<8x4xf32>) -> tensor<6x4xf32> {
  %flat = tensor.collapse_shape %x [[0], [1, 2]] : tensor<6x2x4xf32> into tensor<6x8xf32>
  %p = comm.matmul %flat, %w : tensor<6x8xf32>, tensor<8x4xf32> -> tensor<6x4xf32>
  return %p : tensor<6x4xf32>
}

// Negative twin: a matrix per token cannot be widened for nothing.
// CHECK-LABEL: func.func @other_operand_flat
// CHECK:         arith.addf {{.*}} : tensor<6x4xf32>
func.func @other_operand_flat(%x: tensor<2x3x4xf32>, %z: tensor<6x4xf32>) -> tensor<6x4xf32> {
  %flat = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x3x4xf32> into tensor<6x4xf32>
  %y = arith.addf %flat, %z : tensor<6x4xf32>
  return %y : tensor<6x4xf32>
}
