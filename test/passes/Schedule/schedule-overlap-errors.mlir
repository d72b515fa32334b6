// RUN: not comm-opt %s "--comm-schedule-overlap=memory-limit=1000" 2>&1 | FileCheck %s
// RUN: not comm-opt %s "--comm-schedule-overlap=topology=nowhere" 2>&1 | FileCheck %s --check-prefix=TOPOLOGY
// RUN: not comm-opt %s "--comm-schedule-overlap=link=fast" 2>&1 | FileCheck %s --check-prefix=LINK
// RUN: comm-opt %s "--comm-schedule-overlap=memory-limit=1000 strict=false" | FileCheck %s --check-prefix=REMARK
comm.grid @grid ["tp"] = [2]

// CHECK: error[E502]: no order of 'too_large' keeps the limit of 1000 bytes per rank: the smallest peak found is {{[0-9]+}} bytes, 8192 of them weights, constants, inputs and outputs; raise the limit, split over more ranks, or compile for smaller input shapes
// TOPOLOGY: error[E202]: {{.*}}nowhere
// LINK: error[E202]: {{.*}}fast
// REMARK: memory limit: no order of 'too_large' keeps the limit
func.func @too_large(%x: tensor<32x32xf32>) -> tensor<32x32xf32> {
  %t = comm.start order 0 : !comm.token<tensor<32x32xf32>> {
    %a = comm.all_reduce sum %x over @grid["tp"] : tensor<32x32xf32>
    comm.yield %a : tensor<32x32xf32>
  }
  %r = comm.wait %t : !comm.token<tensor<32x32xf32>>
  %s = math.tanh %r : tensor<32x32xf32>
  return %s : tensor<32x32xf32>
}
