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

// Every other reason, once. Mixed element types: widened or narrowed in front of the residual; a norm in f32 whose parameters are f32, or whose result is.
// CHECK-SAME: all_reduce is not fused with a norm: it is widened before it meets the residual
// CHECK-SAME: all_reduce is not fused with a norm: it is narrowed before it meets the residual
// CHECK-SAME: the norm reads the residual sum through a cast: its result is read in the wider type
// CHECK-SAME: the norm reads the residual sum through a cast: its parameters are of the wider type and would be rounded
func.func @mixed(%x: tensor<4x8xf16>, %r: tensor<4x8xf32>, %h: tensor<4x8xf16>, %w: tensor<8xf32>, %v: tensor<8xf16>)
    -> (tensor<4x8xf32>, tensor<4x8xf16>, tensor<4x8xf32>, tensor<4x8xf16>) {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf16>
  %c = arith.extf %a : tensor<4x8xf16> to tensor<4x8xf32>
  %s = arith.addf %c, %r : tensor<4x8xf32>
  %n = comm.rms_norm %s, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %f = comm.all_reduce sum %r over @grid["tp"] : tensor<4x8xf32>
  %g = arith.truncf %f : tensor<4x8xf32> to tensor<4x8xf16>
  %i = arith.addf %g, %h : tensor<4x8xf16>
  %j = comm.rms_norm %i, %v epsilon 1.0e-5 : tensor<4x8xf16>, tensor<8xf16>
  %b = comm.all_reduce sum %x over @grid["tp"] {comm.other} : tensor<4x8xf16>
  %t = arith.addf %b, %h : tensor<4x8xf16>
  %d = arith.extf %t : tensor<4x8xf16> to tensor<4x8xf32>
  %m = comm.rms_norm %d, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %k = comm.all_reduce sum %x over @grid["tp"] {comm.another} : tensor<4x8xf16>
  %l = arith.addf %k, %h : tensor<4x8xf16>
  %o = arith.extf %l : tensor<4x8xf16> to tensor<4x8xf32>
  %p = comm.rms_norm %o, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %q = arith.truncf %p : tensor<4x8xf32> to tensor<4x8xf16>
  return %n, %j, %m, %q : tensor<4x8xf32>, tensor<4x8xf16>, tensor<4x8xf32>, tensor<4x8xf16>
}

// CHECK-SAME: the reduction is not a sum
// CHECK-SAME: the reduced value has 2 users
// CHECK-SAME: the reduced value has 2 users
// CHECK-SAME: no norm reads the residual sum
// CHECK-SAME: an operand of the norm is computed after the add
func.func @others(%x: tensor<4x8xf32>, %r: tensor<4x8xf32>, %w: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>) {
  %a = comm.all_reduce max %x over @grid["tp"] : tensor<4x8xf32>
  %b = arith.addf %a, %r : tensor<4x8xf32>
  %c = comm.all_reduce sum %b over @grid["tp"] : tensor<4x8xf32>
  %d = arith.addf %c, %r : tensor<4x8xf32>
  %e = comm.rms_norm %d, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  %f = comm.all_reduce sum %e over @grid["tp"] : tensor<4x8xf32>
  %g = arith.addf %f, %f : tensor<4x8xf32>
  %h = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
  %i = arith.addf %h, %r : tensor<4x8xf32>
  %j = comm.all_reduce sum %r over @grid["tp"] : tensor<4x8xf32>
  %k = arith.addf %j, %x : tensor<4x8xf32>
  %l = math.exp %w : tensor<8xf32>
  %m = comm.rms_norm %k, %l epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %b, %c, %g, %i, %m : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32>
}
