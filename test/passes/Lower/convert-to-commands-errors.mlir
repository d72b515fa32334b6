// RUN: comm-opt %s --comm-convert-to-commands -verify-diagnostics

// Every op without a command is listed.
func.func @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  // expected-error @below {{error[E111]: op 'math.exp' has no command and belongs to no kernel}}
  %a = math.exp %x : tensor<4x4xf32>
  // expected-error @below {{error[E111]: op 'arith.addf' has no command and belongs to no kernel}}
  %b = arith.addf %x, %x : tensor<4x4xf32>
  // What reads the result of such an op is checked too.
  %c = comm.matmul %a, %b : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xf32>
  // expected-error @below {{error[E111]: op 'math.tanh' has no command and belongs to no kernel}}
  %d = math.tanh %c : tensor<4x4xf32>
  return %d : tensor<4x4xf32>
}
