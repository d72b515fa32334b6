// RUN: comm-opt %s --comm-fuse-elementwise | FileCheck %s
// RUN: comm-opt %s --comm-fuse-elementwise=fuse=false | FileCheck %s --check-prefix=SINGLE
// RUN: comm-opt %s --comm-fuse-elementwise=max-ops=1 | FileCheck %s --check-prefix=SINGLE
comm.grid @grid ["tp"] = [2]

// Bias, activation and product are one group; the broadcast and the splat go inside; the sum that is also returned leaves it.
// CHECK-LABEL: func.func @chain
// CHECK-SAME:    (%[[X:.*]]: tensor<4x8xf32>, %[[B:.*]]: tensor<8xf32>)
// CHECK-NEXT:    %[[F:.*]]:2 = comm.fused ins(%[[X]], %[[B]] : tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>, tensor<4x8xf32>
// CHECK:           linalg.broadcast
// CHECK:           %[[S:.*]] = arith.addf
// CHECK:           comm.silu %[[S]]
// CHECK:           arith.constant dense<2.0
// CHECK:           %[[M:.*]] = arith.mulf
// CHECK:           comm.yield %[[S]], %[[M]]
// CHECK:         return %[[F]]#0, %[[F]]#1
// SINGLE-LABEL: func.func @chain
// SINGLE-COUNT-3: comm.fused
// SINGLE:       return
func.func @chain(%x: tensor<4x8xf32>, %b: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %e = tensor.empty() : tensor<4x8xf32>
  %c = arith.constant dense<2.0> : tensor<4x8xf32>
  %w = linalg.broadcast ins(%b : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %s = arith.addf %x, %w : tensor<4x8xf32>
  %a = comm.silu %s : tensor<4x8xf32>
  %m = arith.mulf %a, %c : tensor<4x8xf32>
  return %s, %m : tensor<4x8xf32>, tensor<4x8xf32>
}

// Two reductions of one tensor that meet on the rows: one group reads it once.
// CHECK-LABEL: func.func @range
// CHECK-COUNT-1: comm.fused
// CHECK:           linalg.reduce
// CHECK:           linalg.reduce
// CHECK:           arith.subf %{{.*}} : tensor<4xf32>
// CHECK-NOT:     comm.fused
// CHECK:         return
func.func @range(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %top = linalg.reduce { arith.maximumf } ins(%x : tensor<4x8xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
  %bottom = linalg.reduce { arith.minimumf } ins(%x : tensor<4x8xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
  %range = arith.subf %top, %bottom : tensor<4xf32>
  %wide = linalg.broadcast ins(%range : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %y = arith.divf %x, %wide : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Reductions over different dimensions that meet stay apart.
// CHECK-LABEL: func.func @two_ways
// CHECK:         comm.fused
// CHECK:         comm.fused
// CHECK:         return
func.func @two_ways(%x: tensor<4x4xf32>) -> tensor<4xf32> {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %top = linalg.reduce { arith.maximumf } ins(%x : tensor<4x4xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
  %bottom = linalg.reduce { arith.minimumf } ins(%x : tensor<4x4xf32>) outs(%zero : tensor<4xf32>) dimensions = [0]
  %range = arith.subf %top, %bottom : tensor<4xf32>
  return %range : tensor<4xf32>
}

// A mean over the rows, work on the rows, and back: one group of two stages.
// CHECK-LABEL: func.func @rows
// CHECK-COUNT-1: comm.fused
// CHECK:           linalg.reduce
// CHECK:           arith.mulf %{{.*}} : tensor<4xf32>
// CHECK:           arith.subf %{{.*}} : tensor<4x8xf32>
// CHECK-NOT:     comm.fused
// CHECK:         return
func.func @rows(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %inv = arith.constant dense<0.125> : tensor<4xf32>
  %y = math.exp %x : tensor<4x8xf32>
  %s = linalg.reduce ins(%y : tensor<4x8xf32>) outs(%zero : tensor<4xf32>) dimensions = [1]
    (%a: f32, %b: f32) { %r = arith.addf %a, %b : f32
      linalg.yield %r : f32 }
  %mean = arith.mulf %s, %inv : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %w = linalg.broadcast ins(%mean : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %d = arith.subf %y, %w : tensor<4x8xf32>
  return %d : tensor<4x8xf32>
}

// The residual add joins the norm behind the wait; what ran while the reduction was under way stays in front of it.
// CHECK-LABEL: func.func @wait
// CHECK:         comm.start
// CHECK:         %[[H:.*]] = comm.fused
// CHECK-NEXT:    ^bb0
// CHECK-NEXT:      math.tanh
// CHECK:         %[[A:.*]] = comm.wait
// CHECK:         comm.fused ins(%[[A]], %[[H]],
// CHECK:           arith.addf
// CHECK-NEXT:      comm.rms_norm
func.func @wait(%x: tensor<4x8xf32>, %g: tensor<8xf32>) -> tensor<4x8xf32> {
  %t = comm.start order 0 : !comm.token<tensor<4x8xf32>> {
    %r = comm.all_reduce sum %x over @grid["tp"] : tensor<4x8xf32>
    comm.yield %r : tensor<4x8xf32>
  }
  %h = math.tanh %x : tensor<4x8xf32>
  %a = comm.wait %t : !comm.token<tensor<4x8xf32>>
  %s = arith.addf %a, %h : tensor<4x8xf32>
  %n = comm.rms_norm %s, %g epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return %n : tensor<4x8xf32>
}

// Reshapes alike in front of an op go behind it, so that it joins the op before them.
// CHECK-LABEL: func.func @reshape
// CHECK-COUNT-1: comm.fused
// CHECK:           math.exp %{{.*}} : tensor<4x8xf32>
// CHECK-NEXT:      arith.constant
// CHECK-NEXT:      arith.addf %{{.*}} : tensor<4x8xf32>
// CHECK:         tensor.expand_shape %{{.*}} into tensor<2x2x8xf32>
// CHECK-NOT:     comm.fused
// CHECK:         return
func.func @reshape(%x: tensor<4x8xf32>) -> tensor<2x2x8xf32> {
  %c = arith.constant dense<1.0> : tensor<2x2x8xf32>
  %e = math.exp %x : tensor<4x8xf32>
  %r = tensor.expand_shape %e [[0, 1], [2]] output_shape [2, 2, 8] : tensor<4x8xf32> into tensor<2x2x8xf32>
  %a = arith.addf %r, %c : tensor<2x2x8xf32>
  return %a : tensor<2x2x8xf32>
}

// Must not join: the matmul between needs the first value and gives the second op's operand (a cycle otherwise).
// CHECK-LABEL: func.func @no_cycle
// CHECK:         %[[A:.*]] = comm.fused
// CHECK:         %[[M:.*]] = comm.matmul %[[A]]
// CHECK:         comm.fused ins(%[[A]], %[[M]]
func.func @no_cycle(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %a = math.exp %x : tensor<4x4xf32>
  %m = comm.matmul %a, %x : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  %s = arith.addf %a, %m : tensor<4x4xf32>
  return %s : tensor<4x4xf32>
}

// Must not join: another space, a norm's parameter, and rotary with its neighbour.
// CHECK-LABEL: func.func @spaces
// CHECK:         %[[P:.*]] = comm.fused {{.*}} -> tensor<4xf32>
// CHECK:         comm.fused ins(%{{.*}}, %[[P]]
// CHECK-NEXT:    ^bb0
// CHECK-NEXT:      comm.rms_norm
// CHECK:         comm.fused
// CHECK-NEXT:    ^bb0
// CHECK-NEXT:      comm.rotary
// CHECK-NEXT:      comm.yield
// CHECK:         comm.fused
// CHECK-NEXT:    ^bb0
// CHECK-NEXT:      math.exp
func.func @spaces(%x: tensor<4x4xf32>, %p: tensor<4xf32>, %q: tensor<1x2x3x4xf32>, %c: tensor<1x3x2xf32>) -> (tensor<4x4xf32>, tensor<1x2x3x4xf32>) {
  %g = math.exp %p : tensor<4xf32>
  %n = comm.rms_norm %x, %g epsilon 1.0e-5 : tensor<4x4xf32>, tensor<4xf32>
  %r = comm.rotary %q, %c, %c : tensor<1x2x3x4xf32>, tensor<1x3x2xf32>
  %e = math.exp %r : tensor<1x2x3x4xf32>
  return %n, %e : tensor<4x4xf32>, tensor<1x2x3x4xf32>
}

// Must not be wrapped: a broadcast that no group reads stays, in front of its user.
// CHECK-LABEL: func.func @broadcast_alone
// CHECK-NOT:     comm.fused
// CHECK:         %[[B:.*]] = linalg.broadcast
// CHECK-NEXT:    comm.matmul %{{.*}}, %[[B]]
func.func @broadcast_alone(%x: tensor<4x4xf32>, %p: tensor<4xf32>) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  %b = linalg.broadcast ins(%p : tensor<4xf32>) outs(%e : tensor<4x4xf32>) dimensions = [0]
  %m = comm.matmul %x, %b : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  return %m : tensor<4x4xf32>
}
