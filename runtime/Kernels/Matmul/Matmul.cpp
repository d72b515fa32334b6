//===- Matmul.cpp - y = a b on packed panels ------------------------------===//
// Loops: columns in chunks of panels, rows in blocks, k in blocks; a block of A is copied to f32 with padded rows (rows
// that lie a power of two apart share one cache set), panels of B are packed at load when B is a weight. One row of A
// goes through the row kernel.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Matmul/Matmul.h"
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include "runtime/Kernels/Matmul/Pack.h"
#include <algorithm>
#include <cstring>

using namespace comm;
using namespace comm::rt;

namespace {
constexpr int64_t blockRows = 168;        // of A; a multiple of 14, 6 and 4
constexpr int64_t directDepth = 64;       // of k where B is read in place, row by row
constexpr int64_t fewestRows = 64;        // of a block: B passes through the cache for each
constexpr int64_t blockBytes = 512 << 10; // of y that a block of rows writes: more of it drives B out of the cache
constexpr int64_t blockDepth = 512;       // of k: 168 x 512 f32 lie in a second-level cache of 512 KiB
constexpr int64_t rowPadding = 16;        // f32: one cache line
constexpr int64_t directRows = 4;         // up to here packing B costs more than it saves
constexpr int64_t chunkBytes = 4 << 20;   // of B packed on the fly
constexpr int64_t doneBytes = 256 << 10;  // of y that are handed on together, still in the cache

class MatmulKernel : public Kernel {
public:
  MatmulKernel(const MatmulShape &shape, exe::DType dtype, const MicroKernel *micro, std::string prefix)
      : s(shape), dtype(dtype), micro(micro), prefix(std::move(prefix)) {
    panels = (s.n + micro->width - 1) / micro->width;
    type = dtype == exe::DType::F32 ? PanelType::F32 : dtype == exe::DType::BF16 ? PanelType::BF16 : PanelType::F16;
    width = exe::byteWidth(dtype);
  }
  void pack(const TensorDesc &b, PackCache *cache) {
    packed = packWeight(cache, b.constantKey, rightMatrix(static_cast<const char *>(b.constant)), s.matricesB,
                        micro->width, packedHere);
  }
  /// Panels of one block of rows after the other: threads that take whole blocks copy each row of A once.
  int64_t iterations() const override { return s.m ? s.batches * blocks() * panels : 0; }
  int64_t packedBytes() const override { return packed && packedHere ? packed->memory.bytes() : 0; }
  bool readsInput(size_t index) const override { return index != 1 || !packed; }
  int64_t rows() const override { return packed && s.batches == 1 && !s.transposeA ? s.m : 0; }
  bool readsOwnRow(size_t input) const override { return input == 0; }
  int64_t productRows() const override { return rows(); }
  /// One block of rows: each thread copies it once.
  int64_t columns() const override { return rows() && s.m <= blockRows ? s.n : 0; }
  int64_t columnStep() const override { return micro->width; }
  Status runColumns(void *const *ins, void *const *outs, int64_t begin, int64_t end, const ColumnsDone &done) override;
  Status runRows(void *const *ins, void *const *outs, int64_t begin, int64_t end) override;
  using Kernel::run;
  Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) override;

private:
  RightMatrix rightMatrix(const char *data) const { return {data, s.k, s.n, s.transposeB, type}; }
  /// Blocks of rows that are dealt out; B that is packed on the fly is packed once for all rows.
  int64_t blocks() const { return packed ? (s.m + blockRows - 1) / blockRows : 1; }
  /// Panels [begin, end) of one block of rows of a product with a packed B.
  Status weightBlock(const char *a, const char *panelsOfB, char *y, int64_t block, int64_t begin, int64_t end);
  /// Rows [row, row + rows), not more than a block, of panels [begin, end).
  Status someRows(const char *a, const char *panelsOfB, char *y, int64_t row, int64_t rows, int64_t begin, int64_t end,
                  const ColumnsDone *done = nullptr);
  /// Columns of panels [begin, end) of one product.
  Status product(const char *a, const char *b, char *y, int64_t begin, int64_t end);
  bool oneRow(const char *a, const char *b, char *y, int64_t begin, int64_t end);
  bool rowBlock(const char *a, const char *b, int64_t ldb, char *y, int64_t begin, int64_t end, int64_t row,
                int64_t rows, const ColumnsDone *done = nullptr);
  Status outOfMemory() const { return {Code::OutOfMemory, prefix + "no memory for scratch space"}; }
  int64_t panelBytes() const { return s.k * micro->width * width; }

  MatmulShape s;
  exe::DType dtype;
  PanelType type;
  const MicroKernel *micro;
  int64_t panels = 0, width = 4;
  std::shared_ptr<const PackedWeight> packed;
  bool packedHere = false;
  std::string prefix;
};

/// One row of A: no blocking, whole panels, columns straight into y where they fit.
bool MatmulKernel::oneRow(const char *a, const char *b, char *y, int64_t begin, int64_t end) {
  const float *left = reinterpret_cast<const float *>(a);
  if (dtype != exe::DType::F32) {
    float *converted = static_cast<float *>(scratch(ScratchSlot::PackA, s.k * 4));
    if (!converted)
      return false;
    convertToF32(dtype, a, converted, s.k);
    left = converted;
  }
  int64_t w = micro->width, stride = s.k * w;
  int64_t whole = dtype == exe::DType::F32 ? std::min(end, s.n / w) : begin;
  if (whole > begin)
    micro->row[int(type)](whole - begin, s.k, left, b, w, stride, reinterpret_cast<float *>(y) + begin * w, false);
  if (whole >= end)
    return true;
  float *rest = static_cast<float *>(scratch(ScratchSlot::Convert, (end - whole) * w * 4));
  if (!rest)
    return false;
  micro->row[int(type)](end - whole, s.k, left, b + (whole - begin) * panelBytes(), w, stride, rest, false);
  convertFromF32(dtype, rest, y + whole * w * width, std::min(end * w, s.n) - whole * w);
  return true;
}

/// Rows [row, row + rows) of A against panels [begin, end). `b` is the first packed panel, or, when ldb is not the
/// panel width, column begin * width of a row-major matrix.
bool MatmulKernel::rowBlock(const char *a, const char *b, int64_t ldb, char *y, int64_t begin, int64_t end, int64_t row,
                            int64_t rows, const ColumnsDone *done) {
  int64_t w = micro->width, columns = std::min(end * w, s.n) - begin * w;
  bool isPacked = ldb == w;
  int64_t depth = std::min(s.k, isPacked ? blockDepth : directDepth), lda = depth + rowPadding;
  float *left = static_cast<float *>(scratch(ScratchSlot::PackA, rows * lda * 4));
  // Columns that y cannot take directly (a partial panel, a 16-bit y) are summed in f32 beside it.
  int64_t direct = dtype == exe::DType::F32 ? columns / w : 0, besideLd = (end - begin - direct) * w;
  float *beside = besideLd ? static_cast<float *>(scratch(ScratchSlot::Convert, rows * besideLd * 4)) : nullptr;
  if (!left || (besideLd && !beside))
    return false;
  int64_t rowStride = s.transposeA ? 1 : s.k, columnStride = s.transposeA ? s.m : 1;
  int64_t nextPanel = isPacked ? panelBytes() : w * width;
  int64_t tiles = (rows + micro->maxRows - 1) / micro->maxRows;
  int64_t together = std::max<int64_t>(4, doneBytes / (rows * w * 4)), told = 0; // panels
  for (int64_t k0 = 0; k0 < s.k; k0 += depth) {
    int64_t some = std::min(depth, s.k - k0);
    packRows(dtype, a + (row * rowStride + k0 * columnStride) * width, rowStride, columnStride, rows, some, left, lda);
    if (rows == 1 && direct > 0)
      micro->row[int(type)](direct, some, left, b + k0 * ldb * width, ldb, nextPanel / width,
                            reinterpret_cast<float *>(y) + row * s.n + begin * w, k0 > 0);
    for (int64_t p = rows == 1 ? direct : 0; p < end - begin; ++p) {
      const char *panel = b + p * nextPanel + k0 * ldb * width;
      float *c = p < direct ? reinterpret_cast<float *>(y) + row * s.n + (begin + p) * w : beside + (p - direct) * w;
      int64_t ldc = p < direct ? s.n : besideLd;
      // The next panel, or this one's next k, comes into the cache while this one is multiplied, in even portions.
      const char *after = p + 1 < end - begin ? panel + nextPanel : b + (k0 + depth) * ldb * width;
      int64_t share = isPacked && (p + 1 < end - begin || k0 + depth < s.k) ? w * width / tiles : 0;
      for (int64_t t = 0, i = 0; t < tiles; ++t) { // even tiles: 15 rows are 8 + 7, not 14 + 1
        int64_t next = rows * (t + 1) / tiles;
        micro->tile[int(type)](next - i, some, left + i * lda, lda, panel, ldb, c + i * ldc, ldc, k0 > 0,
                               {share ? after + t * some * share : nullptr, share});
        i = next;
      }
      if (done && k0 + depth >= s.k && p < direct && p + 1 - told >= together) {
        (*done)((begin + told) * w, (begin + p + 1) * w);
        told = p + 1;
      }
    }
  }
  for (int64_t i = 0; besideLd && i < rows; ++i)
    convertFromF32(dtype, beside + i * besideLd, y + ((row + i) * s.n + (begin + direct) * w) * width,
                   columns - direct * w);
  if (done && told < end - begin)
    (*done)((begin + told) * w, begin * w + columns);
  return true;
}

Status MatmulKernel::runColumns(void *const *ins, void *const *outs, int64_t begin, int64_t end,
                                const ColumnsDone &done) {
  int64_t first = begin / micro->width, last = (end + micro->width - 1) / micro->width;
  Status status = someRows(static_cast<const char *>(ins[0]), packed->memory.data(), static_cast<char *>(outs[0]), 0,
                           s.m, first, last, &done);
  if (status && s.m == 1)
    done(begin, end);
  return status;
}

Status MatmulKernel::weightBlock(const char *a, const char *panelsOfB, char *y, int64_t block, int64_t begin,
                                 int64_t end) {
  int64_t row = s.m * block / blocks(), next = s.m * (block + 1) / blocks();
  return someRows(a, panelsOfB, y, row, next - row, begin, end);
}

Status MatmulKernel::someRows(const char *a, const char *panelsOfB, char *y, int64_t row, int64_t rows, int64_t begin,
                              int64_t end, const ColumnsDone *done) {
  const char *from = panelsOfB + begin * panelBytes();
  if (s.m == 1)
    return oneRow(a, from, y, begin, end) ? Status::ok() : outOfMemory();
  int64_t most = std::clamp(blockBytes / ((end - begin) * micro->width * width), fewestRows, blockRows);
  int64_t parts = (rows + most - 1) / most;
  for (int64_t i = 0, at = 0; i < parts; ++i) {
    int64_t next = rows * (i + 1) / parts;
    if (!rowBlock(a, from, micro->width, y, begin, end, row + at, next - at, i + 1 == parts ? done : nullptr))
      return outOfMemory();
    at = next;
  }
  return Status::ok();
}

Status MatmulKernel::runRows(void *const *ins, void *const *outs, int64_t begin, int64_t end) {
  int64_t parts = (end - begin + blockRows - 1) / blockRows;
  for (int64_t i = 0, row = begin; i < parts; ++i) {
    int64_t next = begin + (end - begin) * (i + 1) / parts;
    if (Status status = someRows(static_cast<const char *>(ins[0]), packed->memory.data(), static_cast<char *>(outs[0]),
                                 row, next - row, 0, panels);
        !status)
      return status;
    row = next;
  }
  return Status::ok();
}

Status MatmulKernel::product(const char *a, const char *b, char *y, int64_t begin, int64_t end) {
  int64_t w = micro->width;
  if (!s.transposeB && s.m <= directRows) {
    // Row-major B is read in place; only a partial last panel is packed.
    int64_t whole = std::min(end, s.n / w);
    if (whole > begin && !rowBlock(a, b + begin * w * width, s.n, y, begin, whole, 0, s.m))
      return outOfMemory();
    begin = std::max(begin, whole);
  }
  int64_t chunk = std::max<int64_t>(1, chunkBytes / std::max<int64_t>(1, panelBytes()));
  for (int64_t p = begin, next = 0; p < end; p = next) {
    next = std::min(end, p + chunk);
    char *space = static_cast<char *>(scratch(ScratchSlot::PackB, (next - p) * panelBytes()));
    if (!space)
      return outOfMemory();
    packPanels(rightMatrix(b), w, p, next, space);
    if (s.m == 1) {
      if (!oneRow(a, space, y, p, next))
        return outOfMemory();
      continue;
    }
    for (int64_t row = 0; row < s.m; row += blockRows)
      if (!rowBlock(a, space, w, y, p, next, row, std::min(blockRows, s.m - row)))
        return outOfMemory();
  }
  return Status::ok();
}

Status MatmulKernel::run(void *const *ins, void *const *outs, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end;) {
    int64_t batch = i / panels / blocks(), block = i / panels % blocks(), first = i % panels,
            last = std::min(panels, first + end - i), matrixA = 0, matrixB = 0;
    s.matricesOf(batch, matrixA, matrixB);
    const char *a = static_cast<const char *>(ins[0]) + matrixA * s.m * s.k * width;
    char *y = static_cast<char *>(outs[0]) + batch * s.m * s.n * width;
    Status status = packed
                        ? weightBlock(a, packed->memory.data() + matrixB * packed->matrixBytes, y, block, first, last)
                        : product(a, static_cast<const char *>(ins[1]) + matrixB * s.k * s.n * width, y, first, last);
    if (!status)
      return status;
    i += last - first;
  }
  return Status::ok();
}

/// Dimensions, transposes and broadcasting of the batch dimensions; one batch where B has none and A can be read as one
/// tall matrix.
Status readShape(const Preparation &p, MatmulShape &s) {
  if (Status st = p.boolAttr("transpose_a", s.transposeA, false); !st)
    return st;
  if (Status st = p.boolAttr("transpose_b", s.transposeB, false); !st)
    return st;
  const exe::Shape &a = p.ins[0].shape, &b = p.ins[1].shape;
  if (a.size() < 2 || b.size() < 2)
    return p.bad("operands " + shapeText(a) + " and " + shapeText(b) + " need rank 2 or more");
  size_t lastA = a.size() - 1, lastB = b.size() - 1;
  s.m = s.transposeA ? a[lastA] : a[lastA - 1];
  s.k = s.transposeA ? a[lastA - 1] : a[lastA];
  s.n = s.transposeB ? b[lastB - 1] : b[lastB];
  if (s.k != (s.transposeB ? b[lastB] : b[lastB - 1]))
    return p.bad("operands " + shapeText(a) + " and " + shapeText(b) + " differ in the summed dimension");

  size_t rank = std::max(a.size(), b.size()) - 2;
  s.batchDims.assign(rank, 1);
  s.strideA.assign(rank, 0);
  s.strideB.assign(rank, 0);
  int64_t countA = 1, countB = 1;
  for (size_t d = rank; d-- > 0;) {
    size_t fromRight = rank - d; // 1 is the innermost batch dimension
    int64_t sizeA = fromRight <= a.size() - 2 ? a[a.size() - 2 - fromRight] : 1;
    int64_t sizeB = fromRight <= b.size() - 2 ? b[b.size() - 2 - fromRight] : 1;
    if (sizeA != sizeB && sizeA != 1 && sizeB != 1)
      return p.bad("batch dimensions of " + shapeText(a) + " and " + shapeText(b) + " do not broadcast");
    s.batchDims[d] = sizeA == 1 ? sizeB : sizeA;
    s.strideA[d] = sizeA == 1 ? 0 : countA;
    s.strideB[d] = sizeB == 1 ? 0 : countB;
    countA *= sizeA;
    countB *= sizeB;
  }
  exe::Shape expected = s.batchDims;
  expected.push_back(s.m);
  expected.push_back(s.n);
  if (Status st = p.sameShape(p.outs[0].shape, expected, "output"); !st)
    return st;
  s.batches = elementsOf(s.batchDims);
  s.matricesB = countB;
  if (countB == 1 && !s.transposeA) {
    s.m *= s.batches;
    s.batches = 1;
    s.batchDims.clear();
  }
  return Status::ok();
}

/// `precision` string: bf16 or f16, of f32 operands only.
Status readPrecision(const Preparation &p, exe::DType type, Precision &out) {
  auto it = p.command.attrs.find("precision");
  if (it == p.command.attrs.end())
    return Status::ok();
  const auto *name = std::get_if<std::string>(&it->second);
  if (!name || (*name != "bf16" && *name != "f16"))
    return p.bad("attribute 'precision' is not \"bf16\" or \"f16\"");
  if (type != exe::DType::F32)
    return p.bad(std::string("attribute 'precision' is for f32 operands, not for ") + exe::dtypeName(type));
  out = *name == "bf16" ? Precision::BF16 : Precision::F16;
  return Status::ok();
}
} // namespace

void MatmulShape::matricesOf(int64_t index, int64_t &a, int64_t &b) const {
  a = b = 0;
  for (size_t d = batchDims.size(); d-- > 0; index /= batchDims[d]) {
    a += index % batchDims[d] * strideA[d];
    b += index % batchDims[d] * strideB[d];
  }
}

Status comm::rt::prepareMatmul(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(2, 2, 1, {"transpose_a", "transpose_b", "precision"}); !s)
    return s;
  if (Status s = p.sameType(p.ins[0], p.ins[1]); !s)
    return s;
  if (Status s = p.sameType(p.ins[0], p.outs[0]); !s)
    return s;
  exe::DType type = p.outs[0].dtype;
  bool integer =
      type == exe::DType::I32 || type == exe::DType::I64 || type == exe::DType::U32 || type == exe::DType::U64;
  if (!isFloat(type) && !integer)
    return p.unsupported(std::string("products of ") + exe::dtypeName(type) + " are not supported");
  Precision precision = Precision::AsStored;
  if (Status s = readPrecision(p, type, precision); !s)
    return s;
  MatmulShape shape;
  if (Status s = readShape(p, shape); !s)
    return s;
  int64_t elements = elementsOf(p.outs[0].shape), bytes = elements * exe::byteWidth(type);
  if (elements == 0 || shape.k == 0) {
    out = makeKernel(elements ? 1 : 0, [bytes](void *const *, void *const *outs, int64_t, int64_t) {
      std::memset(outs[0], 0, size_t(bytes));
      return Status::ok();
    });
    return Status::ok();
  }
  if (Status s = prepareNarrowMatmul(p, shape, precision, out); !s || out)
    return s;
  if (type == exe::DType::F64 || integer) {
    out = makePlainMatmul(type, shape);
    return Status::ok();
  }
  const MicroKernel *micro = nullptr;
  if (Status s = chooseMicroKernel(p.context.microKernel, micro); !s)
    return s;
  auto kernel = std::make_unique<MatmulKernel>(shape, type, micro, p.prefix());
  if (p.ins[1].constant)
    kernel->pack(p.ins[1], p.context.cache);
  out = std::move(kernel);
  return Status::ok();
}
