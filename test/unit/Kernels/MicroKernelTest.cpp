//===- MicroKernelTest.cpp - every micro-kernel of this machine alone -----===//
#include "TestSupport.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;

namespace {
std::vector<float> randomFloats(int64_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> real(-1, 1);
  std::vector<float> out(static_cast<size_t>(n));
  for (float &f : out)
    f = real(engine);
  return out;
}
} // namespace

TEST(MicroKernel, TilesOfEveryHeightAndType) {
  constexpr int64_t k = 23, lda = 25;
  for (const MicroKernel *micro : availableMicroKernels())
    for (int type = 0; type < 3; ++type)
      for (int64_t rows = 1; rows <= std::min<int64_t>(micro->maxRows, 30); ++rows) {
        int64_t w = micro->width, ldb = w + 8, ldc = w + 5;
        std::vector<float> a = randomFloats(rows * lda, 1), b = randomFloats(k * ldb, 2),
                           c = randomFloats(rows * ldc, 3);
        std::vector<uint16_t> half(b.size());
        exe::DType dtype = type == 1 ? exe::DType::BF16 : exe::DType::F16;
        if (type > 0) {
          convertFromF32(dtype, b.data(), half.data(), int64_t(b.size()));
          convertToF32(dtype, half.data(), b.data(), int64_t(b.size()));
        }
        const void *right = type ? static_cast<const void *>(half.data()) : b.data();
        for (bool accumulate : {false, true}) {
          std::vector<float> got = c;
          micro->tile[type](rows, k, a.data(), lda, right, ldb, got.data(), ldc, accumulate, {b.data(), 64});
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t j = 0; j < ldc && r * ldc + j < rows * ldc; ++j) {
              double sum = j < w ? (accumulate ? c[size_t(r * ldc + j)] : 0.0) : c[size_t(r * ldc + j)];
              for (int64_t p = 0; p < k && j < w; ++p)
                sum += double(a[size_t(r * lda + p)]) * b[size_t(p * ldb + j)];
              ASSERT_NEAR(got[size_t(r * ldc + j)], sum, 1e-5) << micro->name << " rows " << rows << " type " << type;
            }
        }
        // The row kernel gives the bits of a tile of one row.
        std::vector<float> one(static_cast<size_t>(w)), other(static_cast<size_t>(w));
        micro->tile[type](1, k, a.data(), lda, right, ldb, one.data(), w, false, {});
        micro->row[type](1, k, a.data(), right, ldb, 0, other.data(), false);
        ASSERT_EQ(one, other) << micro->name;
      }
}

TEST(MicroKernel, RowsOverManyPanels) {
  constexpr int64_t k = 11;
  for (const MicroKernel *micro : availableMicroKernels())
    for (int64_t panels = 1; panels <= 11; ++panels) {
      int64_t w = micro->width, stride = k * w;
      std::vector<float> a = randomFloats(k, 1), b = randomFloats(panels * stride, 2), c(size_t(panels * w), 0.5f),
                         d = c;
      micro->row[0](panels, k, a.data(), b.data(), w, stride, c.data(), true);
      for (int64_t p = 0; p < panels; ++p)
        micro->row[0](1, k, a.data(), b.data() + p * stride, w, stride, d.data() + p * w, true);
      ASSERT_EQ(c, d) << micro->name;
    }
}

TEST(MicroKernel, DotsOfEveryDepth) {
  for (const MicroKernel *micro : availableMicroKernels())
    for (int64_t depth = 0; depth <= 70; ++depth) {
      constexpr int64_t rows = 7;
      std::vector<float> q = randomFloats(depth, 1), k = randomFloats(rows * depth, 2), got(rows);
      micro->dots(rows, depth, q.data(), k.data(), depth, got.data());
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (int64_t d = 0; d < depth; ++d)
          sum += double(q[size_t(d)]) * k[size_t(r * depth + d)];
        ASSERT_NEAR(got[size_t(r)], sum, 1e-5) << micro->name << " depth " << depth;
      }
    }
}

TEST(MicroKernel, Softmax) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const MicroKernel *micro : availableMicroKernels()) {
    // exp over its whole range, in ulp of the result; below the normal numbers zero.
    double worst = 0;
    int64_t w = micro->width;
    for (float start = -87.2f; start < 0.0f; start += 0.0317f) {
      std::vector<float> s(static_cast<size_t>(w));
      for (int64_t i = 0; i < w; ++i)
        s[size_t(i)] = std::min(0.0f, start + 0.0001f * float(i));
      std::vector<float> in = s;
      micro->expSum(s.data(), w, 0.0f);
      for (int64_t i = 0; i < w; ++i)
        worst = std::max(worst, std::fabs(s[size_t(i)] / std::exp(double(in[size_t(i)])) - 1));
    }
    EXPECT_LT(worst, 3e-7) << micro->name;
    std::vector<float> s(static_cast<size_t>(2 * w), -infinity);
    s[0] = 3.0f;
    s[size_t(w)] = 3.0f;
    s[size_t(w + 1)] = -200.0f;
    EXPECT_EQ(micro->rowMax(s.data(), 2 * w), 3.0f);
    EXPECT_EQ(micro->expSum(s.data(), 2 * w, 3.0f), 2.0f);
    EXPECT_EQ(s[0], 1.0f);
    EXPECT_EQ(s[1], 0.0f);
    EXPECT_EQ(s[size_t(w + 1)], 0.0f);
    s[2] = std::nanf("");
    EXPECT_TRUE(std::isnan(micro->expSum(s.data(), 2 * w, 3.0f))) << micro->name;
    std::fill(s.begin(), s.end(), 2.0f);
    micro->scaleRow(s.data(), 2 * w, 0.25f);
    EXPECT_EQ(s, std::vector<float>(size_t(2 * w), 0.5f));
  }
}

TEST(MicroKernel, Choice) {
  CpuFeatures none;
  const MicroKernel *kernel = nullptr;
  EXPECT_TRUE(bool(chooseMicroKernel(MicroKernelChoice::Auto, kernel, none)));
  EXPECT_EQ(kernel, portableMicroKernel());
  EXPECT_EQ(int(chooseMicroKernel(MicroKernelChoice::Libxsmm, kernel, none).code), int(Code::DeviceMissing));
  EXPECT_TRUE(bool(chooseMicroKernel(MicroKernelChoice::Portable, kernel)));
  EXPECT_EQ(kernel, portableMicroKernel());
  CpuFeatures avx2;
  avx2.x86_64 = avx2.v3 = true;
  EXPECT_TRUE(bool(chooseMicroKernel(MicroKernelChoice::Builtin, kernel, avx2)));
  if (avx2MicroKernel()) {
    EXPECT_EQ(kernel, avx2MicroKernel());
  }
  MicroKernelChoice choice;
  EXPECT_TRUE(parseMicroKernelChoice("libxsmm", choice));
  EXPECT_EQ(choice, MicroKernelChoice::Libxsmm);
  EXPECT_TRUE(parseMicroKernelChoice("amx", choice));
  EXPECT_EQ(choice, MicroKernelChoice::Amx);
  EXPECT_FALSE(parseMicroKernelChoice("fast", choice));
  for (const std::string &op : kernelOps())
    EXPECT_TRUE(isKernelOp(op)) << op;
  EXPECT_FALSE(isKernelOp("all_reduce"));
}
