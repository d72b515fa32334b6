//===- Convert.h - f16 and bf16 as f32 --------------------------*- C++ -*-===//
// Scalar forms and arrays. Rounding to nearest even; NaNs stay NaNs.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include <cstdint>
#include <cstring>

namespace comm::rt {

inline float bitsToFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t floatToBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

inline float fromBF16(uint16_t half) { return bitsToFloat(uint32_t(half) << 16); }
inline uint16_t toBF16(float value) {
  uint32_t u = floatToBits(value);
  uint32_t rounded = u + 0x7fff + ((u >> 16) & 1);
  bool nan = (u & 0x7fffffff) > 0x7f800000;
  return uint16_t((nan ? (u | 0x400000) : rounded) >> 16);
}

inline float fromF16(uint16_t half) {
  // Exponents are re-biased by a multiplication, which also normalises denormals.
  uint32_t magnitude = half & 0x7fff, sign = uint32_t(half & 0x8000) << 16;
  float normal = bitsToFloat(magnitude << 13) * 0x1p112f;
  uint32_t bits = magnitude >= 0x7c00 ? (magnitude << 13) + 0x70000000 : floatToBits(normal);
  return bitsToFloat(bits | sign);
}
inline uint16_t toF16(float value) {
  uint32_t u = floatToBits(value), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000)
    return uint16_t(sign | 0x7e00 | ((magnitude >> 13) & 0x1ff));
  if (magnitude >= 0x477ff000) // rounds to 65536 or more
    return uint16_t(sign | 0x7c00);
  if (magnitude < 0x38800000) // denormal or zero: let the f32 adder round at the right place
    return uint16_t(sign | (floatToBits(bitsToFloat(magnitude) + 0.5f) - 0x3f000000));
  uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return uint16_t(sign | ((rounded - 0x38000000) >> 13));
}

// How elements are stored and computed with: a type that is its own accumulator, and the halves in f32.
template <class T> struct PlainElement {
  using Stored = T;
  using Wide = T;
  static T widen(T x) { return x; }
  static T narrow(T x) { return x; }
};
struct F16Element {
  using Stored = uint16_t;
  using Wide = float;
  static float widen(uint16_t x) { return fromF16(x); }
  static uint16_t narrow(float x) { return toF16(x); }
};
struct BF16Element {
  using Stored = uint16_t;
  using Wide = float;
  static float widen(uint16_t x) { return fromBF16(x); }
  static uint16_t narrow(float x) { return toBF16(x); }
};

/// `count` elements of F32, F16 or BF16 to f32 and back.
void convertToF32(exe::DType type, const void *in, float *out, int64_t count);
void convertFromF32(exe::DType type, const float *in, void *out, int64_t count);

} // namespace comm::rt
