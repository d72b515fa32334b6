//===- ScatterTest.cpp - scatter_nd and top_k -----------------------------===//
#include "TestSupport.h"
#include <algorithm>
#include <numeric>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

TEST(ScatterND, JoinsTupleAfterTuple) {
  struct Kind {
    const char *name;
    double (*join)(double, double);
  };
  const Kind kinds[] = {{"set", [](double, double u) { return u; }},
                        {"sum", [](double y, double u) { return y + u; }},
                        {"prod", [](double y, double u) { return y * u; }},
                        {"max", [](double y, double u) { return std::max(y, u); }},
                        {"min", [](double y, double u) { return std::min(y, u); }}};
  for (DType type : {DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::I8})
    for (DType indexType : {DType::I32, DType::I64})
      for (const Kind &kind : kinds)
        for (int64_t depth : {1, 2}) {
          Tensor data = Tensor::random(type, {3, 4}, 1, -4, 4), y(type, {3, 4});
          Tensor indices = Tensor::random(indexType, {7, depth}, 2, -3, 3); // repeats some
          Tensor updates = Tensor::random(type, depth == 1 ? exe::Shape{7, 4} : exe::Shape{7}, 3, -4, 4);
          EXPECT_OK(Case("scatter_nd", {{"kind", std::string(kind.name)}}).run({&data, &indices, &updates}, {&y}));
          Tensor expected = data;
          int64_t slice = depth == 1 ? 4 : 1;
          for (int64_t i = 0; i < 7; ++i) {
            int64_t at = 0;
            for (int64_t d = 0; d < depth; ++d) {
              auto index = int64_t(indices.get(i * depth + d));
              int64_t size = data.shape()[size_t(d)];
              at = at * size + (index < 0 ? index + size : index);
            }
            for (int64_t j = 0; j < slice; ++j) // through the type, as the kernel rounds
              expected.set(at * slice + j, kind.join(expected.get(at * slice + j), updates.get(i * slice + j)));
          }
          for (int64_t i = 0; i < 12; ++i)
            ASSERT_EQ(y.get(i), expected.get(i)) << kind.name << " " << exe::dtypeName(type);
        }
}

TEST(ScatterND, Refuses) {
  Tensor data = Tensor::count(DType::F32, {3, 4}), y(DType::F32, {3, 4}), updates(DType::F32, {1, 4});
  for (int64_t bad : {int64_t(3), int64_t(-4), INT64_MAX, INT64_MIN}) {
    Tensor indices(DType::I64, {1, 1});
    indices.as<int64_t>()[0] = bad;
    EXPECT_REFUSED(Case("scatter_nd", {{"kind", std::string("set")}}).run({&data, &indices, &updates}, {&y}),
                   Code::InvalidArgument, "index " + std::to_string(bad) + " is outside [-3, 3)");
  }
  Tensor indices(DType::I64, {1, 1}), deep(DType::I64, {1, 3}), bools(DType::Bool, {3}), one(DType::Bool, {1});
  EXPECT_REFUSED(Case("scatter_nd", {{"kind", std::string("avg")}}).run({&data, &indices, &updates}, {&y}),
                 Code::BadExecutable, "'kind'");
  EXPECT_REFUSED(Case("scatter_nd", {{"kind", std::string("set")}}).run({&data, &deep, &updates}, {&y}),
                 Code::BadExecutable, "last dimension");
  EXPECT_REFUSED(Case("scatter_nd", {{"kind", std::string("set")}}).run({&data, &indices, &data}, {&y}),
                 Code::BadExecutable, "updates");
  EXPECT_REFUSED(Case("scatter_nd", {{"kind", std::string("sum")}}).run({&bools, &indices, &one}, {&bools}),
                 Code::Unsupported, "booleans");
}

TEST(TopK, BestFirstAndLowerPositionsWinTies) {
  for (DType type :
       {DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::I16, DType::I8, DType::U8})
    for (bool largest : {true, false})
      for (int64_t k : {0, 1, 3, 9}) {
        Tensor x = Tensor::random(type, {4, 9}, 5, 0, 4), y(DType::I64, {4, k}); // many equal ones
        EXPECT_OK(Case("top_k", {{"largest", int64_t(largest)}}).run({&x}, {&y}, 2));
        for (int64_t row = 0; row < 4; ++row) {
          std::vector<int64_t> order(9);
          std::iota(order.begin(), order.end(), 0);
          std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
            double p = x.get(row * 9 + a), q = x.get(row * 9 + b);
            return largest ? p > q : p < q;
          });
          for (int64_t i = 0; i < k; ++i)
            ASSERT_EQ(y.get(row * k + i), double(order[size_t(i)]));
        }
      }
}

TEST(TopK, NaNIsTheLargest) {
  Tensor x = Tensor::of(DType::F32, {4}, {1, NAN, INFINITY, -1}), y(DType::I64, {4});
  EXPECT_OK(Case("top_k", {{"largest", int64_t(1)}}).run({&x}, {&y}));
  EXPECT_EQ(std::vector<int64_t>(y.as<int64_t>(), y.as<int64_t>() + 4), (std::vector<int64_t>{1, 2, 0, 3}));
  EXPECT_OK(Case("top_k", {{"largest", int64_t(0)}}).run({&x}, {&y}));
  EXPECT_EQ(std::vector<int64_t>(y.as<int64_t>(), y.as<int64_t>() + 4), (std::vector<int64_t>{3, 0, 2, 1}));
}

TEST(TopK, Refuses) {
  Tensor x(DType::F32, {2, 3}), more(DType::I64, {2, 4}), narrow(DType::I32, {2, 2}), rows(DType::I64, {3, 2});
  EXPECT_REFUSED(Case("top_k", {{"largest", int64_t(1)}}).run({&x}, {&more}), Code::BadExecutable, "takes more");
  EXPECT_REFUSED(Case("top_k", {{"largest", int64_t(1)}}).run({&x}, {&narrow}), Code::BadExecutable, "expected i64");
  EXPECT_REFUSED(Case("top_k", {{"largest", int64_t(1)}}).run({&x}, {&rows}), Code::BadExecutable, "output");
}
