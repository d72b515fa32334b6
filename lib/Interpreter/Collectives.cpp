//===- Collectives.cpp - ops in which ranks differ ------------------------===//
#include "Experts.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::detail;

namespace {
using PerRank = std::vector<SmallVector<HostTensor>>;

/// Coordinates of the ranks of a grid.
struct GridView {
  SmallVector<StringRef> names;
  SmallVector<int64_t> sizes;
  explicit GridView(GridOp grid) {
    if (!grid)
      return;
    for (auto [name, size] : llvm::zip_equal(grid.getAxes(), grid.getSizes())) {
      names.push_back(cast<StringAttr>(name).getValue());
      sizes.push_back(size);
    }
  }
  int64_t coordinateOf(int64_t rank, StringRef axis) const {
    int64_t result = 0;
    for (int64_t i = static_cast<int64_t>(sizes.size()) - 1; i >= 0; --i) {
      if (names[i] == axis)
        result = rank % sizes[i];
      rank /= sizes[i];
    }
    return result;
  }
  int64_t sizeOf(StringRef axis) const {
    for (auto [name, size] : llvm::zip_equal(names, sizes))
      if (name == axis)
        return size;
    return 1;
  }
  int64_t coordinate(int64_t rank, ArrayRef<StringRef> axes) const {
    int64_t result = 0;
    for (StringRef axis : axes)
      result = result * sizeOf(axis) + coordinateOf(rank, axis);
    return result;
  }
  int64_t shards(ArrayRef<StringRef> axes) const {
    int64_t result = 1;
    for (StringRef axis : axes)
      result *= sizeOf(axis);
    return result;
  }
  /// Ranks that differ from `rank` only in `axes`, by coordinate over them.
  SmallVector<int64_t> group(int64_t rank, ArrayRef<StringRef> axes, int64_t ranks) const {
    SmallVector<int64_t> members(shards(axes), -1);
    for (int64_t other = 0; other < ranks; ++other) {
      bool same = llvm::all_of(names, [&](StringRef axis) {
        return llvm::is_contained(axes, axis) || coordinateOf(rank, axis) == coordinateOf(other, axis);
      });
      if (same)
        members[coordinate(other, axes)] = other;
    }
    return members;
  }
};

SmallVector<StringRef> axisNames(ArrayAttr axes) {
  SmallVector<StringRef> out;
  for (Attribute axis : axes)
    out.push_back(cast<StringAttr>(axis).getValue());
  return out;
}

/// (shard + shift) mod n, for a shift of either sign.
int64_t shifted(int64_t shard, int64_t shift, int64_t n) { return ((shard + shift % n) % n + n) % n; }

struct ShardRange {
  int64_t start, count, local;
};
ShardRange shardRange(int64_t size, int64_t grain, int64_t shards, int64_t shard) {
  int64_t blocks = size / grain, local = getLocalSize(size, grain, shards);
  if (blocks > 0 && blocks < shards && shards % blocks == 0)
    return {shard * blocks / shards * grain, grain, grain};
  int64_t start = std::min(shard * local, size);
  return {start, std::min(local, size - start), local};
}

HostTensor cut(const HostTensor &whole, int64_t dim, ShardRange range) {
  SmallVector<int64_t> shape(whole.type.getShape());
  shape[dim] = range.local;
  HostTensor out = HostTensor::zeros(RankedTensorType::get(shape, whole.type.getElementType()));
  SmallVector<int64_t> to = stridesOf(shape), from = stridesOf(whole.type.getShape());
  shape[dim] = range.count;
  forEachIndex(
      shape, [&](ArrayRef<int64_t> i) { copyElement(out, dot(i, to), whole, dot(i, from) + range.start * from[dim]); });
  return out;
}

/// Puts `part` at its place along `dim`; its fill is dropped.
void paste(HostTensor &whole, const HostTensor &part, int64_t dim, ShardRange range) {
  SmallVector<int64_t> shape(part.type.getShape()), from = stridesOf(shape), to = stridesOf(whole.type.getShape());
  shape[dim] = range.count;
  forEachIndex(
      shape, [&](ArrayRef<int64_t> i) { copyElement(whole, dot(i, to) + range.start * to[dim], part, dot(i, from)); });
}

HostTensor reduceGroup(const PerRank &in, ArrayRef<int64_t> group, ReduceKind kind, bool standIns) {
  HostTensor sum = in[group[0]][0];
  RankedTensorType type = sum.type;
  // In the order of the ranks; 16-bit floats are summed in f32 and rounded once.
  if (type.getElementType().isF16() || type.getElementType().isBF16())
    sum.type = RankedTensorType::get(type.getShape(), Float32Type::get(type.getContext()));
  for (int64_t member : group.drop_front())
    accumulate(sum, in[member][0], kind, standIns);
  for (double &x : sum.floats)
    x = standIns ? x : roundTo(type.getElementType(), x);
  sum.type = type;
  return sum;
}

HostTensor gatherGroup(const PerRank &in, ArrayRef<int64_t> group, int64_t dim, int64_t grain, RankedTensorType type) {
  HostTensor whole = HostTensor::zeros(type);
  for (auto [shard, member] : llvm::enumerate(group))
    paste(whole, in[member][0], dim, shardRange(type.getDimSize(dim), grain, group.size(), shard));
  return whole;
}

/// One result per rank, made by `body(rank, shard number, group)`.
template <typename Body> PerRank eachRank(GridOp grid, ArrayAttr axes, int64_t ranks, Body body) {
  GridView view(grid);
  SmallVector<StringRef> names = axisNames(axes);
  PerRank out(ranks);
  for (int64_t rank = 0; rank < ranks; ++rank)
    out[rank].push_back(body(rank, view.coordinate(rank, names), view.group(rank, names, ranks)));
  return out;
}

/// bias, residual and norm of a fused op, from the reduced rows: normed, sum. Each step is rounded to the element type,
/// as in the ops it stands for.
template <typename Op>
SmallVector<HostTensor> addAndNorm(Op op, HostTensor sum, ArrayRef<HostTensor> operands,
                                   const InterpreterOptions &options) {
  int64_t width = sum.type.getShape().back();
  size_t next = 3;
  if (op.getBias()) {
    HostTensor wide = sum;
    for (int64_t i = 0; i < wide.size(); ++i)
      wide.floats[i] = operands[next].floats[i % width];
    accumulate(sum, wide, ReduceKind::Sum, options.integerStandIns);
    ++next;
  }
  accumulate(sum, operands[1], ReduceKind::Sum, options.integerStandIns);
  SmallVector<HostTensor> normIn = {sum, operands[2]};
  if (op.getNormBias())
    normIn.push_back(operands[next]);
  // Evaluate through the model op itself, so that there is one meaning of the norm.
  OpBuilder builder(op.getContext());
  builder.setInsertionPoint(op);
  Operation *norm;
  if (op.getLayerNorm())
    norm = LayerNormOp::create(builder, op.getLoc(), op.getResidual(), op.getWeight(), op.getNormBias(),
                               op.getEpsilonAttr());
  else
    norm = RMSNormOp::create(builder, op.getLoc(), op.getResidual(), op.getWeight(), op.getEpsilonAttr());
  Result normed = evaluateModelOp(norm, normIn, options);
  norm->erase();
  return {(*normed)[0], sum};
}

PerRank allReduceNorm(AllReduceNormOp op, const PerRank &in, GridOp grid, const InterpreterOptions &options) {
  int64_t ranks = in.size();
  PerRank out = eachRank(grid, op.getAxes(), ranks, [&](int64_t, int64_t, ArrayRef<int64_t> group) {
    return reduceGroup(in, group, ReduceKind::Sum, options.integerStandIns);
  });
  for (int64_t rank = 0; rank < ranks; ++rank)
    out[rank] = addAndNorm(op, out[rank][0], in[rank], options);
  return out;
}

PerRank scatterNormGather(ScatterNormGatherOp op, const PerRank &in, GridOp grid, const InterpreterOptions &options) {
  int64_t ranks = in.size(), rows = op.getNumRows();
  RankedTensorType type = op.getInput().getType();
  auto flat = RankedTensorType::get({rows, type.getShape().back()}, type.getElementType());
  auto rangeOf = [&](int64_t shard, size_t members) { return shardRange(rows, 1, members, shard); };
  PerRank shards = eachRank(grid, op.getAxes(), ranks, [&](int64_t, int64_t shard, ArrayRef<int64_t> group) {
    HostTensor whole = reduceGroup(in, group, ReduceKind::Sum, options.integerStandIns);
    whole.type = flat;
    return cut(whole, 0, rangeOf(shard, group.size()));
  });
  PerRank norms(ranks), out(ranks);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    SmallVector<HostTensor> both = addAndNorm(op, shards[rank][0], in[rank], options);
    norms[rank] = {both[0]};
    shards[rank] = {both[1]};
  }
  out = eachRank(grid, op.getAxes(), ranks, [&](int64_t, int64_t, ArrayRef<int64_t> group) {
    HostTensor whole = gatherGroup(norms, group, 0, 1, flat);
    whole.type = type;
    return whole;
  });
  PerRank fills = eachRank(grid, op.getAxes(), ranks, [&](int64_t rank, int64_t shard, ArrayRef<int64_t> group) {
    // Fill is poison, so that whoever reads it is caught.
    HostTensor sum = shards[rank][0];
    for (int64_t i = rangeOf(shard, group.size()).count * flat.getDimSize(1); i < sum.size(); ++i)
      sum.floats[i] = options.integerStandIns ? 1 : std::numeric_limits<double>::quiet_NaN();
    return sum;
  });
  for (int64_t rank = 0; rank < ranks; ++rank)
    out[rank].push_back(fills[rank][0]);
  return out;
}
} // namespace

void comm::detail::accumulate(HostTensor &into, const HostTensor &other, ReduceKind kind, bool standIns) {
  Type element = into.type.getElementType();
  for (size_t i = 0; i < into.floats.size(); ++i) {
    double a = into.floats[i], b = other.floats[i];
    double r = kind == ReduceKind::Sum                     ? a + b
               : kind == ReduceKind::Prod                  ? a * b
               : std::isnan(a) || std::isnan(b)            ? std::numeric_limits<double>::quiet_NaN()
               : (kind == ReduceKind::Max ? a > b : a < b) ? a
                                                           : b;
    if (standIns)
      r = static_cast<double>(kind == ReduceKind::Prod ? toField(static_cast<int64_t>(a) * static_cast<int64_t>(b))
                                                       : toField(static_cast<int64_t>(r)));
    into.floats[i] = standIns ? r : roundTo(element, r);
  }
  for (size_t i = 0; i < into.ints.size(); ++i) {
    int64_t a = into.ints[i], b = other.ints[i];
    uint64_t ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b); // overflow wraps
    into.ints[i] = wrapTo(element, kind == ReduceKind::Sum    ? static_cast<int64_t>(ua + ub)
                                   : kind == ReduceKind::Prod ? static_cast<int64_t>(ua * ub)
                                   : kind == ReduceKind::Max  ? std::max(a, b)
                                                              : std::min(a, b));
  }
}

bool comm::detail::needsAllRanks(Operation *op) {
  if (auto embedding = dyn_cast<EmbeddingOp>(op))
    return embedding.getVocab().has_value();
  if (auto experts = dyn_cast<ExpertMatmulOp>(op))
    return experts.getExperts().has_value();
  return isa<AllReduceOp, ReduceScatterOp, AllGatherOp, AllToAllOp, PermuteOp, ShardSliceOp, RankMaskOp,
             AllReduceNormOp, ScatterNormGatherOp, PackShardsOp, UnpackShardsOp>(op);
}

FailureOr<PerRank> comm::detail::evaluateAcrossRanks(Operation *op, ArrayRef<SmallVector<HostTensor>> operands,
                                                     const InterpreterOptions &options) {
  auto name = op->getAttrOfType<FlatSymbolRefAttr>("grid");
  GridOp grid = name ? SymbolTable::lookupNearestSymbolFrom<GridOp>(op, name) : getGrid(op);
  int64_t ranks = operands.size();
  if (!grid || grid.getNumRanks() != ranks)
    return failure();
  PerRank in(operands.begin(), operands.end());
  bool standIns = options.integerStandIns;
  using Group = ArrayRef<int64_t>;
  return TypeSwitch<Operation *, FailureOr<PerRank>>(op)
      .Case([&](AllReduceOp r) {
        return eachRank(grid, r.getAxes(), ranks,
                        [&](int64_t, int64_t, Group group) { return reduceGroup(in, group, r.getKind(), standIns); });
      })
      .Case([&](ReduceScatterOp r) {
        return eachRank(grid, r.getAxes(), ranks, [&](int64_t, int64_t shard, Group group) {
          return cut(reduceGroup(in, group, r.getKind(), standIns), r.getDim(),
                     shardRange(r.getInput().getType().getDimSize(r.getDim()), r.getGrain(), group.size(), shard));
        });
      })
      .Case([&](AllGatherOp g) {
        return eachRank(grid, g.getAxes(), ranks, [&](int64_t, int64_t, Group group) {
          return gatherGroup(in, group, g.getDim(), g.getGrain(), g.getType());
        });
      })
      .Case([&](AllToAllOp a) {
        return eachRank(grid, a.getAxes(), ranks, [&](int64_t, int64_t shard, Group group) {
          SmallVector<int64_t> shape(a.getInput().getType().getShape());
          shape[a.getConcatDim()] = a.getType().getDimSize(a.getConcatDim());
          HostTensor whole = gatherGroup(in, group, a.getConcatDim(), a.getConcatGrain(),
                                         RankedTensorType::get(shape, a.getType().getElementType()));
          return cut(whole, a.getSplitDim(),
                     shardRange(shape[a.getSplitDim()], a.getSplitGrain(), group.size(), shard));
        });
      })
      .Case([&](PermuteOp p) {
        return eachRank(grid, p.getAxes(), ranks, [&](int64_t, int64_t shard, Group group) {
          auto n = static_cast<int64_t>(group.size());
          return in[group[shifted(shard, -(static_cast<int64_t>(p.getShift()) % n), n)]][0];
        });
      })
      .Case([&](ShardSliceOp s) {
        return eachRank(grid, s.getAxes(), ranks, [&](int64_t rank, int64_t shard, Group group) {
          return cut(in[rank][0], s.getDim(),
                     shardRange(s.getInput().getType().getDimSize(s.getDim()), s.getGrain(), group.size(),
                                shifted(shard, static_cast<int64_t>(s.getShift()), group.size())));
        });
      })
      .Case([&](PackShardsOp p) {
        return eachRank(grid, p.getAxes(), ranks, [&](int64_t rank, int64_t, Group group) {
          const HostTensor &whole = in[rank][0];
          HostTensor blocks = HostTensor::zeros(cast<RankedTensorType>(p.getType()));
          for (int64_t shard = 0, at = 0; shard < static_cast<int64_t>(group.size()); ++shard) {
            HostTensor one = cut(whole, p.getDim(),
                                 shardRange(whole.type.getDimSize(p.getDim()), p.getGrain(), group.size(), shard));
            for (int64_t i = 0; i < one.size(); ++i)
              copyElement(blocks, at++, one, i);
          }
          return blocks;
        });
      })
      .Case([&](UnpackShardsOp u) {
        return eachRank(grid, u.getAxes(), ranks, [&](int64_t rank, int64_t first, Group group) {
          const HostTensor &blocks = in[rank][0];
          HostTensor whole = HostTensor::zeros(cast<RankedTensorType>(u.getType()));
          auto type = RankedTensorType::get(blocks.type.getShape().drop_front(), blocks.type.getElementType());
          for (int64_t shard = 0, at = 0; shard < static_cast<int64_t>(group.size()); ++shard) {
            HostTensor one = HostTensor::zeros(type);
            for (int64_t i = 0; i < one.size(); ++i)
              copyElement(one, i, blocks, at++);
            paste(whole, one, u.getDim(),
                  shardRange(whole.type.getDimSize(u.getDim()), u.getGrain(), group.size(),
                             u.getRotated() ? shifted(shard, first, group.size()) : shard));
          }
          return whole;
        });
      })
      .Case([&](RankMaskOp m) {
        return eachRank(grid, m.getAxes(), ranks, [&](int64_t rank, int64_t shard, Group) {
          return shard == 0 ? in[rank][0] : HostTensor::zeros(m.getType());
        });
      })
      .Case([&](EmbeddingOp e) -> FailureOr<PerRank> {
        // The verifier does not know the grid: the table must be one shard of the vocabulary.
        RankedTensorType table = e.getTable().getType();
        int64_t vocab = *e.getVocab(), grain = e.getGrain(), shards = grid.getNumShards(*e.getVocabAxes());
        if (grain < 1 || vocab % grain != 0 || shards < 1 || table.getDimSize(0) != getLocalSize(vocab, grain, shards))
          return failure();
        bool ok = true;
        PerRank out = eachRank(grid, *e.getVocabAxes(), ranks, [&](int64_t rank, int64_t shard, Group group) {
          ShardRange range = shardRange(*e.getVocab(), e.getGrain(), group.size(), shard);
          HostTensor rows = HostTensor::zeros(e.getType());
          int64_t width = e.getType().getShape().back();
          for (auto [at, id] : llvm::enumerate(in[rank][1].ints)) {
            int64_t row = id < 0 ? id + static_cast<int64_t>(*e.getVocab()) : id;
            ok &= row >= 0 && row < static_cast<int64_t>(*e.getVocab());
            for (int64_t c = 0; row >= range.start && row < range.start + range.count && c < width; ++c)
              copyElement(rows, at * width + c, in[rank][0], (row - range.start) * width + c);
          }
          return rows;
        });
        return ok ? FailureOr<PerRank>(std::move(out)) : FailureOr<PerRank>(failure());
      })
      .Case([&](ExpertMatmulOp e) -> FailureOr<PerRank> {
        int64_t held = e.getWeights().getType().getDimSize(0), experts = *e.getExperts(), grain = e.getGrain(),
                shards = grid.getNumShards(*e.getExpertAxes());
        if (grain < 1 || experts % grain != 0 || shards < 1 || held != getLocalSize(experts, grain, shards))
          return failure();
        bool ok = true;
        PerRank out = eachRank(grid, *e.getExpertAxes(), ranks, [&](int64_t rank, int64_t shard, Group group) {
          ShardRange range = shardRange(experts, grain, group.size(), shard);
          auto product = expertMatmul(e, in[rank], range.start, range.count, experts, standIns);
          ok &= succeeded(product);
          return ok ? std::move(*product) : HostTensor::zeros(e.getType());
        });
        return ok ? FailureOr<PerRank>(std::move(out)) : FailureOr<PerRank>(failure());
      })
      .Case([&](AllReduceNormOp n) { return allReduceNorm(n, in, grid, options); })
      .Case([&](ScatterNormGatherOp n) { return scatterNormGather(n, in, grid, options); })
      .Default([](Operation *) -> FailureOr<PerRank> { return failure(); });
}

HostTensor comm::takeShard(const HostTensor &whole, LayoutAttr layout, GridOp grid, int64_t rank) {
  HostTensor out = whole;
  GridView view(grid);
  for (int64_t dim = 0; layout && dim < layout.getRank(); ++dim) {
    SmallVector<StringRef> axes = layout.getAxes(dim);
    if (!axes.empty())
      out = cut(
          out, dim,
          shardRange(out.type.getDimSize(dim), layout.getGrainOf(dim), view.shards(axes), view.coordinate(rank, axes)));
  }
  if (layout && view.coordinate(rank, layout.getPartialAxes()) != 0)
    out = HostTensor::zeros(out.type);
  return out;
}

FailureOr<HostTensor> comm::assemble(ArrayRef<HostTensor> shards, RankedTensorType type, LayoutAttr layout, GridOp grid,
                                     const InterpreterOptions &options) {
  GridView view(grid);
  if (shards.empty() || (grid && layout && static_cast<int64_t>(shards.size()) != grid.getNumRanks()))
    return failure();
  RankedTensorType local = takeShard(HostTensor::zeros(type), layout, grid, 0).type;
  if (llvm::any_of(shards, [&](const HostTensor &shard) { return shard.type != local; }))
    return failure();
  HostTensor whole = HostTensor::zeros(type);
  std::vector<bool> seen(type.getNumElements(), false);
  SmallVector<StringRef> partial = layout ? layout.getPartialAxes() : SmallVector<StringRef>{};
  SmallVector<int64_t> strides = stridesOf(type.getShape());
  bool agree = true;
  for (int64_t rank = 0; rank < static_cast<int64_t>(shards.size()); ++rank) {
    HostTensor shard = shards[rank];
    if (!partial.empty()) {
      if (view.coordinate(rank, partial) != 0)
        continue;
      SmallVector<int64_t> group = view.group(rank, partial, shards.size());
      for (int64_t member : ArrayRef<int64_t>(group).drop_front())
        accumulate(shard, shards[member], ReduceKind::Sum, options.integerStandIns);
    }
    SmallVector<int64_t> start(type.getRank(), 0), count(type.getShape());
    for (int64_t dim = 0; layout && dim < type.getRank(); ++dim) {
      SmallVector<StringRef> axes = layout.getAxes(dim);
      ShardRange range =
          shardRange(type.getDimSize(dim), layout.getGrainOf(dim), view.shards(axes), view.coordinate(rank, axes));
      if (!axes.empty()) {
        start[dim] = range.start;
        count[dim] = range.count;
      }
    }
    SmallVector<int64_t> from = stridesOf(shard.type.getShape());
    forEachIndex(count, [&](ArrayRef<int64_t> i) {
      int64_t to = dot(i, strides) + dot(start, strides), at = dot(i, from);
      if (seen[to])
        agree &= whole.isFloat() ? whole.floats[to] == shard.floats[at] ||
                                       (whole.floats[to] != whole.floats[to] && shard.floats[at] != shard.floats[at])
                                 : whole.ints[to] == shard.ints[at];
      copyElement(whole, to, shard, at);
      seen[to] = true;
    });
  }
  if (!agree || llvm::is_contained(seen, false))
    return failure();
  return whole;
}
