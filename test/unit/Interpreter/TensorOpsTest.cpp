//===- TensorOpsTest.cpp - linalg, tensor and constants -------------------===//
#include "TestSupport.h"

using namespace testing_interpreter;

TEST(TensorOps, Transpose) {
  // data[i][j][k] = 100 i + 10 j + k; result[k][i][j].
  std::string text = R"(func.func @f(%x: tensor<2x3x2xf32>) -> tensor<2x2x3xf32> {
    %e = tensor.empty() : tensor<2x2x3xf32>
    %r = linalg.transpose ins(%x : tensor<2x3x2xf32>) outs(%e : tensor<2x2x3xf32>) permutation = [2, 0, 1]
    return %r : tensor<2x2x3xf32> })";
  EXPECT_EQ(run(text, {{0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121}}),
            Numbers({0, 10, 20, 100, 110, 120, 1, 11, 21, 101, 111, 121}));
}

TEST(TensorOps, Broadcast) {
  std::string text = R"(func.func @f(%x: tensor<2xi32>) -> tensor<2x2x3xi32> {
    %e = tensor.empty() : tensor<2x2x3xi32>
    %r = linalg.broadcast ins(%x : tensor<2xi32>) outs(%e : tensor<2x2x3xi32>) dimensions = [0, 2]
    return %r : tensor<2x2x3xi32> })";
  EXPECT_EQ(run(text, {{4, 5}}), Numbers({4, 4, 4, 5, 5, 5, 4, 4, 4, 5, 5, 5}));
  std::string scalar = R"(func.func @f(%x: tensor<f32>) -> tensor<2xf32> {
    %e = tensor.empty() : tensor<2xf32>
    %r = linalg.broadcast ins(%x : tensor<f32>) outs(%e : tensor<2xf32>) dimensions = [0]
    return %r : tensor<2xf32> })";
  EXPECT_EQ(run(scalar, {{7}}), Numbers({7, 7}));
}

TEST(TensorOps, Reduce) {
  auto reduce = [](const std::string &combiner, const std::string &dims, const std::string &out, double init) {
    return "func.func @f(%x: tensor<2x3xf32>) -> tensor<" + out + "> {\n  %i = arith.constant dense<" +
           std::to_string(init) + "> : tensor<" + out + ">\n  %r = linalg.reduce { " + combiner +
           " } ins(%x : tensor<2x3xf32>) outs(%i : tensor<" + out + ">) dimensions = [" + dims +
           "]\n  return %r : tensor<" + out + "> }";
  };
  Numbers x = {1, 2, 3, 4, 5, -6};
  EXPECT_EQ(run(reduce("arith.addf", "1", "2xf32", 0), {x}), Numbers({6, 3}));
  EXPECT_EQ(run(reduce("arith.addf", "0", "3xf32", 10), {x}), Numbers({15, 17, 7})); // the init takes part
  EXPECT_EQ(run(reduce("arith.mulf", "0, 1", "f32", 1), {x}), Numbers({-720}));
  EXPECT_EQ(run(reduce("arith.maximumf", "1", "2xf32", 4), {x}), Numbers({4, 5}));
  EXPECT_EQ(run(reduce("arith.minimumf", "0", "3xf32", 4), {x}), Numbers({1, 2, -6}));
  expectNear(run(reduce("arith.maximumf", "1", "2xf32", 0), {{1, kNaN, 3, 4, 5, 6}}), {kNaN, 6});
  // A combiner of two ops: the sum of squares; the first argument is the element, the second what is gathered so far.
  std::string squares = R"(func.func @f(%x: tensor<3xi32>) -> tensor<i32> {
    %i = arith.constant dense<0> : tensor<i32>
    %r = linalg.reduce ins(%x : tensor<3xi32>) outs(%i : tensor<i32>) dimensions = [0]
      (%in: i32, %sum: i32) { %s = arith.muli %in, %in : i32
                              %t = arith.addi %sum, %s : i32
                              linalg.yield %t : i32 }
    return %r : tensor<i32> })";
  EXPECT_EQ(run(squares, {{1, 2, 5}}), Numbers({30}));
  std::string none = R"(func.func @f(%x: tensor<2x0xf32>) -> tensor<2xf32> {
    %i = arith.constant dense<3.0> : tensor<2xf32>
    %r = linalg.reduce { arith.addf } ins(%x : tensor<2x0xf32>) outs(%i : tensor<2xf32>) dimensions = [1]
    return %r : tensor<2xf32> })";
  EXPECT_EQ(run(none, {{}}), Numbers({3, 3}));
}

TEST(TensorOps, ReshapesKeepTheOrder) {
  EXPECT_EQ(run(oneOp("tensor<6xf32>", "tensor<2x3xf32>",
                      "tensor.expand_shape %a [[0, 1]] output_shape [2, 3] : tensor<6xf32> into tensor<2x3xf32>"),
                {counting(6)}),
            counting(6));
  EXPECT_EQ(run(oneOp("tensor<2x3x1xf32>", "tensor<6xf32>",
                      "tensor.collapse_shape %a [[0, 1, 2]] : tensor<2x3x1xf32> into tensor<6xf32>"),
                {counting(6)}),
            counting(6));
  EXPECT_EQ(
      run(oneOp("tensor<1x1xf32>", "tensor<f32>", "tensor.collapse_shape %a [] : tensor<1x1xf32> into tensor<f32>"),
          {{4}}),
      Numbers({4}));
}

TEST(TensorOps, ExtractSlice) {
  Numbers x = {0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23}; // x[i][j] = 10 i + j, shape [3, 4]
  EXPECT_EQ(run(oneOp("tensor<3x4xf32>", "tensor<2x2xf32>",
                      "tensor.extract_slice %a[1, 1] [2, 2] [1, 1] : tensor<3x4xf32> to tensor<2x2xf32>"),
                {x}),
            Numbers({11, 12, 21, 22}));
  EXPECT_EQ(run(oneOp("tensor<3x4xf32>", "tensor<2x2xf32>",
                      "tensor.extract_slice %a[0, 1] [2, 2] [2, 2] : tensor<3x4xf32> to tensor<2x2xf32>"),
                {x}),
            Numbers({1, 3, 21, 23}));
  // Rank-reducing: one row, and one column with a stride.
  EXPECT_EQ(run(oneOp("tensor<3x4xf32>", "tensor<4xf32>",
                      "tensor.extract_slice %a[2, 0] [1, 4] [1, 1] : tensor<3x4xf32> to tensor<4xf32>"),
                {x}),
            Numbers({20, 21, 22, 23}));
  EXPECT_EQ(run(oneOp("tensor<3x4xf32>", "tensor<2xf32>",
                      "tensor.extract_slice %a[0, 3] [2, 1] [2, 1] : tensor<3x4xf32> to tensor<2xf32>"),
                {x}),
            Numbers({3, 23}));
  // Of two dimensions of size one, one is dropped: the values are the same whichever.
  EXPECT_EQ(run(oneOp("tensor<3x4xf32>", "tensor<1xf32>",
                      "tensor.extract_slice %a[1, 2] [1, 1] [1, 1] : tensor<3x4xf32> to tensor<1xf32>"),
                {x}),
            Numbers({12}));
  EXPECT_TRUE(run(oneOp("tensor<3x4xf32>", "tensor<0x4xf32>",
                        "tensor.extract_slice %a[2, 0] [0, 4] [1, 1] : tensor<3x4xf32> to tensor<0x4xf32>"),
                  {x})
                  .empty());
}

TEST(TensorOps, Concat) {
  EXPECT_EQ(run(oneOp("tensor<2x1xf32>, tensor<2x2xf32>, tensor<2x0xf32>", "tensor<2x3xf32>",
                      "tensor.concat dim(1) %a, %b, %c : (tensor<2x1xf32>, tensor<2x2xf32>, tensor<2x0xf32>) -> "
                      "tensor<2x3xf32>"),
                {{1, 2}, {3, 4, 5, 6}, {}}),
            Numbers({1, 3, 4, 2, 5, 6}));
  EXPECT_EQ(run(oneOp("tensor<1x2xi64>, tensor<2x2xi64>", "tensor<3x2xi64>",
                      "tensor.concat dim(0) %a, %b : (tensor<1x2xi64>, tensor<2x2xi64>) -> tensor<3x2xi64>"),
                {{1, 2}, {3, 4, 5, 6}}),
            Numbers({1, 2, 3, 4, 5, 6}));
}

TEST(TensorOps, Constants) {
  EXPECT_EQ(run(oneOp("", "tensor<2x2xf32>", "arith.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>"), {}),
            Numbers({1, 2, 3, 4}));
  EXPECT_EQ(run(oneOp("", "tensor<3xi8>", "arith.constant dense<-2> : tensor<3xi8>"), {}), Numbers({-2, -2, -2}));
  EXPECT_EQ(run(oneOp("", "tensor<2xi1>", "arith.constant dense<[true, false]> : tensor<2xi1>"), {}), Numbers({1, 0}));
  EXPECT_EQ(run(oneOp("", "tensor<2xbf16>", "arith.constant dense<[1.5, 0xFF80]> : tensor<2xbf16>"), {}),
            Numbers({1.5, -kInf}));
}

TEST(TensorOps, AttributesRoundTrip) {
  Builder b(&context());
  for (Type element :
       {Type(b.getF32Type()), Type(b.getF16Type()), Type(b.getI64Type()), Type(b.getI1Type()), Type(b.getI8Type())}) {
    HostTensor tensor = toTensor(RankedTensorType::get({2, 2}, element), {0, 1, 1, 0});
    EXPECT_EQ(HostTensor::fromAttr(tensor.toAttr()), tensor);
  }
  HostTensor nan = toTensor(RankedTensorType::get({1}, b.getF32Type()), {kNaN});
  EXPECT_EQ(HostTensor::fromAttr(nan.toAttr()), nan);
  EXPECT_FALSE(nan == toTensor(RankedTensorType::get({1}, b.getF32Type()), {0}));
}

TEST(TensorOps, FusedGroupsRunTheirBody) {
  std::string text = R"(func.func @f(%x: tensor<2xf32>, %y: tensor<2xf32>) -> tensor<2xf32> {
    %r:2 = comm.fused ins(%x, %y : tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>, tensor<2xf32> {
    ^bb0(%a: tensor<2xf32>, %b: tensor<2xf32>):
      %s = arith.addf %a, %b : tensor<2xf32>
      %p = arith.mulf %s, %b : tensor<2xf32>
      comm.yield %s, %p : tensor<2xf32>, tensor<2xf32>
    }
    return %r#1 : tensor<2xf32> })";
  EXPECT_EQ(run(text, {{1, 2}, {10, 20}}), Numbers({110, 440}));
}
