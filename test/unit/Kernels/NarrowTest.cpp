//===- NarrowTest.cpp - products of 16-bit operands against double --------===//
// Bound of every sum: (k + 2) 2^-23 of the sum of magnitudes, whatever its order; small integers are exact.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include "runtime/Kernels/Matmul/Pack.h"

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
const float infinity = std::numeric_limits<float>::infinity(), notANumber = std::nanf("");

std::vector<float> numbers(int64_t n, uint32_t seed, bool integers) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> real(-1, 1);
  std::uniform_int_distribution<int> small(-9, 9);
  std::vector<float> out(static_cast<size_t>(n));
  for (float &f : out)
    f = integers ? float(small(engine)) : real(engine);
  return out;
}
float asBF16(float x) { return fromBF16(toBF16(x)); }

/// One product on a unit: f32 operands as they are stored, packed and multiplied the way the driver does.
struct UnitProduct {
  const NarrowKernel &unit;
  int64_t m, n, k;
  std::vector<float> a, b; ///< a with a stride that is longer than k
  int64_t stride = 0, panels = 0, panelBytes = 0;

  UnitProduct(const NarrowKernel &unit, int64_t m, int64_t n, int64_t k, uint32_t seed, bool integers)
      : unit(unit), m(m), n(n), k(k), stride(k + 3) {
    a = numbers(m * stride, seed, integers);
    b = numbers(k * n, seed + 1, integers);
    for (int64_t r = 0; r < m; ++r) // poison: what lies between the rows must not count
      std::fill_n(a.begin() + r * stride + k, 3, notANumber);
    panels = (n + unit.width - 1) / unit.width;
  }
  std::vector<char> packB() const {
    RightMatrix matrix{reinterpret_cast<const char *>(b.data()), k, n, false, PanelType::BF16, true, unit.depth};
    std::vector<char> out(static_cast<size_t>(panels * matrix.depth() * unit.width * 2 + 64), char(0xff)); // NaNs
    packPanels(matrix, unit.width, 0, panels, aligned(out));
    return out;
  }
  static char *aligned(std::vector<char> &bytes) {
    return reinterpret_cast<char *>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) / 64 * 64);
  }
  /// Rows [first, first + rows) over k [from, to); C as m x panels * width.
  void add(std::vector<char> &packedB, int64_t first, int64_t rows, int64_t from, int64_t to, bool accumulate,
           std::vector<float> &c) const {
    int64_t depth = (k + unit.depth - 1) / unit.depth * unit.depth, ldc = panels * unit.width;
    std::vector<char> left(static_cast<size_t>(unit.leftBytes(rows, to - from) + 64), char(0xff));
    unit.packLeft(true, a.data() + first * stride + from, stride, rows, to - from, aligned(left));
    unit.begin();
    unit.multiply(rows, to - from, aligned(left), panels, aligned(packedB) + from * unit.width * 2,
                  depth * unit.width * 2, c.data() + first * ldc, ldc, accumulate);
    unit.end();
  }
  std::vector<float> run() const {
    std::vector<char> packedB = packB();
    std::vector<float> c(static_cast<size_t>(m * panels * unit.width), notANumber);
    add(packedB, 0, m, 0, k, false, c);
    return c;
  }
};

void expectProduct(const UnitProduct &p, const std::vector<float> &c, bool exact) {
  int64_t ldc = p.panels * p.unit.width;
  for (int64_t r = 0; r < p.m; ++r)
    for (int64_t j = 0; j < ldc; ++j) {
      double sum = 0, size = 0;
      for (int64_t q = 0; j < p.n && q < p.k; ++q) {
        double term = double(asBF16(p.a[size_t(r * p.stride + q)])) * asBF16(p.b[size_t(q * p.n + j)]);
        sum += term;
        size += std::fabs(term);
      }
      double bound = exact ? 0 : double(p.k + 2) * 0x1p-23 * size;
      ASSERT_LE(std::fabs(c[size_t(r * ldc + j)] - sum), bound)
          << p.unit.name << " " << p.m << "x" << p.n << "x" << p.k << " at " << r << "," << j;
    }
}
} // namespace

TEST(Narrow, UnitsAgainstDouble) {
  if (availableNarrowKernels().empty())
    GTEST_SKIP() << "this CPU has no unit for bf16";
  for (const NarrowKernel *unit : availableNarrowKernels())
    for (int64_t m : {1, 2, 13, 14, 15, 16, 17, 31, 32, 33, 70})
      for (int64_t n : {1, 32, 33, 97})
        for (int64_t k : {1, 2, 31, 32, 33, 64, 545, 1061})
          for (bool integers : {true, false}) {
            UnitProduct p(*unit, m, n, k, uint32_t(m * 7 + n + k), integers);
            expectProduct(p, p.run(), integers);
          }
}

TEST(Narrow, SplittingChangesNoBit) {
  for (const NarrowKernel *unit : availableNarrowKernels()) {
    UnitProduct p(*unit, 45, 70, 1100, 3, false);
    std::vector<float> whole = p.run();
    std::vector<char> right = p.packB();
    for (int64_t rows : {1, 2, 16, 19, 44}) { // a row alone (decode) has the bits of the same row in a batch (prefill)
      std::vector<float> c(whole.size());
      for (int64_t r = 0; r < p.m; r += rows)
        p.add(right, r, std::min(rows, p.m - r), 0, p.k, false, c);
      ASSERT_EQ(c, whole) << unit->name << " rows by " << rows;
    }
    for (int64_t depth : {int64_t(1), int64_t(3), int64_t(17)}) {
      std::vector<float> c(whole.size());
      for (int64_t k = 0; k < p.k; k += depth * unit->depth)
        p.add(right, 0, p.m, k, std::min(p.k, k + depth * unit->depth), k > 0, c);
      ASSERT_EQ(c, whole) << unit->name << " steps by " << depth;
    }
  }
}

TEST(Narrow, WhatIsNoNumberStaysInItsRowAndColumn) {
  for (const NarrowKernel *unit : availableNarrowKernels())
    for (int64_t m : {3, 37}) {
      UnitProduct p(*unit, m, 40, 77, 5, true);
      p.a[size_t(1 * p.stride + 76)] = infinity;
      p.a[size_t(2 * p.stride + 4)] = notANumber;
      p.b[size_t(4 * p.n + 39)] = notANumber;
      for (int64_t j = 0; j < p.n; ++j)
        p.b[size_t(76 * p.n + j)] = 1;
      std::vector<float> c = p.run();
      int64_t ldc = p.panels * unit->width;
      for (int64_t r = 0; r < m; ++r)
        for (int64_t j = 0; j < p.n; ++j) {
          float got = c[size_t(r * ldc + j)];
          if (r == 2 || j == 39)
            ASSERT_TRUE(std::isnan(got)) << unit->name << " " << r << "," << j;
          else if (r == 1)
            ASSERT_EQ(got, infinity) << unit->name << " " << j;
          else
            ASSERT_TRUE(std::isfinite(got)) << unit->name << " " << r << "," << j;
        }
    }
}

TEST(Narrow, PacksBothOrdersAlike) {
  // A bf16 matrix and an f32 one that holds the same numbers, stored either way, give the same panels.
  for (int64_t k : {1, 2, 31, 65, 130})
    for (int64_t n : {1, 32, 75}) {
      std::vector<float> plain = numbers(k * n, 1, false), turned(plain.size());
      for (float &x : plain)
        x = asBF16(x);
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < n; ++j)
          turned[size_t(j * k + i)] = plain[size_t(i * n + j)];
      std::vector<std::vector<char>> packed;
      for (int64_t pairs : {0, 2, 32}) {
        packed.clear();
        for (const std::vector<float> *from : {&plain, &turned})
          for (bool isF32 : {true, false}) {
            std::vector<uint16_t> half(from->size());
            convertFromF32(DType::BF16, from->data(), half.data(), int64_t(half.size()));
            const void *data = isF32 ? static_cast<const void *>(from->data()) : half.data();
            RightMatrix m{static_cast<const char *>(data), k, n, from == &turned, PanelType::BF16, isF32, pairs};
            int64_t panels = (n + 31) / 32;
            packed.emplace_back(size_t(panels * m.depth() * 64), char(0xff));
            packPanels(m, 32, 0, panels, packed.back().data());
          }
        for (const std::vector<char> &other : packed)
          ASSERT_EQ(other, packed.front()) << k << "x" << n << " pairs " << pairs;
      }
    }
}

//===--- the command ------------------------------------------------------===//

namespace {
struct NarrowProduct {
  std::string precision = "bf16";
  int64_t batch = 1, m = 1, n = 1, k = 1;
  bool transposeA = false, transposeB = false, constantB = false, integers = false;
  MicroKernelChoice micro = MicroKernelChoice::Auto;
};

std::vector<double> multiply(const NarrowProduct &p, Tensor &a, Tensor &b, int64_t pieces) {
  Tensor y = Tensor::random(DType::F32, {p.batch, p.m, p.n}, 99, 1, 50);
  Case matmul(
      "matmul",
      {{"transpose_a", int64_t(p.transposeA)}, {"transpose_b", int64_t(p.transposeB)}, {"precision", p.precision}});
  matmul.micro = p.micro;
  b.desc.constant = p.constantB ? b.data() : nullptr;
  EXPECT_OK(matmul.run({&a, &b}, {&y}, pieces));
  return y.values();
}

void check(const NarrowProduct &p, uint32_t seed) {
  Tensor a(DType::F32, {p.batch, p.transposeA ? p.k : p.m, p.transposeA ? p.m : p.k}),
      b(DType::F32, {p.transposeB ? p.n : p.k, p.transposeB ? p.k : p.n});
  std::vector<float> left = numbers(a.size(), seed, p.integers), right = numbers(b.size(), seed + 1, p.integers);
  for (int64_t i = 0; i < a.size(); ++i)
    a.set(i, left[size_t(i)]);
  for (int64_t i = 0; i < b.size(); ++i)
    b.set(i, right[size_t(i)]);
  bool brain = p.precision == "bf16";
  std::vector<double> got = multiply(p, a, b, 1);
  size_t at = 0;
  for (int64_t i = 0; i < p.batch; ++i)
    for (int64_t r = 0; r < p.m; ++r)
      for (int64_t c = 0; c < p.n; ++c, ++at) {
        double sum = 0, size = 0;
        for (int64_t q = 0; q < p.k; ++q) {
          float x = left[size_t(i * p.m * p.k + (p.transposeA ? q * p.m + r : r * p.k + q))];
          float w = right[size_t(p.transposeB ? c * p.k + q : q * p.n + c)];
          double term = brain ? double(asBF16(x)) * asBF16(w) : double(x) * fromF16(toF16(w));
          sum += term;
          size += std::fabs(term);
        }
        ASSERT_LE(std::fabs(got[at] - sum), p.integers ? 0 : double(p.k + 2) * 0x1p-23 * size)
            << p.precision << " " << p.m << "x" << p.n << "x" << p.k << " tA " << p.transposeA << " tB " << p.transposeB
            << " const " << p.constantB << " micro " << int(p.micro) << " at " << r << "," << c;
      }
  EXPECT_EQ(multiply(p, a, b, 3), got) << "pieces change the result";
}
} // namespace

TEST(Narrow, PrecisionOfEveryShape) {
  for (MicroKernelChoice micro : choices())
    for (const char *precision : {"bf16", "f16"})
      for (int mode = 0; mode < 8; ++mode)
        for (int64_t m : {1, 3, 37})
          for (int64_t k : {1, 31, 530}) {
            NarrowProduct p;
            p.precision = precision, p.micro = micro;
            p.m = m, p.n = 75, p.k = k;
            p.batch = m == 3 ? 2 : 1;
            p.transposeA = mode & 1, p.transposeB = mode & 2, p.constantB = mode & 4;
            p.integers = k == 31;
            check(p, uint32_t(k + m));
          }
}

TEST(Narrow, BlocksOfRowsAndDepth) {
  for (MicroKernelChoice micro : choices()) {
    NarrowProduct p;
    p.micro = micro;
    p.m = 300, p.n = 41, p.k = 1700; // several blocks of both, none whole
    p.constantB = true;
    check(p, 11);
  }
}

TEST(Narrow, RowsAloneHaveTheBitsOfABatch) {
  for (MicroKernelChoice micro : choices())
    for (bool constant : {false, true}) {
      NarrowProduct p;
      p.micro = micro, p.constantB = constant;
      p.m = 9, p.n = 75, p.k = 700;
      Tensor a = Tensor::random(DType::F32, {1, 9, 700}, 1), b = Tensor::random(DType::F32, {700, 75}, 2);
      std::vector<double> all = multiply(p, a, b, 1);
      p.m = 1;
      Tensor row(DType::F32, {1, 1, 700});
      for (int64_t i = 0; i < 700; ++i)
        row.set(i, a.get(5 * 700 + i));
      EXPECT_EQ(multiply(p, row, b, 1), std::vector<double>(all.begin() + 5 * 75, all.begin() + 6 * 75)) << int(micro);
    }
}

TEST(Narrow, AWeightIsPackedNarrow) {
  Tensor a = Tensor::random(DType::F32, {5, 64}, 1), b = Tensor::random(DType::F32, {64, 64}, 2),
         y(DType::F32, {5, 64});
  PackCache cache;
  b.desc.constant = b.data();
  b.desc.constantKey = 7;
  std::unique_ptr<Kernel> wide, narrow, again, half;
  auto prepare = [&](exe::Attrs attrs, std::unique_ptr<Kernel> &kernel) {
    Case matmul("matmul", std::move(attrs));
    matmul.cache = &cache;
    EXPECT_OK(matmul.prepare({&a, &b}, {&y}, kernel));
  };
  prepare({}, wide);
  prepare({{"precision", std::string("bf16")}}, narrow);
  prepare({{"precision", std::string("bf16")}}, again);
  prepare({{"precision", std::string("f16")}}, half);
  EXPECT_EQ(wide->packedBytes(), 64 * 64 * 4);
  EXPECT_EQ(narrow->packedBytes(), 64 * 64 * 2);
  EXPECT_EQ(again->packedBytes(), 0); // shared
  EXPECT_EQ(half->packedBytes(), 64 * 64 * 2);
  EXPECT_FALSE(narrow->readsInput(1));
}

TEST(Narrow, Refuses) {
  Tensor a(DType::F32, {2, 3}), b(DType::F32, {3, 4}), y(DType::F32, {2, 4});
  Tensor c(DType::BF16, {2, 3}), d(DType::BF16, {3, 4}), z(DType::BF16, {2, 4});
  EXPECT_REFUSED(Case("matmul", {{"precision", std::string("int8")}}).run({&a, &b}, {&y}), Code::BadExecutable,
                 "not \"bf16\" or \"f16\"");
  EXPECT_REFUSED(Case("matmul", {{"precision", int64_t(1)}}).run({&a, &b}, {&y}), Code::BadExecutable,
                 "not \"bf16\" or \"f16\"");
  EXPECT_REFUSED(Case("matmul", {{"precision", std::string("bf16")}}).run({&c, &d}, {&z}), Code::BadExecutable,
                 "for f32 operands");
  const NarrowKernel *unit = nullptr;
  CpuFeatures none;
  EXPECT_TRUE(bool(chooseNarrowKernel(MicroKernelChoice::Auto, unit, none)));
  EXPECT_EQ(unit, nullptr);
  CpuFeatures pairs;
  pairs.avx512bf16 = pairs.slowDotBF16 = true;
  EXPECT_TRUE(bool(chooseNarrowKernel(MicroKernelChoice::Auto, unit, pairs)));
  EXPECT_EQ(unit, nullptr); // slower than f32 there
  EXPECT_EQ(bool(chooseNarrowKernel(MicroKernelChoice::Avx512BF16, unit, pairs)), avx512NarrowKernel() != nullptr);
  pairs.slowDotBF16 = false;
  EXPECT_TRUE(bool(chooseNarrowKernel(MicroKernelChoice::Auto, unit, pairs)));
  EXPECT_EQ(unit, avx512NarrowKernel());
  EXPECT_EQ(int(chooseNarrowKernel(MicroKernelChoice::Amx, unit, none).code), int(Code::DeviceMissing));
  EXPECT_EQ(int(chooseNarrowKernel(MicroKernelChoice::Avx512BF16, unit, none).code), int(Code::DeviceMissing));
}
