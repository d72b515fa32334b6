// RUN: comm-opt %s "--comm-schedule-overlap=link=1Gbit,50us" --comm-verify-form=form=async | FileCheck %s
// RUN: comm-opt %s "--comm-schedule-overlap=topology=h100_sxm" --comm-verify-form=form=async | FileCheck %s --check-prefix=H100
// RUN: comm-opt %s "--comm-schedule-overlap=link=1Gbit,50us keep-order" --comm-verify-form=form=async | FileCheck %s --check-prefix=SAFE
comm.grid @grid ["tp"] = [2]

// The start goes up to its operand, the wait behind the independent product; the order stays 0.
// CHECK-LABEL: func.func @hides_behind_a_product
// CHECK-SAME:    (%[[X:.*]]: tensor<256x256xf32>, %[[Y:.*]]: tensor<256x256xf32>)
// CHECK-NEXT:    %[[T:.*]] = comm.start order 0 {comm.link = "scale_out"}
// CHECK:         %[[P:.*]] = comm.matmul %[[Y]], %[[Y]]
// CHECK-NEXT:    %[[R:.*]] = comm.wait %[[T]]
// CHECK-NEXT:    comm.matmul %[[R]], %[[P]]
// H100-LABEL: func.func @hides_behind_a_product
// H100:         comm.start order 0 {comm.link = "scale_up"}
func.func @hides_behind_a_product(%x: tensor<256x256xf32>, %y: tensor<256x256xf32>) -> tensor<256x256xf32> {
  %p = comm.matmul %y, %y : tensor<256x256xf32>, tensor<256x256xf32> -> tensor<256x256xf32>
  %t = comm.start order 0 : !comm.token<tensor<256x256xf32>> {
    %a = comm.all_reduce sum %x over @grid["tp"] : tensor<256x256xf32>
    comm.yield %a : tensor<256x256xf32>
  }
  %r = comm.wait %t : !comm.token<tensor<256x256xf32>>
  %s = comm.matmul %r, %p : tensor<256x256xf32>, tensor<256x256xf32> -> tensor<256x256xf32>
  return %s : tensor<256x256xf32>
}

// The gather is needed first, so it goes first; numbers follow the new order. On a GPU a copy engine moves it.
// CHECK-LABEL: func.func @renumbers
// CHECK:         comm.start order 0
// CHECK-NEXT:      comm.all_gather
// CHECK:         comm.start order 1
// CHECK-NEXT:      comm.all_reduce
// H100-LABEL: func.func @renumbers
// H100:         {comm.link = "copy_engine"}
// H100-NEXT:      comm.all_gather
// Without reordering compute, starts still move.
// SAFE-LABEL: func.func @renumbers
// SAFE:         comm.all_gather
// SAFE:         comm.wait
// SAFE:         comm.matmul
// SAFE:         comm.matmul
func.func @renumbers(%x: tensor<256x256xf32>, %y: tensor<128x256xf32>) -> (tensor<256x256xf32>, tensor<256x256xf32>) {
  %t = comm.start order 0 : !comm.token<tensor<256x256xf32>> {
    %a = comm.all_reduce sum %x over @grid["tp"] : tensor<256x256xf32>
    comm.yield %a : tensor<256x256xf32>
  }
  %r = comm.wait %t : !comm.token<tensor<256x256xf32>>
  %u = comm.start order 1 : !comm.token<tensor<256x256xf32>> {
    %b = comm.all_gather %y dim 0 over @grid["tp"] : tensor<128x256xf32> -> tensor<256x256xf32>
    comm.yield %b : tensor<256x256xf32>
  }
  %g = comm.wait %u : !comm.token<tensor<256x256xf32>>
  %p = comm.matmul %g, %g : tensor<256x256xf32>, tensor<256x256xf32> -> tensor<256x256xf32>
  %q = comm.matmul %p, %p : tensor<256x256xf32>, tensor<256x256xf32> -> tensor<256x256xf32>
  return %r, %q : tensor<256x256xf32>, tensor<256x256xf32>
}

// The group spans nodes only over dp: ranks are numbered node by node.
// CHECK-LABEL: func.func @leaves_synchronous_code
// CHECK-NEXT:    math.tanh
// CHECK-NEXT:    comm.all_reduce
// CHECK-NEXT:    math.exp
func.func @leaves_synchronous_code(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %u = math.tanh %x : tensor<4xf32>
  %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  %v = math.exp %x : tensor<4xf32>
  %w = arith.addf %u, %v : tensor<4xf32>
  return %w, %a : tensor<4xf32>, tensor<4xf32>
}

// A broadcast that nobody reads goes; it would stand in front of the weight, which moves to where it is read.
// CHECK-LABEL: func.func @drops_what_nobody_reads
// CHECK-NOT:     dimensions = [0]
// CHECK:         return
func.func @drops_what_nobody_reads(%x: tensor<256x256xf32>) -> tensor<256x256xf32> {
  %w = comm.weight "w" in "model" at 0 : tensor<256xf32> -> tensor<256xf32>
  %e = tensor.empty() : tensor<256x256xf32>
  %dead = linalg.broadcast ins(%w : tensor<256xf32>) outs(%e : tensor<256x256xf32>) dimensions = [0]
  %t = comm.start order 0 : !comm.token<tensor<256x256xf32>> {
    %a = comm.all_reduce sum %x over @grid["tp"] : tensor<256x256xf32>
    comm.yield %a : tensor<256x256xf32>
  }
  %r = comm.wait %t : !comm.token<tensor<256x256xf32>>
  %f = tensor.empty() : tensor<256x256xf32>
  %b = linalg.broadcast ins(%w : tensor<256xf32>) outs(%f : tensor<256x256xf32>) dimensions = [1]
  %s = arith.addf %r, %b : tensor<256x256xf32>
  return %s : tensor<256x256xf32>
}
