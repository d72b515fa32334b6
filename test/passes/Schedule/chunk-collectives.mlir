// RUN: comm-opt %s "--comm-chunk-collectives=link=1Gbit,50us chunks=2" | FileCheck %s
// RUN: comm-opt %s "--comm-chunk-collectives=link=1Gbit,50us" | FileCheck %s --check-prefix=AUTO
// RUN: comm-opt %s --comm-chunk-collectives | FileCheck %s --check-prefix=CPU
comm.grid @grid ["dp", "tp"] = [2, 2]

// The reduction, the add of the residual, the norm, the product and the next reduction run on both halves of the rows; the caller reads them put together.
// CHECK-LABEL: func.func @cuts_a_row_region
// CHECK-SAME:    (%[[X:.*]]: tensor<512x256xf32>, %[[R:.*]]: tensor<512x256xf32>, %[[W:.*]]: tensor<256x1024xf32>, %[[V:.*]]: tensor<1024x256xf32>, %[[G:.*]]: tensor<256xf32>)
// CHECK:         %[[X0:.*]] = tensor.extract_slice %[[X]][0, 0] [256, 256] [1, 1]
// CHECK:         %[[A0:.*]] = comm.all_reduce sum %[[X0]]
// CHECK:         %[[R0:.*]] = tensor.extract_slice %[[R]][0, 0] [256, 256] [1, 1]
// CHECK:         %[[S0:.*]] = arith.addf %[[A0]], %[[R0]]
// CHECK:         %[[N0:.*]] = comm.rms_norm %[[S0]], %[[G]]
// CHECK:         %[[P0:.*]] = comm.matmul %[[N0]], %[[W]]
// CHECK:         %[[Q0:.*]] = comm.matmul %[[P0]], %[[V]]
// CHECK:         %[[B0:.*]] = comm.all_reduce sum %[[Q0]]
// CHECK:         tensor.extract_slice %[[X]][256, 0] [256, 256] [1, 1]
// CHECK:         comm.all_reduce
// CHECK-COUNT-2: comm.matmul
// CHECK:         %[[B1:.*]] = comm.all_reduce
// CHECK:         %[[B:.*]] = tensor.concat dim(0) %[[B0]], %[[B1]]
// CHECK:         return %[[B]]
// With a slow link that is predicted to pay; between ranks that share memory nothing is cut.
// AUTO-LABEL: func.func @cuts_a_row_region
// AUTO-COUNT-4: comm.all_reduce
// CPU-LABEL: func.func @cuts_a_row_region
// CPU-COUNT-2: comm.all_reduce
// CPU-NOT: comm.all_reduce
// CPU-LABEL: func.func @keeps_small_ones
func.func @cuts_a_row_region(%x: tensor<512x256xf32>, %r: tensor<512x256xf32>, %w: tensor<256x1024xf32>, %v: tensor<1024x256xf32>, %g: tensor<256xf32>) -> tensor<512x256xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<512x256xf32>
  %s = arith.addf %a, %r : tensor<512x256xf32>
  %n = comm.rms_norm %s, %g epsilon 1.0e-5 : tensor<512x256xf32>, tensor<256xf32>
  %p = comm.matmul %n, %w : tensor<512x256xf32>, tensor<256x1024xf32> -> tensor<512x1024xf32>
  %q = comm.matmul %p, %v : tensor<512x1024xf32>, tensor<1024x256xf32> -> tensor<512x256xf32>
  %b = comm.all_reduce sum %q over @grid["tp"] : tensor<512x256xf32>
  return %b : tensor<512x256xf32>
}

// Below min-bytes nothing is cut.
// CHECK-LABEL: func.func @keeps_small_ones
// CHECK-NEXT:    comm.all_reduce sum %{{.*}} : tensor<64x8xf32>
// CHECK-NEXT:    return
func.func @keeps_small_ones(%x: tensor<64x8xf32>) -> tensor<64x8xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<64x8xf32>
  return %a : tensor<64x8xf32>
}

// A softmax over the rows mixes them: it reads the parts put together. The leading dimension of one and reshapes around the rows do not matter.
// CHECK-LABEL: func.func @stops_where_rows_mix
// CHECK-COUNT-2: comm.all_reduce sum {{.*}} : tensor<1x128x256xf32>
// CHECK:         %[[C:.*]] = tensor.concat dim(0) {{.*}} : (tensor<128x256xf32>, tensor<128x256xf32>) -> tensor<256x256xf32>
// CHECK:         comm.matmul %[[C]] transposed
func.func @stops_where_rows_mix(%x: tensor<1x256x256xf32>, %w: tensor<256x256xf32>) -> tensor<256x256xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<1x256x256xf32>
  %f = tensor.collapse_shape %a [[0, 1], [2]] : tensor<1x256x256xf32> into tensor<256x256xf32>
  %t = math.tanh %f : tensor<256x256xf32>
  %m = comm.matmul %t transposed, %w : tensor<256x256xf32>, tensor<256x256xf32> -> tensor<256x256xf32>
  return %m : tensor<256x256xf32>
}

// Constants and broadcasts are made in the size of the part; the fused norm keeps both results.
// CHECK-LABEL: func.func @cuts_operands_from_outside
// CHECK:         arith.constant dense<2.000000e+00> : tensor<128x256xf32>
// CHECK:         linalg.broadcast {{.*}} outs(%{{.*}} : tensor<128x256xf32>)
// CHECK:         comm.all_reduce_norm {{.*}} tensor<128x256xf32>
// CHECK:         tensor.concat
// CHECK:         tensor.concat
func.func @cuts_operands_from_outside(%x: tensor<256x256xf32>, %r: tensor<256x256xf32>, %g: tensor<256xf32>) -> (tensor<256x256xf32>, tensor<256x256xf32>) {
  %two = arith.constant dense<2.0> : tensor<256x256xf32>
  %e = tensor.empty() : tensor<256x256xf32>
  %wide = linalg.broadcast ins(%g : tensor<256xf32>) outs(%e : tensor<256x256xf32>) dimensions = [0]
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<256x256xf32>
  %b = arith.mulf %a, %two : tensor<256x256xf32>
  %c = arith.addf %b, %wide : tensor<256x256xf32>
  %n, %s = comm.all_reduce_norm %c, %r, %g epsilon 1.0e-5 over @grid["tp"] : tensor<256x256xf32>, tensor<256xf32>
  return %n, %s : tensor<256x256xf32>, tensor<256x256xf32>
}

// Of a batch the sequences are the rows.
// CHECK-LABEL: func.func @cuts_a_batch
// CHECK-COUNT-2: comm.all_reduce sum {{.*}} : tensor<1x64x256xf32>
func.func @cuts_a_batch(%x: tensor<2x64x256xf32>) -> tensor<2x64x256xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<2x64x256xf32>
  %t = math.tanh %a : tensor<2x64x256xf32>
  return %t : tensor<2x64x256xf32>
}

// On a grid of two axes only the collective's own axis matters.
// CHECK-LABEL: func.func @cuts_on_two_axes
// CHECK-COUNT-2: comm.all_reduce sum {{.*}} over @grid["tp"] : tensor<128x256xf32>
func.func @cuts_on_two_axes(%x: tensor<256x256xf32>) -> tensor<256x256xf32> {
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<256x256xf32>
  %t = math.tanh %a : tensor<256x256xf32>
  return %t : tensor<256x256xf32>
}

// What is made for the collective alone is cut as well: the reduction of one half runs beside the products of the other.
// CHECK-LABEL: func.func @cuts_what_goes_before
// CHECK:         %[[A0:.*]] = tensor.extract_slice %{{.*}}[0, 0] [256, 256] [1, 1]
// CHECK:         %[[P0:.*]] = comm.matmul %[[A0]], {{.*}} -> tensor<256x1024xf32>
// CHECK:         %[[S0:.*]] = comm.silu %[[P0]] : tensor<256x1024xf32>
// CHECK:         %[[Q0:.*]] = comm.matmul %[[S0]]
// CHECK:         comm.all_reduce sum %[[Q0]] {{.*}} : tensor<256x256xf32>
// CHECK-COUNT-2: comm.matmul
// CHECK:         comm.all_reduce {{.*}} : tensor<256x256xf32>
func.func @cuts_what_goes_before(%a: tensor<512x256xf32>, %w: tensor<256x1024xf32>, %v: tensor<1024x256xf32>) -> tensor<512x256xf32> {
  %p = comm.matmul %a, %w : tensor<512x256xf32>, tensor<256x1024xf32> -> tensor<512x1024xf32>
  %s = comm.silu %p : tensor<512x1024xf32>
  %q = comm.matmul %s, %v : tensor<512x1024xf32>, tensor<1024x256xf32> -> tensor<512x256xf32>
  %r = comm.all_reduce sum %q over @grid["tp"] : tensor<512x256xf32>
  return %r : tensor<512x256xf32>
}

// Not what somebody else reads, and not the right-hand side of a product.
// CHECK-LABEL: func.func @keeps_what_others_read
// CHECK:         comm.matmul {{.*}} -> tensor<512x256xf32>
// CHECK:         comm.matmul {{.*}} transposed, {{.*}} -> tensor<256x256xf32>
// CHECK-COUNT-2: comm.all_reduce {{.*}} : tensor<256x256xf32>
// CHECK:         math.tanh {{.*}} : tensor<256x256xf32>
// CHECK:         comm.matmul {{.*}} : tensor<128x256xf32>, tensor<256x256xf32> -> tensor<128x256xf32>
func.func @keeps_what_others_read(%a: tensor<512x256xf32>, %w: tensor<256x256xf32>, %b: tensor<256x256xf32>) -> (tensor<512x256xf32>, tensor<256x256xf32>, tensor<256x256xf32>) {
  %p = comm.matmul %a, %w : tensor<512x256xf32>, tensor<256x256xf32> -> tensor<512x256xf32>
  %t = comm.matmul %p transposed, %p : tensor<512x256xf32>, tensor<512x256xf32> -> tensor<256x256xf32>
  %r = comm.all_reduce sum %p over @grid["tp"] : tensor<512x256xf32>
  %e = math.tanh %b : tensor<256x256xf32>
  %q = comm.matmul %b, %e : tensor<256x256xf32>, tensor<256x256xf32> -> tensor<256x256xf32>
  %s = comm.all_reduce sum %q over @grid["tp"] : tensor<256x256xf32>
  return %r, %t, %s : tensor<512x256xf32>, tensor<256x256xf32>, tensor<256x256xf32>
}
