//===- ExpertsTest.cpp - rows by expert against sums in double ------------===//
#include "TestSupport.h"

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
struct Experts {
  DType type = DType::F32, idType = DType::I64;
  int64_t tokens = 1, chosen = 1, experts = 1, k = 1, n = 1;
  bool transposed = false, constant = false, shared = false;
  MicroKernelChoice micro = MicroKernelChoice::Auto;

  exe::Shape rows() const { return shared ? exe::Shape{tokens, k} : exe::Shape{tokens, chosen, k}; }
  Tensor makeWeights() const {
    return Tensor::random(type, transposed ? exe::Shape{experts, n, k} : exe::Shape{experts, k, n}, 2);
  }
  std::vector<double> run(Tensor &x, Tensor &ids, Tensor &w, int64_t pieces) const {
    Tensor y = Tensor::random(type, {tokens, chosen, n}, 99, 1, 50);
    Case c("expert_matmul", {{"experts", experts}, {"axes", Names{}}, {"transpose", int64_t(transposed)}});
    c.micro = micro;
    w.desc.constant = constant ? w.data() : nullptr;
    EXPECT_OK(c.run({&x, &ids, &w}, {&y}, pieces));
    return y.values();
  }
  void check(Tensor &ids) const {
    Tensor x = Tensor::random(type, rows(), 1), w = makeWeights();
    std::vector<double> got = run(x, ids, w, 1);
    double narrow = type == DType::BF16 ? 8e-3 : type == DType::F16 ? 1e-3 : type == DType::F32 ? 2e-7 : 1e-15;
    for (int64_t r = 0; r < tokens * chosen; ++r)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0, size = 0;
        for (int64_t i = 0; i < k; ++i) {
          int64_t e = int64_t(ids.get(r));
          double term =
              x.get((shared ? r / chosen : r) * k + i) * w.get(e * k * n + (transposed ? j * k + i : i * n + j));
          sum += term;
          size += std::fabs(term);
        }
        ASSERT_LE(std::fabs(got[size_t(r * n + j)] - sum), 5e-7 * size + narrow * (std::fabs(sum) + 1e-3))
            << exe::dtypeName(type) << " " << tokens << "x" << chosen << " of " << experts << " k " << k << " n " << n
            << " row " << r << " column " << j << " micro " << int(micro);
      }
    for (int64_t pieces : {2, 3, 7})
      EXPECT_EQ(run(x, ids, w, pieces), got) << "pieces change the result";
  }
};
} // namespace

TEST(ExpertMatmul, EveryTypeLayoutAndDepth) {
  for (MicroKernelChoice micro : choices())
    for (DType type : {DType::F32, DType::BF16, DType::F16, DType::F64})
      for (int mode = 0; mode < 8; ++mode)
        for (int64_t k : {0, 1, 37, 530}) {
          Experts e;
          e.micro = micro, e.type = type, e.k = k, e.n = 35;
          e.tokens = 7, e.chosen = 3, e.experts = 5;
          e.transposed = mode & 1, e.constant = mode & 2, e.shared = mode & 4;
          e.idType = mode & 1 ? DType::I32 : DType::I64;
          Tensor ids = Tensor::random(e.idType, {e.tokens, e.chosen}, uint32_t(mode), 0, 5);
          e.check(ids);
        }
}

TEST(ExpertMatmul, UnevenExperts) {
  for (MicroKernelChoice micro : choices())
    for (int64_t tokens : {0, 1, 2, 190, 401}) // more than one block of rows of one expert
      for (int64_t n : {1, 64, 600}) {         // more than one chunk of panels
        Experts e;
        e.micro = micro, e.tokens = tokens, e.experts = 4, e.k = 21, e.n = n;
        e.constant = true;
        Tensor all = Tensor::random(DType::I64, {tokens, 1}, 1, 2, 3);  // all to one, none to the others
        Tensor some = Tensor::random(DType::I64, {tokens, 1}, 1, 1, 3); // none to the first and the last
        e.check(all);
        e.check(some);
      }
}

TEST(ExpertMatmul, BitsOfARowDoNotDependOnTheOthers) {
  for (MicroKernelChoice micro : choices()) {
    if (micro == MicroKernelChoice::Libxsmm)
      continue; // promises less
    Experts many;
    many.micro = micro, many.tokens = 60, many.experts = 3, many.k = 700, many.n = 70;
    many.constant = true;
    Tensor x = Tensor::random(DType::F32, many.rows(), 4), ids = Tensor::random(DType::I64, {60, 1}, 5, 0, 3);
    Tensor w = many.makeWeights();
    std::vector<double> together = many.run(x, ids, w, 1);
    Experts alone = many;
    alone.tokens = 1;
    for (int64_t row : {0, 17, 59}) {
      Tensor one(DType::F32, alone.rows()), id = Tensor::of(DType::I64, {1, 1}, {ids.get(row)});
      for (int64_t i = 0; i < many.k; ++i)
        one.set(i, x.get(row * many.k + i));
      std::vector<double> got = alone.run(one, id, w, 1);
      for (int64_t j = 0; j < many.n; ++j)
        ASSERT_EQ(got[size_t(j)], together[size_t(row * many.n + j)]) << row << " " << j << " micro " << int(micro);
    }
  }
}

TEST(ExpertMatmul, ShardsAddUp) {
  constexpr int64_t experts = 5, k = 6, n = 9, rows = 40;
  Tensor whole = Tensor::random(DType::F32, {experts, k, n}, 7), x = Tensor::random(DType::F32, {rows, k}, 8);
  Tensor ids = Tensor::random(DType::I32, {rows}, 9, 0, experts);
  for (DType type : {DType::F32, DType::F64})
    for (int64_t ranks : {1, 2, 3, 8}) { // with 8, some hold none
      exe::Grid grid;
      grid.axes = {{"ep", ranks}};
      Tensor a = Tensor::of(type, x.shape(), x.values());
      std::vector<double> sum(size_t(rows * n), 0.0);
      std::vector<int> parts(size_t(rows * n), 0);
      for (int64_t rank = 0; rank < ranks; ++rank) {
        exe::ShardRange range = exe::shardRange(experts, {{"ep"}, 1}, grid, rank);
        Tensor part(type, {range.local, k, n}), y = Tensor::random(type, {rows, n}, 10, 1, 2);
        for (int64_t i = 0; i < range.count * k * n; ++i)
          part.set(i, whole.get(range.start * k * n + i));
        Case c("expert_matmul", {{"experts", experts}, {"axes", Names{"ep"}}, {"grain", int64_t(1)}});
        c.grid = grid;
        c.rank = rank;
        EXPECT_OK(c.run({&a, &ids, &part}, {&y}, 2));
        for (int64_t i = 0; i < y.size(); ++i) {
          sum[size_t(i)] += y.get(i);
          parts[size_t(i)] += y.get(i) != 0;
        }
      }
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < n; ++j) {
          double expected = 0;
          for (int64_t i = 0; i < k; ++i)
            expected += x.get(r * k + i) * whole.get((int64_t(ids.get(r)) * k + i) * n + j);
          ASSERT_NEAR(sum[size_t(r * n + j)], expected, 1e-5);
          ASSERT_EQ(parts[size_t(r * n + j)], 1);
        }
    }
}

TEST(ExpertMatmul, Refuses) {
  for (DType type : {DType::F32, DType::F64}) {
    Tensor x = Tensor::count(type, {2, 3}), ids = Tensor::of(DType::I32, {2}, {0, 4}),
           w = Tensor::count(type, {4, 3, 5}), y(type, {2, 5});
    auto status = [&](int64_t experts) {
      return Case("expert_matmul", {{"experts", experts}, {"axes", Names{}}}).run({&x, &ids, &w}, {&y});
    };
    EXPECT_REFUSED(status(4), Code::InvalidArgument, "expert 4 of row 1 is outside [0, 4)");
    ids.set(1, -1);
    EXPECT_REFUSED(status(4), Code::InvalidArgument, "expert -1");
    ids.set(1, 3);
    EXPECT_OK(status(4));
    EXPECT_REFUSED(status(5), Code::BadExecutable, "holds 4 experts, expected 5");
    EXPECT_REFUSED(status(-1), Code::BadExecutable, "");
    Tensor wide = Tensor::count(type, {2, 4});
    EXPECT_REFUSED(Case("expert_matmul", {{"experts", int64_t(4)}, {"axes", Names{}}}).run({&wide, &ids, &w}, {&y}),
                   Code::BadExecutable, "do not fit rows");
    Tensor three = Tensor::of(DType::I32, {3}, {0, 0, 0});
    EXPECT_REFUSED(Case("expert_matmul", {{"experts", int64_t(4)}, {"axes", Names{}}}).run({&x, &three, &w}, {&y}),
                   Code::BadExecutable, "do not fit ids");
  }
}
