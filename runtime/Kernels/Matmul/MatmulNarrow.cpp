//===- MatmulNarrow.cpp - products of 16-bit operands ---------------------===//
// bf16 times bf16 on the CPU's own unit, or, where there is none, and for f16, in f32 on panels that are widened while
// they are loaded. Operands are bf16, or f32 that is rounded while it is packed: B once, when it is a weight; A for
// each block of rows. Sums are f32. All row counts take the same path: rows alone and rows in a batch have the same
// bits.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include "runtime/Kernels/Matmul/Matmul.h"
#include "runtime/Kernels/Matmul/Pack.h"
#include <algorithm>

using namespace comm;
using namespace comm::rt;

namespace {
constexpr int64_t blockRows = 256;       // of A
constexpr int64_t blockDepth = 1536;     // of k: 256 x 1536 bf16 lie in a second-level cache of 1 MiB
constexpr int64_t widenedDepth = 512;    // the same for f32 rows
constexpr int64_t rowPadding = 16;       // f32: rows a power of two apart share one cache set
constexpr int64_t chunkBytes = 4 << 20;  // of B packed on the fly
constexpr int64_t doneBytes = 256 << 10; // of y that are handed on together, still in the cache

class NarrowMatmul : public Kernel {
public:
  NarrowMatmul(const MatmulShape &shape, exe::DType dtype, PanelType type, const NarrowKernel *unit,
               const MicroKernel *micro, std::string prefix)
      : s(shape), dtype(dtype), type(type), unit(unit), micro(micro), prefix(std::move(prefix)) {
    w = unit ? unit->width : micro->width;
    panels = (s.n + w - 1) / w;
    width = exe::byteWidth(dtype);
    depth = rightMatrix(nullptr).depth();
  }
  void pack(const TensorDesc &b, PackCache *cache) {
    packed = packWeight(cache, b.constantKey, rightMatrix(static_cast<const char *>(b.constant)), s.matricesB, w,
                        packedHere);
  }
  /// Panels of one block of rows after the other: threads that take whole blocks pack each row of A once.
  int64_t iterations() const override { return s.m ? s.batches * blocks() * panels : 0; }
  int64_t packedBytes() const override { return packed && packedHere ? packed->memory.bytes() : 0; }
  bool readsInput(size_t index) const override { return index != 1 || !packed; }
  /// One block of rows: each thread packs it once.
  int64_t columns() const override { return packed && s.batches == 1 && !s.transposeA && s.m <= blockRows ? s.n : 0; }
  int64_t columnStep() const override { return w; }
  Status runColumns(void *const *ins, void *const *outs, int64_t begin, int64_t end, const ColumnsDone &done) override;
  using Kernel::run;
  Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) override;

private:
  RightMatrix rightMatrix(const char *data) const {
    return {data, s.k, s.n, s.transposeB, type, dtype == exe::DType::F32, unit ? unit->depth : 0};
  }
  int64_t panelBytes() const { return depth * w * 2; }
  Status outOfMemory() const { return {Code::OutOfMemory, prefix + "no memory for scratch space"}; }
  /// Blocks of rows that are dealt out; B that is packed on the fly is packed once for all rows.
  int64_t blocks() const { return packed ? (s.m + blockRows - 1) / blockRows : 1; }
  bool product(const char *a, const char *b, char *y, int64_t begin, int64_t end);
  bool rowBlock(const char *a, const char *right, char *y, int64_t begin, int64_t end, int64_t row, int64_t rows,
                const ColumnsDone *done = nullptr);
  char *packLeft(const char *a, int64_t row, int64_t rows, int64_t k0, int64_t some);
  void multiply(int64_t rows, int64_t k, const char *left, int64_t count, const char *right, float *c, int64_t ldc,
                bool accumulate);

  MatmulShape s;
  exe::DType dtype;
  PanelType type;
  const NarrowKernel *unit; ///< null: f32 arithmetic by `micro`
  const MicroKernel *micro;
  int64_t w = 0, panels = 0, width = 4, depth = 0;
  std::shared_ptr<const PackedWeight> packed;
  bool packedHere = false;
  std::string prefix;
};

/// Rows of A, columns [k0, k0 + some), as the unit wants them, or as f32 with padded rows. Null: no memory.
char *NarrowMatmul::packLeft(const char *a, int64_t row, int64_t rows, int64_t k0, int64_t some) {
  int64_t rowStride = s.transposeA ? 1 : s.k, columnStride = s.transposeA ? s.m : 1, lda = some + rowPadding;
  a += (row * rowStride + k0 * columnStride) * width;
  char *left = static_cast<char *>(scratch(ScratchSlot::PackA, unit ? unit->leftBytes(rows, some) : rows * lda * 4));
  if (!left)
    return nullptr;
  if (unit && !s.transposeA) {
    unit->packLeft(dtype == exe::DType::F32, a, rowStride, rows, some, left);
    return left;
  }
  float *wide =
      unit ? static_cast<float *>(scratch(ScratchSlot::Tile, rows * lda * 4)) : reinterpret_cast<float *>(left);
  if (!wide)
    return nullptr;
  packRows(dtype, a, rowStride, columnStride, rows, some, wide, lda);
  if (unit)
    unit->packLeft(true, wide, lda, rows, some, left);
  else if (type == PanelType::BF16)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < some; ++j)
        wide[i * lda + j] = fromBF16(toBF16(wide[i * lda + j]));
  return left;
}

/// C (+)= left * panels, `right` at the row of k where left begins.
void NarrowMatmul::multiply(int64_t rows, int64_t k, const char *left, int64_t count, const char *right, float *c,
                            int64_t ldc, bool accumulate) {
  if (unit)
    return unit->multiply(rows, k, left, count, right, panelBytes(), c, ldc, accumulate);
  const float *a = reinterpret_cast<const float *>(left);
  int64_t lda = k + rowPadding, tiles = (rows + micro->maxRows - 1) / micro->maxRows;
  if (rows == 1)
    return micro->row[int(type)](count, k, a, right, w, panelBytes() / 2, c, accumulate);
  for (int64_t p = 0; p < count; ++p)
    for (int64_t t = 0, i = 0; t < tiles; ++t) {
      int64_t next = rows * (t + 1) / tiles;
      micro->tile[int(type)](next - i, k, a + i * lda, lda, right + p * panelBytes(), w, c + i * ldc + p * w, ldc,
                             accumulate, {});
      i = next;
    }
}

/// Rows [row, row + rows) of A against panels [begin, end), the first one at `right`.
bool NarrowMatmul::rowBlock(const char *a, const char *right, char *y, int64_t begin, int64_t end, int64_t row,
                            int64_t rows, const ColumnsDone *done) {
  int64_t columns = std::min(end * w, s.n) - begin * w;
  // Columns that y cannot take directly (a partial panel, a 16-bit y) are summed in f32 beside it.
  int64_t direct = dtype == exe::DType::F32 ? columns / w : 0, besideLd = (end - begin - direct) * w;
  float *beside = besideLd ? static_cast<float *>(scratch(ScratchSlot::Convert, rows * besideLd * 4)) : nullptr;
  if (besideLd && !beside)
    return false;
  int64_t limit = unit ? blockDepth : widenedDepth, blocks = (s.k + limit - 1) / limit;
  int64_t even = ((s.k + blocks - 1) / blocks + 31) / 32 * 32; // whole steps of every unit
  for (int64_t k0 = 0; k0 < s.k; k0 += even) {
    int64_t some = std::min(even, s.k - k0);
    const char *left = packLeft(a, row, rows, k0, some), *from = right + k0 * w * 2;
    if (!left)
      return false;
    int64_t step = done && k0 + even >= s.k ? std::max<int64_t>(4, doneBytes / (rows * w * 4)) : direct;
    for (int64_t p = 0; p < direct; p += step) {
      int64_t count = std::min(step, direct - p);
      multiply(rows, some, left, count, from + p * panelBytes(),
               reinterpret_cast<float *>(y) + row * s.n + (begin + p) * w, s.n, k0 > 0);
      if (done && k0 + even >= s.k)
        (*done)((begin + p) * w, (begin + p + count) * w);
    }
    if (besideLd > 0)
      multiply(rows, some, left, end - begin - direct, from + direct * panelBytes(), beside, besideLd, k0 > 0);
  }
  for (int64_t i = 0; besideLd && i < rows; ++i)
    convertFromF32(dtype, beside + i * besideLd, y + ((row + i) * s.n + (begin + direct) * w) * width,
                   columns - direct * w);
  if (done && direct < end - begin)
    (*done)((begin + direct) * w, begin * w + columns);
  return true;
}

/// Columns of panels [begin, end) of one product whose B is packed on the fly.
bool NarrowMatmul::product(const char *a, const char *b, char *y, int64_t begin, int64_t end) {
  int64_t chunk = std::max<int64_t>(1, chunkBytes / panelBytes());
  for (int64_t p = begin, next = 0; p < end; p = next) {
    next = std::min(end, p + chunk);
    char *space = static_cast<char *>(scratch(ScratchSlot::PackB, (next - p) * panelBytes()));
    if (!space)
      return false;
    packPanels(rightMatrix(b), w, p, next, space);
    for (int64_t row = 0; row < s.m; row += blockRows)
      if (!rowBlock(a, space, y, p, next, row, std::min(blockRows, s.m - row)))
        return false;
  }
  return true;
}

Status NarrowMatmul::runColumns(void *const *ins, void *const *outs, int64_t begin, int64_t end,
                                const ColumnsDone &done) {
  if (unit)
    unit->begin();
  int64_t first = begin / w, last = (end + w - 1) / w;
  bool hasMemory = rowBlock(static_cast<const char *>(ins[0]), packed->memory.data() + first * panelBytes(),
                            static_cast<char *>(outs[0]), first, last, 0, s.m, &done);
  if (unit)
    unit->end();
  return hasMemory ? Status::ok() : outOfMemory();
}

Status NarrowMatmul::run(void *const *ins, void *const *outs, int64_t begin, int64_t end) {
  bool hasMemory = true;
  int64_t blockSize = ((s.m + blocks() - 1) / blocks() + 31) / 32 * 32; // whole tiles
  if (unit)
    unit->begin();
  for (int64_t i = begin; i < end && hasMemory;) {
    int64_t batch = i / panels / blocks(), row = i / panels % blocks() * blockSize, first = i % panels,
            last = std::min(panels, first + end - i), rows = std::min(blockSize, s.m - row), matrixA = 0, matrixB = 0;
    s.matricesOf(batch, matrixA, matrixB);
    const char *a = static_cast<const char *>(ins[0]) + matrixA * s.m * s.k * width;
    char *y = static_cast<char *>(outs[0]) + batch * s.m * s.n * width;
    if (!packed)
      hasMemory = product(a, static_cast<const char *>(ins[1]) + matrixB * s.k * s.n * width, y, first, last);
    else if (rows > 0) // the last block may be empty
      hasMemory = rowBlock(a, packed->memory.data() + matrixB * packed->matrixBytes + first * panelBytes(), y, first,
                           last, row, rows);
    i += last - first;
  }
  if (unit)
    unit->end();
  return hasMemory ? Status::ok() : outOfMemory();
}
} // namespace

Status comm::rt::prepareNarrowMatmul(const Preparation &p, const MatmulShape &shape, Precision precision,
                                     std::unique_ptr<Kernel> &out) {
  exe::DType dtype = p.outs[0].dtype;
  const MicroKernel *micro = nullptr;
  const NarrowKernel *unit = nullptr;
  if (Status s = chooseMicroKernel(p.context.microKernel, micro); !s)
    return s;
  if (Status s = chooseNarrowKernel(p.context.microKernel, unit); !s)
    return s;
  if (precision == Precision::F16)
    unit = nullptr;
  else if (precision == Precision::AsStored && (dtype != exe::DType::BF16 || !unit))
    return Status::ok();
  auto kernel = std::make_unique<NarrowMatmul>(
      shape, dtype, precision == Precision::F16 ? PanelType::F16 : PanelType::BF16, unit, micro, p.prefix());
  if (p.ins[1].constant)
    kernel->pack(p.ins[1], p.context.cache);
  out = std::move(kernel);
  return Status::ok();
}
