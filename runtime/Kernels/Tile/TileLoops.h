//===- TileLoops.h - one step of a kernel on a run of elements --*- C++ -*-===//
// What the tile interpreter is made of: loops over contiguous elements. The common ones on f32 are compiled once per
// instruction set, everything else once.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include <cstdint>
#include <string>
#include <vector>

namespace comm::rt {

/// Type in which a step computes: f16 and bf16 are f32 until a result is stored.
exe::DType computeType(exe::DType type);

/// out[i] = step(ins[0][i], ...) for n elements. `out` may be one of `ins`.
using TileLoop = void (*)(const void *const *ins, void *out, int64_t n);

/// Norms and the like on f32 rows of n elements.
struct TileRows {
  void (*rmsNorm)(const float *x, const float *weight, float *y, int64_t n, float epsilon);
  void (*layerNorm)(const float *x, const float *weight, const float *bias, float *y, int64_t n, float epsilon);
  void (*softmax)(const float *x, float *y, int64_t n);
  /// One row of n elements, the first 2 * half of them rotated.
  void (*rotary)(const float *x, const float *cos, const float *sin, float *y, int64_t n, int64_t half,
                 bool interleaved);
};

/// Loops on f32 for one instruction set: null where there is none of this name, or the instruction set is not in this
/// build. `kind` is the attribute of gelu.
struct TileTable {
  TileLoop (*loop)(const char *op, const char *kind);
  TileRows rows;
};
const TileTable *tileTablePortable();
const TileTable *tileTableAvx2();
const TileTable *tileTableAvx512();
/// The best that this CPU runs.
const TileTable &tileTable();

/// The loop of any elementwise step, or null: `operands` and `result` are the types that are computed in, `detail` the
/// predicate of a comparison or the kind of gelu.
TileLoop findTileLoop(const std::string &op, const std::vector<exe::DType> &operands, exe::DType result,
                      const std::string &detail);

} // namespace comm::rt
