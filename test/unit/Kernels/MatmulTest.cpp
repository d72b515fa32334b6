//===- MatmulTest.cpp - products against sums in double -------------------===//
#include "TestSupport.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
double epsilon(DType type) {
  return type == DType::BF16 ? 8e-3 : type == DType::F16 ? 1e-3 : type == DType::F32 ? 2e-7 : 1e-15;
}

exe::Shape withMatrix(exe::Shape batch, int64_t rows, int64_t columns) {
  batch.push_back(rows);
  batch.push_back(columns);
  return batch;
}

/// Matrix number of a broadcast operand for batch `index` over `batch` (right-aligned).
int64_t matrixOf(const exe::Shape &own, const exe::Shape &batch, int64_t index) {
  int64_t at = 0, stride = 1;
  for (size_t d = batch.size(), o = own.size(); d-- > 0; index /= batch[d]) {
    if (o == 0)
      continue;
    --o;
    at += own[o] == 1 ? 0 : index % batch[d] * stride;
    stride *= own[o];
  }
  return at;
}

struct Product {
  DType type = DType::F32;
  int64_t m = 1, n = 1, k = 1;
  exe::Shape batchA, batchB, batch;
  bool transposeA = false, transposeB = false, constantB = false;
  MicroKernelChoice micro = MicroKernelChoice::Auto;
};

std::vector<double> run(const Product &p, Tensor &a, Tensor &b, int64_t pieces, PackCache *cache = nullptr) {
  Tensor y = Tensor::random(p.type, withMatrix(p.batch, p.m, p.n), 99, 1, 50);
  Case matmul("matmul", {{"transpose_a", int64_t(p.transposeA)}, {"transpose_b", int64_t(p.transposeB)}});
  matmul.micro = p.micro;
  matmul.cache = cache;
  b.desc.constant = p.constantB ? b.data() : nullptr;
  EXPECT_OK(matmul.run({&a, &b}, {&y}, pieces));
  return y.values();
}

void check(const Product &p, uint32_t seed = 1) {
  bool integer = !isFloat(p.type);
  double low = p.type == DType::U32 || p.type == DType::U64 ? 0 : integer ? -9 : -1, high = integer ? 9 : 1;
  Tensor a =
      Tensor::random(p.type, withMatrix(p.batchA, p.transposeA ? p.k : p.m, p.transposeA ? p.m : p.k), seed, low, high);
  Tensor b = Tensor::random(p.type, withMatrix(p.batchB, p.transposeB ? p.n : p.k, p.transposeB ? p.k : p.n), seed + 1,
                            low, high);
  std::vector<double> got = run(p, a, b, 1);
  std::vector<double> left = a.values(), right = b.values();
  size_t at = 0;
  for (int64_t i = 0; i < elementsOf(p.batch); ++i) {
    const double *x = left.data() + matrixOf(p.batchA, p.batch, i) * p.m * p.k;
    const double *w = right.data() + matrixOf(p.batchB, p.batch, i) * p.k * p.n;
    for (int64_t r = 0; r < p.m; ++r)
      for (int64_t c = 0; c < p.n; ++c, ++at) {
        double sum = 0, size = 0;
        for (int64_t q = 0; q < p.k; ++q) {
          double term =
              (p.transposeA ? x[q * p.m + r] : x[r * p.k + q]) * (p.transposeB ? w[c * p.k + q] : w[q * p.n + c]);
          sum += term;
          size += std::fabs(term);
        }
        // Rounding of the sum grows with k, of the result with its size.
        double tolerance = integer ? 0 : 1.2e-7 * size * 4 + epsilon(p.type) * (std::fabs(sum) + 1e-3);
        ASSERT_LE(std::fabs(got[at] - sum), tolerance)
            << exe::dtypeName(p.type) << " " << p.m << "x" << p.n << "x" << p.k << " tA " << p.transposeA << " tB "
            << p.transposeB << " const " << p.constantB << " micro " << int(p.micro) << " at " << r << "," << c << ": "
            << got[at] << " for " << sum;
      }
  }
  EXPECT_EQ(run(p, a, b, 3), got) << "pieces change the result";
}

} // namespace

TEST(Matmul, EveryRowCountAndOddColumns) {
  for (MicroKernelChoice micro : choices())
    for (int64_t m = 0; m <= 31; ++m)
      for (int64_t n : {1, 33, 70})
        for (bool constant : {false, true}) {
          Product p;
          p.micro = micro;
          p.m = m, p.n = n, p.k = 19;
          p.constantB = constant;
          check(p, uint32_t(m * 100 + n));
        }
}

TEST(Matmul, EveryTypeTransposeAndDepth) {
  for (MicroKernelChoice micro : choices())
    for (DType type : {DType::F32, DType::BF16, DType::F16, DType::F64, DType::I32, DType::I64, DType::U32, DType::U64})
      for (int mode = 0; mode < 8; ++mode)
        for (int64_t m : {1, 3, 17})
          for (int64_t k : {0, 1, 31, 530}) {
            Product p;
            p.type = type, p.micro = micro;
            p.m = m, p.n = 37, p.k = k;
            p.transposeA = mode & 1, p.transposeB = mode & 2, p.constantB = mode & 4;
            check(p, uint32_t(k));
          }
}

TEST(Matmul, BlocksOfRowsAndDepth) {
  Product p;
  p.m = 345, p.n = 97, p.k = 1100; // several blocks of both, none whole
  for (MicroKernelChoice micro : choices()) {
    p.micro = micro;
    p.constantB = !p.constantB;
    check(p);
  }
}

TEST(Matmul, BatchesBroadcast) {
  struct Shapes {
    exe::Shape a, b, y;
  };
  for (const Shapes &s : {Shapes{{3}, {}, {3}}, Shapes{{}, {3}, {3}}, Shapes{{2, 3}, {3}, {2, 3}},
                          Shapes{{2, 1}, {1, 3}, {2, 3}}, Shapes{{3}, {2, 3}, {2, 3}}, Shapes{{2, 3}, {2, 3}, {2, 3}},
                          Shapes{{0}, {1}, {0}}, Shapes{{2, 3}, {1, 1}, {2, 3}}})
    for (DType type : {DType::F32, DType::BF16, DType::I64})
      for (int mode = 0; mode < 8; ++mode)
        for (int64_t m : {1, 6}) {
          Product p;
          p.type = type;
          p.m = m, p.n = 34, p.k = 7;
          p.batchA = s.a, p.batchB = s.b, p.batch = s.y;
          p.transposeA = mode & 1, p.transposeB = mode & 2, p.constantB = mode & 4;
          check(p);
        }
}

TEST(Matmul, FusedSumsGiveTheSameBitsOnEveryIsa) {
  // Sums run in the order of k with one rounding per step, whatever the tile: only the portable kernel rounds twice.
  Product p;
  p.m = 29, p.n = 75, p.k = 700;
  p.constantB = true;
  Tensor a = Tensor::random(DType::F32, {29, 700}, 1), b = Tensor::random(DType::F32, {700, 75}, 2);
  p.micro = MicroKernelChoice::Builtin;
  std::vector<double> builtin = run(p, a, b, 1);
  for (MicroKernelChoice micro : choices())
    if (micro != MicroKernelChoice::Portable) {
      p.micro = micro;
      EXPECT_EQ(run(p, a, b, 1), builtin) << int(micro);
    }
  // A row alone (decode) has the bits of the same row in a batch (prefill).
  p.micro = MicroKernelChoice::Builtin;
  p.m = 1;
  Tensor row(DType::F32, {1, 700});
  for (int64_t i = 0; i < 700; ++i)
    row.set(i, a.get(5 * 700 + i));
  EXPECT_EQ(run(p, row, b, 1), std::vector<double>(builtin.begin() + 5 * 75, builtin.begin() + 6 * 75));
}

TEST(Matmul, PacksAWeightOnceAndSharesIt) {
  Tensor a = Tensor::random(DType::F32, {5, 40}, 1), b = Tensor::random(DType::F32, {40, 33}, 2),
         y(DType::F32, {5, 33});
  PackCache cache;
  Case matmul("matmul", {});
  matmul.cache = &cache;
  b.desc.constant = b.data();
  b.desc.constantKey = 7;
  std::unique_ptr<Kernel> first, second, third, plain;
  EXPECT_OK(matmul.prepare({&a, &b}, {&y}, first));
  EXPECT_OK(matmul.prepare({&a, &b}, {&y}, second));
  EXPECT_GE(first->packedBytes(), 40 * 33 * 4);
  EXPECT_EQ(second->packedBytes(), 0);
  EXPECT_FALSE(first->readsInput(1));
  EXPECT_FALSE(second->readsInput(1));
  EXPECT_TRUE(second->readsInput(0));
  b.desc.constantKey = 0;
  EXPECT_OK(matmul.prepare({&a, &b}, {&y}, third));
  EXPECT_EQ(third->packedBytes(), first->packedBytes());
  b.desc.constant = nullptr;
  EXPECT_OK(matmul.prepare({&a, &b}, {&y}, plain));
  EXPECT_EQ(plain->packedBytes(), 0);
  EXPECT_TRUE(plain->readsInput(1));
  first.reset(); // the shared copy lives on
  void *ins[] = {a.data(), nullptr}, *outs[] = {y.data()};
  EXPECT_OK(second->run(ins, outs));
  std::vector<double> shared = y.values();
  ins[1] = b.data();
  EXPECT_OK(plain->run(ins, outs));
  EXPECT_EQ(y.values(), shared);
}

TEST(Matmul, Refuses) {
  Tensor a(DType::F32, {2, 3}), b(DType::F32, {3, 4}), y(DType::F32, {2, 4}), vector(DType::F32, {3}),
      half(DType::F16, {3, 4});
  Tensor batch2(DType::F32, {2, 3, 4}), batch3(DType::F32, {3, 2, 3}), y3(DType::F32, {3, 2, 4}),
      bytes(DType::I8, {2, 3});
  auto status = [](std::vector<Tensor *> ins, Tensor &out, exe::Attrs attrs = {}) {
    return Case("matmul", attrs).run(ins, {&out});
  };
  EXPECT_OK(status({&a, &b}, y));
  EXPECT_REFUSED(status({&a, &a}, y), Code::BadExecutable, "summed dimension");
  EXPECT_REFUSED(status({&a, &b}, a), Code::BadExecutable, "output has shape");
  EXPECT_REFUSED(status({&a, &vector}, y), Code::BadExecutable, "rank 2");
  EXPECT_REFUSED(status({&a, &half}, y), Code::BadExecutable, "differ in type");
  EXPECT_REFUSED(status({&batch3, &batch2}, y3), Code::BadExecutable, "broadcast");
  EXPECT_REFUSED(status({&a, &b}, y, {{"transpose_a", int64_t(2)}}), Code::BadExecutable, "expected 0 or 1");
  EXPECT_REFUSED(status({&a, &b}, y, {{"transpose_b", 1.0}}), Code::BadExecutable, "not an integer");
  EXPECT_REFUSED(status({&bytes, &bytes}, bytes, {{"transpose_b", int64_t(1)}}), Code::Unsupported, "i8");
  EXPECT_REFUSED(status({&a}, y), Code::BadExecutable, "2 inputs");
}
