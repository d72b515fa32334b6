//===- Reshard.cpp - the way from one layout to another -------------------===//
// Per dimension the two stacks of axes share a prefix. Partial sums that need not wait are reduced or scattered; the
// rest of the stacks is taken off from the minor end (all_to_all when the axis is the next one on its target dimension,
// else all_gather), then the missing axes are put on in target order (reduce_scatter when the value is a partial sum
// over them, else slice), what is still partial is reduced, and masks come last. Axes of a dimension whose cuts do not
// nest (5 blocks on 2 x 2) move together.
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Layout.h"

using namespace mlir;
using namespace mlir::comm;

StringRef comm::stepName(ReshardStep::Kind kind) {
  switch (kind) {
  case ReshardStep::AllReduce:
    return "all_reduce";
  case ReshardStep::ReduceScatter:
    return "reduce_scatter";
  case ReshardStep::AllGather:
    return "all_gather";
  case ReshardStep::AllToAll:
    return "all_to_all";
  case ReshardStep::Slice:
    return "shard_slice";
  case ReshardStep::Mask:
    return "rank_mask";
  }
  return "";
}

namespace {
using Axes = SmallVector<unsigned, 2>;

/// Blocks of a dimension cut by `first`, each cut again by `rest`, are the blocks cut by both.
bool nests(int64_t size, int64_t grain, ArrayRef<unsigned> first, ArrayRef<unsigned> rest, const GridAxes &grid) {
  int64_t outer = grid.shards(first), inner = grid.shards(rest);
  int64_t local = getLocalSize(size, grain, outer);
  if (local % grain != 0)
    return false;
  for (int64_t i = 0; i < outer; ++i) {
    ShardBlock big = getShardBlock(size, grain, outer, i);
    for (int64_t j = 0; j < inner; ++j) {
      ShardBlock small = getShardBlock(local, grain, inner, j),
                 both = getShardBlock(size, grain, outer * inner, i * inner + j);
      int64_t count = std::clamp<int64_t>(big.count - small.start, 0, small.count);
      if (!(ShardBlock{big.start + small.start, count, small.local} == both))
        return false;
    }
  }
  return true;
}

/// State of a conversion under way.
struct Walker {
  ArrayRef<int64_t> whole;
  const Layout &from, &to;
  const GridAxes &grid;
  SmallVector<Axes> stack;    // now
  SmallVector<int64_t> grain; // now
  SmallVector<size_t> shared; // length of the common prefix
  SmallVector<int64_t> shape; // local, now
  Axes partial;
  SmallVector<ReshardStep> steps;

  Walker(ArrayRef<int64_t> whole, const Layout &from, const Layout &to, const GridAxes &grid)
      : whole(whole), from(from), to(to), grid(grid) {
    partial.assign(from.partial.begin(), from.partial.end());
    for (auto [dim, size] : llvm::enumerate(whole)) {
      const DimSplit &a = from.dims[dim], &b = to.dims[dim];
      stack.emplace_back(a.axes);
      grain.push_back(a.grain);
      shape.push_back(a.axes.empty() ? size : getLocalSize(size, a.grain, grid.shards(a.axes)));
      shared.push_back(commonPrefix(size, a, b));
    }
  }

  size_t commonPrefix(int64_t size, const DimSplit &a, const DimSplit &b) const {
    if (a == b)
      return a.axes.size();
    size_t length = 0;
    while (length < a.axes.size() && length < b.axes.size() && a.axes[length] == b.axes[length])
      ++length;
    for (; length > 0; --length) {
      ArrayRef<unsigned> prefix = ArrayRef<unsigned>(a.axes).take_front(length);
      int64_t shards = grid.shards(prefix);
      if (canonicalGrain(size, a.grain, shards) == canonicalGrain(size, b.grain, shards) &&
          nests(size, a.grain, prefix, ArrayRef<unsigned>(a.axes).drop_front(length), grid) &&
          nests(size, b.grain, prefix, ArrayRef<unsigned>(b.axes).drop_front(length), grid))
        return length;
    }
    return 0;
  }

  /// Axes that come off `dim` together next: the fewest minor ones whose cut nests in the rest.
  Axes nextPop(size_t dim) const {
    ArrayRef<unsigned> axes = stack[dim];
    for (size_t keep = axes.size() - 1; keep > shared[dim]; --keep)
      if (nests(whole[dim], grain[dim], axes.take_front(keep), axes.drop_front(keep), grid))
        return Axes(axes.drop_front(keep));
    return Axes(axes.drop_front(shared[dim]));
  }
  /// Axes that go on `dim` together next.
  Axes nextPush(size_t dim) const {
    ArrayRef<unsigned> axes = to.dims[dim].axes;
    size_t have = stack[dim].size();
    for (size_t take = have + 1; take < axes.size(); ++take)
      if (nests(whole[dim], to.dims[dim].grain, axes.take_front(take), axes.drop_front(take), grid))
        return Axes(axes.slice(have, take - have));
    return Axes(axes.drop_front(have));
  }
  bool isTargetPrefix(size_t dim) const {
    return stack[dim].size() == shared[dim] && stack[dim].size() < to.dims[dim].axes.size();
  }

  void emit(ReshardStep::Kind kind, ArrayRef<unsigned> axes, int64_t dim = 0, int64_t stepGrain = 1,
            int64_t concatDim = 0, int64_t concatGrain = 1) {
    steps.push_back({kind, Axes(axes), dim, stepGrain, concatDim, concatGrain, shape});
  }
  void setStack(size_t dim, ArrayRef<unsigned> axes, int64_t newGrain) {
    stack[dim] = Axes(axes);
    grain[dim] = axes.empty() ? 1 : newGrain;
    shape[dim] = axes.empty() ? whole[dim] : getLocalSize(whole[dim], newGrain, grid.shards(axes));
  }

  bool popByAllToAll() {
    for (size_t dim = 0; dim < whole.size(); ++dim) {
      if (stack[dim].size() <= shared[dim])
        continue;
      Axes off = nextPop(dim);
      if (llvm::any_of(off, [&](unsigned axis) { return llvm::is_contained(partial, axis); }))
        continue;
      for (size_t other = 0; other < whole.size(); ++other) {
        if (other == dim || !isTargetPrefix(other) || nextPush(other) != off)
          continue;
        int64_t oldGrain = grain[dim], newGrain = to.dims[other].grain;
        Axes on = stack[other];
        on.append(off.begin(), off.end());
        setStack(dim, ArrayRef<unsigned>(stack[dim]).drop_back(off.size()), oldGrain);
        setStack(other, on, newGrain);
        shared[other] = on.size();
        emit(ReshardStep::AllToAll, off, other, newGrain, dim, oldGrain);
        return true;
      }
    }
    return false;
  }
  bool popByGather() {
    for (size_t dim = 0; dim < whole.size(); ++dim) {
      if (stack[dim].size() <= shared[dim])
        continue;
      Axes off = nextPop(dim);
      int64_t oldGrain = grain[dim];
      setStack(dim, ArrayRef<unsigned>(stack[dim]).drop_back(off.size()), oldGrain);
      emit(ReshardStep::AllGather, off, dim, oldGrain);
      return true;
    }
    return false;
  }
  void reduce(ArrayRef<unsigned> axes) {
    if (axes.empty())
      return;
    emit(ReshardStep::AllReduce, axes);
    llvm::erase_if(partial, [&](unsigned axis) { return llvm::is_contained(axes, axis); });
  }
  void push(size_t dim) {
    Axes on = nextPush(dim), summed;
    for (unsigned axis : on)
      if (llvm::is_contained(partial, axis))
        summed.push_back(axis);
    bool scatter = !summed.empty() && summed.size() == on.size();
    if (!scatter)
      reduce(summed);
    Axes all = stack[dim];
    all.append(on.begin(), on.end());
    int64_t newGrain = to.dims[dim].grain;
    setStack(dim, all, newGrain);
    emit(scatter ? ReshardStep::ReduceScatter : ReshardStep::Slice, on, dim, newGrain);
    if (scatter)
      llvm::erase_if(partial, [&](unsigned axis) { return llvm::is_contained(on, axis); });
  }

  /// Sums first where they do not wait for a pop: what follows moves less then.
  void sumEarly() {
    for (size_t dim = 0; dim < whole.size(); ++dim)
      while (isTargetPrefix(dim) &&
             llvm::all_of(nextPush(dim), [&](unsigned axis) { return llvm::is_contained(partial, axis); })) {
        push(dim);
        shared[dim] = stack[dim].size();
      }
    Axes now;
    for (unsigned axis : partial)
      if (!llvm::is_contained(to.partial, axis) &&
          llvm::none_of(to.dims, [&](const DimSplit &dim) { return llvm::is_contained(dim.axes, axis); }))
        now.push_back(axis);
    reduce(now);
  }

  void run() {
    sumEarly();
    while (popByAllToAll() || popByGather())
      ;
    // Scatters first: they shrink what the others move.
    for (size_t dim = 0; dim < whole.size(); ++dim)
      while (stack[dim].size() < to.dims[dim].axes.size())
        push(dim);
    Axes rest, masks;
    for (unsigned axis : partial)
      if (!llvm::is_contained(to.partial, axis))
        rest.push_back(axis);
    reduce(rest);
    for (unsigned axis : to.partial)
      if (!llvm::is_contained(partial, axis))
        masks.push_back(axis);
    if (!masks.empty())
      emit(ReshardStep::Mask, masks);
  }
};
} // namespace

SmallVector<ReshardStep> comm::planReshard(ArrayRef<int64_t> whole, const Layout &from, const Layout &to,
                                           const GridAxes &grid) {
  if (from == to)
    return {};
  Walker walker(whole, from, to, grid);
  walker.run();
  return std::move(walker.steps);
}
