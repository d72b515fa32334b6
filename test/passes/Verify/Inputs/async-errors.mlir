//--- orders.mlir
comm.grid @grid ["tp"] = [2]
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %t = comm.start order 1 : !comm.token<tensor<4xf32>> {
    %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
    comm.yield %a : tensor<4xf32>
  }
  %p = comm.start order 1 : !comm.token<tensor<4xf32>> {
    %b = comm.all_reduce max %x over @grid["tp"] : tensor<4xf32>
    comm.yield %b : tensor<4xf32>
  }
  %r = comm.wait %t : !comm.token<tensor<4xf32>>
  %q = comm.wait %p : !comm.token<tensor<4xf32>>
  return %r, %q : tensor<4xf32>, tensor<4xf32>
}
//--- unwaited.mlir
comm.grid @grid ["tp"] = [2]
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %t = comm.start order 0 : !comm.token<tensor<4xf32>> {
    %a = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
    comm.yield %a : tensor<4xf32>
  }
  return %x : tensor<4xf32>
}
