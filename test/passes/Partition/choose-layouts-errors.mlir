// RUN: comm-opt %s --comm-choose-layouts --split-input-file --verify-diagnostics

comm.grid @grid ["tp"] = [2]
func.func @unknown_axis(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @+1 {{does not fit the grid}}
  %y = comm.silu %x {comm.layout = #comm.layout<[["ep"], []]>} : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

comm.grid @grid ["tp"] = [2]
func.func @bad_grain(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  // expected-error @+1 {{does not fit the grid}}
  %y = comm.silu %x {comm.layout = #comm.layout<[["tp"], []] grain [3, 1]>} : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

comm.grid @grid ["tp"] = [2]
// expected-error @+1 {{state argument 0 and result 0 have different 'comm.layout's}}
func.func @states(%x: tensor<4x8xf32> {comm.state = "s", comm.layout = #comm.layout<[["tp"], []]>})
    -> (tensor<4x8xf32> {comm.state = "s", comm.layout = #comm.layout<[[], ["tp"]]>}) {
  %y = comm.silu %x : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
