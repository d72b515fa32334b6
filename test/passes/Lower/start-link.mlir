// RUN: comm-opt %s --comm-decompose-collectives | FileCheck %s
comm.grid @grid ["tp"] = [2]

// What carries a started collective stays with it, also where it is packed and unpacked on the way.
// CHECK-LABEL: func.func @keeps_the_link
// CHECK:         comm.start order 0 {comm.link = "copy_engine"}
// CHECK-NEXT:      comm.all_gather
// CHECK:         comm.start order 1 {comm.link = "scale_out"}
// CHECK-NEXT:      comm.all_reduce
func.func @keeps_the_link(%x: tensor<4x8xf32>) -> tensor<4x16xf32> {
  %t = comm.start order 0 {comm.link = "copy_engine"} : !comm.token<tensor<4x16xf32>> {
    %g = comm.all_gather %x dim 1 over @grid["tp"] : tensor<4x8xf32> -> tensor<4x16xf32>
    comm.yield %g : tensor<4x16xf32>
  }
  %y = comm.wait %t : !comm.token<tensor<4x16xf32>>
  %u = comm.start order 1 {comm.link = "scale_out"} : !comm.token<tensor<4x16xf32>> {
    %r = comm.all_reduce sum %y over @grid["tp"] : tensor<4x16xf32>
    comm.yield %r : tensor<4x16xf32>
  }
  %z = comm.wait %u : !comm.token<tensor<4x16xf32>>
  return %z : tensor<4x16xf32>
}
