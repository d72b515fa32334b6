//===- NarrowAmx.cpp - 32 x 32 blocks of C in matrix tiles ----------------===//
// Compiled for AMX_BF16. All eight tiles have 16 rows of 64 bytes: four hold a block of C, the others parts of A (16
// rows x 32 of k) and B (16 pairs of k x 16 columns). A step sums 32 of k: the even and the odd products each in a sum
// of their own, both are added, then that to C. Fewer than 16 rows of A are filled with zeros: the time of a step is
// that of its right operand.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Matmul/NarrowKernel.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include "runtime/Kernels/Matmul/NarrowPairs.h"
#include <immintrin.h>

namespace {
constexpr int64_t width = 32, tileRows = 16, depth = 32, tileBytes = 1024;
constexpr int64_t stepBytes = depth * width * 2; // of a panel

struct alignas(64) Configuration {
  uint8_t palette, startRow, reserved[14];
  uint16_t columnBytes[16];
  uint8_t rows[16];
};
constexpr Configuration configuration = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

void begin() { _tile_loadconfig(&configuration); }
void end() { _tile_release(); }

int64_t stepsOf(int64_t k) { return (k + depth - 1) / depth; }
int64_t tilesOf(int64_t rows) { return (rows + tileRows - 1) / tileRows; }
int64_t leftBytes(int64_t rows, int64_t k) { return tilesOf(rows) * stepsOf(k) * tileBytes; }

/// [rows / 16][k / 32][16][32]: a tile in one piece.
template <typename T> void packTiles(const T *a, int64_t stride, int64_t rows, int64_t k, char *out) {
  int64_t steps = stepsOf(k);
  for (int64_t r = 0; r < tilesOf(rows) * tileRows; ++r) {
    char *to = out + r / tileRows * steps * tileBytes + r % tileRows * 64;
    for (int64_t s = 0; s < steps; ++s)
      _mm512_store_si512(to + s * tileBytes,
                         r < rows ? pairs(a + r * stride + s * depth, k - s * depth) : _mm512_setzero_si512());
  }
}

void packLeft(bool isF32, const void *a, int64_t stride, int64_t rows, int64_t k, void *out) {
  if (isF32)
    packTiles(static_cast<const float *>(a), stride, rows, k, static_cast<char *>(out));
  else
    packTiles(static_cast<const uint16_t *>(a), stride, rows, k, static_cast<char *>(out));
}

// Tiles 0 to 3 are C; numbers of tiles are part of the instruction. A block has two tiles of rows and one panel, or one
// tile of rows and up to two panels.
struct Block {
  float *c[4]; ///< upper left corners
  int64_t ldc; ///< in floats
};
template <int Tiles> inline void loadC(const Block &block, bool accumulate) {
  if (!accumulate) {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (Tiles == 4) {
      _tile_zero(2);
      _tile_zero(3);
    }
    return;
  }
  _tile_loadd(0, block.c[0], block.ldc * 4);
  _tile_loadd(1, block.c[1], block.ldc * 4);
  if constexpr (Tiles == 4) {
    _tile_loadd(2, block.c[2], block.ldc * 4);
    _tile_loadd(3, block.c[3], block.ldc * 4);
  }
}
template <int Tiles> inline void storeC(const Block &block) {
  _tile_stored(0, block.c[0], block.ldc * 4);
  _tile_stored(1, block.c[1], block.ldc * 4);
  if constexpr (Tiles == 4) {
    _tile_stored(2, block.c[2], block.ldc * 4);
    _tile_stored(3, block.c[3], block.ldc * 4);
  }
}

/// Lines of the right operand that are needed soon: `lines` of 64 bytes per step, from `next` on.
struct Ahead {
  const char *next;
  int64_t lines;
  inline void fetch() {
    for (int64_t i = 0; i < lines; ++i, next += 64)
      _mm_prefetch(next, _MM_HINT_T1);
  }
};

void twoRowTiles(int64_t steps, const char *a0, const char *a1, const char *b, Ahead ahead, const Block &block,
                 bool accumulate) {
  loadC<4>(block, accumulate);
  for (int64_t s = 0; s < steps; ++s, a0 += tileBytes, a1 += tileBytes, b += stepBytes) {
    ahead.fetch();
    _tile_loadd(6, b, 128);
    _tile_loadd(4, a0, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + 64, 128);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a1, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  storeC<4>(block);
}

void twoPanels(int64_t steps, const char *a, const char *b0, const char *b1, const Block &block, bool accumulate) {
  constexpr int64_t distance = 4 * stepBytes;
  loadC<4>(block, accumulate);
  for (int64_t s = 0; s < steps; ++s, a += tileBytes, b0 += stepBytes, b1 += stepBytes) {
    Ahead{b0 + distance, stepBytes / 64}.fetch();
    Ahead{b1 + distance, stepBytes / 64}.fetch();
    _tile_loadd(4, a, 64);
    _tile_loadd(5, b0, 128);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, b0 + 64, 128);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(7, b1, 128);
    _tile_dpbf16ps(2, 4, 7);
    _tile_loadd(5, b1 + 64, 128);
    _tile_dpbf16ps(3, 4, 5);
  }
  storeC<4>(block);
}

void onePanel(int64_t steps, const char *a, const char *b, const Block &block, bool accumulate) {
  loadC<2>(block, accumulate);
  for (int64_t s = 0; s < steps; ++s, a += tileBytes, b += stepBytes) {
    _tile_loadd(4, a, 64);
    _tile_loadd(5, b, 128);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, b + 64, 128);
    _tile_dpbf16ps(1, 4, 6);
  }
  storeC<2>(block);
}

/// C[rows, columns] of a block whose tiles reach over the last row is computed beside it.
class Beside {
public:
  Beside(int64_t rows, int64_t columns, float *c, int64_t ldc, bool accumulate)
      : rows(rows), columns(columns), c(c), ldc(ldc) {
    for (int64_t r = 0; accumulate && r < rows; ++r)
      for (int64_t j = 0; j < columns; j += 16)
        _mm512_store_ps(own + r * columns + j, _mm512_loadu_ps(c + r * ldc + j));
  }
  ~Beside() {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < columns; j += 16)
        _mm512_storeu_ps(c + r * ldc + j, _mm512_load_ps(own + r * columns + j));
  }
  alignas(64) float own[32 * 64];

private:
  int64_t rows, columns;
  float *c;
  int64_t ldc;
};

/// Up to 16 rows: the right operand is read once, all of it.
void fewRows(int64_t rows, int64_t k, const char *a, int64_t panels, const char *b, int64_t panelStride, float *c,
             int64_t ldc, bool accumulate) {
  for (int64_t p = 0, some = 0; p < panels; p += some) {
    some = panels - p >= 2 ? 2 : 1;
    float *at = c + p * width;
    const char *right = b + p * panelStride;
    auto compute = [&](float *to, int64_t ld) {
      Block block = {{to, to + 16, to + 32, to + 48}, ld};
      if (some == 2)
        twoPanels(stepsOf(k), a, right, right + panelStride, block, accumulate);
      else
        onePanel(stepsOf(k), a, right, block, accumulate);
    };
    if (rows == tileRows) {
      compute(at, ldc);
      continue;
    }
    Beside beside(rows, some * width, at, ldc, accumulate);
    compute(beside.own, some * width);
  }
}

void multiply(int64_t rows, int64_t k, const void *left, int64_t panels, const void *right, int64_t panelStride,
              float *c, int64_t ldc, bool accumulate) {
  const char *a = static_cast<const char *>(left), *b = static_cast<const char *>(right);
  if (rows <= tileRows)
    return fewRows(rows, k, a, panels, b, panelStride, c, ldc, accumulate);
  // The whole depth at once: storing C costs more than operands that come from the second cache level.
  int64_t steps = stepsOf(k), rowStride = steps * tileBytes, pieces = (rows + 31) / 32;
  for (int64_t p = 0; p < panels; ++p) {
    const char *panel = b + p * panelStride;
    // The panel after this one comes from memory while this one is used again and again.
    Ahead ahead{panel + panelStride, p + 1 < panels ? (stepBytes / 64 + pieces - 1) / pieces : 0};
    for (int64_t i = 0; i < rows; i += 32, ahead.next += steps * ahead.lines * 64) {
      const char *a0 = a + i / tileRows * rowStride;
      float *at = c + i * ldc + p * width;
      int64_t here = rows - i < 32 ? rows - i : 32;
      if (here <= tileRows) {
        fewRows(here, k, a0, 1, panel, panelStride, at, ldc, accumulate);
      } else if (here == 32) {
        twoRowTiles(steps, a0, a0 + rowStride, panel, ahead, {{at, at + 16, at + 16 * ldc, at + 16 * ldc + 16}, ldc},
                    accumulate);
      } else {
        Beside beside(here, width, at, ldc, accumulate);
        float *to = beside.own;
        twoRowTiles(steps, a0, a0 + rowStride, panel, ahead,
                    {{to, to + 16, to + 16 * width, to + 16 * width + 16}, width}, accumulate);
      }
    }
  }
}

constexpr comm::rt::NarrowKernel kernel = {"amx 32x32", width, depth, leftBytes, packLeft, multiply, begin, end};
} // namespace
const comm::rt::NarrowKernel *comm::rt::amxNarrowKernel() { return &kernel; }
#else
const comm::rt::NarrowKernel *comm::rt::amxNarrowKernel() { return nullptr; }
#endif
