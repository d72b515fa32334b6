//===- ConvertTest.cpp - f16 and bf16, every bit pattern ------------------===//
#include "TestSupport.h"

using namespace comm::rt;

TEST(Convert, EveryHalfSurvivesTheWayThereAndBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    uint16_t half = uint16_t(bits);
    float f = fromF16(half), b = fromBF16(half);
    bool nan16 = (half & 0x7fff) > 0x7c00, nanB = (half & 0x7fff) > 0x7f80;
    EXPECT_EQ(std::isnan(f), nan16) << bits;
    EXPECT_EQ(std::isnan(b), nanB) << bits;
    if (nan16)
      EXPECT_TRUE(std::isnan(fromF16(toF16(f))));
    else
      ASSERT_EQ(toF16(f), half);
    if (nanB)
      EXPECT_TRUE(std::isnan(fromBF16(toBF16(b))));
    else
      ASSERT_EQ(toBF16(b), half);
    // The definition of binary16.
    int exponent = (half >> 10) & 31, mantissa = half & 1023;
    if (exponent < 31) {
      double expected = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
      ASSERT_EQ(double(f), half & 0x8000 ? -expected : expected);
    }
  }
}

TEST(Convert, RoundsToNearestEven) {
  // The midpoint of two neighbours goes to the even one, anything beside it to the nearer one.
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    float low = fromF16(uint16_t(bits)), high = fromF16(uint16_t(bits + 1)), middle = (low + high) / 2;
    uint16_t even = uint16_t(bits & 1 ? bits + 1 : bits);
    ASSERT_EQ(toF16(middle), even);
    ASSERT_EQ(toF16(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(toF16(-std::nextafter(middle, 1e9f)), (bits + 1) | 0x8000);
  }
  EXPECT_EQ(toF16(65519.0f), 0x7bff);
  EXPECT_EQ(toF16(65520.0f), 0x7c00);
  EXPECT_EQ(toF16(1e30f), 0x7c00);
  EXPECT_EQ(toBF16(bitsToFloat(0x3f808000)), 0x3f80);
  EXPECT_EQ(toBF16(bitsToFloat(0x3f818000)), 0x3f82);
  EXPECT_EQ(toBF16(bitsToFloat(0x7f7fffff)), 0x7f80);
}
