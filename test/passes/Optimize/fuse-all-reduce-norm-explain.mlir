// RUN: comm-opt %s --comm-fuse-all-reduce-norm | FileCheck %s
// Each all_reduce gets one remark.
// CHECK: fusion {{.*}}all_reduce, residual add and rms_norm are one op
// CHECK-SAME: fusion {{.*}}all_reduce is not fused with a norm: its user is func.return, not an add
comm.grid @grid ["tp"] = [2]
func.func @main(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>, %w: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %s = arith.addf %a, %r : tensor<4x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %b = comm.all_reduce sum %r over @grid["tp"] : tensor<4x8xf32>
  return %n, %b : tensor<4x8xf32>, tensor<4x8xf32>
}

// Mixed element types are named.
// CHECK-SAME: it is cast before it meets the residual
// CHECK-SAME: the norm reads the residual sum through a cast
func.func @mixed(%x: tensor<4x8xf16>, %r: tensor<4x8xf32>, %h: tensor<4x8xf16>, %w: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf16>
  %c = arith.extf %a : tensor<4x8xf16> to tensor<4x8xf32>
  %s = arith.addf %c, %r : tensor<4x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %b = comm.all_reduce sum %x over @grid["tp"] {comm.other} : tensor<4x8xf16>
  %t = arith.addf %b, %h : tensor<4x8xf16>
  %d = arith.extf %t : tensor<4x8xf16> to tensor<4x8xf32>
  %m = comm.rms_norm %d, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %n, %m : tensor<4x8xf32>, tensor<4x8xf32>
}
