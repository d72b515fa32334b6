// RUN: comm-opt %s --split-input-file --verify-diagnostics
// One case per numbered constraint of the model layer.

// expected-error @+1 {{C1: expected one size per axis, got 1 axes and 2 sizes}}
comm.grid @grid ["tp"] = [2, 2]
// -----
// expected-error @+1 {{C2: axis names must be unique and not empty, got "tp"}}
comm.grid @grid ["tp", "tp"] = [2, 2]
// -----
// expected-error @+1 {{C3: sizes must be at least 1 and their product at most 1048576, got 0 for "tp"}}
comm.grid @grid ["tp"] = [0]
// -----
// expected-error @+1 {{C3: sizes must be at least 1 and their product at most 1048576}}
comm.grid @grid ["a", "b"] = [1048576, 4]
// -----
func.func @weight_offset() -> tensor<4xf32> {
  // expected-error @+1 {{C1: offset must not be negative, got -4}}
  %w = comm.weight "w" in "m" at -4 : tensor<4xf32> -> tensor<4xf32>
  return %w : tensor<4xf32>
}
// -----
func.func @weight_slice_outside() -> tensor<2xf32> {
  // expected-error @+1 {{C2: #comm.slice<0, 3, 2> does not lie inside 'tensor<4xf32>'}}
  %w = comm.weight "w" in "m" at 0 slices [#comm.slice<0, 3, 2>] : tensor<4xf32> -> tensor<2xf32>
  return %w : tensor<2xf32>
}
// -----
func.func @weight_slice_dimension() -> tensor<2xf32> {
  // expected-error @+1 {{C2: a slice must name a dimension}}
  %w = comm.weight "w" in "m" at 0 slices [#comm.slice<1, 0, 2>] : tensor<4xf32> -> tensor<2xf32>
  return %w : tensor<2xf32>
}
// -----
func.func @weight_result_shape() -> tensor<4xf32> {
  // expected-error @+1 {{C3: expected result shape [2]}}
  %w = comm.weight "w" in "m" at 0 slices [#comm.slice<0, 0, 2>] : tensor<4xf32> -> tensor<4xf32>
  return %w : tensor<4xf32>
}
// -----
comm.grid @grid ["tp"] = [2]
func.func @weight_local_shape() -> tensor<4xf32> {
  // expected-error @+1 {{C3: expected result shape [2]}}
  %w = comm.weight "w" in "m" at 0 layout <[["tp"]]> : tensor<4xf32> -> tensor<4xf32>
  return %w : tensor<4xf32>
}
// -----
func.func @weight_type() -> tensor<4xf16> {
  // expected-error @+1 {{C4: expected element type 'f32'}}
  %w = comm.weight "w" in "m" at 0 : tensor<4xf32> -> tensor<4xf16>
  return %w : tensor<4xf16>
}
// -----
func.func @matmul_rank(%x: tensor<4xf32>, %w: tensor<4x8xf32>) {
  // expected-error @+2 {{C1: expected operands of rank 2 or more}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.matmul %x, %w : tensor<4xf32>, tensor<4x8xf32> -> tensor<8xf32>
  return
}
// -----
func.func @matmul_inner(%x: tensor<4x8xf32>, %w: tensor<4x8xf32>) {
  // expected-error @+2 {{C2: inner sizes differ: 8 and 4}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.matmul %x, %w : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xf32>
  return
}
// -----
func.func @matmul_batch(%x: tensor<2x4x8xf32>, %w: tensor<3x8x8xf32>) {
  // expected-error @+2 {{C3: batch sizes differ: 2 and 3}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.matmul %x, %w : tensor<2x4x8xf32>, tensor<3x8x8xf32> -> tensor<2x4x8xf32>
  return
}
// -----
func.func @quantized_bits(%x: tensor<1x32xf32>, %w: tensor<8x1x12xi8>, %s: tensor<8x1xf32>) {
  // expected-error @+2 {{C1: expected 4 or 8 bits in blocks of a multiple of 16 up to 1024, got 3 in blocks of 32}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.quantized_matmul %x, %w scales %s : tensor<8x1xf32> bits 3 block 32 : tensor<1x32xf32>, tensor<8x1x12xi8> -> tensor<1x8xf32>
  return
}
// -----
func.func @quantized_blocks(%x: tensor<1x40xf32>, %w: tensor<8x1x16xi8>, %s: tensor<8x1xf32>) {
  // expected-error @+2 {{C2: weights 'tensor<8x1x16xi8>' do not hold the 40 rows of the product in blocks of 32}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.quantized_matmul %x, %w scales %s : tensor<8x1xf32> bits 4 block 32 : tensor<1x40xf32>, tensor<8x1x16xi8> -> tensor<1x8xf32>
  return
}
// -----
func.func @quantized_scales(%x: tensor<1x64xf32>, %w: tensor<8x2x16xi8>, %s: tensor<8x3xf32>) {
  // expected-error @+2 {{C3: expected scales of [8, 2] or 1 in a dimension, got 'tensor<8x3xf32>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.quantized_matmul %x, %w scales %s : tensor<8x3xf32> bits 4 block 32 : tensor<1x64xf32>, tensor<8x2x16xi8> -> tensor<1x8xf32>
  return
}
// -----
func.func @quantized_zero_points(%x: tensor<1x64xf32>, %w: tensor<8x2x16xi8>, %s: tensor<8x2xf32>, %z: tensor<8x2xi8>) {
  // expected-error @+2 {{C4: expected zero points 'tensor<8x1xi8>' or 'tensor<8x2xf32>', got 'tensor<8x2xi8>'}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.quantized_matmul %x, %w scales %s : tensor<8x2xf32> zero_points %z : tensor<8x2xi8> bits 4 block 32
    : tensor<1x64xf32>, tensor<8x2x16xi8> -> tensor<1x8xf32>
  return
}
// -----
func.func @matmul_types(%x: tensor<4x8xf32>, %w: tensor<8x8xf16>) {
  // expected-error @+2 {{C4: element types differ}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf16> -> tensor<4x8xf32>
  return
}
// -----
func.func @attention_shapes(%q: tensor<1x4x3x16xf32>, %k: tensor<1x2x3x8xf32>) {
  // expected-error @+2 {{C1: batch, head size, kv heads or kv length disagree}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.attention %q, %k, %k scale 1.0 : tensor<1x4x3x16xf32>, tensor<1x2x3x8xf32>, tensor<1x2x3x8xf32> -> tensor<1x4x3x8xf32>
  return
}
// -----
func.func @attention_groups(%q: tensor<1x4x3x16xf32>, %k: tensor<1x3x3x16xf32>) {
  // expected-error @+2 {{C2: 3 kv heads do not divide 4 query heads}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.attention %q, %k, %k scale 1.0 : tensor<1x4x3x16xf32>, tensor<1x3x3x16xf32>, tensor<1x3x3x16xf32> -> tensor<1x4x3x16xf32>
  return
}
// -----
func.func @attention_mask(%q: tensor<1x4x3x16xf32>, %m: tensor<1x1x3x4xi1>) {
  // expected-error @+2 {{C3: mask 'tensor<1x1x3x4xi1>' does not broadcast}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.attention %q, %q, %q mask %m : tensor<1x1x3x4xi1> scale 1.0 : tensor<1x4x3x16xf32>, tensor<1x4x3x16xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x16xf32>
  return
}
// -----
func.func @attention_lengths(%q: tensor<1x4x3x16xf32>, %l: tensor<2xi64>) {
  // expected-error @+2 {{C4: expected one length per batch row}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.attention %q, %q, %q lengths %l : tensor<2xi64> scale 1.0 : tensor<1x4x3x16xf32>, tensor<1x4x3x16xf32>, tensor<1x4x3x16xf32> -> tensor<1x4x3x16xf32>
  return
}
// -----
func.func @norm_weight(%x: tensor<4x8xf32>, %w: tensor<4xf32>) {
  // expected-error @+1 {{C1: expected weight of the size and type of the last dimension}}
  %y = comm.rms_norm %x, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<4xf32>
  return
}
// -----
func.func @norm_bias(%x: tensor<4x8xf32>, %w: tensor<8xf32>, %b: tensor<8xf16>) {
  // expected-error @+1 {{C1: expected bias of the size and type of the last dimension}}
  %y = comm.layer_norm %x, %w bias %b : tensor<8xf16> epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
  return
}
// -----
func.func @rotary_sequence(%x: tensor<1x4x3x16xf32>, %c: tensor<1x5x8xf32>) {
  // expected-error @+1 {{C2: cos and sin}}
  %y = comm.rotary %x, %c, %c : tensor<1x4x3x16xf32>, tensor<1x5x8xf32>
  return
}
// -----
func.func @rotary_size(%x: tensor<1x4x3x16xf32>, %c: tensor<1x3x16xf32>) {
  // expected-error @+1 {{C3: rotary size 32 exceeds the head size 16}}
  %y = comm.rotary %x, %c, %c : tensor<1x4x3x16xf32>, tensor<1x3x16xf32>
  return
}
// -----
func.func @embedding_vocab(%t: tensor<8x4xf32>, %i: tensor<3xi64>) {
  // expected-error @+1 {{C2: vocab must be positive, got -8}}
  %y = comm.embedding %t, %i vocab -8 over ["tp"] : tensor<8x4xf32>, tensor<3xi64> -> tensor<3x4xf32>
  return
}
// -----
func.func @expert_rows(%x: tensor<5x8xf32>, %i: tensor<4x2xi64>, %w: tensor<3x8x6xf32>) {
  // expected-error @+2 {{C1: rows 'tensor<5x8xf32>' do not fit ids}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.expert_matmul %x, %i, %w : tensor<5x8xf32>, tensor<4x2xi64>, tensor<3x8x6xf32> -> tensor<4x2x6xf32>
  return
}
// -----
func.func @expert_weights(%x: tensor<4x8xf32>, %i: tensor<4x2xi64>, %w: tensor<3x8x6xf32>) {
  // expected-error @+2 {{C2: weights 'tensor<3x8x6xf32>' do not fit rows}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.expert_matmul %x, %i, %w transpose : tensor<4x8xf32>, tensor<4x2xi64>, tensor<3x8x6xf32> -> tensor<4x2x6xf32>
  return
}
// -----
func.func @expert_count(%x: tensor<4x8xf32>, %i: tensor<4x2xi64>, %w: tensor<3x8x6xf32>) {
  // expected-error @+1 {{C3: experts must be positive, got -3}}
  %y = comm.expert_matmul %x, %i, %w experts -3 over ["tp"] : tensor<4x8xf32>, tensor<4x2xi64>, tensor<3x8x6xf32> -> tensor<4x2x6xf32>
  return
}
// -----
func.func @gather_axis(%x: tensor<2x8xf32>, %i: tensor<3xi64>) {
  // expected-error @+2 {{C1: axis 2 is outside}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.gather %x, %i axis 2 : tensor<2x8xf32>, tensor<3xi64> -> tensor<2x3xf32>
  return
}
// -----
func.func @gather_nd_tuple(%x: tensor<2x8xf32>, %i: tensor<3x3xi64>) {
  // expected-error @+2 {{C1: indices}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.gather_nd %x, %i batch_dims 0 : tensor<2x8xf32>, tensor<3x3xi64> -> tensor<3xf32>
  return
}
// -----
func.func @gather_elements_size(%x: tensor<2x8xf32>, %i: tensor<3x3xi64>) {
  // expected-error @+2 {{C2: indices}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.gather_elements %x, %i axis 1 : tensor<2x8xf32>, tensor<3x3xi64> -> tensor<3x3xf32>
  return
}
// -----
func.func @scatter_nd_tuple(%x: tensor<2x8xf32>, %i: tensor<3x3xi64>, %u: tensor<3xf32>) {
  // expected-error @+1 {{C1: index tuples}}
  %y = comm.scatter_nd set %x, %i, %u : tensor<2x8xf32>, tensor<3x3xi64>, tensor<3xf32>
  return
}
// -----
func.func @scatter_nd_updates(%x: tensor<2x8xf32>, %i: tensor<3x1xi64>, %u: tensor<3x4xf32>) {
  // expected-error @+1 {{C2: expected updates of}}
  %y = comm.scatter_nd set %x, %i, %u : tensor<2x8xf32>, tensor<3x1xi64>, tensor<3x4xf32>
  return
}
// -----
func.func @top_k_too_many(%x: tensor<2x8xf32>) {
  // expected-error @+2 {{C1: 9 elements cannot be taken of every row}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.top_k %x 9 largest : tensor<2x8xf32> -> tensor<2x9xi64>
  return
}
// -----
func.func @windows_lists(%x: tensor<2x8xf32>) {
  // expected-error @+2 {{C1: expected one positive size, stride and dilation}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.windows %x sizes [2] strides [0] dilations [1] : tensor<2x8xf32> -> tensor<2x2x7xf32>
  return
}
// -----
func.func @windows_size(%x: tensor<2x8xf32>) {
  // expected-error @+2 {{C2: a window of 5 with dilation 2 does not fit into 8}}
  // expected-error @+1 {{failed to infer returned types}}
  %y = comm.windows %x sizes [5] strides [1] dilations [2] : tensor<2x8xf32> -> tensor<2x5x0xf32>
  return
}
// -----
// expected-error @+1 {{axis "tp" is used twice}}
func.func @layout_axis(%x: tensor<2x8xf32> {comm.layout = #comm.layout<[["tp"], ["tp"]]>}) { return }
// -----
// expected-error @+1 {{'comm.layout' describes 1 dimensions, but the value is 'tensor<2x8xf32>'}}
func.func @layout_rank(%x: tensor<2x8xf32> {comm.layout = #comm.layout<[["tp"]]>}) { return }
// -----
// expected-error @+1 {{expected one grain per dimension (2), got 1}}
func.func @layout_grain(%x: tensor<2x8xf32> {comm.layout = #comm.layout<[["tp"], []] grain [4]>}) { return }
// -----
// expected-error @+1 {{'comm.entry' belongs on a function}}
module attributes {comm.entry} {}
// -----
func.func @precision_type(%a: tensor<2x4xbf16>, %b: tensor<4x2xbf16>) -> tensor<2x2xbf16> {
  // expected-error @+1 {{'comm.precision' is for f32 operands, the result is 'tensor<2x2xbf16>'}}
  %y = comm.matmul %a, %b {comm.precision = "bf16"} : tensor<2x4xbf16>, tensor<4x2xbf16> -> tensor<2x2xbf16>
  return %y : tensor<2x2xbf16>
}
// -----
func.func @precision_name(%a: tensor<2x4xf32>, %b: tensor<4x2xf32>) -> tensor<2x2xf32> {
  // expected-error @+1 {{'comm.precision' is "bf16" on comm.matmul and comm.attention or "f16" on comm.matmul, got "int8"}}
  %y = comm.matmul %a, %b {comm.precision = "int8"} : tensor<2x4xf32>, tensor<4x2xf32> -> tensor<2x2xf32>
  return %y : tensor<2x2xf32>
}
