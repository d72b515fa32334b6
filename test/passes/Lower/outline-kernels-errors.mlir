// RUN: comm-opt %s --comm-outline-kernels -verify-diagnostics

func.func @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  // expected-error @below {{error[E404]: this group of ops cannot be compiled as one kernel: comm.matmul}}
  %a = comm.fused ins(%x : tensor<4x4xf32>) -> tensor<4x4xf32> {
  ^bb0(%in: tensor<4x4xf32>):
    %r = comm.matmul %in, %in : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
    comm.yield %r : tensor<4x4xf32>
  }
  return %a : tensor<4x4xf32>
}
