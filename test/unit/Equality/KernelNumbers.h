//===- KernelNumbers.h - numbers of an evaluation as bytes ----------------===//
#pragma once
#include "KernelEvaluator.h"
#include <cmath>
#include <cstring>
#include <random>
#include <string>

namespace comm::proof {
using exe::DType;
using exe::TensorType;

inline Numbers randomNumbers(const TensorType &type, double low, std::mt19937 &random) {
  Numbers out{type.dtype, type.shape, {}, {}};
  size_t n = size_t(exe::numElements(type.shape));
  if (isFloat(type.dtype))
    for (size_t i = 0; i < n; ++i) // values that every float type holds exactly
      out.floats.push_back(std::round(std::uniform_real_distribution<>(low, 2)(random) * 64) / 64);
  else
    for (size_t i = 0; i < n; ++i)
      out.ints.push_back(std::uniform_int_distribution<int64_t>(0, type.dtype == DType::Bool ? 1 : 3)(random));
  return out;
}

template <class T> void put(uint8_t *&at, T value) {
  std::memcpy(at, &value, sizeof value);
  at += sizeof value;
}

inline std::vector<uint8_t> toBytes(const Numbers &x) {
  std::vector<uint8_t> out(size_t(exe::byteSize(x.dtype, x.shape)));
  uint8_t *at = out.data();
  for (double v : x.floats)
    switch (x.dtype) {
    case DType::F64:
      put(at, v);
      break;
    case DType::F16:
      put(at, _Float16(v));
      break;
    case DType::BF16: {
      float f = float(v);
      uint32_t bits;
      std::memcpy(&bits, &f, 4);
      put(at, uint16_t(bits >> 16));
      break;
    }
    default:
      put(at, float(v));
    }
  for (int64_t v : x.ints) {
    std::memcpy(at, &v, size_t(exe::byteWidth(x.dtype)));
    at += exe::byteWidth(x.dtype);
  }
  return out;
}

inline double floatAt(const std::vector<uint8_t> &bytes, DType t, size_t i) {
  const uint8_t *at = bytes.data() + i * size_t(exe::byteWidth(t));
  if (t == DType::F64) {
    double v;
    return std::memcpy(&v, at, 8), v;
  }
  if (t == DType::F16) {
    _Float16 v;
    return std::memcpy(&v, at, 2), double(v);
  }
  uint32_t bits = 0;
  std::memcpy(t == DType::BF16 ? reinterpret_cast<uint8_t *>(&bits) + 2 : reinterpret_cast<uint8_t *>(&bits), at,
              size_t(exe::byteWidth(t)));
  float v;
  return std::memcpy(&v, &bits, 4), double(v);
}

/// Empty when they are the same within the tolerance of the type: relative to the largest element.
inline std::string difference(const Numbers &want, const std::vector<uint8_t> &got) {
  double largest = 1, tolerance = want.dtype == DType::F16 ? 2e-3 : want.dtype == DType::BF16 ? 1e-2 : 1e-5;
  for (double v : want.floats)
    if (std::isfinite(v))
      largest = std::max(largest, std::fabs(v));
  for (size_t i = 0; i < want.floats.size(); ++i) {
    double g = floatAt(got, want.dtype, i), w = want.floats[i];
    bool same = std::isfinite(w) && std::fabs(w) <= 3.4e38 ? std::fabs(g - w) <= tolerance * largest
                                                           : g == w || g == double(float(w));
    if (!same)
      return "element " + std::to_string(i) + " is " + std::to_string(g) + ", declared " + std::to_string(w);
  }
  size_t width = size_t(exe::byteWidth(want.dtype));
  for (size_t i = 0; i < want.ints.size(); ++i)
    if (std::memcmp(got.data() + i * width, &want.ints[i], width) != 0)
      return "element " + std::to_string(i) + " is not the declared " + std::to_string(want.ints[i]);
  return "";
}

} // namespace comm::proof
