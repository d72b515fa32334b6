// RUN: comm-opt %s --comm-choose-layouts --comm-split-tensors | FileCheck %s
comm.grid @grid ["tp"] = [2]

// Experts as every other pair of products: the first weights by columns, the second by rows, one all_reduce behind their weighted sum. Every rank holds a part of
// every expert, so that the router cannot leave one idle.
// CHECK-LABEL: func.func @pair
// CHECK:         %[[H:.*]] = comm.expert_matmul {{.*}} transpose : tensor<6x8xf32>, tensor<6x2xi64>, tensor<3x8x8xf32> -> tensor<6x2x8xf32>
// CHECK:         %[[A:.*]] = comm.silu %[[H]] : tensor<6x2x8xf32>
// CHECK:         %[[Y:.*]] = comm.expert_matmul %[[A]], {{.*}} transpose : tensor<6x2x8xf32>, tensor<6x2xi64>, tensor<3x8x8xf32> -> tensor<6x2x8xf32>
// CHECK-NOT:     comm.all
// CHECK:         linalg.reduce
// CHECK:         comm.all_reduce sum {{.*}} : tensor<6x8xf32>
// CHECK-NOT:     comm.all
func.func @pair(%x: tensor<6x8xf32>, %ids: tensor<6x2xi64>) -> tensor<6x8xf32> attributes {comm.entry} {
  %w = comm.weight "w" in "m" at 0 : tensor<3x16x8xf32> -> tensor<3x16x8xf32>
  %v = comm.weight "v" in "m" at 4096 : tensor<3x8x16xf32> -> tensor<3x8x16xf32>
  %h = comm.expert_matmul %x, %ids, %w transpose : tensor<6x8xf32>, tensor<6x2xi64>, tensor<3x16x8xf32> -> tensor<6x2x16xf32>
  %a = comm.silu %h : tensor<6x2x16xf32>
  %y = comm.expert_matmul %a, %ids, %v transpose : tensor<6x2x16xf32>, tensor<6x2xi64>, tensor<3x8x16xf32> -> tensor<6x2x8xf32>
  %zero = arith.constant dense<0.0> : tensor<6x8xf32>
  %s = linalg.reduce { arith.addf } ins(%y : tensor<6x2x8xf32>) outs(%zero : tensor<6x8xf32>) dimensions = [1]
  return %s : tensor<6x8xf32>
}

// Whole experts, where the user asks for a partial sum and rows have one element: 3 on 2 ranks are 2 and 1, what the other rank holds gives zeros.
// CHECK-LABEL: func.func @by_experts
// CHECK:         %[[W:.*]] = comm.weight "w" {{.*}} -> tensor<2x1x4xf32>
// CHECK:         %[[Y:.*]] = comm.expert_matmul {{.*}}, %[[W]] experts 3 over ["tp"] : tensor<6x1xf32>, tensor<6xi64>, tensor<2x1x4xf32> -> tensor<6x4xf32>
// CHECK:         comm.all_reduce sum %[[Y]]
func.func @by_experts(%x: tensor<6x1xf32>, %ids: tensor<6xi64>) -> tensor<6x4xf32> attributes {comm.entry} {
  %w = comm.weight "w" in "m" at 0 : tensor<3x1x4xf32> -> tensor<3x1x4xf32>
  %y = comm.expert_matmul %x, %ids, %w {comm.layout = #comm.layout<[[], []] partial ["tp"]>} : tensor<6x1xf32>, tensor<6xi64>, tensor<3x1x4xf32> -> tensor<6x4xf32>
  return %y : tensor<6x4xf32>
}
