//===- TileBody.h - f32 loops; included once per instruction set -*- C++ -*-===//
// Plain loops that the compiler turns into vectors. Polynomials were fitted to double precision values (Chebyshev, then
// rounded); relative errors against those: exp and tanh 8e-8, erf 1e-7. Everything is local and calls builtins only: an
// inline function shared with other files could be linked in the version of the highest instruction set.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Tile/TileLoops.h"
#include <cstring>

namespace {
using comm::rt::TileLoop;

inline float bitsToFloat(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t floatToBits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}
inline float powerOfTwo(int32_t n) { return bitsToFloat(static_cast<uint32_t>(n + 127) << 23); }

inline float expOf(float x) {
  float clamped = x > -104.0f ? x : -104.0f; // a NaN too
  clamped = clamped > 89.0f ? 89.0f : clamped;
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
  float shifted = clamped * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
  float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 0.5f + r * (0.16666577f + r * (0.041666464f + r * (0.0083632492f + r * 0.0013933753f)));
  float e = 1.0f + (r + r * r * p);
  // In two factors: the result may be denormal or infinite.
  auto whole = static_cast<int32_t>(n), first = whole / 2;
  float y = e * powerOfTwo(first) * powerOfTwo(whole - first);
  return x == x ? y : x;
}

inline float tanhOf(float x) {
  float a = __builtin_fabsf(x), u = x * x;
  float p = -0.33333333f +
            u * (0.13333301f + u * (-0.053958624f + u * (0.021763633f + u * (-0.0083264013f + u * 0.002272704f))));
  float small = x + x * u * p, large = __builtin_copysignf(1.0f - 2.0f / (expOf(2.0f * a) + 1.0f), x);
  return a < 0.625f ? small : large;
}

inline float erfOf(float x) {
  float a = __builtin_fabsf(x), u = x * x, t = a > 4.0f ? 4.0f : a;
  float p = -8.4843965e-4f + u * (1.1268254e-4f + u * -9.6735906e-6f);
  p = 0.12837917f + u * (-0.37612638f + u * (0.11283783f + u * (-0.026865438f + u * (0.0052210534f + u * p))));
  float q = 0.0047402223f + t * (-5.9276954e-4f + t * (4.5590622e-5f + t * -1.6140616e-6f));
  q = -3.0321297e-4f + t * (1.1301667f + t * (0.63193709f + t * (0.10997825f + t * (-0.026364717f + t * q))));
  float large = __builtin_copysignf(1.0f - expOf(-q), x);
  float y = a < 1.0f ? x + x * p : large;
  return x == x ? y : x;
}

inline float sigmoidOf(float x) { return 1.0f / (1.0f + expOf(-x)); }
// One operand that is NaN makes the result NaN; of zeros of both signs +0 is the greater.
inline float maximumOf(float a, float b) {
  float y = a > b || (a == b && floatToBits(a) < floatToBits(b)) ? a : b;
  return a == a ? (b == b ? y : b) : a;
}
inline float minimumOf(float a, float b) {
  float y = a < b || (a == b && floatToBits(a) > floatToBits(b)) ? a : b;
  return a == a ? (b == b ? y : b) : a;
}

#define COMM_UNARY(NAME, VALUE)                                                                                        \
  void NAME(const void *const *ins, void *out, int64_t n) {                                                            \
    const auto *xs = static_cast<const float *>(ins[0]);                                                               \
    auto *ys = static_cast<float *>(out);                                                                              \
    for (int64_t i = 0; i < n; ++i) {                                                                                  \
      float x = xs[i];                                                                                                 \
      ys[i] = VALUE;                                                                                                   \
    }                                                                                                                  \
  }
#define COMM_BINARY(NAME, VALUE)                                                                                       \
  void NAME(const void *const *ins, void *out, int64_t n) {                                                            \
    const auto *as = static_cast<const float *>(ins[0]), *bs = static_cast<const float *>(ins[1]);                     \
    auto *ys = static_cast<float *>(out);                                                                              \
    for (int64_t i = 0; i < n; ++i) {                                                                                  \
      float a = as[i], b = bs[i];                                                                                      \
      ys[i] = VALUE;                                                                                                   \
    }                                                                                                                  \
  }

COMM_UNARY(negLoop, -x)
COMM_UNARY(absLoop, __builtin_fabsf(x))
COMM_UNARY(sqrtLoop, __builtin_sqrtf(x))
COMM_UNARY(rsqrtLoop, 1.0f / __builtin_sqrtf(x))
COMM_UNARY(expLoop, expOf(x))
COMM_UNARY(tanhLoop, tanhOf(x))
COMM_UNARY(erfLoop, erfOf(x))
COMM_UNARY(siluLoop, x *sigmoidOf(x))
COMM_UNARY(geluErfLoop, 0.5f * x * (1.0f + erfOf(x * 0.70710678f)))
COMM_UNARY(geluTanhLoop, 0.5f * x * (1.0f + tanhOf(0.79788456f * (x + 0.044715f * x * x * x))))
COMM_UNARY(floorLoop, __builtin_floorf(x))
COMM_UNARY(ceilLoop, __builtin_ceilf(x))
COMM_UNARY(truncLoop, __builtin_truncf(x))
COMM_UNARY(roundEvenLoop, __builtin_rintf(x))
COMM_BINARY(addLoop, a + b)
COMM_BINARY(subLoop, a - b)
COMM_BINARY(mulLoop, a *b)
COMM_BINARY(divLoop, a / b)
COMM_BINARY(maximumLoop, maximumOf(a, b))
COMM_BINARY(minimumLoop, minimumOf(a, b))
#undef COMM_UNARY
#undef COMM_BINARY

TileLoop loopOf(const char *op, const char *kind) {
  struct Named {
    const char *op, *kind;
    TileLoop loop;
  };
  static const Named loops[] = {{"negf", "", negLoop},         {"absf", "", absLoop},
                                {"sqrt", "", sqrtLoop},        {"rsqrt", "", rsqrtLoop},
                                {"exp", "", expLoop},          {"tanh", "", tanhLoop},
                                {"erf", "", erfLoop},          {"silu", "", siluLoop},
                                {"gelu", "erf", geluErfLoop},  {"gelu", "tanh", geluTanhLoop},
                                {"floor", "", floorLoop},      {"ceil", "", ceilLoop},
                                {"trunc", "", truncLoop},      {"roundeven", "", roundEvenLoop},
                                {"addf", "", addLoop},         {"subf", "", subLoop},
                                {"mulf", "", mulLoop},         {"divf", "", divLoop},
                                {"maximumf", "", maximumLoop}, {"minimumf", "", minimumLoop}};
  for (const Named &named : loops)
    if (!std::strcmp(op, named.op) && !std::strcmp(kind, named.kind))
      return named.loop;
  return nullptr;
}

/// Sum of term(i) in lanes, which vectors can hold without reordering floats.
template <class Term> float sumOf(int64_t n, Term term) {
  constexpr int64_t lanes = 32;
  float lane[lanes] = {}, total = 0;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t l = 0; l < lanes; ++l)
      lane[l] += term(i + l);
  for (; i < n; ++i)
    total += term(i);
  for (float part : lane)
    total += part;
  return total;
}

void rmsNormRow(const float *x, const float *weight, float *y, int64_t n, float epsilon) {
  float squares = sumOf(n, [=](int64_t i) { return x[i] * x[i]; });
  float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i)
    y[i] = x[i] * scale * weight[i];
}

void layerNormRow(const float *x, const float *weight, const float *bias, float *y, int64_t n, float epsilon) {
  float mean = sumOf(n, [=](int64_t i) { return x[i]; }) / static_cast<float>(n);
  float squares = sumOf(n, [=](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
  float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + epsilon);
  if (bias)
    for (int64_t i = 0; i < n; ++i)
      y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
  else
    for (int64_t i = 0; i < n; ++i)
      y[i] = (x[i] - mean) * scale * weight[i];
}

void softmaxRow(const float *x, float *y, int64_t n) {
  float highest = x[0];
  for (int64_t i = 1; i < n; ++i)
    highest = maximumOf(x[i], highest);
  for (int64_t i = 0; i < n; ++i)
    y[i] = expOf(x[i] - highest);
  float scale = 1.0f / sumOf(n, [=](int64_t i) { return y[i]; });
  for (int64_t i = 0; i < n; ++i)
    y[i] *= scale;
}

void rotaryRow(const float *x, const float *cos, const float *sin, float *y, int64_t n, int64_t half,
               bool interleaved) {
  if (interleaved)
    for (int64_t i = 0; i < half; ++i) {
      float a = x[2 * i], b = x[2 * i + 1];
      y[2 * i] = a * cos[i] - b * sin[i];
      y[2 * i + 1] = b * cos[i] + a * sin[i];
    }
  else
    for (int64_t i = 0; i < half; ++i) {
      float a = x[i], b = x[half + i];
      y[i] = a * cos[i] - b * sin[i];
      y[half + i] = b * cos[i] + a * sin[i];
    }
  for (int64_t i = 2 * half; i < n; ++i)
    y[i] = x[i];
}

const comm::rt::TileTable table = {loopOf, {rmsNormRow, layerNormRow, softmaxRow, rotaryRow}};
} // namespace
