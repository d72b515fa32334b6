//===- QuantizedWeight.h - integers as a model stores them ------*- C++ -*-===//
#pragma once
#include "runtime/Kernels/Quantized/QuantizedKernels.h"
#include "runtime/Kernels/Support.h"

namespace comm::rt {

/// The operands of quantized_matmul but its input; see docs/reference/commands.md.
struct QuantizedWeight {
  int64_t bits = 4, block = 32, blocks = 0, k = 0, n = 0;
  bool isSigned = false, kMajor = false;
  exe::Shape scaleShape; ///< [n or 1, blocks or 1]; kMajor: the other way round
  exe::DType scaleType = exe::DType::F32;
  bool hasZeros = false, floatZeros = false;
  const uint8_t *numbers = nullptr, *zeros = nullptr; ///< where the bytes are, or null
  const void *scales = nullptr;

  QuantizedFormat format() const;
  int64_t panels() const { return (n + quantizedColumns - 1) / quantizedColumns; }
  int64_t panelBytes() const { return format().blockBytes * blocks; }
};

/// Packs panels [begin, end) as QuantizedKernels.h says; columns past the last have zero for a scale.
void packQuantized(const QuantizedWeight &, int64_t begin, int64_t end, char *out);

} // namespace comm::rt
