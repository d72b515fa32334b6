//===- NarrowKernel.h - products of bf16 by the CPU's own units -*- C++ -*-===//
// One table of functions per way to compute. Files compiled for one ISA include only this header: an inline function of
// the standard library compiled there could be picked by the linker for every CPU.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>

namespace comm::rt {

/// bf16 times bf16, summed in f32. Panels hold pairs: [depth / 2][width][2], zero-filled to whole panels and to a
/// multiple of `depth` rows. Numbers below the normal ones count as zero, in operands and in sums.
///
/// An element of C is summed in an order that depends on k only, so that splitting rows or columns changes no bit, and
/// splitting k at multiples of `depth` neither. The order is another one for each table (docs/decisions/0061).
struct NarrowKernel {
  const char *name;
  int64_t width; ///< columns of a panel
  int64_t depth; ///< of k that one step sums
  /// Bytes of rows x k of a left operand as packLeft writes them.
  int64_t (*leftBytes)(int64_t rows, int64_t k);
  /// Rows of f32 (rounded to nearest even) or bf16, `stride` elements apart; `out` is aligned to 64 bytes.
  void (*packLeft)(bool isF32, const void *a, int64_t stride, int64_t rows, int64_t k, void *out);
  /// C[rows, panels * width] (+)= left * panels, k as packed; panels lie `panelStride` bytes apart.
  void (*multiply)(int64_t rows, int64_t k, const void *left, int64_t panels, const void *right, int64_t panelStride,
                   float *c, int64_t ldc, bool accumulate);
  /// Around any number of `multiply` on one thread.
  void (*begin)();
  void (*end)();
};

/// Null where this build has none.
const NarrowKernel *avx512NarrowKernel(); ///< AVX512_BF16
const NarrowKernel *amxNarrowKernel();    ///< AMX_BF16

} // namespace comm::rt
