//===- Pack.h - right operands as panels ------------------------*- C++ -*-===//
#pragma once
#include "runtime/Kernels/Kernel.h"
#include "runtime/Kernels/Matmul/MicroKernel.h"
#include "runtime/Kernels/PackCache.h"

namespace comm::rt {

/// A right operand [k, n] (or [n, k] when transposed) and what its panels are to be.
struct RightMatrix {
  const char *data = nullptr;
  int64_t k = 0, n = 0;
  bool transposed = false;
  PanelType type = PanelType::F32; ///< of the panels
  bool fromF32 = false;            ///< the data is f32 and is rounded to nearest even while it is packed
  int64_t pairs = 0;               ///< bf16 only: panels of pairs of k, filled up to a multiple of so many
  int64_t elementBytes() const { return type == PanelType::F32 ? 4 : 2; }
  int64_t storedBytes() const { return fromF32 ? 4 : elementBytes(); }
  int64_t depth() const { return pairs ? (k + pairs - 1) / pairs * pairs : k; }
};

/// Packs panels [begin, end) of `matrix`: panel p holds columns [p * width, (p + 1) * width) as [depth][width], or as
/// [depth / 2][width][2], zero-filled on the right and below.
void packPanels(const RightMatrix &matrix, int64_t width, int64_t begin, int64_t end, char *out);
/// The part of packPanels that rounds or makes pairs.
void packNarrowPanels(const RightMatrix &matrix, int64_t width, int64_t begin, int64_t end, char *out);
/// Copies rows x k of a left operand as f32 with row stride `outStride`. Element (i, j) is at i * rowStride + j *
/// columnStride.
void packRows(exe::DType type, const char *a, int64_t rowStride, int64_t columnStride, int64_t rows, int64_t k,
              float *out, int64_t outStride);

/// All matrices of a constant right operand, packed.
struct PackedWeight {
  PackedBytes memory;
  int64_t matrixBytes = 0;
};
/// Packs `matrices` consecutive matrices, or finds them in the cache. `fresh` tells which.
std::shared_ptr<const PackedWeight> packWeight(PackCache *cache, uint64_t key, const RightMatrix &first,
                                               int64_t matrices, int64_t width, bool &fresh);

} // namespace comm::rt
