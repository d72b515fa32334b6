//===- MicroLibxsmm.cpp - f32 tiles by libxsmm's JIT ----------------------===//
// libxsmm is column-major, so C^T = B^T A^T: its m is our panel width. It sums in the order of k with FMA, like the
// built-in tiles. Shapes that it declines go to the built-in kernel.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Matmul/MicroKernel.h"

#if defined(COMM_HAVE_LIBXSMM)
#include <libxsmm.h>

using namespace comm::rt;

namespace {
const MicroKernel *fallback = nullptr; // set once, before any tile runs

void tile(int64_t rows, int64_t k, const float *a, int64_t lda, const void *b, int64_t ldb, float *c, int64_t ldc,
          bool accumulate, const Ahead &) {
  const libxsmm_blasint strideA = libxsmm_blasint(ldb), strideB = libxsmm_blasint(lda), strideC = libxsmm_blasint(ldc);
  const float alpha = 1.0f, beta = accumulate ? 1.0f : 0.0f;
  const int flags = LIBXSMM_GEMM_FLAG_NONE, prefetch = LIBXSMM_GEMM_PREFETCH_NONE;
  libxsmm_smmfunction function = nullptr;
  if (k > 0 && ldb < INT32_MAX && lda < INT32_MAX && ldc < INT32_MAX)
    function = libxsmm_smmdispatch(libxsmm_blasint(fallback->width), libxsmm_blasint(rows), libxsmm_blasint(k),
                                   &strideA, &strideB, &strideC, &alpha, &beta, &flags, &prefetch);
  if (function) {
    function(static_cast<const float *>(b), a, c);
    // Its code leaves the upper halves of the vector registers in use, which slows every SSE instruction after it down
    // (4.5x measured).
    __asm__ volatile("vzeroupper");
    return;
  }
  for (int64_t r = 0; r < rows; r += fallback->maxRows)
    fallback->tile[0](rows - r < fallback->maxRows ? rows - r : fallback->maxRows, k, a + r * lda, lda, b, ldb,
                      c + r * ldc, ldc, accumulate, {});
}

MicroKernel make(const MicroKernel *base) {
  libxsmm_init();
  fallback = base;
  MicroKernel kernel = *base;
  kernel.name = "libxsmm";
  kernel.tile[0] = tile;
  return kernel;
}
} // namespace

const MicroKernel *comm::rt::libxsmmMicroKernel(const MicroKernel *base) {
  static const MicroKernel kernel = make(base);
  return &kernel;
}
#else
const comm::rt::MicroKernel *comm::rt::libxsmmMicroKernel(const MicroKernel *) { return nullptr; }
#endif
