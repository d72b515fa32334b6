// RUN: comm-opt %s --comm-plan-buffers=memory-limit=200 -split-input-file -verify-diagnostics

// Over the limit: by class, with the change that helps. A right operand counts as it is packed, once; what is read in place does not count.
// expected-error @below {{error[E501]: 'weights' needs 640 bytes per rank, the limit is 200 bytes: weights and constants 512 bytes, activations 0 bytes, communication 0 bytes, inputs and outputs 128 bytes; 64 bytes of weights are read in mapped files; split the weights over 8 times as many ranks, or raise the limit to 640 bytes}}
func.func @weights(%x: memref<4x4xf32>, %y: memref<4x4xf32> {comm.output}) attributes {comm.entry} {
  %w = comm.loaded_weight "w" in "m.data" at 0 : tensor<4x4xf32> -> memref<4x4xf32>
  %same = comm.loaded_weight "tied" in "m.data" at 0 : tensor<4x4xf32> -> memref<4x4xf32>
  comm.command "matmul" ins(%x, %w : memref<4x4xf32>, memref<4x4xf32>) outs(%y : memref<4x4xf32>) {}
  comm.command "matmul" ins(%same, %same : memref<4x4xf32>, memref<4x4xf32>) outs(%y : memref<4x4xf32>) {}
  return
}

// -----

// expected-error @below {{smaller input shapes reduce activations and communication, or raise the limit to 256 bytes}}
func.func @activations(%x: memref<4x4xf32>, %y: memref<4x4xf32> {comm.output}) attributes {comm.entry} {
  %a = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%a : memref<4x4xf32>) {}
  %b = comm.buffer : memref<4x4xf32>
  comm.command "matmul" ins(%a, %a : memref<4x4xf32>, memref<4x4xf32>) outs(%b : memref<4x4xf32>) {}
  comm.command "matmul" ins(%b, %b : memref<4x4xf32>, memref<4x4xf32>) outs(%y : memref<4x4xf32>) {}
  return
}

// -----

func.func @never_waited(%y: memref<4xf32> {comm.output}) {
  %a = comm.buffer : memref<4xf32>
  // expected-error @below {{form command: token 3 is never waited for}}
  comm.command "start" ins(%a : memref<4xf32>) outs(%a : memref<4xf32>) {axes = ["tp"], collective = "all_reduce", plan_id = 0 : i64, reduce = "sum", token = 3 : i64}
  return
}

// -----

func.func @not_started() {
  // expected-error @below {{form command: token 3 was not started, or was waited for before}}
  comm.command "wait" {token = 3 : i64}
  return
}

// -----

func.func @outside(%x: memref<4xf32>) {
  // expected-error @below {{form command: a collective may only use buffers of the arena}}
  comm.command "all_reduce" ins(%x : memref<4xf32>) outs(%x : memref<4xf32>) {axes = ["tp"], plan_id = 0 : i64, reduce = "sum"}
  return
}

// -----

func.func @order() {
  %a = comm.buffer : memref<4xf32>
  comm.command "all_reduce" ins(%a : memref<4xf32>) outs(%a : memref<4xf32>) {axes = ["tp"], plan_id = 1 : i64, reduce = "sum"}
  // expected-error @below {{form command: plan_id must rise, got 1 after 1}}
  comm.command "all_reduce" ins(%a : memref<4xf32>) outs(%a : memref<4xf32>) {axes = ["tp"], plan_id = 1 : i64, reduce = "sum"}
  return
}
