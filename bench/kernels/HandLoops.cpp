//===- HandLoops.cpp - the loops of a model, written by hand --------------===//
// Built with -march=native. Tails of rows go through masked loads where there are any (AVX-512), else rows are
// multiples of 16 numbers.
//===----------------------------------------------------------------------===//
#include "HandLoops.h"
#include <cmath>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {
using comm::bench::HandShape;
typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef int8_t B __attribute__((vector_size(16)));

template <typename V, typename T> inline V get(const T *from) {
  V value;
  std::memcpy(&value, from, sizeof(V));
  return value;
}
template <typename V, typename T> inline void put(T *to, V value) { std::memcpy(to, &value, sizeof(V)); }
inline F load(const float *from) { return get<F>(from); }
inline F all(float x) { return x - F{}; }

// b where a is NaN, as the instruction does it.
inline F larger(F a, F b) {
#if defined(__AVX512F__)
  return (F)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return a > b ? a : b;
#endif
}
inline F smaller(F a, F b) {
#if defined(__AVX512F__)
  return (F)_mm512_min_ps((__m512)a, (__m512)b);
#else
  return a < b ? a : b;
#endif
}
inline float sumOf(F x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x);
#else
  float total = 0;
  for (int i = 0; i < 16; ++i)
    total += x[i];
  return total;
#endif
}
inline float largestOf(F x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)x);
#else
  float most = x[0];
  for (int i = 1; i < 16; ++i)
    most = x[i] > most ? x[i] : most;
  return most;
#endif
}
inline F nearest(F x) {
#if defined(__AVX512F__)
  return (F)_mm512_roundscale_ps((__m512)x, 8);
#else
  return __builtin_elementwise_roundeven(x);
#endif
}

/// e^x to 1e-7; 0 below -87. Adding 1.5 * 2^23 leaves n in the low bits, from where it becomes the exponent of 2^(n -
/// 1).
inline F exponential(F given) {
  constexpr float shift = 12582912 + 126;
  F x = smaller(all(89), given), shifted = x * 1.44269504f + shift, n = shifted - shift;
  F r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  F y = 2.0000002f + r * (1.9999994f + r * (0.999977f + r * (0.33335224f + r * (0.0838407f + r * 0.016593879f))));
  y *= (F)((I)shifted << 23);
  return (F)((I)y & (given >= -87.0f));
}
/// Abramowitz and Stegun 7.1.26: 1.5e-7 of erf.
inline F errorFunction(F x) {
  F a = (F)((I)x & 0x7fffffff), t = 1.0f / (1.0f + 0.3275911f * a);
  F p = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  F y = 1.0f - p * exponential(-a * a);
  return (F)((I)y | ((I)x & int32_t(0x80000000)));
}

typedef uint16_t N __attribute__((vector_size(32))); // 16 numbers of bf16
inline F wide(const uint16_t *from) { return (F)(__builtin_convertvector(get<N>(from), I) << 16); }
inline void narrow(uint16_t *to, F x) {
#if defined(__AVX512BF16__)
  put(to, _mm512_cvtneps_pbh((__m512)x));
#else
  I bits = (I)x;
  put(to, __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, N));
#endif
}

template <typename T> const T *in(void *const *buffers, int i) { return static_cast<const T *>(buffers[i]); }
template <typename T> T *out(void *const *buffers, int i) { return static_cast<T *>(buffers[i]); }

/// Calls step(column, number of the sum) for all of a row, four sums at a time, and adds them up.
template <typename Step> inline float fourSums(int64_t n, Step step) {
  F sum[4] = {};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64)
    for (int k = 0; k < 4; ++k)
      step(i + 16 * k, sum[k]);
  for (; i < n; i += 16)
    step(i, sum[0]);
  return sumOf((sum[0] + sum[1]) + (sum[2] + sum[3]));
}
template <typename Step> inline void each(int64_t n, Step step) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32)
    step(i), step(i + 16);
  for (; i < n; i += 16)
    step(i);
}
} // namespace

namespace comm::bench {
bool handLoopsRunHere() {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

void handRmsNorm(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  const float *w = in<float>(buffers, 1);
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n;
    float *y = out<float>(buffers, 2) + row * s.n;
    float squares = fourSums(s.n, [&](int64_t i, F &sum) { sum += load(x + i) * load(x + i); });
    F scale = all(1.0f / std::sqrt(squares / float(s.n) + s.epsilon));
    each(s.n, [&](int64_t i) { put(y + i, load(x + i) * scale * load(w + i)); });
  }
}

void handAddRmsNorm(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  const float *w = in<float>(buffers, 2);
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n, *r = in<float>(buffers, 1) + row * s.n;
    float *total = out<float>(buffers, 3) + row * s.n, *y = out<float>(buffers, 4) + row * s.n;
    float squares = fourSums(s.n, [&](int64_t i, F &sum) {
      F v = load(x + i) + load(r + i);
      put(total + i, v);
      sum += v * v;
    });
    F scale = all(1.0f / std::sqrt(squares / float(s.n) + s.epsilon));
    each(s.n, [&](int64_t i) { put(y + i, load(total + i) * scale * load(w + i)); });
  }
}

/// Mean, then the variance about it (the one-pass form loses digits), then the result. `y` holds the row meanwhile.
static void layerNormRow(const HandShape &s, float mean, const float *x, const float *w, const float *b, float *y) {
  F m = all(mean / float(s.n));
  float squares = fourSums(s.n, [&](int64_t i, F &sum) {
    F v = load(x + i) - m;
    sum += v * v;
  });
  F scale = all(1.0f / std::sqrt(squares / float(s.n) + s.epsilon));
  each(s.n, [&](int64_t i) { put(y + i, (load(x + i) - m) * scale * load(w + i) + load(b + i)); });
}

void handLayerNorm(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n;
    float mean = fourSums(s.n, [&](int64_t i, F &sum) { sum += load(x + i); });
    layerNormRow(s, mean, x, in<float>(buffers, 1), in<float>(buffers, 2), out<float>(buffers, 3) + row * s.n);
  }
}

void handBiasAddLayerNorm(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  const float *bias = in<float>(buffers, 1);
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n, *r = in<float>(buffers, 2) + row * s.n;
    float *y = out<float>(buffers, 5) + row * s.n;
    float mean = fourSums(s.n, [&](int64_t i, F &sum) {
      F v = load(x + i) + load(bias + i) + load(r + i);
      put(y + i, v);
      sum += v;
    });
    layerNormRow(s, mean, y, in<float>(buffers, 3), in<float>(buffers, 4), y);
  }
}

/// The row to y less its largest, as exponentials, then times 1 / their sum.
template <typename Value> static void softmaxRow(int64_t n, float *y, Value value) {
  F most[4] = {value(0), value(0), value(0), value(0)};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64)
    for (int k = 0; k < 4; ++k)
      most[k] = larger(most[k], value(i + 16 * k));
  for (; i < n; i += 16)
    most[0] = larger(most[0], value(i));
  F top = all(largestOf(larger(larger(most[0], most[1]), larger(most[2], most[3]))));
  float sum = fourSums(n, [&](int64_t k, F &part) {
    F e = exponential(value(k) - top);
    put(y + k, e);
    part += e;
  });
  F scale = all(1.0f / sum);
  each(n, [&](int64_t k) { put(y + k, load(y + k) * scale); });
}

void handSoftmax(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n;
    softmaxRow(s.n, out<float>(buffers, 1) + row * s.n, [&](int64_t i) { return load(x + i); });
  }
}

void handMaskedSoftmax(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n, *mask = in<float>(buffers, 1) + row % s.tokens * s.n;
    softmaxRow(s.n, out<float>(buffers, 2) + row * s.n,
               [&](int64_t i) { return load(x + i) * s.scale + load(mask + i); });
  }
}

static inline void rotaryRows(int64_t half, int64_t tokens, const float *x, const float *cos, const float *sin,
                              float *y) {
  for (int64_t token = 0; token < tokens; ++token, x += 2 * half, y += 2 * half, cos += half, sin += half)
    for (int64_t i = 0; i < half; i += 16) {
      F a = load(x + i), b = load(x + half + i), c = load(cos + i), d = load(sin + i);
      put(y + i, a * c - b * d);
      put(y + half + i, b * c + a * d);
    }
}

void handRotary(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  const float *cos = in<float>(buffers, 1), *sin = in<float>(buffers, 2);
  int64_t headSize = s.tokens * s.n;
  const float *x = in<float>(buffers, 0) + begin * headSize;
  float *y = out<float>(buffers, 3) + begin * headSize;
  for (int64_t head = begin; head < end; ++head, x += headSize, y += headSize)
    if (s.n == 64) // what most models have, without a loop
      rotaryRows(32, s.tokens, x, cos, sin, y);
    else
      rotaryRows(s.n / 2, s.tokens, x, cos, sin, y);
}

void handBiasGeluErf(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  const float *bias = in<float>(buffers, 1);
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n;
    float *y = out<float>(buffers, 2) + row * s.n;
    each(s.n, [&](int64_t i) {
      F v = load(x + i) + load(bias + i), h = v * 0.5f;
      put(y + i, h + h * errorFunction(v * 0.70710678f));
    });
  }
}

/// 1 + tanh(u) = 2 / (1 + e^-2u)
void handGeluTanh(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n;
    float *y = out<float>(buffers, 1) + row * s.n;
    each(s.n, [&](int64_t i) {
      F v = load(x + i), u = v * (1.5957691216f + 0.0713548162726f * (v * v));
      put(y + i, v / (1.0f + exponential(-u)));
    });
  }
}

void handSiluMul(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *gate = in<float>(buffers, 0) + row * s.n, *up = in<float>(buffers, 1) + row * s.n;
    float *y = out<float>(buffers, 2) + row * s.n;
    each(s.n, [&](int64_t i) {
      F g = load(gate + i);
      put(y + i, g / (1.0f + exponential(-g)) * load(up + i));
    });
  }
}

void handBiasAdd(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  const float *bias = in<float>(buffers, 1);
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n, *r = in<float>(buffers, 2) + row * s.n;
    float *y = out<float>(buffers, 3) + row * s.n;
    each(s.n, [&](int64_t i) { put(y + i, load(x + i) + load(bias + i) + load(r + i)); });
  }
}

void handAdd(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  const float *x = in<float>(buffers, 0), *r = in<float>(buffers, 1);
  float *y = out<float>(buffers, 2);
  int64_t first = begin * s.n;
  each((end - begin) * s.n, [&](int64_t i) { put(y + first + i, load(x + first + i) + load(r + first + i)); });
}

static inline B bytesOf(F x) { return __builtin_convertvector(__builtin_convertvector(x, I), B); }

void handQuantiseRows(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n;
    auto *q = out<int8_t>(buffers, 1) + row * s.n;
    F most[4] = {};
    for (int64_t i = 0; i < s.n; i += 64)
      for (int k = 0; k < 4; ++k)
        most[k] = larger(most[k], (F)(get<I>(x + i + 16 * k) & 0x7fffffff));
    float top = largestOf(larger(larger(most[0], most[1]), larger(most[2], most[3])));
    out<float>(buffers, 2)[row] = top * (1.0f / 127);
    F factor = all(127 / top);
    each(s.n, [&](int64_t i) {
      F v = nearest(load(x + i) * factor);
      put(q + i, bytesOf(larger(all(-127), smaller(all(127), v))));
    });
  }
}

void handQuantiseLinear(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  F scale = all(*in<float>(buffers, 1));
  for (int64_t row = begin; row < end; ++row) {
    const float *x = in<float>(buffers, 0) + row * s.n;
    auto *q = out<int8_t>(buffers, 2) + row * s.n;
    each(s.n, [&](int64_t i) {
      F v = nearest(load(x + i) / scale); // a product with 1 / scale rounds elsewhere
      put(q + i, bytesOf(larger(all(-128), smaller(all(127), v))));
    });
  }
}

void handDynamicQuantise(const HandShape &s, void *const *buffers, int64_t, int64_t) {
  const float *x = in<float>(buffers, 0);
  auto *q = out<uint8_t>(buffers, 1);
  F most[2] = {}, least[2] = {};
  each(s.n, [&](int64_t i) {
    most[i / 16 % 2] = larger(most[i / 16 % 2], load(x + i));
    least[i / 16 % 2] = smaller(least[i / 16 % 2], load(x + i));
  });
  float top = largestOf(larger(most[0], most[1])), bottom = -largestOf(larger(-least[0], -least[1]));
  float scale = (top == bottom ? 1 : top - bottom) / 255, zero = std::nearbyint(std::fmin(-bottom / scale, 255.0f));
  *out<float>(buffers, 2) = scale;
  *out<uint8_t>(buffers, 3) = uint8_t(zero);
  each(s.n, [&](int64_t i) {
    F v = nearest(load(x + i) / all(scale)) + zero;
    put(q + i, bytesOf(larger(all(0), smaller(all(255), v))));
  });
}

void handDequantise8(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t i = begin * s.n; i < end * s.n; i += 32) {
    F scale = all(in<float>(buffers, 1)[i / 32]);
    for (int64_t k = i; k < i + 32; k += 16)
      put(out<float>(buffers, 2) + k, __builtin_convertvector(get<B>(in<int8_t>(buffers, 0) + k), F) * scale);
  }
}

void handDequantise4(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t i = begin * s.n; i < end * s.n; i += 32) {
    F zero = all(in<float>(buffers, 1)[i / 32]), scale = all(in<float>(buffers, 2)[i / 32]);
    for (int64_t k = i; k < i + 32; k += 16)
      put(out<float>(buffers, 3) + k, (__builtin_convertvector(get<B>(in<int8_t>(buffers, 0) + k), F) - zero) * scale);
  }
}

void handAddRmsNormNarrow(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  const auto *w = in<uint16_t>(buffers, 2);
  for (int64_t row = begin; row < end; ++row) {
    const auto *x = in<uint16_t>(buffers, 0) + row * s.n, *r = in<uint16_t>(buffers, 1) + row * s.n;
    auto *total = out<uint16_t>(buffers, 3) + row * s.n, *y = out<uint16_t>(buffers, 4) + row * s.n;
    float squares = fourSums(s.n, [&](int64_t i, F &sum) {
      F v = wide(x + i) + wide(r + i);
      narrow(total + i, v);
      sum += v * v;
    });
    F scale = all(1.0f / std::sqrt(squares / float(s.n) + s.epsilon));
    each(s.n, [&](int64_t i) { narrow(y + i, (wide(x + i) + wide(r + i)) * scale * wide(w + i)); });
  }
}

void handSoftmaxNarrow(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  constexpr int64_t most = 4096;
  alignas(64) float kept[most];
  for (int64_t row = begin; row < end && s.n <= most; ++row) {
    const auto *x = in<uint16_t>(buffers, 0) + row * s.n;
    auto *y = out<uint16_t>(buffers, 1) + row * s.n;
    softmaxRow(s.n, kept, [&](int64_t i) { return wide(x + i); });
    each(s.n, [&](int64_t i) { narrow(y + i, load(kept + i)); });
  }
}

void handSiluMulNarrow(const HandShape &s, void *const *buffers, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const auto *gate = in<uint16_t>(buffers, 0) + row * s.n, *up = in<uint16_t>(buffers, 1) + row * s.n;
    auto *y = out<uint16_t>(buffers, 2) + row * s.n;
    each(s.n, [&](int64_t i) {
      F g = wide(gate + i);
      narrow(y + i, g / (1.0f + exponential(-g)) * wide(up + i));
    });
  }
}
} // namespace comm::bench
