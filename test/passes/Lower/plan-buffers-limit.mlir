// RUN: comm-opt %s --comm-plan-buffers | FileCheck %s
// RUN: comm-opt %s --comm-plan-buffers=memory-limit=640 | FileCheck %s --check-prefix=TIGHT
// RUN: comm-opt %s "--comm-plan-buffers=memory-limit=600 strict=false" | FileCheck %s --check-prefix=OVER
// RUN: not comm-opt %s --comm-plan-buffers=memory-limit=600 2>&1 | FileCheck %s --check-prefix=ERROR

// At most 576 bytes are alive at once, but the first placements need 640: free bytes do not lie in one piece. Under a limit that leaves no more
// than those 576 (64 are the output's) other placements are tried until one fits. Below that nothing helps.
// OVER: comm.over_bytes = 104 : i64
// ERROR: error[E501]: 'split_holes' needs 704 bytes per rank, the limit is 600 bytes
// CHECK-LABEL: func.func @split_holes
// CHECK-SAME:    comm.arena_bytes = 640 : i64
// TIGHT-LABEL: func.func @split_holes
// TIGHT-SAME:    comm.arena_bytes = 576 : i64
func.func @split_holes(%y: memref<16xf32> {comm.output}) attributes {comm.entry} {
  %c = comm.buffer : memref<64xf32>
  comm.command "fill" outs(%c : memref<64xf32>) {value = 0.0 : f64}
  %b = comm.buffer : memref<16xf32>
  comm.command "fill" outs(%b : memref<16xf32>) {value = 0.0 : f64}
  %e = comm.buffer : memref<32xf32>
  comm.command "matmul" ins(%c, %c : memref<64xf32>, memref<64xf32>) outs(%e : memref<32xf32>) {}
  %d = comm.buffer : memref<48xf32>
  comm.command "matmul" ins(%b, %b : memref<16xf32>, memref<16xf32>) outs(%d : memref<48xf32>) {}
  %a = comm.buffer : memref<64xf32>
  comm.command "matmul" ins(%d, %d : memref<48xf32>, memref<48xf32>) outs(%a : memref<64xf32>) {}
  comm.command "matmul" ins(%a, %e : memref<64xf32>, memref<32xf32>) outs(%y : memref<16xf32>) {}
  return
}
