//===- GatherTest.cpp - embedding and the three gathers -------------------===//
#include "TestSupport.h"

using namespace testing_interpreter;

TEST(Gather, EmbeddingCountsFromTheEnd) {
  EXPECT_EQ(run(oneOp("tensor<3x2xf32>, tensor<2x2xi64>", "tensor<2x2x2xf32>",
                      "comm.embedding %a, %b : tensor<3x2xf32>, tensor<2x2xi64> -> tensor<2x2x2xf32>"),
                {{1, 2, 3, 4, 5, 6}, {2, 0, -1, -3}}),
            Numbers({5, 6, 1, 2, 5, 6, 1, 2}));
}

TEST(Gather, AlongEachAxis) {
  // data[i][j][k] = 100 i + 10 j + k, shape [2, 3, 2].
  Numbers data = {0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121};
  EXPECT_EQ(run(oneOp("tensor<2x3x2xf32>, tensor<2xi64>", "tensor<2x2x2xf32>",
                      "comm.gather %a, %b axis 1 : tensor<2x3x2xf32>, tensor<2xi64> -> tensor<2x2x2xf32>"),
                {data, {2, -3}}),
            Numbers({20, 21, 0, 1, 120, 121, 100, 101}));
  EXPECT_EQ(run(oneOp("tensor<2x3x2xf32>, tensor<i32>", "tensor<3x2xf32>",
                      "comm.gather %a, %b axis 0 : tensor<2x3x2xf32>, tensor<i32> -> tensor<3x2xf32>"),
                {data, {1}}),
            Numbers({100, 101, 110, 111, 120, 121}));
  EXPECT_EQ(run(oneOp("tensor<2x3x2xf32>, tensor<1x2xi64>", "tensor<2x3x1x2xf32>",
                      "comm.gather %a, %b axis 2 : tensor<2x3x2xf32>, tensor<1x2xi64> -> tensor<2x3x1x2xf32>"),
                {data, {1, 0}}),
            Numbers({1, 0, 11, 10, 21, 20, 101, 100, 111, 110, 121, 120}));
  EXPECT_EQ(run(oneOp("tensor<3xf32>, tensor<i64>", "tensor<f32>",
                      "comm.gather %a, %b axis 0 : tensor<3xf32>, tensor<i64> -> tensor<f32>"),
                {{7, 8, 9}, {-1}}),
            Numbers({9}));
}

TEST(Gather, NDTuplesAndBatches) {
  Numbers data = {0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121};
  // Whole tuples, then tuples of one, then one batch dimension.
  EXPECT_EQ(run(oneOp("tensor<2x3x2xf32>, tensor<2x3xi64>", "tensor<2xf32>",
                      "comm.gather_nd %a, %b batch_dims 0 : tensor<2x3x2xf32>, tensor<2x3xi64> -> tensor<2xf32>"),
                {data, {0, 2, 1, -1, 0, 0}}),
            Numbers({21, 100}));
  EXPECT_EQ(run(oneOp("tensor<2x3x2xf32>, tensor<1x1xi64>", "tensor<1x3x2xf32>",
                      "comm.gather_nd %a, %b batch_dims 0 : tensor<2x3x2xf32>, tensor<1x1xi64> -> tensor<1x3x2xf32>"),
                {data, {1}}),
            Numbers({100, 101, 110, 111, 120, 121}));
  EXPECT_EQ(run(oneOp("tensor<2x3x2xf32>, tensor<2x2x1xi64>", "tensor<2x2x2xf32>",
                      "comm.gather_nd %a, %b batch_dims 1 : tensor<2x3x2xf32>, tensor<2x2x1xi64> -> tensor<2x2x2xf32>"),
                {data, {0, 2, 1, 1}}),
            Numbers({0, 1, 20, 21, 110, 111, 110, 111}));
  // An empty tuple names the whole of the data.
  EXPECT_EQ(run(oneOp("tensor<2xf32>, tensor<2x0xi64>", "tensor<2x2xf32>",
                      "comm.gather_nd %a, %b batch_dims 0 : tensor<2xf32>, tensor<2x0xi64> -> tensor<2x2xf32>"),
                {{5, 6}, {}}),
            Numbers({5, 6, 5, 6}));
}

TEST(Gather, Elements) {
  EXPECT_EQ(run(oneOp("tensor<2x3xi32>, tensor<2x2xi64>", "tensor<2x2xi32>",
                      "comm.gather_elements %a, %b axis 1 : tensor<2x3xi32>, tensor<2x2xi64> -> tensor<2x2xi32>"),
                {{1, 2, 3, 4, 5, 6}, {2, 0, -2, 1}}),
            Numbers({3, 1, 5, 5}));
  EXPECT_EQ(run(oneOp("tensor<2x3xi32>, tensor<1x2xi64>", "tensor<1x2xi32>",
                      "comm.gather_elements %a, %b axis 0 : tensor<2x3xi32>, tensor<1x2xi64> -> tensor<1x2xi32>"),
                {{1, 2, 3, 4, 5, 6}, {1, -2}}),
            Numbers({4, 2}));
}

TEST(ExpertMatmul, RowsMeetTheMatrixTheyChose) {
  // Experts of 2 x 1: [1, 10] and [2, 20].
  auto text = [](const std::string &x, const std::string &ids, const std::string &out, const std::string &flags) {
    std::string w = flags.empty() ? "tensor<2x2x1xf32>" : "tensor<2x1x2xf32>";
    return oneOp(x + ", " + ids + ", " + w, out,
                 "comm.expert_matmul %a, %b, %c" + flags + " : " + x + ", " + ids + ", " + w + " -> " + out);
  };
  for (const char *flags : {"", " transpose"}) {
    std::string shared = text("tensor<2x2xf32>", "tensor<2x2xi64>", "tensor<2x2x1xf32>", flags);
    EXPECT_EQ(run(shared, {{1, 2, 3, 4}, {0, 1, 1, 1}, {1, 10, 2, 20}}), Numbers({21, 42, 86, 86}));
    std::string own = text("tensor<2x2xf32>", "tensor<2xi32>", "tensor<2x1xf32>", flags);
    EXPECT_EQ(run(own, {{1, 2, 3, 4}, {1, 0}, {1, 10, 2, 20}}), Numbers({42, 43}));
    for (double id : {2.0, -1.0, 9.0e9})
      EXPECT_TRUE(refuses(shared, {{1, 2, 3, 4}, {0, 1, id, 1}, {1, 10, 2, 20}}));
  }
}

TEST(Gather, OutOfRangeIsRefused) {
  std::string gather = oneOp("tensor<3xf32>, tensor<1xi64>", "tensor<1xf32>",
                             "comm.gather %a, %b axis 0 : tensor<3xf32>, tensor<1xi64> -> tensor<1xf32>");
  std::string embedding = oneOp("tensor<3x1xf32>, tensor<1xi64>", "tensor<1x1xf32>",
                                "comm.embedding %a, %b : tensor<3x1xf32>, tensor<1xi64> -> tensor<1x1xf32>");
  std::string elements = oneOp("tensor<3xf32>, tensor<1xi64>", "tensor<1xf32>",
                               "comm.gather_elements %a, %b axis 0 : tensor<3xf32>, tensor<1xi64> -> tensor<1xf32>");
  std::string tuples = oneOp("tensor<3xf32>, tensor<1x1xi64>", "tensor<1xf32>",
                             "comm.gather_nd %a, %b batch_dims 0 : tensor<3xf32>, tensor<1x1xi64> -> tensor<1xf32>");
  for (const std::string &text : {gather, embedding, elements, tuples}) {
    EXPECT_EQ(run(text, {{1, 2, 3}, {-3}}), Numbers({1}));
    for (double index : {3.0, -4.0, 9.0e15, -9.0e15})
      EXPECT_TRUE(refuses(text, {{1, 2, 3}, {index}})) << index << "\n" << text;
  }
  // Nothing to take from, and nothing to take.
  std::string none = oneOp("tensor<0xf32>, tensor<1xi64>", "tensor<1xf32>",
                           "comm.gather %a, %b axis 0 : tensor<0xf32>, tensor<1xi64> -> tensor<1xf32>");
  EXPECT_TRUE(refuses(none, {{}, {0}}));
  EXPECT_TRUE(run(oneOp("tensor<0x2xf32>, tensor<0xi64>", "tensor<0x2xf32>",
                        "comm.gather %a, %b axis 0 : tensor<0x2xf32>, tensor<0xi64> -> tensor<0x2xf32>"),
                  {{}, {}})
                  .empty());
}
