//===- QuantizedMatmul.cpp - products with matrices of 4- and 8-bit integers -===//
// The integers are packed once when they are a weight and are never expanded as a whole: few rows meet them in
// registers, rounded to 8 bits where the command allows it; many rows meet a part of a panel that is expanded to f32 in
// the cache, on the micro-kernel of dense products.
//===----------------------------------------------------------------------===//
#include "runtime/Core/Cpu.h"
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include "runtime/Kernels/Matmul/Pack.h"
#include "runtime/Kernels/Quantized/QuantizedWeight.h"
#include <algorithm>

using namespace comm;
using namespace comm::rt;

namespace {
constexpr int64_t tiledRows = quantizedRows + 1; // expanding a panel costs less than a second pass over it
constexpr int64_t blockRows = 168;               // as for dense products
constexpr int64_t blockDepth = 512;              // of k, or one block
constexpr int64_t rowPadding = 16;               // f32: one cache line
constexpr int64_t together = 16;                 // panels of a right operand that is no weight, packed at a time

class QuantizedMatmulKernel : public Kernel {
public:
  QuantizedMatmulKernel(const QuantizedWeight &weight, int64_t m, exe::DType dtype, bool int8, const MicroKernel *micro,
                        const QuantizedKernels *kernels, std::string prefix)
      : w(weight), f(weight.format()), m(m), depth(weight.blocks * weight.block), width(exe::byteWidth(dtype)),
        dtype(dtype), int8(int8), micro(micro), kernels(kernels), prefix(std::move(prefix)) {}
  /// Packs what the constant operands of `p` hold.
  void pack(const Preparation &p) {
    QuantizedWeight from = sourceOf(p.ins[1].constant, p.ins[2].constant, w.hasZeros ? p.ins[3].constant : nullptr);
    int64_t bytes = 0;
    if (__builtin_mul_overflow(w.panels(), w.panelBytes(), &bytes))
      throw std::bad_alloc();
    std::vector<uint64_t> keys;
    for (size_t i = 1; i < p.ins.size(); ++i)
      keys.push_back(p.ins[i].constantKey);
    std::string form = "panels of " + std::to_string(w.bits) + " bits in blocks of " + std::to_string(w.block) + ", " +
                       std::to_string(w.k) + " x " + std::to_string(w.n) + (w.isSigned ? " signed" : "") +
                       (w.kMajor ? " by k" : "") + ", scales " + exe::dtypeName(w.scaleType) + shapeText(w.scaleShape) +
                       (w.hasZeros ? w.floatZeros ? ", zero points in floats" : ", zero points" : "");
    packed = packConstant(
        p.context.cache, keys, form, bytes, [&](char *out) { packQuantized(from, 0, w.panels(), out); }, packedHere);
  }
  int64_t iterations() const override { return m ? w.panels() : 0; }
  int64_t packedBytes() const override { return packed && packedHere ? packed.bytes() : 0; }
  bool readsInput(size_t index) const override { return index == 0 || !packed; }
  int64_t columns() const override { return packed ? w.n : 0; }
  int64_t columnStep() const override { return std::max(quantizedColumns, micro->width); }
  Status runColumns(void *const *ins, void *const *outs, int64_t begin, int64_t end, const ColumnsDone &done) override {
    Status s = run(ins, outs, begin / quantizedColumns, (end + quantizedColumns - 1) / quantizedColumns);
    if (s)
      done(begin, end);
    return s;
  }
  using Kernel::run;
  Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) override;

private:
  /// Rows of the input in the form that the panels meet.
  struct Left {
    const float *x = nullptr;
    const int8_t *integers = nullptr;
    int64_t ld = 0;
    const float *numbers = nullptr; ///< per row and block: sums of x, or scales of the integers
    const int32_t *sums = nullptr;  ///< of the integers
  };
  QuantizedWeight sourceOf(const void *numbers, const void *scales, const void *zeros) const {
    QuantizedWeight from = w;
    from.numbers = static_cast<const uint8_t *>(numbers);
    from.scales = scales;
    from.zeros = static_cast<const uint8_t *>(zeros);
    return from;
  }
  bool readLeft(const char *x, Left &left) const;
  bool rowsTimesPanels(const Left &left, const char *panels, char *y, int64_t row, int64_t first, int64_t count) const;
  bool fewRows(const char *x, const QuantizedWeight &from, char *y, int64_t begin, int64_t end) const;
  bool rowBlock(const char *x, const char *panels, char *y, int64_t begin, int64_t end, int64_t row,
                int64_t rows) const;
  void expandChunk(const char *panels, int64_t count, int64_t block, int64_t blocks, float *out, int64_t ldo) const;
  size_t form() const { return w.bits == 8; }

  QuantizedWeight w;
  const QuantizedFormat f;
  int64_t m, depth, width;
  exe::DType dtype;
  bool int8;
  const MicroKernel *micro;
  const QuantizedKernels *kernels;
  PackedBytes packed;
  bool packedHere = false;
  std::string prefix;
};

bool QuantizedMatmulKernel::readLeft(const char *x, Left &left) const {
  bool inPlace = dtype == exe::DType::F32 && depth == w.k;
  int64_t each = int8 && !inPlace ? 1 : m; // rows that stand as f32 at a time
  float *wide = inPlace ? nullptr : static_cast<float *>(scratch(ScratchSlot::PackA, each * depth * 4));
  int64_t perBlock = m * f.blocks * 4, integerBytes = int8 ? m * depth : 0;
  char *space = static_cast<char *>(scratch(ScratchSlot::Scores, integerBytes + 2 * perBlock));
  if ((!inPlace && !wide) || !space)
    return false;
  auto *integers = reinterpret_cast<int8_t *>(space + 2 * perBlock);
  auto *numbers = reinterpret_cast<float *>(space);
  auto *sums = reinterpret_cast<int32_t *>(space + perBlock);
  for (int64_t row = 0; row < m; ++row) {
    const float *from = reinterpret_cast<const float *>(x) + row * w.k;
    if (!inPlace) {
      float *to = wide + (each == 1 ? 0 : row * depth);
      convertToF32(dtype, x + row * w.k * width, to, w.k);
      std::fill(to + w.k, to + depth, 0.0f);
      from = to;
    }
    if (int8)
      kernels->quantise(from, f.block, f.blocks, integers + row * depth, numbers + row * f.blocks,
                        sums + row * f.blocks);
    else if (f.hasOffsets)
      kernels->sums(from, f.block, f.blocks, numbers + row * f.blocks);
  }
  left = {inPlace ? reinterpret_cast<const float *>(x) : wide, integers, depth, numbers, sums};
  return true;
}

/// Up to quantizedRows rows from `row` on times `count` panels, the first of which is panel `first`.
bool QuantizedMatmulKernel::rowsTimesPanels(const Left &left, const char *panels, char *y, int64_t row, int64_t first,
                                            int64_t count) const {
  int64_t rows = std::min(quantizedRows, m - row), column = first * quantizedColumns,
          columns = std::min(count * quantizedColumns, w.n - column);
  bool direct = dtype == exe::DType::F32 && columns == count * quantizedColumns;
  int64_t ldc = direct ? w.n : count * quantizedColumns;
  float *c = direct ? reinterpret_cast<float *>(y) + row * w.n + column
                    : static_cast<float *>(scratch(ScratchSlot::Convert, rows * ldc * 4));
  if (!c)
    return false;
  if (int8)
    kernels->integers[form()](f, rows, count, left.integers + row * left.ld, left.ld, left.numbers + row * f.blocks,
                              left.sums + row * f.blocks, panels, c, ldc);
  else
    kernels->floats[form()](f, rows, count, left.x + row * left.ld, left.ld, left.numbers + row * f.blocks, panels, c,
                            ldc);
  for (int64_t i = 0; !direct && i < rows; ++i)
    convertFromF32(dtype, c + i * ldc, y + ((row + i) * w.n + column) * width, columns);
  return true;
}

bool QuantizedMatmulKernel::fewRows(const char *x, const QuantizedWeight &from, char *y, int64_t begin,
                                    int64_t end) const {
  Left left;
  if (!readLeft(x, left))
    return false;
  int64_t whole = dtype == exe::DType::F32 ? w.n / quantizedColumns : end;
  // All panels in one go; with more rows than a call takes, one panel after the other stays in the cache.
  int64_t step = m > quantizedRows ? 1 : packed ? end - begin : together;
  for (int64_t p = begin, next = 0; p < end; p = next) {
    next = std::min(end, p + step);
    if (p < whole)
      next = std::min(next, whole);
    const char *panels = packed ? packed.data() + p * w.panelBytes() : nullptr;
    if (!panels) {
      char *space = static_cast<char *>(scratch(ScratchSlot::PackB, (next - p) * w.panelBytes()));
      if (!space)
        return false;
      packQuantized(from, p, next, space);
      panels = space;
    }
    for (int64_t row = 0; row < m; row += quantizedRows)
      if (!rowsTimesPanels(left, panels, y, row, p, next - p))
        return false;
  }
  return true;
}

/// Blocks of `count` panels side by side as f32; what is left of ldo columns is zero.
void QuantizedMatmulKernel::expandChunk(const char *panels, int64_t count, int64_t block, int64_t blocks, float *out,
                                        int64_t ldo) const {
  for (int64_t i = 0; i < count; ++i)
    kernels->expand[form()](f, panels + i * w.panelBytes(), block, blocks, out + i * quantizedColumns, ldo);
  for (int64_t i = 0; count * quantizedColumns < ldo && i < blocks * f.block; ++i)
    std::fill(out + i * ldo + count * quantizedColumns, out + (i + 1) * ldo, 0.0f);
}

/// Rows [row, row + rows) against panels [begin, end) on the dense micro-kernel; `panels` is panel `begin`.
bool QuantizedMatmulKernel::rowBlock(const char *x, const char *panels, char *y, int64_t begin, int64_t end,
                                     int64_t row, int64_t rows) const {
  int64_t chunk = std::max(quantizedColumns, micro->width), perChunk = chunk / quantizedColumns;
  int64_t blocksAtOnce = std::max<int64_t>(1, blockDepth / f.block), deep = std::min(blocksAtOnce * f.block, depth);
  int64_t lda = deep + rowPadding, chunks = (end - begin + perChunk - 1) / perChunk, first = begin * quantizedColumns;
  // Columns that y cannot take directly are summed in f32 beside it.
  int64_t fit = std::min(end * quantizedColumns, w.n) - first;
  int64_t direct = dtype == exe::DType::F32 ? fit / chunk : 0, besideLd = (chunks - direct) * chunk;
  auto *left = static_cast<float *>(scratch(ScratchSlot::PackA, rows * lda * 4));
  auto *expanded = static_cast<float *>(scratch(ScratchSlot::Scores, deep * chunk * 4));
  float *beside = besideLd ? static_cast<float *>(scratch(ScratchSlot::Convert, rows * besideLd * 4)) : nullptr;
  if (!left || !expanded || (besideLd && !beside))
    return false;
  int64_t tiles = (rows + micro->maxRows - 1) / micro->maxRows;
  for (int64_t block = 0; block < f.blocks; block += blocksAtOnce) {
    int64_t blocks = std::min(blocksAtOnce, f.blocks - block), k0 = block * f.block,
            some = std::min(blocks * f.block, w.k - k0);
    packRows(dtype, x + (row * w.k + k0) * width, w.k, 1, rows, some, left, lda);
    for (int64_t p = 0; p < chunks; ++p) {
      expandChunk(panels + p * perChunk * w.panelBytes(), std::min(perChunk, end - begin - p * perChunk), block, blocks,
                  expanded, chunk);
      float *c =
          p < direct ? reinterpret_cast<float *>(y) + row * w.n + first + p * chunk : beside + (p - direct) * chunk;
      int64_t ldc = p < direct ? w.n : besideLd;
      for (int64_t t = 0, i = 0; t < tiles; ++t) {
        int64_t next = rows * (t + 1) / tiles;
        for (int64_t column = 0; column < chunk; column += micro->width)
          micro->tile[0](next - i, some, left + i * lda, lda, expanded + column, chunk, c + i * ldc + column, ldc,
                         block > 0, {});
        i = next;
      }
    }
  }
  for (int64_t i = 0; besideLd && i < rows; ++i)
    convertFromF32(dtype, beside + i * besideLd, y + ((row + i) * w.n + first + direct * chunk) * width,
                   fit - direct * chunk);
  return true;
}

Status QuantizedMatmulKernel::run(void *const *ins, void *const *outs, int64_t begin, int64_t end) {
  const char *x = static_cast<const char *>(ins[0]);
  char *y = static_cast<char *>(outs[0]);
  QuantizedWeight from = packed ? w : sourceOf(ins[1], ins[2], w.hasZeros ? ins[3] : nullptr);
  bool ok = true;
  if (int8 || m < tiledRows) {
    ok = fewRows(x, from, y, begin, end);
  } else {
    int64_t step = packed ? end - begin : together;
    for (int64_t p = begin; ok && p < end; p += step) {
      int64_t next = std::min(end, p + step);
      const char *panels = packed ? packed.data() + p * w.panelBytes() : nullptr;
      if (!panels) {
        char *space = static_cast<char *>(scratch(ScratchSlot::PackB, (next - p) * w.panelBytes()));
        ok = space;
        if (ok)
          packQuantized(from, p, next, space);
        panels = space;
      }
      for (int64_t row = 0; ok && row < m; row += blockRows)
        ok = rowBlock(x, panels, y, p, next, row, std::min(blockRows, m - row));
    }
  }
  return ok ? Status::ok() : Status{Code::OutOfMemory, prefix + "no memory for scratch space"};
}

bool isByte(exe::DType type) { return type == exe::DType::I8 || type == exe::DType::U8; }
bool isAtMostF32(exe::DType type) { return isFloat(type) && type != exe::DType::F64; }

Status readScales(const Preparation &p, QuantizedWeight &w) {
  const exe::Shape &scales = p.ins[2].shape;
  int64_t rows = w.kMajor ? w.blocks : w.n, columns = w.kMajor ? w.n : w.blocks;
  if (scales.size() != 2 || (scales[0] != 1 && scales[0] != rows) || (scales[1] != 1 && scales[1] != columns))
    return p.bad("scales " + shapeText(scales) + " do not fit " + std::to_string(rows) + " x " +
                 std::to_string(columns) + " blocks");
  if (!isAtMostF32(p.ins[2].dtype))
    return p.unsupported(std::string("scales of type ") + exe::dtypeName(p.ins[2].dtype) + " are not supported");
  w.scaleShape = scales;
  w.scaleType = p.ins[2].dtype;
  w.hasZeros = p.ins.size() == 4;
  if (!w.hasZeros)
    return Status::ok();
  w.floatZeros = !isByte(p.ins[3].dtype);
  if (w.floatZeros)
    if (Status s = p.sameType(p.ins[2], p.ins[3]); !s)
      return s;
  return p.sameShape(p.ins[3].shape, w.floatZeros ? scales : exe::Shape{scales[0], (scales[1] * w.bits + 7) / 8},
                     "operand 3");
}

/// Everything but where the bytes are.
Status readWeight(const Preparation &p, QuantizedWeight &w) {
  for (auto [name, to] : {std::pair{"bits", &w.bits}, std::pair{"block", &w.block}})
    if (Status s = p.intAttr(name, *to); !s)
      return s;
  if (Status s = p.boolAttr("signed", w.isSigned, false); !s)
    return s;
  if (Status s = p.boolAttr("k_major", w.kMajor, false); !s)
    return s;
  if ((w.bits != 4 && w.bits != 8) || w.block < 16 || w.block > 1024 || w.block % 16 != 0)
    return p.bad(std::to_string(w.bits) + " bits in blocks of " + std::to_string(w.block) + " numbers");
  const exe::Shape &x = p.ins[0].shape, &numbers = p.ins[1].shape;
  if (x.empty() || x.back() < 1 || numbers.size() != 3)
    return p.bad("operands " + shapeText(x) + " and " + shapeText(numbers) + " are no product");
  w.k = x.back();
  w.blocks = (w.k - 1) / w.block + 1;
  int64_t inByte = 8 / w.bits;
  w.n = w.kMajor ? p.outs[0].shape.empty() ? 0 : p.outs[0].shape.back() : numbers[0];
  if (w.kMajor && (w.k % w.block != 0 || w.n % inByte != 0))
    return p.bad("blocks of " + std::to_string(w.block) + " numbers do not fit " + shapeText(x));
  if (Status s = p.sameShape(
          numbers, w.kMajor ? exe::Shape{w.blocks, w.block, w.n / inByte} : exe::Shape{w.n, w.blocks, w.block / inByte},
          "operand 1");
      !s)
    return s;
  exe::Shape expected = x;
  expected.back() = w.n;
  if (Status s = p.sameShape(p.outs[0].shape, expected, "output"); !s)
    return s;
  if (!isByte(p.ins[1].dtype))
    return p.bad(std::string("operand 1 is ") + exe::dtypeName(p.ins[1].dtype) + ", expected bytes");
  return readScales(p, w);
}

/// Those that the choice of micro-kernel names; without VNNI the AVX2 ones stand in for AVX-512.
const QuantizedKernels *chooseQuantizedKernels(MicroKernelChoice choice) {
  const CpuFeatures &cpu = cpuFeatures();
  bool any = choice != MicroKernelChoice::Portable, wide = any && choice != MicroKernelChoice::Avx2;
  if (wide && cpu.avx512vnni && avx512QuantizedKernels())
    return avx512QuantizedKernels();
  if (any && cpu.v3 && avx2QuantizedKernels())
    return avx2QuantizedKernels();
  return portableQuantizedKernels();
}
} // namespace

Status comm::rt::prepareQuantizedMatmul(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(3, 4, 1, {"bits", "block", "signed", "k_major", "int8"}); !s)
    return s;
  if (Status s = p.sameType(p.ins[0], p.outs[0]); !s)
    return s;
  if (!isAtMostF32(p.ins[0].dtype))
    return p.unsupported(std::string("products of ") + exe::dtypeName(p.ins[0].dtype) + " are not supported");
  QuantizedWeight weight;
  if (Status s = readWeight(p, weight); !s)
    return s;
  bool int8 = false;
  if (Status s = p.boolAttr("int8", int8, false); !s)
    return s;
  const MicroKernel *micro = nullptr;
  if (Status s = chooseMicroKernel(p.context.microKernel, micro); !s)
    return s;
  auto kernel =
      std::make_unique<QuantizedMatmulKernel>(weight, elementsOf(p.ins[0].shape) / weight.k, p.ins[0].dtype, int8,
                                              micro, chooseQuantizedKernels(p.context.microKernel), p.prefix());
  bool constant = weight.n > 0;
  for (size_t i = 1; i < p.ins.size(); ++i)
    constant &= p.ins[i].constant != nullptr;
  if (constant)
    kernel->pack(p);
  out = std::move(kernel);
  return Status::ok();
}
