//===- QuantizedKernels.h - products with packed integers, by ISA -*- C++ -*-===//
// As MicroKernel.h: files compiled for one ISA include only this header and QuantizedBody.h, and nothing inline is
// here.
//
// A panel holds 16 columns: of one block of k after the other 64-byte groups, then 16 f32 scales and, with zero points,
// 16 f32 offsets. A group of 8-bit numbers holds 4 of k, byte 4c + j that of column c; one of 4-bit numbers holds 8,
// the high halves those of k + 4. Numbers are stored as unsigned and stand for `number - 2^(bits - 1) + offset`, times
// the scale.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>

namespace comm::rt {

struct QuantizedFormat {
  int64_t block = 0;      ///< numbers of k that share a scale; a multiple of 16
  int64_t blocks = 0;     ///< of k
  int64_t groups = 0;     ///< of a block
  int64_t blockBytes = 0; ///< of one block of a panel
  bool hasOffsets = false;
};
constexpr int64_t quantizedColumns = 16; ///< of a panel
constexpr int64_t quantizedRows = 4;     ///< most rows of one call

/// c[rows, 16 panels] = x times `panels` panels that follow each other, 1 <= rows <= quantizedRows. x has blocks *
/// block numbers in a row (zeros behind k). `sums`: of each row and block of x, used with offsets; `ld`: numbers in a
/// row of the operand before it.
using QuantizedFloats = void (*)(const QuantizedFormat &, int64_t rows, int64_t panels, const float *x, int64_t ldx,
                                 const float *sums, const char *panel, float *c, int64_t ldc);
/// The same for x = integers * scale, a scale per row and block. Integers in [-127, 127].
using QuantizedIntegers = void (*)(const QuantizedFormat &, int64_t rows, int64_t panels, const int8_t *x, int64_t ldx,
                                   const float *scales, const int32_t *sums, const char *panel, float *c, int64_t ldc);
/// out[i, 0..16) = the numbers of `blocks` blocks of a panel from `first` on, as f32 with scale, rows ldo apart.
using QuantizedExpand = void (*)(const QuantizedFormat &, const char *panel, int64_t first, int64_t blocks, float *out,
                                 int64_t ldo);

struct QuantizedKernels {
  const char *name;
  QuantizedFloats floats[2]; ///< 4 bits, 8 bits
  QuantizedIntegers integers[2];
  QuantizedExpand expand[2];
  /// Sums of each block of x.
  void (*sums)(const float *x, int64_t block, int64_t blocks, float *out);
  /// Each block of x rounded to integers of [-127, 127] times its scale; `sums` of these integers. A block with an
  /// infinity or a NaN gets NaN for its scale.
  void (*quantise)(const float *x, int64_t block, int64_t blocks, int8_t *out, float *scales, int32_t *sums);
};

/// Null where this build has none.
const QuantizedKernels *portableQuantizedKernels(); ///< never null
const QuantizedKernels *avx2QuantizedKernels();
const QuantizedKernels *avx512QuantizedKernels(); ///< needs AVX512_VNNI as well

} // namespace comm::rt
