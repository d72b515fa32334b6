//===- QuantizedBody.h - the products for one ISA -------------------------===//
// Included once per ISA file, which defines before, in an unnamed namespace: F and I (16 lanes of f32 and i32) and
//   F number<Bits, Shift>(I group)       the signed number at bit `Shift` of every lane, offset aside
//   I start<Bits>(int32_t sum)           what the sum of products with x, of which `sum` is the sum, starts from
//   I dot<Bits>(I sum, I numbers, const int8_t *x)  adds four products per lane
// Everything here is in an unnamed namespace.
//===----------------------------------------------------------------------===//
namespace {
using comm::rt::QuantizedFormat;
typedef int8_t Bytes __attribute__((vector_size(16)));

template <typename T> inline T get(const void *from) {
  T value;
  __builtin_memcpy(&value, from, sizeof(T));
  return value;
}
inline void put(float *to, F value) { __builtin_memcpy(to, &value, sizeof(F)); }
inline F broadcast(float x) { return x - F{}; } // adding zero would change -0, so that it would have to be done
inline I broadcast(int32_t x) { return I{} + x; }

/// Calls body(number of k within the group, numbers) for all of one group.
template <int Bits, typename Body> inline void eachNumber(I group, Body body) {
  if constexpr (Bits == 4) {
    body(0, number<4, 0>(group));
    body(1, number<4, 8>(group));
    body(2, number<4, 16>(group));
    body(3, number<4, 24>(group));
    body(4, number<4, 4>(group));
    body(5, number<4, 12>(group));
    body(6, number<4, 20>(group));
    body(7, number<4, 28>(group));
  } else {
    body(0, number<8, 0>(group));
    body(1, number<8, 8>(group));
    body(2, number<8, 16>(group));
    body(3, number<8, 24>(group));
  }
}
template <int Bits> constexpr int64_t inGroup = Bits == 4 ? 8 : 4;

template <int Bits, int Rows, bool Offsets>
void floatPanels(const QuantizedFormat &f, int64_t panels, const float *x, int64_t ldx, const float *sums,
                 const char *panel, float *c, int64_t ldc) {
  constexpr int chains = Rows == 1 ? 4 : Rows == 2 ? 2 : 1; // enough sums at a time to hide the latency of one
  for (int64_t p = 0; p < panels; ++p, c += 16) {
    F total[Rows] = {};
    for (int64_t b = 0; b < f.blocks; ++b, panel += f.blockBytes) {
      F sum[Rows][chains] = {};
      const float *from = x + b * f.block;
      for (int64_t g = 0; g < f.groups; ++g, from += inGroup<Bits>)
        eachNumber<Bits>(get<I>(panel + 64 * g), [&](int64_t i, F w) __attribute__((always_inline)) {
          for (int r = 0; r < Rows; ++r)
            sum[r][i % chains] += w * broadcast(from[r * ldx + i]);
        });
      const char *behind = panel + 64 * f.groups;
      F scale = get<F>(behind);
      for (int r = 0; r < Rows; ++r) {
        F all = sum[r][0];
        for (int i = 1; i < chains; ++i)
          all += sum[r][i];
        if constexpr (Offsets)
          all += get<F>(behind + 64) * broadcast(sums[r * f.blocks + b]);
        total[r] += all * scale;
      }
    }
    for (int r = 0; r < Rows; ++r)
      put(c + r * ldc, total[r]);
  }
}

template <int Bits, int Rows, bool Offsets>
void integerPanels(const QuantizedFormat &f, int64_t panels, const int8_t *x, int64_t ldx, const float *scales,
                   const int32_t *sums, const char *panel, float *c, int64_t ldc) {
  for (int64_t p = 0; p < panels; ++p, c += 16) {
    F total[Rows] = {};
    for (int64_t b = 0; b < f.blocks; ++b, panel += f.blockBytes) {
      I even[Rows], odd[Rows] = {};
      for (int r = 0; r < Rows; ++r)
        even[r] = start<Bits>(sums[r * f.blocks + b]);
      const int8_t *from = x + b * f.block;
      if constexpr (Bits == 4)
        for (int64_t g = 0; g < f.groups; ++g, from += 8) {
          if constexpr (Rows == 1) // the prefetcher of the CPU stops at each page: 15 % of a matrix in the third level
            __builtin_prefetch(panel + 64 * g + 4096);
          I both = get<I>(panel + 64 * g), low = both & 0x0f0f0f0f, high = (both >> 4) & 0x0f0f0f0f;
          for (int r = 0; r < Rows; ++r) {
            even[r] = dot<4>(even[r], low, from + r * ldx);
            odd[r] = dot<4>(odd[r], high, from + r * ldx + 4);
          }
        }
      else
        for (int64_t g = 0; g < f.groups; g += 2, from += 8) // a block is a multiple of 16: groups are even
          for (int r = 0; r < Rows; ++r) {
            even[r] = dot<8>(even[r], get<I>(panel + 64 * g), from + r * ldx);
            odd[r] = dot<8>(odd[r], get<I>(panel + 64 * g + 64), from + r * ldx + 4);
          }
      const char *behind = panel + 64 * f.groups;
      F scale = get<F>(behind);
      for (int r = 0; r < Rows; ++r) {
        F all = __builtin_convertvector(even[r] + odd[r], F);
        if constexpr (Offsets)
          all += get<F>(behind + 64) * broadcast(static_cast<float>(sums[r * f.blocks + b]));
        total[r] += all * (scale * broadcast(scales[r * f.blocks + b]));
      }
    }
    for (int r = 0; r < Rows; ++r)
      put(c + r * ldc, total[r]);
  }
}

template <int Bits, int Rows>
void floats(const QuantizedFormat &f, int64_t rows, int64_t panels, const float *x, int64_t ldx, const float *sums,
            const char *panel, float *c, int64_t ldc) {
  if constexpr (Rows > 0) {
    if (rows != Rows)
      return floats<Bits, Rows - 1>(f, rows, panels, x, ldx, sums, panel, c, ldc);
    if (f.hasOffsets)
      return floatPanels<Bits, Rows, true>(f, panels, x, ldx, sums, panel, c, ldc);
    return floatPanels<Bits, Rows, false>(f, panels, x, ldx, sums, panel, c, ldc);
  }
}

template <int Bits, int Rows>
void integers(const QuantizedFormat &f, int64_t rows, int64_t panels, const int8_t *x, int64_t ldx, const float *scales,
              const int32_t *sums, const char *panel, float *c, int64_t ldc) {
  if constexpr (Rows > 0) {
    if (rows != Rows)
      return integers<Bits, Rows - 1>(f, rows, panels, x, ldx, scales, sums, panel, c, ldc);
    if (f.hasOffsets)
      return integerPanels<Bits, Rows, true>(f, panels, x, ldx, scales, sums, panel, c, ldc);
    return integerPanels<Bits, Rows, false>(f, panels, x, ldx, scales, sums, panel, c, ldc);
  }
}

template <int Bits>
void expand(const QuantizedFormat &f, const char *panel, int64_t first, int64_t blocks, float *out, int64_t ldo) {
  panel += first * f.blockBytes;
  for (int64_t b = 0; b < blocks; ++b, panel += f.blockBytes) {
    const char *behind = panel + 64 * f.groups;
    F scale = get<F>(behind), offset = f.hasOffsets ? get<F>(behind + 64) * scale : F{};
    for (int64_t g = 0; g < f.groups; ++g, out += inGroup<Bits> * ldo)
      eachNumber<Bits>(get<I>(panel + 64 * g),
                       [&](int64_t i, F w) __attribute__((always_inline)) { put(out + i * ldo, w * scale + offset); });
  }
}

void blockSums(const float *x, int64_t block, int64_t blocks, float *out) {
  for (int64_t b = 0; b < blocks; ++b, x += block) {
    F sum = get<F>(x);
    for (int64_t i = 16; i < block; i += 16)
      sum += get<F>(x + i);
    float all = 0;
    for (int i = 0; i < 16; ++i)
      all += sum[i];
    out[b] = all;
  }
}

void quantise(const float *x, int64_t block, int64_t blocks, int8_t *out, float *scales, int32_t *sums) {
  constexpr int32_t infinity = 0x7f800000, tiny = 0x03800000; // 2^-120: below, 127 / x is no number any more
  for (int64_t b = 0; b < blocks; ++b, x += block, out += block) {
    I most = {};
    for (int64_t i = 0; i < block; i += 16) { // magnitudes compare as integers; a NaN is above all
      I size = get<I>(x + i) & 0x7fffffff;
      most = size > most ? size : most;
    }
    int32_t top = most[0];
    for (int i = 1; i < 16; ++i)
      top = most[i] > top ? most[i] : top;
    float largest;
    __builtin_memcpy(&largest, &top, 4);
    bool usable = top < infinity && top >= tiny;
    scales[b] = usable ? largest / 127 : top < tiny ? 0 : __builtin_nanf("");
    F factor = broadcast(usable ? 127 / largest : 0.0f);
    const F shift = broadcast(12582912.0f); // 1.5 * 2^23: adding it rounds to the nearest integer
    I sum = {};
    for (int64_t i = 0; i < block; i += 16) {
      F rounded = get<F>(x + i) * factor + shift;
      I q = usable ? (I)rounded - (I)shift : I{};
      sum += q;
      Bytes bytes = __builtin_convertvector(q, Bytes);
      __builtin_memcpy(out + i, &bytes, 16);
    }
    int32_t all = 0;
    for (int i = 0; i < 16; ++i)
      all += sum[i];
    sums[b] = all;
  }
}
} // namespace

#define COMM_QUANTIZED_KERNELS(NAME)                                                                                   \
  {NAME,                                                                                                               \
   {floats<4, comm::rt::quantizedRows>, floats<8, comm::rt::quantizedRows>},                                           \
   {integers<4, comm::rt::quantizedRows>, integers<8, comm::rt::quantizedRows>},                                       \
   {expand<4>, expand<8>},                                                                                             \
   blockSums,                                                                                                          \
   quantise}
