//===- ExpertMatmul.cpp - every row times the matrix that it chose --------===//
// Rows are sorted by expert (a counting sort, by every thread for itself: it is short), each expert's rows are gathered
// into a block, multiplied panel by panel as in Matmul.cpp, and scattered. Threads share the work of a run, which
// depends on the ids, not the rows: each takes an equal part of the sequence of (expert, block of rows, panel).
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Experts/ExpertMatmul.h"
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Gather/Indices.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include "runtime/Kernels/Matmul/Pack.h"
#include "runtime/Kernels/Shard/Shards.h"
#include <algorithm>
#include <cstring>

using namespace comm;
using namespace comm::rt;

namespace {
constexpr int64_t divisions = 4096;     // of the work of a run, to be shared out
constexpr int64_t blockRows = 168;      // of one expert; a multiple of 14, 6 and 4
constexpr int64_t blockDepth = 512;     // of k
constexpr int64_t blockBytes = 1 << 20; // of a block of rows with all of k
constexpr int64_t rowPadding = 16;      // f32: one cache line
constexpr int64_t chunkPanels = 8;      // whose results lie beside y until they are scattered
constexpr int64_t panelRows = 8;        // so many rows take as long as fetching a panel

struct Problem {
  int64_t rows = 0, shared = 1, k = 0, n = 0, experts = 0; ///< `shared`: rows of y per row of x
  exe::ShardRange held;
  bool transposed = false, wide = false;
  std::string prefix;

  /// The place of a row's expert among those held, held.count when it is elsewhere.
  Status placeOf(const Indices &ids, int64_t row, int64_t &place) const {
    int64_t id = ids[row];
    if (id < 0 || id >= experts)
      return {Code::InvalidArgument, prefix + "expert " + std::to_string(id) + " of row " + std::to_string(row) +
                                         " is outside [0, " + std::to_string(experts) + ")"};
    bool here = id >= held.start && id < held.start + held.count;
    place = here ? id - held.start : held.count;
    return Status::ok();
  }
};

class ExpertMatmul : public Kernel {
public:
  ExpertMatmul(Problem problem, exe::DType dtype, const MicroKernel *micro)
      : s(std::move(problem)), dtype(dtype), micro(micro) {
    type = dtype == exe::DType::F32 ? PanelType::F32 : dtype == exe::DType::BF16 ? PanelType::BF16 : PanelType::F16;
    width = exe::byteWidth(dtype);
    panels = (s.n + micro->width - 1) / micro->width;
    int64_t fit = blockBytes / 4 / std::max<int64_t>(s.k, 1) / micro->maxRows * micro->maxRows;
    most = std::clamp(fit, micro->maxRows, blockRows);
  }
  void pack(const TensorDesc &w, PackCache *cache) {
    packed = packWeight(cache, w.constantKey, matrix(static_cast<const char *>(w.constant), 0), w.shape[0],
                        micro->width, packedHere);
  }
  int64_t iterations() const override { return s.rows && s.n ? divisions : 0; }
  int64_t packedBytes() const override { return packed && packedHere ? packed->memory.bytes() : 0; }
  bool readsInput(size_t index) const override { return index != 2 || !packed; }
  using Kernel::run;
  Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) override;

private:
  RightMatrix matrix(const char *weights, int64_t expert) const {
    return {weights + expert * s.k * s.n * width, s.k, s.n, s.transposed, type};
  }
  Status sortRows(const void *ids, int64_t *ends, int64_t *order) const;
  int64_t blocksOf(int64_t rows) const { return (rows + most - 1) / most; }
  /// Rows `order[0, rows)`, all of one expert, against its panels [begin, end).
  bool multiply(void *const *ins, char *y, int64_t expert, const int64_t *order, int64_t rows, int64_t begin,
                int64_t end);
  void clear(char *y, const int64_t *order, int64_t rows, int64_t begin, int64_t end) const;
  int64_t columnsOf(int64_t begin, int64_t end) const {
    return std::min(end * micro->width, s.n) - begin * micro->width;
  }
  int64_t panelBytes() const { return s.k * micro->width * width; }

  Problem s;
  exe::DType dtype;
  PanelType type;
  const MicroKernel *micro;
  int64_t width = 4, panels = 0, most = blockRows;
  std::shared_ptr<const PackedWeight> packed;
  bool packedHere = false;
};

/// Rows by place, in their order; `ends[p]` is where the rows of place p end. `order` has room for twice as many.
Status ExpertMatmul::sortRows(const void *data, int64_t *ends, int64_t *order) const {
  Indices ids(data, s.wide);
  int64_t *places = order + s.rows;
  std::fill(ends, ends + s.held.count + 1, 0);
  for (int64_t row = 0; row < s.rows; ++row) {
    if (Status status = s.placeOf(ids, row, places[row]); !status)
      return status;
    ++ends[places[row]];
  }
  for (int64_t p = 0, start = 0; p <= s.held.count; ++p) {
    int64_t count = ends[p];
    ends[p] = start; // filling moves it to the end
    start += count;
  }
  for (int64_t row = 0; row < s.rows; ++row)
    order[ends[places[row]]++] = row;
  return Status::ok();
}

bool ExpertMatmul::multiply(void *const *ins, char *y, int64_t expert, const int64_t *order, int64_t rows,
                            int64_t begin, int64_t end) {
  int64_t w = micro->width, depth = std::min(s.k, blockDepth), lda = depth + rowPadding;
  int64_t steps = (s.k + depth - 1) / depth, tiles = (rows + micro->maxRows - 1) / micro->maxRows;
  int64_t chunk = std::min(chunkPanels, end - begin);
  float *left = static_cast<float *>(scratch(ScratchSlot::PackA, steps * rows * lda * 4));
  float *c = static_cast<float *>(scratch(ScratchSlot::Convert, rows * chunk * w * 4));
  char *space = packed ? nullptr : static_cast<char *>(scratch(ScratchSlot::PackB, chunk * panelBytes()));
  if (!left || !c || (!packed && !space))
    return false;
  for (int64_t step = 0; step < steps; ++step)
    for (int64_t i = 0; i < rows; ++i)
      convertToF32(dtype, static_cast<const char *>(ins[0]) + (order[i] / s.shared * s.k + step * depth) * width,
                   left + (step * rows + i) * lda, std::min(depth, s.k - step * depth));
  for (int64_t first = begin, last = 0; first < end; first = last) {
    last = std::min(end, first + chunk);
    const char *b = space;
    if (packed)
      b = packed->memory.data() + expert * packed->matrixBytes + first * panelBytes();
    else
      packPanels(matrix(static_cast<const char *>(ins[2]), expert), w, first, last, space);
    int64_t ldc = (last - first) * w;
    for (int64_t step = 0; step < steps; ++step) {
      const float *a = left + step * rows * lda;
      int64_t some = std::min(depth, s.k - step * depth), from = step * depth * w * width;
      if (rows == 1) {
        micro->row[int(type)](last - first, some, a, b + from, w, s.k * w, c, step > 0);
        continue;
      }
      for (int64_t p = 0; p < last - first; ++p) {
        const char *panel = b + p * panelBytes() + from;
        // What is multiplied next comes into the cache meanwhile, in even portions.
        const char *after = p + 1 < last - first   ? panel + panelBytes()
                            : step + 1 < steps     ? b + from + depth * w * width
                            : packed && last < end ? b + (last - first) * panelBytes()
                                                   : nullptr;
        int64_t share = after ? w * width / tiles : 0;
        for (int64_t t = 0, i = 0; t < tiles; ++t) { // even tiles: 15 rows are 8 + 7, not 14 + 1
          int64_t next = rows * (t + 1) / tiles;
          micro->tile[int(type)](next - i, some, a + i * lda, lda, panel, w, c + i * ldc + p * w, ldc, step > 0,
                                 {share ? after + t * some * share : nullptr, share});
          i = next;
        }
      }
    }
    for (int64_t i = 0; i < rows; ++i)
      convertFromF32(dtype, c + i * ldc, y + (order[i] * s.n + first * w) * width, columnsOf(first, last));
  }
  return true;
}

void ExpertMatmul::clear(char *y, const int64_t *order, int64_t rows, int64_t begin, int64_t end) const {
  for (int64_t i = 0; i < rows; ++i)
    std::memset(y + (order[i] * s.n + begin * micro->width) * width, 0, size_t(columnsOf(begin, end) * width));
}

Status ExpertMatmul::run(void *const *ins, void *const *outs, int64_t begin, int64_t end) {
  int64_t places = s.held.count + 1;
  int64_t *ends = static_cast<int64_t *>(scratch(ScratchSlot::Scores, (places + 2 * s.rows) * 8));
  if (!ends)
    return {Code::OutOfMemory, s.prefix + "no memory for scratch space"};
  int64_t *order = ends + places;
  if (Status status = sortRows(ins[1], ends, order); !status)
    return status;
  auto costOf = [](int64_t rows) { return rows + panelRows; };
  auto visit = [&](auto &&block) {
    for (int64_t place = 0, start = 0; place < places; start = ends[place++]) {
      int64_t rows = ends[place] - start, blocks = blocksOf(rows);
      for (int64_t i = 0; i < blocks; ++i)
        if (!block(place, start + rows * i / blocks, start + rows * (i + 1) / blocks))
          return false;
    }
    return true;
  };
  __int128 total = 0;
  visit([&](int64_t, int64_t first, int64_t last) {
    total += __int128(costOf(last - first)) * panels;
    return true;
  });
  __int128 from = total * begin / divisions, to = total * end / divisions, at = 0;
  char *y = static_cast<char *>(outs[0]);
  bool done = visit([&](int64_t place, int64_t first, int64_t last) {
    // A panel belongs to the part in which its work begins.
    int64_t cost = costOf(last - first);
    auto before = [&](__int128 limit) {
      return int64_t(std::clamp<__int128>((limit - at + cost - 1) / cost, 0, panels));
    };
    int64_t p = before(from), q = before(to);
    at += __int128(cost) * panels;
    if (p >= q)
      return true;
    if (place == s.held.count || s.k == 0) {
      clear(y, order + first, last - first, p, q);
      return true;
    }
    return multiply(ins, y, place, order + first, last - first, p, q);
  });
  return done ? Status::ok() : Status{Code::OutOfMemory, s.prefix + "no memory for scratch space"};
}

/// f64: a plain loop.
std::unique_ptr<Kernel> plainKernel(const Problem &s) {
  return makeKernel(s.rows, [s](void *const *ins, void *const *outs, int64_t begin, int64_t end) {
    Indices ids(ins[1], s.wide);
    for (int64_t row = begin, place = 0; row < end; ++row) {
      if (Status status = s.placeOf(ids, row, place); !status)
        return status;
      const double *x = static_cast<const double *>(ins[0]) + row / s.shared * s.k;
      const double *w = static_cast<const double *>(ins[2]) + place * s.k * s.n;
      double *y = static_cast<double *>(outs[0]) + row * s.n;
      int64_t along = s.transposed ? 1 : s.n, across = s.transposed ? s.k : 1;
      for (int64_t j = 0; j < s.n; ++j) {
        y[j] = 0;
        for (int64_t i = 0; i < s.k && place < s.held.count; ++i)
          y[j] += x[i] * w[i * along + j * across];
      }
    }
    return Status::ok();
  });
}

Status readProblem(const Preparation &p, Problem &s) {
  const exe::Shape &x = p.ins[0].shape, &ids = p.ins[1].shape, &w = p.ins[2].shape;
  if (Status st = p.boolAttr("transpose", s.transposed, false); !st)
    return st;
  if (Status st = p.intAttr("experts", s.experts); !st)
    return st;
  if (ids.empty() || (x.size() != ids.size() && x.size() != ids.size() + 1) ||
      !std::equal(x.begin(), x.end() - 1, ids.begin()))
    return p.bad("rows " + shapeText(x) + " do not fit ids " + shapeText(ids));
  if (w.size() != 3 || w[s.transposed ? 2 : 1] != x.back() || s.experts < 0)
    return p.bad("weights " + shapeText(w) + " do not fit rows " + shapeText(x));
  Shards shards;
  if (Status st = readShards(p, s.experts, shards); !st)
    return st;
  if (w[0] != shards.local)
    return p.bad("holds " + std::to_string(w[0]) + " experts, expected " + std::to_string(shards.local));
  s.held = shards.ranges[size_t(shards.self)];
  s.k = x.back();
  s.n = w[s.transposed ? 1 : 2];
  s.rows = elementsOf(ids);
  s.shared = x.size() == ids.size() ? std::max<int64_t>(ids.back(), 1) : 1;
  s.wide = p.ins[1].dtype == exe::DType::I64;
  s.prefix = p.prefix();
  exe::Shape expected = ids;
  expected.push_back(s.n);
  return p.sameShape(p.outs[0].shape, expected, "output");
}
} // namespace

Status comm::rt::prepareExpertMatmul(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(3, 3, 1, {"experts", "axes", "grain", "transpose"}); !s)
    return s;
  if (Status s = checkIndices(p, p.ins[1]); !s)
    return s;
  if (Status s = p.sameType(p.ins[0], p.ins[2]); !s)
    return s;
  if (Status s = p.sameType(p.ins[0], p.outs[0]); !s)
    return s;
  exe::DType type = p.outs[0].dtype;
  if (!isFloat(type))
    return p.unsupported(std::string("products of ") + exe::dtypeName(type) + " are not supported");
  Problem problem;
  if (Status s = readProblem(p, problem); !s)
    return s;
  if (type == exe::DType::F64) {
    out = plainKernel(problem);
    return Status::ok();
  }
  const MicroKernel *micro = nullptr;
  if (Status s = chooseMicroKernel(p.context.microKernel, micro); !s)
    return s;
  auto kernel = std::make_unique<ExpertMatmul>(std::move(problem), type, micro);
  if (p.ins[2].constant && elementsOf(p.ins[2].shape) > 0)
    kernel->pack(p.ins[2], p.context.cache);
  out = std::move(kernel);
  return Status::ok();
}
