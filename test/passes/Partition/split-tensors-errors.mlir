// RUN: comm-opt %s --comm-split-tensors --split-input-file --verify-diagnostics

comm.grid @grid ["tp"] = [2]
func.func @factor_out_of_range(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @+1 {{'comm.factors' {tp = array<i64: 7, -1, 1>} does not fit the op or the grid}}
  %y = comm.silu %x {comm.factors = {tp = array<i64: 7, -1, 1>}} : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

comm.grid @grid ["tp"] = [2]
func.func @whole_factor(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @+1 {{its 'comm.factors' cannot be expressed as layouts}}
  %y = comm.softmax %x {comm.factors = {tp = array<i64: 1, -1, 1>}} : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

comm.grid @grid ["tp"] = [2]
func.func @fill_reaches_a_sum(%x: tensor<3x8xf32>) -> tensor<8xf32> {
  %z = arith.constant dense<0.0> : tensor<8xf32>
  %e = math.exp %x {comm.factors = {tp = array<i64: 0, -1, 1>}} : tensor<3x8xf32>
  // expected-error @+1 {{cannot be split like this over "tp": the fill of uneven shards is not zero and would reach its sum}}
  %s = linalg.reduce { arith.addf } ins(%e : tensor<3x8xf32>) outs(%z : tensor<8xf32>) dimensions = [0] {comm.factors = {tp = array<i64: 0, -1, 1>}}
  return %s : tensor<8xf32>
}
