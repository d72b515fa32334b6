//===- Pack.cpp - packing of both operands --------------------------------===//
#include "runtime/Kernels/Matmul/Pack.h"
#include "comm/Executable/RankMemory.h"
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Copy/Transpose.h"
#include <algorithm>
#include <cstring>
#include <new>
#include <string>

using namespace comm;
using namespace comm::rt;

/// Row-major B: rows are read in pieces of several panels, because short pieces a large stride apart defeat the
/// prefetcher.
template <typename T> static void packPlain(const RightMatrix &m, int64_t width, int64_t begin, int64_t end, T *out) {
  constexpr int64_t together = 4;
  const T *b = reinterpret_cast<const T *>(m.data);
  for (int64_t p = begin; p < end; p += together) {
    int64_t last = std::min(end, p + together);
    for (int64_t j = 0; j < m.k; ++j)
      for (int64_t q = p; q < last; ++q) {
        int64_t some = std::min(width, m.n - q * width);
        T *to = out + ((q - begin) * m.k + j) * width;
        std::memcpy(to, b + j * m.n + q * width, size_t(some) * sizeof(T));
        if (some < width)
          std::memset(to + some, 0, size_t(width - some) * sizeof(T));
      }
  }
}

/// B stored as [n, k]: blocks of k keep the written lines in the first cache level.
template <typename T>
static void packTransposed(const RightMatrix &m, int64_t width, int64_t begin, int64_t end, T *out) {
  constexpr int64_t step = 64;
  const T *b = reinterpret_cast<const T *>(m.data);
  for (int64_t p = begin; p < end; ++p, out += m.k * width) {
    int64_t first = p * width, some = std::min(width, m.n - first);
    for (int64_t j = 0; j < m.k; j += step)
      transposeTile(b + first * m.k + j, out + j * width, std::min(step, m.k - j), some, m.k, width);
    for (int64_t j = 0; some < width && j < m.k; ++j)
      std::memset(out + j * width + some, 0, size_t(width - some) * sizeof(T));
  }
}

template <typename T>
static void packTyped(const RightMatrix &m, int64_t width, int64_t begin, int64_t end, char *out) {
  if (m.transposed)
    packTransposed(m, width, begin, end, reinterpret_cast<T *>(out));
  else
    packPlain(m, width, begin, end, reinterpret_cast<T *>(out));
}

void comm::rt::packPanels(const RightMatrix &matrix, int64_t width, int64_t begin, int64_t end, char *out) {
  if (matrix.fromF32 || matrix.pairs)
    packNarrowPanels(matrix, width, begin, end, out);
  else if (matrix.type == PanelType::F32)
    packTyped<uint32_t>(matrix, width, begin, end, out);
  else
    packTyped<uint16_t>(matrix, width, begin, end, out);
}

void comm::rt::packRows(exe::DType type, const char *a, int64_t rowStride, int64_t columnStride, int64_t rows,
                        int64_t k, float *out, int64_t outStride) {
  if (columnStride == 1) {
    for (int64_t i = 0; i < rows; ++i)
      convertToF32(type, a + i * rowStride * exe::byteWidth(type), out + i * outStride, k);
    return;
  }
  if (type == exe::DType::F32) {
    constexpr int64_t step = 64;
    const float *from = reinterpret_cast<const float *>(a);
    for (int64_t i = 0; i < rows; i += step)
      for (int64_t j = 0; j < k; j += step)
        transposeTile(from + i + j * columnStride, out + i * outStride + j, std::min(step, rows - i),
                      std::min(step, k - j), columnStride, outStride);
    return;
  }
  const uint16_t *half = reinterpret_cast<const uint16_t *>(a);
  bool brain = type == exe::DType::BF16;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < k; ++j) {
      uint16_t value = half[i * rowStride + j * columnStride];
      out[i * outStride + j] = brain ? fromBF16(value) : fromF16(value);
    }
}

std::shared_ptr<const PackedWeight> comm::rt::packWeight(PackCache *cache, uint64_t key, const RightMatrix &first,
                                                         int64_t matrices, int64_t width, bool &fresh) {
  int64_t panels = (first.n + width - 1) / width,
          bytes = exe::panelBytes(matrices, first.depth(), first.n, width, first.elementBytes());
  if (bytes < 0)
    throw std::bad_alloc();
  auto packed = std::make_shared<PackedWeight>();
  packed->matrixBytes = matrices ? bytes / matrices : 0;
  auto fill = [&](char *out) {
    RightMatrix matrix = first;
    for (int64_t i = 0; i < matrices; ++i) {
      matrix.data = first.data + i * first.k * first.n * first.storedBytes();
      packPanels(matrix, width, 0, panels, out + i * packed->matrixBytes);
    }
  };
  std::string form = std::string(first.type == PanelType::F32    ? "f32"
                                 : first.type == PanelType::BF16 ? "bf16"
                                                                 : "f16") +
                     " panels of " + std::to_string(width) + ", " + std::to_string(matrices) + " of " +
                     std::to_string(first.k) + " x " + std::to_string(first.n) +
                     (first.transposed ? " transposed" : "") + (first.fromF32 ? " from f32" : "") +
                     (first.pairs > 1 ? " in groups of " + std::to_string(first.pairs) : "");
  packed->memory = packConstant(cache, {key}, form, bytes, fill, fresh);
  return packed;
}
