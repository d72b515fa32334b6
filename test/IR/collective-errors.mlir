// RUN: comm-opt %s --split-input-file --verify-diagnostics
// One case per numbered constraint of the collective and async layers.

func.func @no_grid(%x: tensor<4xf32>) {
  // expected-error @+1 {{C1: there is no grid @grid}}
  %y = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @no_axis(%x: tensor<4xf32>) {
  // expected-error @+1 {{C1: grid @grid has no axis "dp"}}
  %y = comm.all_reduce sum %x over @grid["dp"] : tensor<4xf32>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @axis_twice(%x: tensor<4xf32>) {
  // expected-error @+1 {{C1: axis "tp" is named twice}}
  %y = comm.rank_mask %x over @grid["tp", "tp"] : tensor<4xf32>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @reduce_bool(%x: tensor<4xi1>) {
  // expected-error @+1 {{C2: bool cannot be reduced}}
  %y = comm.all_reduce sum %x over @grid["tp"] : tensor<4xi1>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @scatter_dim(%x: tensor<4xf32>) {
  // expected-error @+1 {{C2: dimension 1 is outside 'tensor<4xf32>'}}
  %y = comm.reduce_scatter sum %x dim 1 over @grid["tp"] : tensor<4xf32> -> tensor<2xf32>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @gather_shape(%x: tensor<2xf32>) {
  // expected-error @+1 {{C3: expected one shard of 'tensor<5xf32>' to be [3], got 'tensor<2xf32>'}}
  %y = comm.all_gather %x dim 0 over @grid["tp"] : tensor<2xf32> -> tensor<5xf32>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @slice_grain(%x: tensor<6xf32>) {
  // expected-error @+1 {{C2: grain 4 does not divide dimension 0}}
  %y = comm.shard_slice %x dim 0 over @grid["tp"] {grain = 4 : i64} : tensor<6xf32> -> tensor<3xf32>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @all_to_all_same_dim(%x: tensor<2x2xf32>) {
  // expected-error @+1 {{C2: split 0 and concat 0 must be two dimensions}}
  %y = comm.all_to_all %x split 0 concat 0 over @grid["tp"] : tensor<2x2xf32> -> tensor<2x2xf32>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @norm_vector(%x: tensor<4x8xf32>, %w: tensor<4xf32>) {
  // expected-error @+1 {{C2: expected a vector of the last dimension}}
  %n, %s = comm.all_reduce_norm %x, %x, %w epsilon 1.0e-5 over @grid["tp"] : tensor<4x8xf32>, tensor<4xf32>
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @norm_bias_without_layer_norm(%x: tensor<4x8xf32>, %w: tensor<8xf32>) {
  // expected-error @+1 {{C3: norm_bias needs layer_norm}}
  %n, %s = comm.all_reduce_norm %x, %x, %w norm_bias %w : tensor<8xf32> epsilon 1.0e-5 over @grid["tp"] : tensor<4x8xf32>, tensor<8xf32>
  return
}
// -----
func.func @start_without_collective(%x: tensor<4xf32>) {
  // expected-error @+1 {{C1: expected one collective, then comm.yield}}
  %t = comm.start order 0 : !comm.token<tensor<4xf32>> {
    %y = math.tanh %x : tensor<4xf32>
    comm.yield %y : tensor<4xf32>
  }
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @start_token_type(%x: tensor<4xf32>) {
  // expected-error @+1 {{C2: expected a token of 'tensor<4xf32>'}}
  %t = comm.start order 0 : !comm.token<tensor<8xf32>> {
    %y = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
    comm.yield %y : tensor<4xf32>
  }
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @start_order(%x: tensor<4xf32>) {
  // expected-error @+1 {{C3: order must not be negative, got -1}}
  %t = comm.start order -1 : !comm.token<tensor<4xf32>> {
    %y = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
    comm.yield %y : tensor<4xf32>
  }
  return
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @permute_axis(%x: tensor<2xf32>) {
  // expected-error @+1 {{C1: grid @grid has no axis "ep"}}
  %y = comm.permute %x shift 1 over @grid["ep"] : tensor<2xf32>
  return
}
