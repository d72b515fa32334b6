//===- Attention.cpp - blocked attention with an online softmax -----------===//
// One iteration is a batch entry and a kv head with all query heads that use it: their rows are contiguous in q, so K
// is packed once for the group and never repeated. Query tiles x key tiles: S = Q K^T and O += P V on the micro-kernel;
// a row of O is rescaled only when its maximum moves; key tiles that no row of a query tile may see are skipped. Few
// rows (decode) use dot products on K as it lies. Where both products are of bf16 and the CPU has a unit for them, K
// and V are packed as pairs, and query and weights are rounded for each tile.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include "runtime/Kernels/Matmul/Pack.h"
#include "runtime/Kernels/Support.h"
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

using namespace comm;
using namespace comm::rt;

namespace {
constexpr int64_t widestTile = 64, keyTile = 256, decodeRows = 8, padding = 16;
constexpr int64_t partKeys = 512, enoughGroups = 16; // below so many groups, long caches are read in parts
constexpr float lowest = -std::numeric_limits<float>::infinity();

int64_t roundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

struct AttentionShape {
  int64_t batches = 0, queryHeads = 0, kvHeads = 0, queries = 0, keys = 0, depth = 0, valueDepth = 0;
  exe::DType type = exe::DType::F32, maskType = exe::DType::Bool;
  float scale = 1, softcap = 0;
  bool causal = false, hasMask = false, hasLengths = false;
  int64_t causalOffset = 0;
  int64_t maskStrides[4] = {}; ///< 0 where the mask broadcasts
};

class AttentionKernel : public Kernel {
public:
  AttentionKernel(const AttentionShape &shape, const MicroKernel *micro, const NarrowKernel *unit, std::string prefix)
      : s(shape), micro(micro), unit(unit), prefix(std::move(prefix)), width(exe::byteWidth(shape.type)),
        valueLd(roundUp(shape.valueDepth, micro->width)), queryTile(unit ? widestTile : 56) {
    int64_t groups = s.batches * s.kvHeads;
    if (groups > 0 && groups < enoughGroups && mostRows() <= decodeRows)
      parts = std::clamp<int64_t>(s.keys / partKeys, 1, (enoughGroups + groups - 1) / groups);
    if (parts == 1)
      return;
    partials.resize(size_t(groups * parts * mostRows() * (valueLd + 2)));
    left = std::vector<std::atomic<int64_t>>(size_t(groups));
    for (std::atomic<int64_t> &n : left)
      n = parts;
  }
  int64_t iterations() const override {
    return s.queryHeads && s.queries && s.valueDepth ? s.batches * s.kvHeads * parts : 0;
  }
  int64_t rows() const override { return iterations() ? s.batches : 0; }
  bool readsOwnRow(size_t input) const override { return input < 3; }
  using Kernel::run;
  Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) override {
    bool hasMemory = true;
    if (unit)
      unit->begin();
    for (int64_t i = begin; i < end && hasMemory; ++i)
      hasMemory = group(ins, outs, i / parts / s.kvHeads, i / parts % s.kvHeads, i % parts);
    if (unit)
      unit->end();
    return hasMemory ? Status::ok() : Status{Code::OutOfMemory, prefix + "no memory for scratch space"};
  }

private:
  /// Rows of f32 in memory.
  struct Rows {
    const float *data = nullptr;
    int64_t ld = 0;
  };
  /// One (batch, kv head): rows [0, rows) are its query heads one after the other.
  struct Group {
    int64_t batch = 0, firstHead = 0, rows = 0, length = 0; ///< length: keys that exist for this batch entry
    int64_t begin = 0, end = 0;                             ///< keys that are looked at
    const char *mask = nullptr;
    bool decode = false;
    Rows keys, values;  ///< keys: row-major when decode, else packed panels of `micro->width` keys
    bool pairs = false; ///< both as panels of pairs instead:
    const char *keyPairs = nullptr, *valuePairs = nullptr;
    int64_t keyPanel = 0, valuePanel = 0; ///< bytes
  };
  struct Tile {
    int64_t first = 0, rows = 0, ldq = 0, lds = 0;
    float *q = nullptr, *scores = nullptr, *sums = nullptr, *maxima = nullptr, *out = nullptr;
    char *packedQuery = nullptr, *packedWeights = nullptr; ///< for the unit
  };

  /// Query heads times queries of the largest group.
  int64_t mostRows() const { return s.kvHeads ? (s.queryHeads + s.kvHeads - 1) / s.kvHeads * s.queries : 0; }
  bool group(void *const *ins, void *const *outs, int64_t batch, int64_t kvHead, int64_t part) const;
  bool attend(void *const *ins, void *const *outs, Group &g, int64_t kvHead, float *partial) const;
  void join(const Group &g, int64_t number, char *y) const;
  bool packPairs(Group &g, const char *k, const char *v, int64_t used) const;
  bool packRows(Group &g, const char *k, const char *v, int64_t used) const;
  void queryTileRun(const Group &g, Tile &t) const;
  void scoresOf(const Group &g, const Tile &t, int64_t key, int64_t columns) const;
  void softmaxRow(const Group &g, const Tile &t, int64_t row, int64_t key, int64_t columns) const;
  void addMask(const Group &g, int64_t row, int64_t key, int64_t columns, float *scores) const;
  /// Keys [0, result) are visible to this row, before the mask.
  int64_t visible(const Group &g, int64_t row) const {
    int64_t limit = g.length;
    if (s.causal)
      limit = std::min(limit, row % s.queries + s.causalOffset + 1);
    return std::max<int64_t>(limit, 0);
  }

  AttentionShape s;
  const MicroKernel *micro;
  const NarrowKernel *unit; ///< null: products in f32
  std::string prefix;
  int64_t width, valueLd, queryTile;
  /// Decode with few heads: the keys of a group are read in parts, by several threads; who ends last joins them, in
  /// order. Per group and part: rows of sums of values, then sums of weights, then maxima.
  int64_t parts = 1;
  mutable std::vector<float> partials;
  mutable std::vector<std::atomic<int64_t>> left; ///< parts of a group that are not done
};

/// Keys [used, depth] transposed and values [used, valueDepth], as the unit wants them.
bool AttentionKernel::packPairs(Group &g, const char *k, const char *v, int64_t used) const {
  bool isF32 = s.type == exe::DType::F32;
  RightMatrix keys{k, s.depth, used, true, PanelType::BF16, isF32, unit->depth};
  RightMatrix values{v, used, s.valueDepth, false, PanelType::BF16, isF32, unit->depth};
  int64_t w = unit->width, keyPanels = roundUp(used, w) / w, valuePanels = valueLd / w;
  g.pairs = true;
  g.keyPanel = keys.depth() * w * 2;
  g.valuePanel = values.depth() * w * 2;
  int64_t keyBytes = keyPanels * g.keyPanel;
  char *space = static_cast<char *>(scratch(ScratchSlot::PackB, keyBytes + valuePanels * g.valuePanel));
  if (!space)
    return false;
  packPanels(keys, w, 0, keyPanels, space);
  packPanels(values, w, 0, valuePanels, space + keyBytes);
  g.keyPairs = space;
  g.valuePairs = space + keyBytes;
  return true;
}

/// Keys and values in f32: panels of keys, or all as it lies.
bool AttentionKernel::packRows(Group &g, const char *k, const char *v, int64_t used) const {
  int64_t w = micro->width;
  bool convertKeys = s.type != exe::DType::F32, copyValues = convertKeys || valueLd != s.valueDepth;
  int64_t rowFloats = convertKeys ? used * s.depth : 0, packFloats = g.decode ? 0 : roundUp(used, w) * s.depth;
  int64_t valueFloats = copyValues ? used * valueLd : 0;
  float *space = static_cast<float *>(scratch(ScratchSlot::PackB, (rowFloats + packFloats + valueFloats) * 4));
  if (!space)
    return false;
  if (convertKeys) {
    convertToF32(s.type, k, space, rowFloats);
    k = reinterpret_cast<const char *>(space);
    space += rowFloats;
  }
  g.keys = {reinterpret_cast<const float *>(k), s.depth};
  if (!g.decode) {
    packPanels({k, s.depth, used, true, PanelType::F32}, w, 0, roundUp(used, w) / w, reinterpret_cast<char *>(space));
    g.keys = {space, w};
    space += packFloats;
  }
  g.values = {reinterpret_cast<const float *>(v), s.valueDepth};
  if (copyValues) {
    for (int64_t j = 0; j < used; ++j) {
      convertToF32(s.type, v + j * s.valueDepth * width, space + j * valueLd, s.valueDepth);
      std::memset(space + j * valueLd + s.valueDepth, 0, size_t(valueLd - s.valueDepth) * 4);
    }
    g.values = {space, valueLd};
  }
  return true;
}

bool AttentionKernel::group(void *const *ins, void *const *outs, int64_t batch, int64_t kvHead, int64_t part) const {
  Group g;
  g.batch = batch;
  // Query heads h with h * kvHeads / queryHeads == kvHead.
  g.firstHead = (kvHead * s.queryHeads + s.kvHeads - 1) / s.kvHeads;
  int64_t nextHead = ((kvHead + 1) * s.queryHeads + s.kvHeads - 1) / s.kvHeads;
  g.rows = (nextHead - g.firstHead) * s.queries;
  g.mask = s.hasMask ? static_cast<const char *>(ins[3]) : nullptr;
  g.length = s.keys;
  if (s.hasLengths)
    g.length = std::clamp<int64_t>(static_cast<const int64_t *>(ins[s.hasMask ? 4 : 3])[batch], 0, s.keys);
  g.decode = g.rows <= decodeRows;
  int64_t used = 0; // keys that any row sees
  for (int64_t q = 0; q < s.queries; ++q)
    used = std::max(used, visible(g, q));
  g.begin = used * part / parts;
  g.end = used * (part + 1) / parts;
  if (parts == 1)
    return attend(ins, outs, g, kvHead, nullptr);
  int64_t number = batch * s.kvHeads + kvHead;
  bool done = attend(ins, outs, g, kvHead, partials.data() + (number * parts + part) * mostRows() * (valueLd + 2));
  if (left[size_t(number)].fetch_sub(1, std::memory_order_acq_rel) == 1) {
    left[size_t(number)].store(parts, std::memory_order_relaxed);
    join(g, number, static_cast<char *>(outs[0]));
  }
  return done;
}

/// The parts of a group, each rescaled to the largest maximum of a row.
void AttentionKernel::join(const Group &g, int64_t number, char *y) const {
  int64_t most = mostRows(), each = most * (valueLd + 2), firstRow = (g.batch * s.queryHeads + g.firstHead) * s.queries;
  float *group = partials.data() + number * parts * each;
  for (int64_t r = 0; r < g.rows; ++r) {
    float maximum = lowest, total = 0;
    for (int64_t p = 0; p < parts; ++p)
      maximum = std::max(maximum, group[p * each + most * (valueLd + 1) + r]);
    float *row = group + r * valueLd; // the first part takes in the others
    for (int64_t p = 0; p < parts; ++p) {
      const float *part = group + p * each + r * valueLd;
      float sum = group[p * each + most * valueLd + r];
      if (sum == 0 && p > 0) // nothing was visible in it
        continue;
      float factor = sum == 0 ? 0.0f : std::exp(group[p * each + most * (valueLd + 1) + r] - maximum);
      total += sum * factor;
      for (int64_t d = 0; d < s.valueDepth; ++d)
        row[d] = p == 0 ? (sum == 0 ? 0.0f : part[d] * factor) : row[d] + part[d] * factor;
    }
    for (int64_t d = 0; total != 0 && d < s.valueDepth; ++d)
      row[d] *= 1.0f / total;
    convertFromF32(s.type, row, y + (firstRow + r) * s.valueDepth * width, s.valueDepth);
  }
}

/// Keys [g.begin, g.end); `partial`: they are not all, results go there and not to the output.
bool AttentionKernel::attend(void *const *ins, void *const *outs, Group &g, int64_t kvHead, float *partial) const {
  int64_t batch = g.batch, kv = batch * s.kvHeads + kvHead;
  const char *k = static_cast<const char *>(ins[1]) + (kv * s.keys + g.begin) * s.depth * width;
  const char *v = static_cast<const char *>(ins[2]) + (kv * s.keys + g.begin) * s.valueDepth * width;
  int64_t some = g.end - g.begin;
  if (!(unit && !g.decode ? packPairs(g, k, v, some) : packRows(g, k, v, some)))
    return false;

  Tile t;
  t.ldq = s.depth + padding;
  t.lds = keyTile + padding;
  int64_t most = std::min(queryTile, g.rows);
  int64_t floats = roundUp(most * (t.ldq + t.lds + valueLd + 2), 16); // packed operands behind them are aligned
  int64_t queryBytes = g.pairs ? unit->leftBytes(most, s.depth) : 0,
          weightBytes = g.pairs ? unit->leftBytes(most, keyTile) : 0;
  float *work = static_cast<float *>(
      scratch(ScratchSlot::Scores, floats * 4 + roundUp(queryBytes, 64) + roundUp(weightBytes, 64)));
  if (!work)
    return false;
  t.packedQuery = reinterpret_cast<char *>(work + floats);
  t.packedWeights = t.packedQuery + roundUp(queryBytes, 64);
  t.q = work;
  t.scores = t.q + most * t.ldq;
  t.out = t.scores + most * t.lds;
  t.sums = t.out + most * valueLd;
  t.maxima = t.sums + most;
  int64_t firstRow = (batch * s.queryHeads + g.firstHead) * s.queries; // of q and y
  for (t.first = 0; t.first < g.rows; t.first += t.rows) {
    t.rows = std::min(queryTile, g.rows - t.first);
    if (s.queries >= queryTile) // a tile within one head sees fewer keys
      t.rows = std::min(t.rows, s.queries - t.first % s.queries);
    for (int64_t r = 0; r < t.rows; ++r) {
      const char *from = static_cast<const char *>(ins[0]) + (firstRow + t.first + r) * s.depth * width;
      convertToF32(s.type, from, t.q + r * t.ldq, s.depth);
      for (int64_t d = 0; d < s.depth; ++d)
        t.q[r * t.ldq + d] *= s.scale;
    }
    if (g.pairs)
      unit->packLeft(true, t.q, t.ldq, t.rows, s.depth, t.packedQuery);
    queryTileRun(g, t);
    if (partial) { // few rows: one tile
      std::copy_n(t.out, t.rows * valueLd, partial);
      std::copy_n(t.sums, t.rows, partial + mostRows() * valueLd);
      std::copy_n(t.maxima, t.rows, partial + mostRows() * (valueLd + 1));
      return true;
    }
    for (int64_t r = 0; r < t.rows; ++r) {
      float *row = t.out + r * valueLd;
      if (t.sums[r] != 0) // zero: nothing to attend to, the row is zeros already
        micro->scaleRow(row, valueLd, 1.0f / t.sums[r]);
      convertFromF32(s.type, row, static_cast<char *>(outs[0]) + (firstRow + t.first + r) * s.valueDepth * width,
                     s.valueDepth);
    }
  }
  return true;
}

void AttentionKernel::queryTileRun(const Group &g, Tile &t) const {
  std::fill_n(t.out, t.rows * valueLd, 0.0f);
  std::fill_n(t.sums, t.rows, 0.0f);
  std::fill_n(t.maxima, t.rows, lowest);
  int64_t seen = 0;
  for (int64_t r = 0; r < t.rows; ++r)
    seen = std::max(seen, visible(g, t.first + r));
  int64_t w = micro->width, step = std::min(micro->maxRows, t.rows);
  seen = std::min(seen, g.end);
  for (int64_t key = g.begin; key < seen; key += keyTile) {
    int64_t columns = std::min(keyTile, seen - key), at = key - g.begin;
    scoresOf(g, t, at, columns);
    for (int64_t r = 0; r < t.rows; ++r)
      softmaxRow(g, t, r, key, columns);
    if (g.pairs) {
      unit->packLeft(true, t.scores, t.lds, t.rows, columns, t.packedWeights);
      unit->multiply(t.rows, columns, t.packedWeights, valueLd / w, g.valuePairs + at * unit->width * 2, g.valuePanel,
                     t.out, valueLd, true);
      continue;
    }
    const float *v = g.values.data + at * g.values.ld;
    if (t.rows == 1) {
      micro->row[0](valueLd / w, columns, t.scores, v, g.values.ld, w, t.out, true);
      continue;
    }
    for (int64_t r = 0; r < t.rows; r += step)
      for (int64_t c = 0; c < valueLd; c += w)
        micro->tile[0](std::min(step, t.rows - r), columns, t.scores + r * t.lds, t.lds, v + c, g.values.ld,
                       t.out + r * valueLd + c, valueLd, true, {});
  }
}

/// `key`: counted from the first one that is looked at.
void AttentionKernel::scoresOf(const Group &g, const Tile &t, int64_t key, int64_t columns) const {
  if (g.decode) {
    constexpr int64_t together = 64; // keys that stay in the first cache level for all rows
    for (int64_t c = 0; c < columns; c += together)
      for (int64_t r = 0; r < t.rows; ++r)
        micro->dots(std::min(together, columns - c), s.depth, t.q + r * t.ldq, g.keys.data + (key + c) * s.depth,
                    s.depth, t.scores + r * t.lds + c);
    return;
  }
  int64_t w = micro->width, step = std::min(micro->maxRows, t.rows);
  if (g.pairs)
    return unit->multiply(t.rows, s.depth, t.packedQuery, roundUp(columns, w) / w, g.keyPairs + key / w * g.keyPanel,
                          g.keyPanel, t.scores, t.lds, false);
  for (int64_t c = 0; c < columns; c += w)
    for (int64_t r = 0; r < t.rows; r += step)
      micro->tile[0](std::min(step, t.rows - r), s.depth, t.q + r * t.ldq, t.ldq, g.keys.data + (key + c) * s.depth, w,
                     t.scores + r * t.lds + c, t.lds, false, {});
}

void AttentionKernel::addMask(const Group &g, int64_t row, int64_t key, int64_t columns, float *scores) const {
  int64_t head = g.firstHead + row / s.queries, query = row % s.queries, step = s.maskStrides[3];
  int64_t at = g.batch * s.maskStrides[0] + head * s.maskStrides[1] + query * s.maskStrides[2] + key * step;
  if (s.maskType == exe::DType::Bool) {
    const uint8_t *mask = reinterpret_cast<const uint8_t *>(g.mask) + at;
    for (int64_t j = 0; j < columns; ++j)
      scores[j] = mask[j * step] ? scores[j] : lowest;
  } else if (s.maskType == exe::DType::F32) {
    const float *mask = reinterpret_cast<const float *>(g.mask) + at;
    for (int64_t j = 0; j < columns; ++j)
      scores[j] += mask[j * step];
  } else {
    const uint16_t *mask = reinterpret_cast<const uint16_t *>(g.mask) + at;
    bool brain = s.maskType == exe::DType::BF16;
    for (int64_t j = 0; j < columns; ++j)
      scores[j] += brain ? fromBF16(mask[j * step]) : fromF16(mask[j * step]);
  }
}

/// Turns the scores of one row into weights exp(score - maximum) and rescales what was summed before when the maximum
/// moves.
void AttentionKernel::softmaxRow(const Group &g, const Tile &t, int64_t r, int64_t key, int64_t columns) const {
  float *scores = t.scores + r * t.lds, &maximum = t.maxima[r];
  int64_t padded = roundUp(columns, micro->width);
  int64_t shown = std::clamp<int64_t>(visible(g, t.first + r) - key, 0, columns);
  if (s.softcap > 0)
    for (int64_t j = 0; j < shown; ++j)
      scores[j] = s.softcap * std::tanh(scores[j] / s.softcap);
  if (g.mask)
    addMask(g, t.first + r, key, shown, scores);
  std::fill(scores + shown, scores + padded, lowest);
  float highest = shown ? micro->rowMax(scores, padded) : lowest;
  // Comparisons with NaN are false: a row of NaNs keeps its maximum and its sum becomes NaN below.
  bool nothing =
      highest == lowest && maximum == lowest && std::none_of(scores, scores + shown, [](float f) { return f != f; });
  if (nothing) {
    std::fill_n(scores, padded, 0.0f);
    return;
  }
  if (highest > maximum) {
    float factor = std::exp(maximum - highest); // 0 when nothing was seen before
    if (factor != 1.0f && t.sums[r] != 0) {
      micro->scaleRow(t.out + r * valueLd, valueLd, factor);
      t.sums[r] *= factor;
    }
    maximum = highest;
  }
  t.sums[r] += micro->expSum(scores, padded, maximum == lowest ? 0.0f : maximum);
}

Status readMask(const Preparation &p, AttentionShape &s) {
  const TensorDesc &mask = p.ins[3];
  if (mask.dtype != exe::DType::Bool && mask.dtype != s.type)
    return p.bad(std::string("the mask has type ") + exe::dtypeName(mask.dtype) + ", expected bool or " +
                 exe::dtypeName(s.type));
  const int64_t sizes[4] = {s.batches, s.queryHeads, s.queries, s.keys};
  if (mask.shape.size() != 4)
    return p.bad("the mask has rank " + std::to_string(mask.shape.size()) + ", expected 4");
  int64_t stride = 1;
  for (int d = 3; d >= 0; --d) {
    if (mask.shape[d] != sizes[d] && mask.shape[d] != 1)
      return p.bad("the mask has shape " + shapeText(mask.shape) + ", expected [B, Hq, S, T] or 1 in each dimension");
    s.maskStrides[d] = mask.shape[d] == 1 ? 0 : stride;
    stride *= mask.shape[d];
  }
  s.maskType = mask.dtype;
  return Status::ok();
}

Status readShapes(const Preparation &p, AttentionShape &s) {
  for (int i = 0; i < 3; ++i)
    if (p.ins[i].shape.size() != 4)
      return p.bad("q, k and v have rank 4, input " + std::to_string(i) + " has " + shapeText(p.ins[i].shape));
  const exe::Shape &q = p.ins[0].shape, &k = p.ins[1].shape, &v = p.ins[2].shape;
  s.type = p.ins[0].dtype;
  s.batches = q[0], s.queryHeads = q[1], s.queries = q[2], s.depth = q[3];
  s.kvHeads = k[1], s.keys = k[2], s.valueDepth = v[3];
  if (Status st = p.sameShape(k, {s.batches, s.kvHeads, s.keys, s.depth}, "k"); !st)
    return st;
  if (Status st = p.sameShape(v, {s.batches, s.kvHeads, s.keys, s.valueDepth}, "v"); !st)
    return st;
  if (Status st = p.sameShape(p.outs[0].shape, {s.batches, s.queryHeads, s.queries, s.valueDepth}, "output"); !st)
    return st;
  for (const TensorDesc *other : {&p.ins[1], &p.ins[2], &p.outs[0]})
    if (Status st = p.sameType(p.ins[0], *other); !st)
      return st;
  if (s.queryHeads > 0 && s.kvHeads == 0)
    return p.bad("there are query heads and no kv heads");
  if (s.queryHeads > (int64_t(1) << 30) || s.kvHeads > (int64_t(1) << 30))
    return p.unsupported("more than 2^30 heads");
  if (s.type != exe::DType::F32 && s.type != exe::DType::F16 && s.type != exe::DType::BF16)
    return p.unsupported(std::string("attention in ") + exe::dtypeName(s.type) + " is not supported");
  if (s.hasMask)
    if (Status st = readMask(p, s); !st)
      return st;
  if (s.hasLengths) {
    const TensorDesc &lengths = p.ins[s.hasMask ? 4 : 3];
    if (lengths.dtype != exe::DType::I64)
      return p.bad(std::string("lengths have type ") + exe::dtypeName(lengths.dtype) + ", expected i64");
    return p.sameShape(lengths.shape, {s.batches}, "lengths");
  }
  return Status::ok();
}
} // namespace

Status comm::rt::prepareAttention(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s =
          p.check(3, 5, 1, {"scale", "causal", "causal_offset", "softcap", "has_mask", "has_lengths", "precision"});
      !s)
    return s;
  AttentionShape shape;
  double scale = 1, softcap = 0;
  const double noCap = 0;
  const int64_t zero = 0;
  if (Status s = p.floatAttr("scale", scale); !s)
    return s;
  if (Status s = p.floatAttr("softcap", softcap, &noCap); !s)
    return s;
  if (Status s = p.boolAttr("causal", shape.causal, false); !s)
    return s;
  if (Status s = p.intAttr("causal_offset", shape.causalOffset, &zero); !s)
    return s;
  if (Status s = p.boolAttr("has_mask", shape.hasMask, false); !s)
    return s;
  if (Status s = p.boolAttr("has_lengths", shape.hasLengths, false); !s)
    return s;
  size_t expected = 3 + size_t(shape.hasMask) + size_t(shape.hasLengths);
  if (p.ins.size() != expected)
    return p.bad("expects " + std::to_string(expected) + " inputs and has " + std::to_string(p.ins.size()));
  shape.scale = float(scale);
  shape.softcap = float(softcap);
  if (!std::isfinite(shape.scale) || !std::isfinite(shape.softcap) || softcap < 0)
    return p.bad("'scale' must be finite and 'softcap' finite and not negative");
  if (Status s = readShapes(p, shape); !s)
    return s;
  bool isNarrow = p.command.attrs.count("precision") > 0;
  if (isNarrow) {
    const auto *precision = std::get_if<std::string>(&p.command.attrs.at("precision"));
    if (!precision || *precision != "bf16" || shape.type != exe::DType::F32)
      return p.bad("attribute 'precision' is \"bf16\", of f32 operands");
  }
  // Beyond these bounds nothing or everything is visible.
  shape.causalOffset = std::clamp(shape.causalOffset, -shape.queries - 1, shape.keys);
  const MicroKernel *micro = nullptr;
  if (Status s = chooseMicroKernel(p.context.microKernel, micro); !s)
    return s;
  const NarrowKernel *unit = nullptr;
  if (isNarrow || shape.type == exe::DType::BF16)
    if (Status s = chooseNarrowKernel(p.context.microKernel, unit); !s)
      return s;
  if (unit && unit->width != micro->width) // both work on the same scores
    unit = nullptr;
  out = std::make_unique<AttentionKernel>(shape, micro, unit, p.prefix());
  return Status::ok();
}
