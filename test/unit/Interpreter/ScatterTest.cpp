//===- ScatterTest.cpp - scatter_nd, top_k and windows --------------------===//
#include "TestSupport.h"

using namespace testing_interpreter;

TEST(Scatter, SetsAndSumsTupleAfterTuple) {
  EXPECT_EQ(run(oneOp("tensor<3x2xf32>, tensor<2x1xi64>, tensor<2x2xf32>", "tensor<3x2xf32>",
                      "comm.scatter_nd set %a, %b, %c : tensor<3x2xf32>, tensor<2x1xi64>, tensor<2x2xf32>"),
                {{1, 2, 3, 4, 5, 6}, {-1, 0}, {10, 20, 30, 40}}),
            Numbers({30, 40, 3, 4, 10, 20}));
  EXPECT_EQ(run(oneOp("tensor<2x2xi32>, tensor<3x2xi64>, tensor<3xi32>", "tensor<2x2xi32>",
                      "comm.scatter_nd sum %a, %b, %c : tensor<2x2xi32>, tensor<3x2xi64>, tensor<3xi32>"),
                {{1, 2, 3, 4}, {0, 1, 0, 1, 1, 0}, {10, 20, 30}}),
            Numbers({1, 32, 33, 4}));
}

TEST(TopK, OrdersRows) {
  EXPECT_EQ(
      run(oneOp("tensor<2x4xf32>", "tensor<2x3xi64>", "comm.top_k %a 3 largest : tensor<2x4xf32> -> tensor<2x3xi64>"),
          {{1, 3, 3, 2, 0, -1, 5, 0}}),
      Numbers({1, 2, 3, 2, 0, 3}));
  EXPECT_EQ(
      run(oneOp("tensor<4xi32>", "tensor<2xi64>", "comm.top_k %a 2 : tensor<4xi32> -> tensor<2xi64>"), {{4, 1, 3, 1}}),
      Numbers({1, 3}));
}

TEST(Windows, StrideAndDilation) {
  EXPECT_EQ(run(oneOp("tensor<1x6xf32>", "tensor<1x2x2xf32>",
                      "comm.windows %a sizes [2] strides [2] dilations [3] : tensor<1x6xf32> -> tensor<1x2x2xf32>"),
                {{0, 1, 2, 3, 4, 5}}),
            Numbers({0, 2, 3, 5}));
  EXPECT_EQ(
      run(oneOp(
              "tensor<2x3xf32>", "tensor<2x1x1x3xf32>",
              "comm.windows %a sizes [2, 1] strides [1, 1] dilations [1, 1] : tensor<2x3xf32> -> tensor<2x1x1x3xf32>"),
          {{0, 1, 2, 3, 4, 5}}),
      Numbers({0, 1, 2, 3, 4, 5}));
}
