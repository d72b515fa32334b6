//===- Tensor.cpp - arrays on the host ------------------------------------===//
#include "Tensor.h"
#include <cmath>
#include <cstring>
#include <limits>

namespace commrun {
namespace {
struct TypeInfo {
  const char *name;
  size_t width;
};
constexpr TypeInfo types[] = {{"f32", 4}, {"f16", 2}, {"bf16", 2}, {"f64", 8}, {"i64", 8}, {"i32", 4}, {"i16", 2},
                              {"i8", 1},  {"u64", 8}, {"u32", 4},  {"u16", 2}, {"u8", 1},  {"bool", 1}};

template <class T> T load(const uint8_t *p, int64_t i) {
  T v;
  std::memcpy(&v, p + static_cast<size_t>(i) * sizeof(T), sizeof(T));
  return v;
}
template <class T> void store(uint8_t *p, int64_t i, T v) {
  std::memcpy(p + static_cast<size_t>(i) * sizeof(T), &v, sizeof(T));
}

/// An integer element with its sign apart, so that every 64-bit value of both kinds has a place.
struct Integer {
  bool negative;
  uint64_t magnitude;
};
template <class T> Integer integerOf(const uint8_t *p, int64_t i) {
  T v = load<T>(p, i);
  return v < 0 ? Integer{true, ~static_cast<uint64_t>(v) + 1} : Integer{false, static_cast<uint64_t>(v)};
}
Integer integerAt(const Tensor &t, int64_t i) {
  const uint8_t *p = t.data.get();
  switch (t.dtype) {
  case COMM_I64:
    return integerOf<int64_t>(p, i);
  case COMM_I32:
    return integerOf<int32_t>(p, i);
  case COMM_I16:
    return integerOf<int16_t>(p, i);
  case COMM_I8:
    return integerOf<int8_t>(p, i);
  case COMM_U64:
    return {false, load<uint64_t>(p, i)};
  case COMM_U32:
    return {false, load<uint32_t>(p, i)};
  case COMM_U16:
    return {false, load<uint16_t>(p, i)};
  default:
    return {false, p[i]};
  }
}

bool isSigned(comm_dtype t) { return t == COMM_I64 || t == COMM_I32 || t == COMM_I16 || t == COMM_I8; }

bool fits(Integer v, comm_dtype to) {
  if (to == COMM_BOOL)
    return v.magnitude <= 1 && !v.negative;
  unsigned bits = static_cast<unsigned>(byteWidth(to)) * 8;
  if (!isSigned(to))
    return (!v.negative || v.magnitude == 0) && (bits == 64 || v.magnitude >> bits == 0);
  uint64_t limit = uint64_t(1) << (bits - 1);
  return v.negative ? v.magnitude <= limit : v.magnitude < limit;
}

void storeInteger(Tensor &t, int64_t i, Integer v) {
  uint64_t bits = v.negative ? ~v.magnitude + 1 : v.magnitude;
  std::memcpy(t.data.get() + static_cast<size_t>(i) * byteWidth(t.dtype), &bits, byteWidth(t.dtype)); // little-endian
}

void storeFloat(Tensor &t, int64_t i, double v) {
  uint8_t *p = t.data.get();
  if (t.dtype == COMM_F64)
    store(p, i, v);
  else if (t.dtype == COMM_F32)
    store(p, i, static_cast<float>(v));
  else
    store(p, i, t.dtype == COMM_F16 ? floatToHalf(static_cast<float>(v)) : floatToBfloat(static_cast<float>(v)));
}
} // namespace

size_t byteWidth(comm_dtype t) { return types[t].width; }
const char *dtypeName(comm_dtype t) { return types[t].name; }
bool isFloat(comm_dtype t) { return t == COMM_F32 || t == COMM_F16 || t == COMM_BF16 || t == COMM_F64; }

int64_t numElements(const std::vector<int64_t> &dims) {
  int64_t n = 1;
  for (int64_t d : dims)
    if (d < 0 || __builtin_mul_overflow(n, d, &n) || n > std::numeric_limits<int64_t>::max() / 16)
      throw Failure{2, "E202", "the shape " + shapeText(dims) + " is too large"};
  return n;
}

std::string shapeText(const std::vector<int64_t> &dims) {
  std::string out = "[";
  for (size_t i = 0; i < dims.size(); ++i)
    out += (i ? ", " : "") + std::to_string(dims[i]);
  return out + "]";
}

double Tensor::at(int64_t i) const {
  const uint8_t *p = data.get();
  switch (dtype) {
  case COMM_F64:
    return load<double>(p, i);
  case COMM_F32:
    return load<float>(p, i);
  case COMM_F16:
    return halfToFloat(load<uint16_t>(p, i));
  case COMM_BF16:
    return bfloatToFloat(load<uint16_t>(p, i));
  default: {
    Integer v = integerAt(*this, i);
    double d = static_cast<double>(v.magnitude);
    return v.negative ? -d : d;
  }
  }
}

std::shared_ptr<const Tensor> convert(const std::shared_ptr<const Tensor> &from, comm_dtype to,
                                      const std::string &what) {
  if (from->dtype == to)
    return from;
  std::string change = what + ": the array is " + dtypeName(from->dtype) + ", the model takes " + dtypeName(to);
  if (isFloat(from->dtype) != isFloat(to))
    throw Failure{2, "E203", change, "convert the array"};
  auto out = std::make_shared<Tensor>(to, from->dims);
  for (int64_t i = 0; i < from->count; ++i) {
    if (isFloat(to)) {
      storeFloat(*out, i, from->at(i));
      continue;
    }
    Integer v = integerAt(*from, i);
    if (!fits(v, to))
      throw Failure{2, "E203",
                    change + ", and " + (v.negative ? "-" : "") + std::to_string(v.magnitude) + " at element " +
                        std::to_string(i) + " does not fit"};
    storeInteger(*out, i, v);
  }
  return out;
}

float bfloatToFloat(uint16_t v) {
  uint32_t bits = static_cast<uint32_t>(v) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

uint16_t floatToBfloat(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (std::isnan(f))
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16); // round to nearest even
}

float halfToFloat(uint16_t h) {
  int exponent = (h >> 10) & 31;
  float mantissa = static_cast<float>(h & 1023), sign = h & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31)
    return (h & 1023) ? std::numeric_limits<float>::quiet_NaN() : sign * std::numeric_limits<float>::infinity();
  return exponent == 0 ? sign * std::ldexp(mantissa, -24) : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

uint16_t floatToHalf(float f) {
  uint16_t sign = std::signbit(f) ? 0x8000 : 0;
  float a = std::fabs(f);
  if (std::isnan(f))
    return static_cast<uint16_t>(sign | 0x7e00);
  if (a >= 65520.0f) // rounds to infinity
    return static_cast<uint16_t>(sign | 0x7c00);
  // nearbyint rounds to even in the default mode; a mantissa that rounds up to 1024 carries into the exponent by
  // itself.
  if (a < 6.103515625e-05f)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(a, 24))));
  int exponent;
  float m = std::frexp(a, &exponent); // a = m * 2^exponent, m in [0.5, 1)
  auto mantissa = static_cast<uint32_t>(std::nearbyint(std::ldexp(m, 11)));
  return static_cast<uint16_t>(sign | (((static_cast<uint32_t>(exponent) + 13) << 10) + mantissa));
}

} // namespace commrun
