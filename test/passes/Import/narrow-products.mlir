// RUN: comm-opt %s --comm-narrow-products | FileCheck %s
// RUN: comm-opt %s --comm-narrow-products=precision=f16 | FileCheck %s --check-prefix=F16
// RUN: comm-opt %s --comm-narrow-products=precision=f32 | FileCheck %s --check-prefix=F32
// RUN: comm-opt %s --comm-narrow-products="min-depth=64 attention=false" | FileCheck %s --check-prefix=DEEP
// RUN: not comm-opt %s --comm-narrow-products=precision=int8 2>&1 | FileCheck %s --check-prefix=BAD
// BAD: error[E202]: 'int8' is no precision; expected f32, bf16 or f16
// F32-NOT: comm.precision
// DEEP-NOT: comm.precision
// CHECK: comm.explain = [
// CHECK-SAME: func.func: 1 of 1 f32 products and 0 attentions round their operands to bf16, sums and results stay f32
// CHECK-SAME: stays f32: a choice is made from its result
// CHECK-SAME: func.func: 1 of 2 f32 products
// CHECK-SAME: stays f32: sums of 1 products gain nothing (min-depth 32)
// CHECK-SAME: stays f32: neither operand is a weight

// A product of an activation and a weight: types stay.
// CHECK-LABEL: func.func @narrows
// CHECK-SAME:    (%[[X:.*]]: tensor<4x32xf32>)
// CHECK:         %[[W:.*]] = comm.weight "w"
// CHECK:         comm.matmul %[[X]], %[[W]] {comm.precision = "bf16"} : tensor<4x32xf32>, tensor<32x8xf32> -> tensor<4x8xf32>
// F16-LABEL:   func.func @narrows
// F16:           comm.matmul {{.*}} {comm.precision = "f16"}
func.func @narrows(%x: tensor<4x32xf32>) -> tensor<4x8xf32> {
  %w = comm.weight "w" in "f" at 0 : tensor<32x8xf32> -> tensor<32x8xf32>
  %y = comm.matmul %x, %w : tensor<4x32xf32>, tensor<32x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Must not fire: experts are chosen from the first product, behind a softmax; the second one is only weighted by it.
// CHECK-LABEL: func.func @router
// CHECK:         comm.matmul %{{.*}}, %{{.*}} : tensor<4x32xf32>, tensor<32x8xf32>
// CHECK:         comm.matmul %{{.*}}, %{{.*}} {comm.precision = "bf16"} : tensor<4x32xf32>, tensor<32x16xf32>
func.func @router(%x: tensor<4x32xf32>) -> (tensor<4x2xi64>, tensor<4x16xf32>) {
  %r = comm.weight "r" in "f" at 0 : tensor<32x8xf32> -> tensor<32x8xf32>
  %w = comm.weight "w" in "f" at 1024 : tensor<32x16xf32> -> tensor<32x16xf32>
  %logits = comm.matmul %x, %r : tensor<4x32xf32>, tensor<32x8xf32> -> tensor<4x8xf32>
  %p = comm.softmax %logits : tensor<4x8xf32>
  %k = comm.top_k %p 2 largest : tensor<4x8xf32> -> tensor<4x2xi64>
  %y = comm.matmul %x, %w : tensor<4x32xf32>, tensor<32x16xf32> -> tensor<4x16xf32>
  return %k, %y : tensor<4x2xi64>, tensor<4x16xf32>
}

// Must not fire: angles are products of depth 1, and positions of some thousands have more bits than bf16.
// CHECK-LABEL: func.func @angles
// CHECK-NOT:     comm.precision
func.func @angles(%positions: tensor<1x5xf32>) -> tensor<16x5xf32> {
  %f = comm.weight "inv_freq" in "f" at 0 : tensor<16x1xf32> -> tensor<16x1xf32>
  %y = comm.matmul %f, %positions : tensor<16x1xf32>, tensor<1x5xf32> -> tensor<16x5xf32>
  return %y : tensor<16x5xf32>
}

// Must not fire: two activations; another element type.
// CHECK-LABEL: func.func @computed
// CHECK-NOT:     comm.precision
func.func @computed(%a: tensor<4x32xf32>, %b: tensor<32x4xf32>, %c: tensor<4x32xbf16>) -> (tensor<4x4xf32>, tensor<4x8xbf16>) {
  %w = comm.weight "w" in "f" at 0 : tensor<32x8xbf16> -> tensor<32x8xbf16>
  %y = comm.matmul %a, %b : tensor<4x32xf32>, tensor<32x4xf32> -> tensor<4x4xf32>
  %z = comm.matmul %c, %w : tensor<4x32xbf16>, tensor<32x8xbf16> -> tensor<4x8xbf16>
  return %y, %z : tensor<4x4xf32>, tensor<4x8xbf16>
}

// Attention is narrowed by bf16 only, and not when it is switched off.
// CHECK-LABEL: func.func @attention
// CHECK:         comm.attention {{.*}} causal 0 {comm.precision = "bf16"} :
// F16-LABEL:   func.func @attention
// F16-NOT:       comm.precision
func.func @attention(%q: tensor<1x4x3x16xf32>, %k: tensor<1x2x3x16xf32>) -> tensor<1x4x3x16xf32> {
  %y = comm.attention %q, %k, %k scale 2.5e-1 causal 0
    : tensor<1x4x3x16xf32>, tensor<1x2x3x16xf32>, tensor<1x2x3x16xf32> -> tensor<1x4x3x16xf32>
  return %y : tensor<1x4x3x16xf32>
}

// A weight on the left, seen in another shape: bf16 takes it, f16 does not.
// CHECK-LABEL: func.func @left
// CHECK:         comm.matmul {{.*}} {comm.precision = "bf16"}
// F16-LABEL:   func.func @left
// F16-NOT:       comm.precision
func.func @left(%x: tensor<32x4xf32>) -> tensor<8x4xf32> {
  %w = comm.weight "w" in "f" at 0 : tensor<8x4x8xf32> -> tensor<8x4x8xf32>
  %m = tensor.collapse_shape %w [[0], [1, 2]] : tensor<8x4x8xf32> into tensor<8x32xf32>
  %y = comm.matmul %m, %x : tensor<8x32xf32>, tensor<32x4xf32> -> tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}
