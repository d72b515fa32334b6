//===- MicroKernel.h - the seam between matrix code and the CPU -*- C++ -*-===//
// One table of functions per way to compute. Files compiled for one ISA include only this header and MicroBody.h: an
// inline function of the standard library compiled there could be picked by the linker for every CPU.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>

namespace comm::rt {

/// Storage of the right operand. Products are always f32.
enum class PanelType : uint8_t { F32 = 0, BF16, F16 };

/// What a tile asks the cache for meanwhile: one line at `data`, and `step` bytes further with every k.
struct Ahead {
  const void *data = nullptr;
  int64_t step = 0;
};

/// C[rows, width] (+)= A[rows, k] * B[k, width]; a and c in f32, b of the table's type; strides in elements of their
/// own type. 1 <= rows <= maxRows. Each element is summed in the order of k, starting from C when `accumulate`, so that
/// splitting k, rows or columns changes no bit.
using TileFunction = void (*)(int64_t rows, int64_t k, const float *a, int64_t lda, const void *b, int64_t ldb,
                              float *c, int64_t ldc, bool accumulate, const Ahead &ahead);
/// One row of C over `panels` panels that lie `panelStride` elements apart, rows of a panel `ldb` apart; c holds panels
/// * width elements.
using RowFunction = void (*)(int64_t panels, int64_t k, const float *a, const void *b, int64_t ldb, int64_t panelStride,
                             float *c, bool accumulate);

struct MicroKernel {
  const char *name;
  int64_t maxRows;      ///< of one tile
  int64_t width;        ///< columns of a panel
  TileFunction tile[3]; ///< by PanelType
  RowFunction row[3];   ///< by PanelType
  /// out[i] = q . k[i] over `depth`, rows of k `ldk` apart.
  void (*dots)(int64_t rows, int64_t depth, const float *q, const float *k, int64_t ldk, float *out);
  /// For softmax; n is a multiple of width.
  float (*rowMax)(const float *s, int64_t n);
  /// s = exp(s - max), returns the sum; s <= max, and -infinity gives 0.
  float (*expSum)(float *s, int64_t n, float max);
  void (*scaleRow)(float *s, int64_t n, float factor);
};

/// Null where this build has none.
const MicroKernel *portableMicroKernel(); ///< never null
const MicroKernel *avx2MicroKernel();
const MicroKernel *avx512MicroKernel();
/// f32 tiles by libxsmm, the rest from `base`.
const MicroKernel *libxsmmMicroKernel(const MicroKernel *base);

} // namespace comm::rt
