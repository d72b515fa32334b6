// RUN: comm-opt %s --comm-raise-rotary | FileCheck %s

// Tables from angles, the same half twice; broadcast over heads.
// CHECK-LABEL: func.func @rotary
// CHECK-SAME:    (%[[X:.*]]: tensor<2x4x3x8xf32>, %[[ANGLES:.*]]: tensor<3x4xf32>)
// CHECK:         %[[COS:.*]] = math.cos %[[ANGLES]] : tensor<3x4xf32>
// CHECK:         %[[COS3:.*]] = tensor.expand_shape %[[COS]]
// CHECK:         %[[SIN:.*]] = math.sin %[[ANGLES]] : tensor<3x4xf32>
// CHECK:         %[[SIN3:.*]] = tensor.expand_shape %[[SIN]]
// CHECK:         %[[Y:.*]] = comm.rotary %[[X]], %[[COS3]], %[[SIN3]] : tensor<2x4x3x8xf32>, tensor<1x3x4xf32>
// CHECK-NEXT:    return %[[Y]]
func.func @rotary(%x: tensor<2x4x3x8xf32>, %angles: tensor<3x4xf32>) -> tensor<2x4x3x8xf32> {
  %twice = tensor.concat dim(1) %angles, %angles : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x8xf32>
  %cos = math.cos %twice : tensor<3x8xf32>
  %sin = math.sin %twice : tensor<3x8xf32>
  %e = tensor.empty() : tensor<2x4x3x8xf32>
  %c = linalg.broadcast ins(%cos : tensor<3x8xf32>) outs(%e : tensor<2x4x3x8xf32>) dimensions = [0, 1]
  %s = linalg.broadcast ins(%sin : tensor<3x8xf32>) outs(%e : tensor<2x4x3x8xf32>) dimensions = [0, 1]
  %low = tensor.extract_slice %x[0, 0, 0, 0] [2, 4, 3, 4] [1, 1, 1, 1] : tensor<2x4x3x8xf32> to tensor<2x4x3x4xf32>
  %high = tensor.extract_slice %x[0, 0, 0, 4] [2, 4, 3, 4] [1, 1, 1, 1] : tensor<2x4x3x8xf32> to tensor<2x4x3x4xf32>
  %neg = arith.negf %high : tensor<2x4x3x4xf32>
  %turned = tensor.concat dim(3) %neg, %low : (tensor<2x4x3x4xf32>, tensor<2x4x3x4xf32>) -> tensor<2x4x3x8xf32>
  %a = arith.mulf %x, %c : tensor<2x4x3x8xf32>
  %b = arith.mulf %turned, %s : tensor<2x4x3x8xf32>
  %y = arith.addf %a, %b : tensor<2x4x3x8xf32>
  return %y : tensor<2x4x3x8xf32>
}

// Negative twin: nothing says that the halves of the tables are equal.
// CHECK-LABEL: func.func @unknown_halves
// CHECK-NOT:     comm.rotary
func.func @unknown_halves(%x: tensor<2x4x3x8xf32>, %cos: tensor<3x8xf32>, %sin: tensor<3x8xf32>) -> tensor<2x4x3x8xf32> {
  %e = tensor.empty() : tensor<2x4x3x8xf32>
  %c = linalg.broadcast ins(%cos : tensor<3x8xf32>) outs(%e : tensor<2x4x3x8xf32>) dimensions = [0, 1]
  %s = linalg.broadcast ins(%sin : tensor<3x8xf32>) outs(%e : tensor<2x4x3x8xf32>) dimensions = [0, 1]
  %low = tensor.extract_slice %x[0, 0, 0, 0] [2, 4, 3, 4] [1, 1, 1, 1] : tensor<2x4x3x8xf32> to tensor<2x4x3x4xf32>
  %high = tensor.extract_slice %x[0, 0, 0, 4] [2, 4, 3, 4] [1, 1, 1, 1] : tensor<2x4x3x8xf32> to tensor<2x4x3x4xf32>
  %neg = arith.negf %high : tensor<2x4x3x4xf32>
  %turned = tensor.concat dim(3) %neg, %low : (tensor<2x4x3x4xf32>, tensor<2x4x3x4xf32>) -> tensor<2x4x3x8xf32>
  %a = arith.mulf %x, %c : tensor<2x4x3x8xf32>
  %b = arith.mulf %turned, %s : tensor<2x4x3x8xf32>
  %y = arith.addf %a, %b : tensor<2x4x3x8xf32>
  return %y : tensor<2x4x3x8xf32>
}

// Negative twin: the low half is negated, not the high one.
// CHECK-LABEL: func.func @turned_other_way
// CHECK-NOT:     comm.rotary
func.func @turned_other_way(%x: tensor<2x4x3x8xf32>, %angles: tensor<3x4xf32>) -> tensor<2x4x3x8xf32> {
  %twice = tensor.concat dim(1) %angles, %angles : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x8xf32>
  %cos = math.cos %twice : tensor<3x8xf32>
  %sin = math.sin %twice : tensor<3x8xf32>
  %e = tensor.empty() : tensor<2x4x3x8xf32>
  %c = linalg.broadcast ins(%cos : tensor<3x8xf32>) outs(%e : tensor<2x4x3x8xf32>) dimensions = [0, 1]
  %s = linalg.broadcast ins(%sin : tensor<3x8xf32>) outs(%e : tensor<2x4x3x8xf32>) dimensions = [0, 1]
  %low = tensor.extract_slice %x[0, 0, 0, 0] [2, 4, 3, 4] [1, 1, 1, 1] : tensor<2x4x3x8xf32> to tensor<2x4x3x4xf32>
  %high = tensor.extract_slice %x[0, 0, 0, 4] [2, 4, 3, 4] [1, 1, 1, 1] : tensor<2x4x3x8xf32> to tensor<2x4x3x4xf32>
  %neg = arith.negf %low : tensor<2x4x3x4xf32>
  %turned = tensor.concat dim(3) %high, %neg : (tensor<2x4x3x4xf32>, tensor<2x4x3x4xf32>) -> tensor<2x4x3x8xf32>
  %a = arith.mulf %x, %c : tensor<2x4x3x8xf32>
  %b = arith.mulf %turned, %s : tensor<2x4x3x8xf32>
  %y = arith.addf %a, %b : tensor<2x4x3x8xf32>
  return %y : tensor<2x4x3x8xf32>
}

// Negative twin: the tables vary over heads.
// CHECK-LABEL: func.func @table_per_head
// CHECK-NOT:     comm.rotary
func.func @table_per_head(%x: tensor<2x4x3x8xf32>, %angles: tensor<4x3x4xf32>) -> tensor<2x4x3x8xf32> {
  %twice = tensor.concat dim(2) %angles, %angles : (tensor<4x3x4xf32>, tensor<4x3x4xf32>) -> tensor<4x3x8xf32>
  %cos = math.cos %twice : tensor<4x3x8xf32>
  %sin = math.sin %twice : tensor<4x3x8xf32>
  %e = tensor.empty() : tensor<2x4x3x8xf32>
  %c = linalg.broadcast ins(%cos : tensor<4x3x8xf32>) outs(%e : tensor<2x4x3x8xf32>) dimensions = [0]
  %s = linalg.broadcast ins(%sin : tensor<4x3x8xf32>) outs(%e : tensor<2x4x3x8xf32>) dimensions = [0]
  %low = tensor.extract_slice %x[0, 0, 0, 0] [2, 4, 3, 4] [1, 1, 1, 1] : tensor<2x4x3x8xf32> to tensor<2x4x3x4xf32>
  %high = tensor.extract_slice %x[0, 0, 0, 4] [2, 4, 3, 4] [1, 1, 1, 1] : tensor<2x4x3x8xf32> to tensor<2x4x3x4xf32>
  %neg = arith.negf %high : tensor<2x4x3x4xf32>
  %turned = tensor.concat dim(3) %neg, %low : (tensor<2x4x3x4xf32>, tensor<2x4x3x4xf32>) -> tensor<2x4x3x8xf32>
  %a = arith.mulf %x, %c : tensor<2x4x3x8xf32>
  %b = arith.mulf %turned, %s : tensor<2x4x3x8xf32>
  %y = arith.addf %a, %b : tensor<2x4x3x8xf32>
  return %y : tensor<2x4x3x8xf32>
}
