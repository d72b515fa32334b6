//===- GatherTest.cpp - gather, gather_nd, gather_elements, embedding -----===//
#include "TestSupport.h"

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

TEST(Gather, AlongEveryAxisWithNegativeIndices) {
  for (DType indexType : {DType::I32, DType::I64})
    for (DType type : {DType::F32, DType::I64, DType::Bool, DType::F16})
      for (int64_t axis : {0, 1, 2})
        for (exe::Shape indexShape : {exe::Shape{}, exe::Shape{4}, exe::Shape{2, 3}, exe::Shape{0}}) {
          Tensor data = Tensor::random(type, {3, 4, 5}, 1, 0, 100);
          int64_t size = data.shape()[size_t(axis)];
          Tensor indices = Tensor::random(indexType, indexShape, 2, -double(size), double(size));
          exe::Shape shape(data.shape().begin(), data.shape().begin() + axis);
          shape.insert(shape.end(), indexShape.begin(), indexShape.end());
          shape.insert(shape.end(), data.shape().begin() + axis + 1, data.shape().end());
          Tensor y(type, shape);
          EXPECT_OK(Case("gather", {{"axis", axis}}).run({&data, &indices}, {&y}, 2));
          int64_t outer = elementsOf(data.shape(), 0, size_t(axis)),
                  inner = elementsOf(data.shape(), size_t(axis) + 1, 3);
          for (int64_t o = 0; o < outer; ++o)
            for (int64_t i = 0; i < indices.size(); ++i)
              for (int64_t n = 0; n < inner; ++n) {
                int64_t index = int64_t(indices.get(i));
                index += index < 0 ? size : 0;
                ASSERT_EQ(y.get((o * indices.size() + i) * inner + n), data.get((o * size + index) * inner + n));
              }
        }
}

TEST(Gather, RefusesIndicesOutOfRange) {
  Tensor data = Tensor::count(DType::F32, {3, 4}), y(DType::F32, {1, 4});
  for (int64_t bad : {int64_t(3), int64_t(-4), INT64_MAX, INT64_MIN}) {
    Tensor indices(DType::I64, {1});
    indices.as<int64_t>()[0] = bad;
    EXPECT_REFUSED(Case("gather", {{"axis", int64_t(0)}}).run({&data, &indices}, {&y}), Code::InvalidArgument,
                   "index " + std::to_string(bad) + " is outside [-3, 3)");
  }
  Tensor indices(DType::I64, {1}), wrong(DType::F32, {1}), empty(DType::F32, {0, 4});
  EXPECT_REFUSED(Case("gather", {{"axis", int64_t(2)}}).run({&data, &indices}, {&y}), Code::BadExecutable, "'axis' 2");
  EXPECT_REFUSED(Case("gather", {{"axis", int64_t(0)}}).run({&data, &wrong}, {&y}), Code::BadExecutable,
                 "expected i32 or i64");
  EXPECT_REFUSED(Case("gather", {{"axis", int64_t(0)}}).run({&data, &indices}, {&data}), Code::BadExecutable,
                 "output has shape");
  EXPECT_REFUSED(Case("gather", {{"axis", int64_t(0)}}).run({&empty, &indices}, {&y}), Code::InvalidArgument,
                 "index 0");
}

TEST(GatherND, TuplesAndBatchDimensions) {
  Tensor data = Tensor::random(DType::I32, {2, 3, 4, 5}, 3, 0, 1000);
  for (int64_t batchDims : {0, 1, 2})
    for (int64_t depth = 1; depth <= 4 - batchDims; ++depth) {
      exe::Shape indexShape(data.shape().begin(), data.shape().begin() + batchDims);
      indexShape.insert(indexShape.end(), {6, depth});
      Tensor indices = Tensor::random(DType::I64, indexShape, 4, -2, 2);
      exe::Shape shape(indexShape.begin(), indexShape.end() - 1);
      shape.insert(shape.end(), data.shape().begin() + batchDims + depth, data.shape().end());
      Tensor y(DType::I32, shape);
      EXPECT_OK(Case("gather_nd", {{"batch_dims", batchDims}}).run({&data, &indices}, {&y}, 3));
      int64_t inner = elementsOf(data.shape(), size_t(batchDims + depth), 4);
      for (int64_t t = 0; t < indices.size() / depth; ++t) {
        int64_t at = t / 6; // batch
        for (int64_t d = 0; d < depth; ++d) {
          int64_t size = data.shape()[size_t(batchDims + d)], index = int64_t(indices.get(t * depth + d));
          at = at * size + (index < 0 ? index + size : index);
        }
        for (int64_t n = 0; n < inner; ++n)
          ASSERT_EQ(y.get(t * inner + n), data.get(at * inner + n));
      }
    }
}

TEST(GatherND, Refuses) {
  Tensor data = Tensor::count(DType::F32, {2, 3}), y(DType::F32, {2}),
         bad = Tensor::of(DType::I64, {2, 2}, {0, 0, 1, 3});
  EXPECT_REFUSED(Case("gather_nd", {}).run({&data, &bad}, {&y}), Code::InvalidArgument, "index 3 is outside [-3, 3)");
  Tensor deep(DType::I64, {2, 3}), zero(DType::I64, {2, 0}), scalar(DType::I64, {});
  EXPECT_REFUSED(Case("gather_nd", {}).run({&data, &deep}, {&y}), Code::BadExecutable, "last dimension");
  EXPECT_REFUSED(Case("gather_nd", {}).run({&data, &zero}, {&y}), Code::BadExecutable, "last dimension");
  EXPECT_REFUSED(Case("gather_nd", {}).run({&data, &scalar}, {&y}), Code::BadExecutable, "'batch_dims'");
  EXPECT_REFUSED(Case("gather_nd", {{"batch_dims", int64_t(2)}}).run({&data, &bad}, {&y}), Code::BadExecutable,
                 "'batch_dims'");
  EXPECT_REFUSED(Case("gather_nd", {{"batch_dims", int64_t(-1)}}).run({&data, &bad}, {&y}), Code::BadExecutable,
                 "'batch_dims'");
}

TEST(GatherElements, AlongEveryAxis) {
  for (DType type : {DType::F32, DType::I8, DType::F64})
    for (int64_t axis : {0, 1, 2}) {
      Tensor data = Tensor::random(type, {3, 4, 5}, 5, 0, 100);
      exe::Shape shape = {2, 3, 4};
      shape[size_t(axis)] = 7; // may exceed data along the axis only
      int64_t size = data.shape()[size_t(axis)];
      Tensor indices = Tensor::random(DType::I32, shape, 6, -double(size), double(size)), y(type, shape);
      EXPECT_OK(Case("gather_elements", {{"axis", axis}}).run({&data, &indices}, {&y}, 2));
      for (int64_t i = 0; i < y.size(); ++i) {
        int64_t at[3] = {i / (shape[1] * shape[2]), i / shape[2] % shape[1], i % shape[2]};
        int64_t index = int64_t(indices.get(i));
        at[axis] = index < 0 ? index + size : index;
        ASSERT_EQ(y.get(i), data.get((at[0] * 4 + at[1]) * 5 + at[2]));
      }
    }
  Tensor data = Tensor::count(DType::F32, {3, 4}), wide(DType::I64, {3, 5}), y(DType::F32, {3, 5}),
         flat(DType::I64, {3});
  EXPECT_REFUSED(Case("gather_elements", {{"axis", int64_t(0)}}).run({&data, &wide}, {&y}), Code::BadExecutable,
                 "exceed");
  EXPECT_REFUSED(Case("gather_elements", {{"axis", int64_t(0)}}).run({&data, &flat}, {&y}), Code::BadExecutable,
                 "rank");
  wide.as<int64_t>()[14] = 4;
  EXPECT_REFUSED(Case("gather_elements", {{"axis", int64_t(1)}}).run({&data, &wide}, {&y}), Code::InvalidArgument,
                 "index 4");
  Tensor scalar(DType::F32, {}), none(DType::I64, {});
  EXPECT_REFUSED(Case("gather_elements", {{"axis", int64_t(0)}}).run({&scalar, &none}, {&scalar}), Code::BadExecutable,
                 "'axis'");
}

TEST(Embedding, ShardsAddUpToTheWholeTable) {
  constexpr int64_t vocab = 10, width = 3;
  Tensor whole = Tensor::random(DType::F32, {vocab, width}, 7);
  Tensor ids = Tensor::random(DType::I64, {2, 9}, 8, -vocab, vocab);
  for (int64_t ranks : {1, 2, 3, 4}) {
    exe::Grid grid;
    grid.axes = {{"tp", ranks}};
    std::vector<double> sum(size_t(ids.size() * width), 0.0);
    for (int64_t rank = 0; rank < ranks; ++rank) {
      exe::ShardRange range = exe::shardRange(vocab, {{"tp"}, 1}, grid, rank);
      Tensor part(DType::F32, {range.local, width}), y = Tensor::random(DType::F32, {2, 9, width}, 9);
      for (int64_t i = 0; i < range.count * width; ++i)
        part.set(i, whole.get(range.start * width + i));
      Case embedding("embedding", {{"vocab", vocab}, {"axes", Names{"tp"}}, {"grain", int64_t(1)}});
      embedding.grid = grid;
      embedding.rank = rank;
      EXPECT_OK(embedding.run({&part, &ids}, {&y}, 2));
      for (int64_t i = 0; i < y.size(); ++i)
        sum[size_t(i)] += y.get(i);
    }
    for (int64_t i = 0; i < ids.size(); ++i)
      for (int64_t c = 0; c < width; ++c) {
        int64_t id = int64_t(ids.get(i));
        ASSERT_EQ(sum[size_t(i * width + c)], whole.get((id < 0 ? id + vocab : id) * width + c));
      }
  }
}

TEST(Embedding, Refuses) {
  Tensor table = Tensor::count(DType::F32, {10, 3}), ids = Tensor::of(DType::I32, {2}, {9, 10}), y(DType::F32, {2, 3});
  auto status = [&](int64_t vocab) {
    return Case("embedding", {{"vocab", vocab}, {"axes", Names{}}}).run({&table, &ids}, {&y});
  };
  EXPECT_REFUSED(status(10), Code::InvalidArgument, "index 10 is outside [-10, 10)");
  ids.set(1, -11);
  EXPECT_REFUSED(status(10), Code::InvalidArgument, "index -11");
  EXPECT_REFUSED(status(11), Code::BadExecutable, "rows");
  EXPECT_REFUSED(status(-1), Code::BadExecutable, "'vocab'");
  EXPECT_REFUSED(status(INT64_MAX), Code::BadExecutable, "too large to split");
}
