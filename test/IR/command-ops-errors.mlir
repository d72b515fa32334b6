// RUN: comm-opt %s -split-input-file -verify-diagnostics

// expected-error @below {{C2: expected at least one iteration, got 0}}
comm.kernel @k iterations 0 {
^bb0(%a: tensor<4xf32>):
  comm.yield %a : tensor<4xf32>
}

// -----

func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @below {{C1: there is no kernel @k}}
  %y = comm.call_kernel @k(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

comm.kernel @k {
^bb0(%a: tensor<4xf32>):
  comm.yield %a : tensor<4xf32>
}
func.func @main(%x: memref<5xf32>, %y: memref<4xf32>) {
  // expected-error @below {{C2: inputs 0 is 'memref<5xf32>', the kernel has 'tensor<4xf32>'}}
  comm.launch @k ins(%x : memref<5xf32>) outs(%y : memref<4xf32>)
  return
}

// -----

comm.grid @grid ["tp"] = [2]
func.func @main(%x: tensor<3x6xf32>) {
  // expected-error @below {{C3: expected the shards of 'tensor<3x6xf32>' to be [2, 3, 3], got 'tensor<2x3x2xf32>'}}
  %p = comm.pack_shards %x dim 1 over @grid["tp"] : tensor<3x6xf32> -> tensor<2x3x2xf32>
  return
}

// -----

comm.grid @grid ["tp"] = [2]
func.func @main(%x: tensor<2x3x2xf32>) {
  // expected-error @below {{C1: grid @grid has no axis "ep"}}
  %p = comm.unpack_shards %x dim 1 over @grid["ep"] : tensor<2x3x2xf32> -> tensor<3x4xf32>
  return
}

// -----

func.func @main() {
  // expected-error @below {{C1: offset must not be negative}}
  %b = comm.buffer at -64 : memref<8xf32>
  return
}

// -----

func.func @main(%b: memref<8xf32>) {
  // expected-error @below {{C1: bytes 24 to 40 are not inside the 32 bytes of the source}}
  %v = comm.view %b at 24 : memref<8xf32> -> memref<4xf32>
  return
}

// -----

func.func @main() {
  // expected-error @below {{C1: the value is 'tensor<2xi64>', the result 'memref<3xi64>'}}
  %b = comm.data dense<[1, 2]> : tensor<2xi64> -> memref<3xi64>
  return
}

// -----

func.func @main(%b: memref<8xf32, strided<[2]>>) {
  // expected-error @below {{must be statically shaped, contiguous, row-major memref}}
  %v = comm.view %b at 0 : memref<8xf32, strided<[2]>> -> memref<4xf32>
  return
}

// -----

func.func @main(%x: memref<4xf32>) {
  // expected-error @below {{C1: there is no command "swish"}}
  comm.command "swish" ins(%x : memref<4xf32>) outs(%x : memref<4xf32>) {}
  return
}

// -----

func.func @main(%x: memref<4xf32>) {
  // expected-error @below {{C2: "rank_mask" takes 1 to 1 inputs and 1 outputs, got 2 and 1}}
  comm.command "rank_mask" ins(%x, %x : memref<4xf32>, memref<4xf32>) outs(%x : memref<4xf32>) {axes = ["tp"]}
  return
}

// -----

func.func @main(%x: memref<4xf32>) {
  // expected-error @below {{C3: "rank_mask" needs the parameter axes}}
  comm.command "rank_mask" ins(%x : memref<4xf32>) outs(%x : memref<4xf32>) {}
  return
}

// -----

func.func @main(%x: memref<4xf32>) {
  // expected-error @below {{C3: parameter axis is of the wrong kind: "0"}}
  comm.command "gather" ins(%x, %x : memref<4xf32>, memref<4xf32>) outs(%x : memref<4xf32>) {axis = "0"}
  return
}

// -----

func.func @main(%x: memref<4xf32>) {
  // expected-error @below {{C3: "fill" has no parameter x}}
  comm.command "fill" outs(%x : memref<4xf32>) {value = 1.0 : f64, x = 1 : i64}
  return
}
