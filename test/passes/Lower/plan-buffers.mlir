// RUN: comm-opt %s --comm-plan-buffers | FileCheck %s
// RUN: comm-opt %s --comm-plan-buffers=in-place=false | FileCheck %s --check-prefix=COPY
comm.grid @grid ["tp"] = [2]

// A chain needs two buffers at a time; the third takes the place of the first.
// CHECK-LABEL: func.func @chain
// CHECK-SAME:    attributes {comm.arena_bytes = 128 : i64, comm.comm_bytes = 0 : i64}
// CHECK:         comm.buffer at [[A:[0-9]+]] : memref<4x4xf32>
// CHECK:         comm.buffer at {{[0-9]+}} : memref<4x4xf32>
// CHECK:         comm.buffer at [[A]] : memref<4x4xf32>
func.func @chain(%x: memref<4x4xf32>, %y: memref<4x4xf32> {comm.output}) {
  %a = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%a : memref<4x4xf32>) {}
  %b = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%a, %a : memref<4x4xf32>, memref<4x4xf32>) outs(%b : memref<4x4xf32>) {}
  %c = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%b, %b : memref<4x4xf32>, memref<4x4xf32>) outs(%c : memref<4x4xf32>) {}
  comm.command "matmul" ins(%c, %c : memref<4x4xf32>, memref<4x4xf32>) outs(%y : memref<4x4xf32>) {}
  return
}

// The result of an all_reduce takes over the operand that ends there; both lie in the part that peers read.
// CHECK-LABEL: func.func @in_place
// CHECK-SAME:    comm.arena_bytes = 64 : i64, comm.comm_bytes = 64 : i64
// COPY-LABEL: func.func @in_place
// COPY-SAME:    comm.arena_bytes = 128 : i64, comm.comm_bytes = 128 : i64
func.func @in_place(%x: memref<4x4xf32>, %y: memref<4x4xf32> {comm.output}) {
  %a = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%a : memref<4x4xf32>) {}
  %r = comm.buffer : memref<4x4xf32>
  comm.command "all_reduce" ins(%a : memref<4x4xf32>) outs(%r : memref<4x4xf32>) {axes = ["tp"], plan_id = 0 : i64, reduce = "sum"}
  comm.command "matmul" ins(%r, %r : memref<4x4xf32>, memref<4x4xf32>) outs(%y : memref<4x4xf32>) {}
  return
}

// Must not take over: the operand is read while the collective is under way. Nothing may use the bytes of either before the wait.
// CHECK-LABEL: func.func @started
// CHECK-SAME:    comm.arena_bytes = 192 : i64, comm.comm_bytes = 128 : i64
// CHECK:         %[[A:.*]] = comm.buffer at [[AT:[0-9]+]] : memref<4x4xf32>
// CHECK:         %[[R:.*]] = comm.buffer at [[RT:[0-9]+]] : memref<4x4xf32>
// CHECK:         comm.buffer at 128 : memref<4x4xf32>
func.func @started(%x: memref<4x4xf32>, %y: memref<4x4xf32> {comm.output}) {
  %a = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%a : memref<4x4xf32>) {}
  %r = comm.buffer : memref<4x4xf32>
  comm.command "start" ins(%a : memref<4x4xf32>) outs(%r : memref<4x4xf32>) {axes = ["tp"], collective = "all_reduce", plan_id = 0 : i64, reduce = "sum", token = 0 : i64}
  %b = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%a, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%b : memref<4x4xf32>) {}
  comm.command "wait" {token = 0 : i64}
  comm.command "matmul" ins(%r, %b : memref<4x4xf32>, memref<4x4xf32>) outs(%y : memref<4x4xf32>) {}
  return
}

// The operand of a product lives until the kernels behind it are done, through a second product of it: neither result lies over it.
// CHECK-LABEL: func.func @epilogue
// CHECK-SAME:    comm.arena_bytes = 256 : i64
// Must not hold longer: behind a copy the operand's bytes are free.
// CHECK-LABEL: func.func @no_epilogue
// CHECK-SAME:    comm.arena_bytes = 128 : i64
comm.kernel @k_add {
^bb0(%a: tensor<4x4xf32>, %b: tensor<4x4xf32>):
  %s = arith.addf %a, %b : tensor<4x4xf32>
  comm.yield %s : tensor<4x4xf32>
}
func.func @epilogue(%x: memref<4x4xf32>, %y: memref<4x4xf32> {comm.output}) {
  %a = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%a : memref<4x4xf32>) {}
  %b = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%a, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%b : memref<4x4xf32>) {}
  %c = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%a, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%c : memref<4x4xf32>) {}
  %d = comm.buffer : memref<4x4xf32>
  comm.launch @k_add ins(%b, %c : memref<4x4xf32>, memref<4x4xf32>) outs(%d : memref<4x4xf32>)
  comm.command "matmul" ins(%d, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%y : memref<4x4xf32>) {}
  return
}
func.func @no_epilogue(%x: memref<4x4xf32>, %y: memref<4x4xf32> {comm.output}) {
  %a = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%a : memref<4x4xf32>) {}
  %b = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%a, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%b : memref<4x4xf32>) {}
  %c = comm.buffer : memref<4x4xf32>
  comm.command "copy" ins(%b : memref<4x4xf32>) outs(%c : memref<4x4xf32>) {dims = array<i64: 4, 4>, in_strides = array<i64: 1, 4>, out_strides = array<i64: 4, 1>}
  %d = comm.buffer : memref<4x4xf32>
  comm.launch @k_add ins(%c, %c : memref<4x4xf32>, memref<4x4xf32>) outs(%d : memref<4x4xf32>)
  comm.command "matmul" ins(%d, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%y : memref<4x4xf32>) {}
  return
}
