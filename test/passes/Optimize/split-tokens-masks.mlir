// RUN: comm-opt %s -split-input-file --comm-split-tokens="cut=2 min-rows=2 tile=1" | FileCheck %s
// Masks that hide later keys by a finite number, as exporters write them. A mask of which all keys are hidden is a softmax over all keys,
// later ones too: every query must be known to see a key.

// A constant of -1e4 above the diagonal.
// CHECK-LABEL: func.func @constant
// CHECK:         comm.attention {{.*}} mask {{.*}} : tensor<1x1x2x2xf32> {{.*}} : tensor<1x1x2x8xf32>, tensor<1x1x2x8xf32>
// CHECK:         comm.attention {{.*}} mask {{.*}} : tensor<1x1x2x4xf32> {{.*}} : tensor<1x1x2x8xf32>, tensor<1x1x4x8xf32>
comm.grid @grid ["tp"] = [2]
func.func @constant(%x: tensor<1x1x4x8xf32>) -> tensor<1x1x4x8xf32> {
  %m = arith.constant dense<[[[[0.0, -1.0e4, -1.0e4, -1.0e4], [0.0, 0.0, -1.0e4, -1.0e4], [0.0, 0.0, 0.0, -1.0e4], [0.0, 0.0, 0.0, 0.0]]]]> : tensor<1x1x4x4xf32>
  %a = comm.attention %x, %x, %x mask %m : tensor<1x1x4x4xf32> scale 1.0 : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x1x4x8xf32>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf32>
  return %r : tensor<1x1x4x8xf32>
}

// -----
// (1 - (key <= query)) * -65504 of compared positions, in f16; the window hides key 0 from later queries, but each sees its own.
// CHECK-LABEL: func.func @computed
// CHECK:         comm.attention {{.*}} : tensor<1x1x2x8xf16>, tensor<1x1x2x8xf16>
// CHECK:         comm.attention {{.*}} : tensor<1x1x2x8xf16>, tensor<1x1x4x8xf16>
comm.grid @grid ["tp"] = [2]
func.func @computed(%x: tensor<1x1x4x8xf16>) -> tensor<1x1x4x8xf16> {
  %p = arith.constant dense<[0, 1, 2, 3]> : tensor<4xi64>
  %one = arith.constant dense<1.0> : tensor<1x1x4x4xf16>
  %low = arith.constant dense<-65504.0> : tensor<1x1x4x4xf16>
  %e = tensor.empty() : tensor<1x1x4x4xi64>
  %k = linalg.broadcast ins(%p : tensor<4xi64>) outs(%e : tensor<1x1x4x4xi64>) dimensions = [0, 1, 2]
  %q = linalg.broadcast ins(%p : tensor<4xi64>) outs(%e : tensor<1x1x4x4xi64>) dimensions = [0, 1, 3]
  %c = arith.cmpi sle, %k, %q : tensor<1x1x4x4xi64>
  %w = arith.cmpi sge, %k, %q : tensor<1x1x4x4xi64>
  %b = arith.andi %c, %w : tensor<1x1x4x4xi1>
  %f = arith.uitofp %b : tensor<1x1x4x4xi1> to tensor<1x1x4x4xf16>
  %d = arith.subf %one, %f : tensor<1x1x4x4xf16>
  %m = arith.mulf %d, %low : tensor<1x1x4x4xf16>
  %a = comm.attention %x, %x, %x mask %m : tensor<1x1x4x4xf16> scale 1.0 : tensor<1x1x4x8xf16>, tensor<1x1x4x8xf16>, tensor<1x1x4x8xf16> -> tensor<1x1x4x8xf16>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf16>
  return %r : tensor<1x1x4x8xf16>
}

// -----
// Joined with padding that comes from outside: a query may see no key at all, and then the later ones count.
// CHECK: comm.explain = [{{.*}}its mask hides them by a finite number only, and a query may see no other key
// CHECK-LABEL: func.func @padded
// CHECK-NOT:     tensor.extract_slice
comm.grid @grid ["tp"] = [2]
func.func @padded(%x: tensor<1x1x4x8xf32>, %pad: tensor<1x1x4x4xi1>) -> tensor<1x1x4x8xf32> {
  %c = arith.constant dense<[[[[true, false, false, false], [true, true, false, false], [true, true, true, false], [true, true, true, true]]]]> : tensor<1x1x4x4xi1>
  %zero = arith.constant dense<0.0> : tensor<1x1x4x4xf32>
  %low = arith.constant dense<-3.40282347E+38> : tensor<1x1x4x4xf32>
  %b = arith.andi %c, %pad : tensor<1x1x4x4xi1>
  %m = arith.select %b, %zero, %low : tensor<1x1x4x4xi1>, tensor<1x1x4x4xf32>
  %a = comm.attention %x, %x, %x mask %m : tensor<1x1x4x4xf32> scale 1.0 : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x1x4x8xf32>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf32>
  return %r : tensor<1x1x4x8xf32>
}

// -----
// Minus a hundred does not hide a key.
// CHECK: comm.explain = [{{.*}}its mask is not known to hide them
// CHECK-LABEL: func.func @weak
// CHECK-NOT:     tensor.extract_slice
comm.grid @grid ["tp"] = [2]
func.func @weak(%x: tensor<1x1x4x8xf32>) -> tensor<1x1x4x8xf32> {
  %m = arith.constant dense<[[[[0.0, -1.0e2, -1.0e2, -1.0e2], [0.0, 0.0, -1.0e2, -1.0e2], [0.0, 0.0, 0.0, -1.0e2], [0.0, 0.0, 0.0, 0.0]]]]> : tensor<1x1x4x4xf32>
  %a = comm.attention %x, %x, %x mask %m : tensor<1x1x4x4xf32> scale 1.0 : tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x1x4x8xf32>
  %r = comm.all_reduce sum %a over @grid["tp"] : tensor<1x1x4x8xf32>
  return %r : tensor<1x1x4x8xf32>
}
