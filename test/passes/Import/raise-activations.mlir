// RUN: comm-opt %s --comm-raise-activations | FileCheck %s

// x * 0.5 * (1 + erf(x / sqrt 2)), as TorchScript writes it.
// CHECK-LABEL: func.func @gelu_erf
// CHECK-SAME:    (%[[X:.*]]: tensor<4xf32>)
// CHECK-NEXT:    %[[Y:.*]] = comm.gelu erf %[[X]]
// CHECK-NEXT:    return %[[Y]]
func.func @gelu_erf(%x: tensor<4xf32>) -> tensor<4xf32> {
  %root = arith.constant dense<1.41421354> : tensor<4xf32>
  %one = arith.constant dense<1.0> : tensor<4xf32>
  %half = arith.constant dense<0.5> : tensor<4xf32>
  %scaled = arith.divf %x, %root : tensor<4xf32>
  %erf = math.erf %scaled : tensor<4xf32>
  %gate = arith.addf %erf, %one : tensor<4xf32>
  %product = arith.mulf %x, %gate : tensor<4xf32>
  %y = arith.mulf %product, %half : tensor<4xf32>
  return %y : tensor<4xf32>
}

// The tanh form with x^3 as two products.
// CHECK-LABEL: func.func @gelu_tanh
// CHECK-SAME:    (%[[X:.*]]: tensor<4xf32>)
// CHECK-NEXT:    %[[Y:.*]] = comm.gelu tanh %[[X]]
// CHECK-NEXT:    return %[[Y]]
func.func @gelu_tanh(%x: tensor<4xf32>) -> tensor<4xf32> {
  %c = arith.constant dense<4.471500e-02> : tensor<4xf32>
  %k = arith.constant dense<0.797884583> : tensor<4xf32>
  %one = arith.constant dense<1.0> : tensor<4xf32>
  %half = arith.constant dense<0.5> : tensor<4xf32>
  %halved = arith.mulf %x, %half : tensor<4xf32>
  %square = arith.mulf %x, %x : tensor<4xf32>
  %cube = arith.mulf %square, %x : tensor<4xf32>
  %part = arith.mulf %cube, %c : tensor<4xf32>
  %sum = arith.addf %x, %part : tensor<4xf32>
  %inner = arith.mulf %sum, %k : tensor<4xf32>
  %tanh = math.tanh %inner : tensor<4xf32>
  %gate = arith.addf %tanh, %one : tensor<4xf32>
  %y = arith.mulf %halved, %gate : tensor<4xf32>
  return %y : tensor<4xf32>
}

// CHECK-LABEL: func.func @silu
// CHECK-SAME:    (%[[X:.*]]: tensor<4xf32>)
// CHECK-NEXT:    %[[Y:.*]] = comm.silu %[[X]]
// CHECK-NEXT:    return %[[Y]]
func.func @silu(%x: tensor<4xf32>) -> tensor<4xf32> {
  %one = arith.constant dense<1.0> : tensor<4xf32>
  %neg = arith.negf %x : tensor<4xf32>
  %exp = math.exp %neg : tensor<4xf32>
  %sum = arith.addf %exp, %one : tensor<4xf32>
  %gate = arith.divf %one, %sum : tensor<4xf32>
  %y = arith.mulf %x, %gate : tensor<4xf32>
  return %y : tensor<4xf32>
}

// Negative twin: divided by 1.5, not by the square root of 2.
// CHECK-LABEL: func.func @other_root
// CHECK-NOT:     comm.gelu
func.func @other_root(%x: tensor<4xf32>) -> tensor<4xf32> {
  %root = arith.constant dense<1.5> : tensor<4xf32>
  %one = arith.constant dense<1.0> : tensor<4xf32>
  %half = arith.constant dense<0.5> : tensor<4xf32>
  %scaled = arith.divf %x, %root : tensor<4xf32>
  %erf = math.erf %scaled : tensor<4xf32>
  %gate = arith.addf %erf, %one : tensor<4xf32>
  %product = arith.mulf %x, %gate : tensor<4xf32>
  %y = arith.mulf %product, %half : tensor<4xf32>
  return %y : tensor<4xf32>
}

// Negative twin: x^2 where x^3 belongs.
// CHECK-LABEL: func.func @square_for_cube
// CHECK-NOT:     comm.gelu
func.func @square_for_cube(%x: tensor<4xf32>) -> tensor<4xf32> {
  %c = arith.constant dense<4.471500e-02> : tensor<4xf32>
  %k = arith.constant dense<0.797884583> : tensor<4xf32>
  %one = arith.constant dense<1.0> : tensor<4xf32>
  %half = arith.constant dense<0.5> : tensor<4xf32>
  %halved = arith.mulf %x, %half : tensor<4xf32>
  %square = arith.mulf %x, %x : tensor<4xf32>
  %part = arith.mulf %square, %c : tensor<4xf32>
  %sum = arith.addf %x, %part : tensor<4xf32>
  %inner = arith.mulf %sum, %k : tensor<4xf32>
  %tanh = math.tanh %inner : tensor<4xf32>
  %gate = arith.addf %tanh, %one : tensor<4xf32>
  %y = arith.mulf %halved, %gate : tensor<4xf32>
  return %y : tensor<4xf32>
}

// Negative twin: the gate is that of another value.
// CHECK-LABEL: func.func @gate_of_other
// CHECK-NOT:     comm.silu
func.func @gate_of_other(%x: tensor<4xf32>, %z: tensor<4xf32>) -> tensor<4xf32> {
  %one = arith.constant dense<1.0> : tensor<4xf32>
  %neg = arith.negf %z : tensor<4xf32>
  %exp = math.exp %neg : tensor<4xf32>
  %sum = arith.addf %exp, %one : tensor<4xf32>
  %gate = arith.divf %one, %sum : tensor<4xf32>
  %y = arith.mulf %x, %gate : tensor<4xf32>
  return %y : tensor<4xf32>
}
