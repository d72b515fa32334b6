//===- QuantizedTest.cpp - products with packed integers against sums in double -===//
#include "TestSupport.h"
#include <limits>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
enum class Zeros { None, Packed, Floats };

struct Product {
  int64_t bits = 4, block = 32, m = 1, n = 1, k = 32;
  Zeros zeros = Zeros::None;
  bool isSigned = false, kMajor = false, int8 = false, constant = true, oneScale = false;
  DType type = DType::F32;
  MicroKernelChoice micro = MicroKernelChoice::Auto;

  int64_t blocks() const { return (k + block - 1) / block; }
  std::string text() const {
    return std::to_string(bits) + " bits " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) +
           " block " + std::to_string(block) + " zeros " + std::to_string(int(zeros)) + " signed " +
           std::to_string(isSigned) + " k_major " + std::to_string(kMajor) + " int8 " + std::to_string(int8) +
           " one scale " + std::to_string(oneScale) + " micro " + std::to_string(int(micro));
  }
};

/// `columns` numbers a row, packed with the lowest first; every row begins with a byte.
int64_t numberAt(const Tensor &bytes, const Product &p, int64_t rowBytes, int64_t row, int64_t column) {
  int64_t byte = bytes.as<uint8_t>()[row * rowBytes + column * p.bits / 8];
  int64_t number = p.bits == 8 ? byte : byte >> (column % 2 * 4) & 15;
  return p.isSigned && number >> (p.bits - 1) ? number - (int64_t(1) << p.bits) : number;
}

struct Operands {
  Tensor x, w, s, z, y;
  explicit Operands(const Product &p, uint32_t seed)
      : x(Tensor::random(p.type, {p.m, p.k}, seed)),
        w(Tensor::random(DType::U8,
                         p.kMajor ? exe::Shape{p.blocks(), p.block, p.n * p.bits / 8}
                                  : exe::Shape{p.n, p.blocks(), p.block * p.bits / 8},
                         seed + 1, 0, 256)),
        s(Tensor::random(DType::F32, scaleShape(p), seed + 2, 0.01, 0.1)),
        z(p.zeros == Zeros::Floats
              ? Tensor::random(DType::F32, scaleShape(p), seed + 3, 0, double(1 << p.bits))
              : Tensor::random(DType::U8, {s.shape()[0], (s.shape()[1] * p.bits + 7) / 8}, seed + 3, 0, 256)),
        y(Tensor::random(p.type, {p.m, p.n}, seed + 4)) {}
  static exe::Shape scaleShape(const Product &p) {
    return p.oneScale ? exe::Shape{p.kMajor ? 1 : p.n, p.kMajor ? p.n : 1}
           : p.kMajor ? exe::Shape{p.blocks(), p.n}
                      : exe::Shape{p.n, p.blocks()};
  }
  double weight(const Product &p, int64_t i, int64_t j) const {
    int64_t row = p.kMajor ? i / p.block : j, column = p.kMajor ? j : i / p.block;
    row = s.shape()[0] == 1 ? 0 : row, column = s.shape()[1] == 1 ? 0 : column;
    double zero = p.zeros == Zeros::None     ? (p.isSigned ? 0 : double(1 << (p.bits - 1)))
                  : p.zeros == Zeros::Floats ? z.get(row * s.shape()[1] + column)
                                             : double(numberAt(z, p, z.shape()[1], row, column));
    int64_t q = p.kMajor ? numberAt(w, p, w.shape()[2], i, j)
                         : numberAt(w, p, w.shape()[2], j * p.blocks() + i / p.block, i % p.block);
    return (double(q) - zero) * s.get(row * s.shape()[1] + column);
  }
  std::vector<Tensor *> inputs(const Product &p) {
    std::vector<Tensor *> ins = {&x, &w, &s};
    if (p.zeros != Zeros::None)
      ins.push_back(&z);
    for (size_t i = 1; i < ins.size(); ++i)
      ins[i]->desc.constant = p.constant ? ins[i]->data() : nullptr;
    return ins;
  }
};

Case command(const Product &p) {
  Case c("quantized_matmul", {{"bits", p.bits},
                              {"block", p.block},
                              {"signed", int64_t(p.isSigned)},
                              {"k_major", int64_t(p.kMajor)},
                              {"int8", int64_t(p.int8)}});
  c.micro = p.micro;
  return c;
}

void check(const Product &p, uint32_t seed, int64_t pieces = 1) {
  Operands o(p, seed);
  EXPECT_OK(command(p).run(o.inputs(p), {&o.y}, pieces));
  for (int64_t r = 0; r < p.m; ++r)
    for (int64_t c = 0; c < p.n; ++c) {
      double sum = 0, size = 0, rounded = 0;
      for (int64_t b = 0; b < p.blocks(); ++b) {
        double most = 0, weights = 0;
        for (int64_t i = b * p.block; i < std::min(p.k, (b + 1) * p.block); ++i) {
          double term = o.x.get(r * p.k + i) * o.weight(p, i, c);
          sum += term;
          // Where zero points are subtracted behind the sum, its terms count in full.
          size += std::fabs(o.x.get(r * p.k + i)) * (std::fabs(o.weight(p, i, c)) + o.s.get(0) * 16);
          most = std::max(most, std::fabs(o.x.get(r * p.k + i)));
          weights += std::fabs(o.weight(p, i, c));
        }
        rounded += most / 254 * weights; // half a step of the largest
      }
      double tolerance = 6e-7 * size * (p.bits == 8 ? 16 : 1) + (p.int8 ? rounded : 0) +
                         (p.type == DType::BF16  ? 8e-3
                          : p.type == DType::F16 ? 1e-3
                                                 : 0) *
                             (std::fabs(sum) + 1e-3);
      ASSERT_LE(std::fabs(o.y.get(r * p.n + c) - sum), tolerance) << p.text() << " at " << r << "," << c;
    }
}
} // namespace

TEST(Quantized, EveryIsaRowsColumnsAndTails) {
  uint32_t seed = 1;
  for (MicroKernelChoice micro : choices())
    for (int64_t bits : {4, 8})
      for (bool int8 : {false, true})
        for (auto [n, k] : {std::pair<int64_t, int64_t>{1, 32}, {17, 70}, {53, 129}, {33, 640}})
          for (int64_t m : {1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 27, 40}) {
            Product p;
            p.bits = bits, p.m = m, p.n = n, p.k = k, p.int8 = int8, p.micro = micro;
            p.block = seed % 3 == 0 ? 16 : seed % 3 == 1 ? 32 : 64;
            p.zeros = Zeros(seed % 4 % 3);
            p.constant = seed % 5 != 0;
            check(p, seed, (seed + 1) % 3 + 1);
            ++seed;
            if (testing::Test::HasFatalFailure())
              return;
          }
}

TEST(Quantized, SignsLayoutsAndSharedScales) {
  uint32_t seed = 1;
  for (int64_t bits : {4, 8})
    for (bool isSigned : {false, true})
      for (bool kMajor : {false, true})
        for (bool oneScale : {false, true})
          for (Zeros zeros : {Zeros::None, Zeros::Packed, Zeros::Floats})
            for (int64_t m : {1, 12}) {
              Product p;
              p.bits = bits, p.isSigned = isSigned, p.kMajor = kMajor, p.oneScale = oneScale, p.zeros = zeros;
              p.m = m, p.n = 38, p.k = kMajor ? 192 : 180, p.int8 = seed % 2;
              check(p, ++seed);
              if (testing::Test::HasFatalFailure())
                return;
            }
}

TEST(Quantized, HalfTypes) {
  for (DType type : {DType::F16, DType::BF16})
    for (int64_t m : {1, 3, 20})
      for (bool int8 : {false, true}) {
        Product p;
        p.type = type, p.m = m, p.n = 35, p.k = 100, p.int8 = int8;
        check(p, uint32_t(m), 2);
      }
}

TEST(Quantized, NothingBehindTheOperandsReachesTheResult) {
  // Rows and columns end inside blocks and panels; what lies there in scratch memory is made NaN first.
  for (MicroKernelChoice micro : choices())
    for (int64_t m : {1, 3, 9})
      for (bool int8 : {false, true}) {
        for (ScratchSlot slot : {ScratchSlot::PackA, ScratchSlot::PackB, ScratchSlot::Scores, ScratchSlot::Convert}) {
          auto *floats = static_cast<float *>(scratch(slot, 1 << 20));
          std::fill(floats, floats + (1 << 18), std::numeric_limits<float>::quiet_NaN());
        }
        Product p;
        p.m = m, p.n = 21, p.k = 77, p.int8 = int8, p.micro = micro, p.zeros = Zeros::Packed;
        check(p, 5);
      }
}

TEST(Quantized, SpecialNumbersOfTheInputStayInTheirRow) {
  for (bool int8 : {false, true})
    for (float special : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      Product p;
      p.m = 2, p.n = 20, p.k = 96, p.int8 = int8;
      Operands o(p, 3);
      o.x.set(40, special);
      EXPECT_OK(command(p).run(o.inputs(p), {&o.y}));
      for (int64_t c = 0; c < p.n; ++c) {
        EXPECT_FALSE(std::isfinite(o.y.get(c)) && o.weight(p, 40, c) != 0) << c;
        EXPECT_TRUE(std::isfinite(o.y.get(p.n + c))) << c;
      }
    }
  Product p; // zeros and the smallest numbers round to zeros
  p.m = 2, p.n = 20, p.k = 64, p.int8 = true;
  Operands o(p, 3);
  for (int64_t i = 0; i < 2 * p.k; ++i)
    o.x.set(i, i < p.k ? 0 : 1e-40);
  EXPECT_OK(command(p).run(o.inputs(p), {&o.y}));
  for (int64_t i = 0; i < o.y.size(); ++i)
    EXPECT_EQ(std::fabs(o.y.get(i)) < 1e-30, true);
}

TEST(Quantized, PackedOnceAndNeverExpanded) {
  Product p;
  p.n = 256, p.k = 512, p.zeros = Zeros::Packed;
  Operands o(p, 1);
  PackCache cache;
  Case c = command(p);
  c.cache = &cache;
  std::vector<Tensor *> ins = o.inputs(p);
  for (size_t i = 1; i < ins.size(); ++i)
    ins[i]->desc.constantKey = i;
  std::unique_ptr<Kernel> first, second, other;
  EXPECT_OK(c.prepare(ins, {&o.y}, first));
  EXPECT_OK(c.prepare(ins, {&o.y}, second));
  // Half a byte a number, a scale and an offset a block.
  EXPECT_EQ(first->packedBytes(), p.n * p.k / 2 + 2 * 4 * p.n * p.k / 32);
  EXPECT_EQ(second->packedBytes(), 0);
  for (size_t i = 0; i < ins.size(); ++i)
    EXPECT_EQ(first->readsInput(i), i == 0);
  ins[2]->desc.constantKey = 9; // other scales
  EXPECT_OK(c.prepare(ins, {&o.y}, other));
  EXPECT_GT(other->packedBytes(), 0);
}

TEST(Quantized, RefusesWhatDoesNotFit) {
  Product p;
  p.n = 16, p.k = 64, p.zeros = Zeros::Packed;
  Operands o(p, 1);
  auto refused = [&](auto change, const char *part, Code code = Code::BadExecutable) {
    Product q = p;
    Operands other(q, 1);
    Case c = command(q);
    change(c, other);
    std::unique_ptr<Kernel> kernel;
    EXPECT_REFUSED(c.prepare(other.inputs(q), {&other.y}, kernel), code, part);
  };
  refused([](Case &c, Operands &) { c.command.attrs["bits"] = int64_t(3); }, "3 bits in blocks of 32");
  refused([](Case &c, Operands &) { c.command.attrs["block"] = int64_t(24); }, "in blocks of 24");
  refused([](Case &c, Operands &) { c.command.attrs["block"] = int64_t(1) << 40; }, "in blocks of");
  refused([](Case &c, Operands &) { c.command.attrs["block"] = int64_t(64); }, "operand 1 has shape");
  refused([](Case &, Operands &t) { t.w = Tensor(DType::U8, {16, 2, 15}); }, "operand 1 has shape");
  refused([](Case &, Operands &t) { t.w = Tensor(DType::F32, {16, 2, 16}); }, "expected bytes");
  refused([](Case &, Operands &t) { t.s = Tensor(DType::F32, {16, 3}); }, "scales [16, 3] do not fit");
  refused([](Case &, Operands &t) { t.s = Tensor(DType::F64, {16, 2}); }, "scales of type f64", Code::Unsupported);
  refused([](Case &, Operands &t) { t.z = Tensor(DType::U8, {16, 2}); }, "operand 3 has shape");
  refused([](Case &, Operands &t) { t.y = Tensor(DType::F32, {1, 17}); }, "output has shape");
  refused([](Case &, Operands &t) { t.y = Tensor(DType::F16, {1, 16}); }, "differ in type");
}
