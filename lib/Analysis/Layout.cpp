//===- Layout.cpp - layouts as data, and what an op makes of them ---------===//
#include "comm/Analysis/Layout.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::comm;

GridAxes GridAxes::get(GridOp grid) {
  GridAxes out;
  if (!grid)
    return out;
  for (auto [name, size] : llvm::zip_equal(grid.getAxes(), grid.getSizes())) {
    out.names.push_back(cast<StringAttr>(name));
    out.sizes.push_back(size);
  }
  out.symbol = FlatSymbolRefAttr::get(grid.getSymNameAttr());
  return out;
}
int64_t GridAxes::shards(ArrayRef<unsigned> axes) const {
  int64_t result = 1;
  for (unsigned axis : axes)
    result *= sizes[axis];
  return result;
}
ArrayAttr GridAxes::attr(ArrayRef<unsigned> axes) const {
  SmallVector<Attribute> out;
  for (unsigned axis : axes)
    out.push_back(names[axis]);
  return ArrayAttr::get(names.front().getContext(), out);
}
std::optional<unsigned> GridAxes::find(StringRef name) const {
  for (auto [index, axis] : llvm::enumerate(names))
    if (axis.getValue() == name)
      return index;
  return std::nullopt;
}

bool Layout::isReplicated() const {
  return partial.empty() && llvm::all_of(dims, [](const DimSplit &dim) { return dim.axes.empty(); });
}

int64_t comm::canonicalGrain(int64_t size, int64_t grain, int64_t shards) {
  if (shards == 1 || size == 0)
    return 1;
  int64_t local = getLocalSize(size, grain, shards);
  bool replicated = hasReplicatedBlocks(size, grain, shards);
  for (int64_t g = 1; g < grain; ++g)
    if (size % g == 0 && getLocalSize(size, g, shards) == local && hasReplicatedBlocks(size, g, shards) == replicated)
      return g;
  return grain;
}

std::optional<Layout> comm::toLayout(LayoutAttr attr, RankedTensorType whole, const GridAxes &grid) {
  Layout out = Layout::replicated(whole.getRank());
  auto numbers = [&](ArrayRef<StringRef> names, SmallVectorImpl<unsigned> &axes) {
    for (StringRef name : names) {
      std::optional<unsigned> axis = grid.find(name);
      if (!axis)
        return false;
      axes.push_back(*axis);
    }
    return true;
  };
  if (attr.getRank() != whole.getRank() || !numbers(attr.getPartialAxes(), out.partial))
    return std::nullopt;
  llvm::sort(out.partial);
  for (int64_t dim = 0; dim < whole.getRank(); ++dim) {
    int64_t grain = attr.getGrainOf(dim);
    if (!numbers(attr.getAxes(dim), out.dims[dim].axes) || whole.getDimSize(dim) % grain != 0)
      return std::nullopt;
    if (!out.dims[dim].axes.empty())
      out.dims[dim].grain = canonicalGrain(whole.getDimSize(dim), grain, grid.shards(out.dims[dim].axes));
  }
  return out;
}

LayoutAttr comm::toAttr(MLIRContext *context, const Layout &layout, const GridAxes &grid) {
  SmallVector<Attribute> dims;
  SmallVector<int64_t> grains;
  for (const DimSplit &dim : layout.dims) {
    dims.push_back(dim.axes.empty() ? ArrayAttr::get(context, {}) : grid.attr(dim.axes));
    grains.push_back(dim.grain);
  }
  bool plain = llvm::all_of(grains, [](int64_t grain) { return grain == 1; });
  return LayoutAttr::get(context, ArrayAttr::get(context, dims),
                         layout.partial.empty() ? ArrayAttr() : grid.attr(layout.partial),
                         plain ? DenseI64ArrayAttr() : DenseI64ArrayAttr::get(context, grains));
}

RankedTensorType comm::getLocalType(RankedTensorType whole, const Layout &layout, const GridAxes &grid) {
  SmallVector<int64_t> shape(whole.getShape());
  for (auto [size, dim] : llvm::zip_equal(shape, layout.dims))
    if (!dim.axes.empty())
      size = getLocalSize(size, dim.grain, grid.shards(dim.axes));
  return RankedTensorType::get(shape, whole.getElementType());
}

std::string comm::describe(const Layout &layout, RankedTensorType whole, const GridAxes &grid) {
  if (layout.isReplicated())
    return "replicated";
  std::string sum;
  for (auto [index, axis] : llvm::enumerate(layout.partial))
    sum += (index ? "+" : "a partial sum over ") + grid.names[axis].getValue().str();
  if (llvm::all_of(layout.dims, [](const DimSplit &dim) { return dim.axes.empty(); }))
    return sum;
  std::string text = "split [";
  for (auto [index, dim] : llvm::enumerate(layout.dims)) {
    if (index)
      text += ", ";
    if (dim.axes.empty())
      text += "*";
    for (auto [at, axis] : llvm::enumerate(dim.axes))
      text += (at ? "+" : "") + grid.names[axis].getValue().str();
    if (dim.grain != 1)
      text += "/" + std::to_string(dim.grain);
  }
  text += "]";
  return sum.empty() ? text : text + " and " + sum;
}

//===----------------------------------------------------------------------===//
// Layouts of an op
//===----------------------------------------------------------------------===//

namespace {
/// Share of a factor's iterations: with i the coordinate on `axis`, part (i / div) % mod.
struct Part {
  unsigned axis;
  int64_t div, mod;
};
struct SplitFactor {
  SmallVector<Part, 2> parts;
  int64_t grain = 1;
  int64_t shards() const {
    int64_t result = 1;
    for (const Part &part : parts)
      result *= part.mod;
    return result;
  }
};
} // namespace

/// The split of a dimension made of `dim`'s factors, checked shard by shard against what #comm.layout can say.
static std::optional<DimSplit> splitOfDim(ArrayRef<unsigned> dim, ArrayRef<Factor> factors,
                                          ArrayRef<SplitFactor> splits, const GridAxes &grid) {
  DimSplit out;
  int64_t size = 1;
  bool closed = false; // a major factor still has several elements per rank
  for (unsigned factor : dim) {
    int64_t whole = factors[factor].size, shards = splits[factor].shards();
    size *= whole;
    if (shards > 1 && closed)
      return std::nullopt;
    closed |= (shards > 1 ? getLocalSize(whole, splits[factor].grain, shards) : whole) > 1;
    for (const Part &part : splits[factor].parts)
      if (!llvm::is_contained(out.axes, part.axis))
        out.axes.push_back(part.axis);
  }
  if (out.axes.empty())
    return out;
  int64_t shards = grid.shards(out.axes);
  SmallVector<ShardBlock> expected;
  for (int64_t shard = 0; shard < shards; ++shard) {
    SmallVector<int64_t> coordinate(grid.count(), 0);
    for (int64_t rest = shard, at = static_cast<int64_t>(out.axes.size()) - 1; at >= 0; --at) {
      coordinate[out.axes[at]] = rest % grid.sizes[out.axes[at]];
      rest /= grid.sizes[out.axes[at]];
    }
    ShardBlock block{0, 1, 1};
    for (unsigned factor : dim) {
      int64_t whole = factors[factor].size;
      ShardBlock own{0, whole, whole};
      if (!splits[factor].parts.empty()) {
        int64_t index = 0;
        for (const Part &part : splits[factor].parts)
          index = index * part.mod + coordinate[part.axis] / part.div % part.mod;
        own = getShardBlock(whole, splits[factor].grain, splits[factor].shards(), index);
      }
      block = {block.start * whole + own.start, block.count * own.count, block.local * own.local};
    }
    expected.push_back(block);
  }
  for (int64_t grain = 1; grain <= size; ++grain) {
    if (size % grain != 0 || getLocalSize(size, grain, shards) != expected[0].local)
      continue;
    bool same = true;
    for (int64_t shard = 0; same && shard < shards; ++shard)
      same = getShardBlock(size, grain, shards, shard) == expected[shard];
    if (same) {
      out.grain = grain;
      return out;
    }
    if (grain > expected[0].local)
      break;
  }
  return std::nullopt;
}

std::optional<OpLayouts> comm::deriveLayouts(const ShardingRule &rule, ArrayRef<AxisChoice> choices,
                                             const GridAxes &grid) {
  SmallVector<SplitFactor> splits(rule.factors.size());
  for (auto [axis, choice] : llvm::enumerate(choices)) {
    if (choice.kind != AxisChoice::Split || grid.sizes[axis] == 1)
      continue;
    SplitFactor &split = splits[choice.factor];
    split.grain = std::max(split.grain, choice.grain);
    int64_t size = rule.factors[choice.factor].size, ranks = grid.sizes[axis];
    if (choice.overflow < 0) {
      split.parts.push_back({static_cast<unsigned>(axis), 1, ranks});
      continue;
    }
    int64_t left = size / split.shards();
    if (size % split.shards() != 0 || left < 1 || ranks % left != 0)
      return std::nullopt;
    if (left > 1)
      split.parts.push_back({static_cast<unsigned>(axis), ranks / left, left});
    splits[choice.overflow].parts.push_back({static_cast<unsigned>(axis), 1, ranks / left});
  }
  for (auto [factor, split] : llvm::zip_equal(rule.factors, splits)) {
    if (split.parts.empty())
      continue;
    if (factor.kind == FactorKind::Whole || factor.size % split.grain != 0)
      return std::nullopt;
    if (factor.kind == FactorKind::Reduction && hasReplicatedBlocks(factor.size, split.grain, split.shards()))
      return std::nullopt; // a block on two ranks would count twice
  }
  OpLayouts out;
  auto layoutOf = [&](ArrayRef<DimFactors> dims) -> std::optional<Layout> {
    Layout layout = Layout::replicated(dims.size());
    SmallVector<bool> used(grid.count(), false);
    for (auto [dim, factors] : llvm::enumerate(dims)) {
      std::optional<DimSplit> split = splitOfDim(factors, rule.factors, splits, grid);
      if (!split)
        return std::nullopt;
      for (unsigned axis : split->axes) {
        if (used[axis])
          return std::nullopt;
        used[axis] = true;
      }
      layout.dims[dim] = *split;
    }
    return layout;
  };
  for (auto [index, dims] : llvm::enumerate(rule.operands)) {
    std::optional<Layout> layout = layoutOf(dims);
    if (!layout)
      return std::nullopt;
    for (auto [axis, choice] : llvm::enumerate(choices))
      if (choice.kind == AxisChoice::Partial && (choice.partialMask >> index & 1))
        layout->partial.push_back(axis);
    out.operands.push_back(*layout);
  }
  for (const auto &dims : rule.results) {
    std::optional<Layout> layout = layoutOf(dims);
    if (!layout)
      return std::nullopt;
    for (auto [axis, choice] : llvm::enumerate(choices)) {
      if (choice.kind == AxisChoice::Partial) {
        layout->partial.push_back(axis);
        continue;
      }
      bool inResult =
          llvm::any_of(layout->dims, [axis = axis](const DimSplit &dim) { return llvm::is_contained(dim.axes, axis); });
      if (choice.kind != AxisChoice::Split || inResult || grid.sizes[axis] == 1)
        continue;
      if (rule.factors[choice.factor].kind != FactorKind::Reduction)
        return std::nullopt;
      layout->partial.push_back(axis);
    }
    out.results.push_back(*layout);
  }
  return out;
}
