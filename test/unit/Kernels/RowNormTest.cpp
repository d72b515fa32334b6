//===- RowNormTest.cpp - adds and norm behind a reduction -----------------===//
#include "runtime/Kernels/Norm/RowNorm.h"
#include "TestSupport.h"
#include "runtime/Kernels/Convert.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace comm::rt;
namespace exe = comm::exe;

namespace {
/// Numbers as a type stores them.
struct Column {
  Column(exe::DType type, std::vector<double> values) : type(type), bytes(values.size() * exe::byteWidth(type)) {
    for (size_t i = 0; i < values.size(); ++i) {
      auto x = static_cast<float>(values[i]);
      if (type == exe::DType::F64)
        reinterpret_cast<double *>(bytes.data())[i] = values[i];
      else
        convertFromF32(type, &x, bytes.data() + i * exe::byteWidth(type), 1);
    }
  }
  double operator[](size_t i) const {
    if (type == exe::DType::F64)
      return reinterpret_cast<const double *>(bytes.data())[i];
    float x;
    convertToF32(type, bytes.data() + i * exe::byteWidth(type), &x, 1);
    return x;
  }
  exe::DType type;
  std::vector<uint8_t> bytes;
};

double rounded(exe::DType type, double x) { return Column(type, {x})[0]; }

TEST(RowNorm, EveryTypeWidthAndParameter) {
  for (exe::DType type : {exe::DType::F32, exe::DType::F16, exe::DType::BF16, exe::DType::F64})
    for (int64_t width : {1, 7, 16, 33, 64})
      for (int variant = 0; variant < 5; ++variant) {
        bool layer = variant >= 2, bias = variant % 2 == 1, normBias = variant == 4;
        constexpr int64_t rows = 3;
        auto n = static_cast<size_t>(width);
        std::vector<double> x(n * rows), r(n * rows), vector(n), shift(n);
        for (size_t i = 0; i < x.size(); ++i) {
          x[i] = static_cast<double>(i * 7 % 11) - 5.25;
          r[i] = static_cast<double>(i * 5 % 13) / 8 - 1;
        }
        for (size_t i = 0; i < n; ++i) {
          vector[i] = static_cast<double>(i % 5) / 4 + 0.5;
          shift[i] = static_cast<double>(i % 3) - 1;
        }
        Column sum(type, x), before = sum, residual(type, r), gain(type, vector), offset(type, shift),
                             normed(type, std::vector<double>(x.size(), NAN));
        RowNorm op{type, rows, width, 1e-3, layer};
        addAndNorm(op, sum.bytes.data(), residual.bytes.data(), bias ? offset.bytes.data() : nullptr, gain.bytes.data(),
                   normBias ? offset.bytes.data() : nullptr, normed.bytes.data());
        double tolerance = type == exe::DType::BF16 ? 1e-2 : type == exe::DType::F16 ? 2e-3 : 1e-5;
        for (size_t row = 0; row < rows; ++row) {
          double mean = 0, square = 0;
          for (size_t i = row * n; i < row * n + n; ++i) {
            double expected = before[i];
            if (bias)
              expected = rounded(type, expected + offset[i % n]);
            expected = rounded(type, expected + residual[i]);
            ASSERT_EQ(sum[i], expected) << "every add is rounded to the type";
            mean += layer ? sum[i] / static_cast<double>(width) : 0;
          }
          for (size_t i = row * n; i < row * n + n; ++i)
            square += (sum[i] - mean) * (sum[i] - mean) / static_cast<double>(width);
          for (size_t i = row * n; i < row * n + n; ++i) {
            double expected = (sum[i] - mean) / std::sqrt(square + 1e-3) * gain[i % n] + (normBias ? offset[i % n] : 0);
            ASSERT_NEAR(normed[i], expected, tolerance * (1 + std::abs(expected)))
                << exe::dtypeName(type) << " width " << width << " variant " << variant << " element " << i;
          }
        }
      }
}

// Rows past the last one are neither read nor written.
TEST(RowNorm, StopsAtTheLastRow) {
  std::vector<float> sum(8, 1), residual(8, 1), gain(4, 1), normed(8, 7);
  for (size_t i = 4; i < 8; ++i)
    sum[i] = residual[i] = NAN;
  addAndNorm({exe::DType::F32, 1, 4, 0, false}, sum.data(), residual.data(), nullptr, gain.data(), nullptr,
             normed.data());
  EXPECT_EQ(std::vector<float>(normed.begin(), normed.begin() + 4), std::vector<float>(4, 1));
  EXPECT_EQ(std::vector<float>(normed.begin() + 4, normed.end()), std::vector<float>(4, 7));
  addAndNorm({exe::DType::F32, 0, 4, 0, false}, nullptr, nullptr, nullptr, gain.data(), nullptr, nullptr);
}
} // namespace
