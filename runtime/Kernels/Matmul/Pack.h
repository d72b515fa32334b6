//===- Pack.h - right operands as panels ------------------------*- C++ -*-===//
#pragma once
#include "runtime/Kernels/Kernel.h"
#include "runtime/Kernels/Matmul/MicroKernel.h"
#include "runtime/Kernels/PackCache.h"

namespace comm::rt {

/// A right operand [k, n] (or [n, k] when transposed) of PanelType elements.
struct RightMatrix {
  const char *data = nullptr;
  int64_t k = 0, n = 0;
  bool transposed = false;
  PanelType type = PanelType::F32;
  int64_t elementBytes() const { return type == PanelType::F32 ? 4 : 2; }
};

/// Packs panels [begin, end) of `matrix`: panel p holds columns [p * width, (p + 1) * width) as [k][width], zero-filled
/// on the right.
void packPanels(const RightMatrix &matrix, int64_t width, int64_t begin, int64_t end, char *out);
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
