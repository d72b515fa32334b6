// RUN: comm-opt %s --comm-outline-kernels | FileCheck %s

// Two equal groups call one kernel; another has its own.
// CHECK-LABEL: func.func @main
// CHECK:         %[[A:.*]] = comm.call_kernel @[[K:k_[0-9a-f]+]](%{{.*}}) : (tensor<4xf32>) -> tensor<4xf32>
// CHECK:         %[[B:.*]] = comm.call_kernel @[[K]](%[[A]])
// CHECK:         comm.call_kernel @[[L:k_[0-9a-f]+]](%[[B]])
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = comm.fused ins(%x : tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%in: tensor<4xf32>):
    %r = math.tanh %in : tensor<4xf32>
    comm.yield %r : tensor<4xf32>
  }
  %b = comm.fused ins(%a : tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%other: tensor<4xf32>):
    %s = math.tanh %other : tensor<4xf32>
    comm.yield %s : tensor<4xf32>
  }
  %c = comm.fused ins(%b : tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%in: tensor<4xf32>):
    %r = math.exp %in : tensor<4xf32>
    comm.yield %r : tensor<4xf32>
  }
  return %c : tensor<4xf32>
}

// Must not share: the same op on another shape.
// CHECK-LABEL: func.func @shape
// CHECK:         comm.call_kernel @[[M:k_[0-9a-f]+]](
// CHECK:       comm.kernel @[[K]] iterations {{[0-9]+}} {
// CHECK:         math.tanh %{{.*}} : tensor<4xf32>
// CHECK:       comm.kernel @[[L]] iterations
// CHECK:         math.exp
// CHECK:       comm.kernel @[[M]] iterations
// CHECK:         math.tanh %{{.*}} : tensor<5xf32>
// CHECK-NOT:   comm.kernel
func.func @shape(%x: tensor<5xf32>) -> tensor<5xf32> {
  %a = comm.fused ins(%x : tensor<5xf32>) -> tensor<5xf32> {
  ^bb0(%in: tensor<5xf32>):
    %r = math.tanh %in : tensor<5xf32>
    comm.yield %r : tensor<5xf32>
  }
  return %a : tensor<5xf32>
}
