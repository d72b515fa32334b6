//===- Layout.h - layouts as data, and the way between two of them -*- C++ -*-===//
// Plain-data twin of #comm.layout with axes as numbers of the grid, the layouts that an op needs and makes when its
// factors are split, and the collectives that turn one layout into another.
//===----------------------------------------------------------------------===//
#ifndef COMM_ANALYSIS_LAYOUT_H
#define COMM_ANALYSIS_LAYOUT_H
#include "comm/IR/CommOps.h"
#include <optional>

namespace mlir::comm {

/// Axes of a grid by number; first is major.
struct GridAxes {
  SmallVector<StringAttr> names;
  SmallVector<int64_t> sizes;
  FlatSymbolRefAttr symbol;
  static GridAxes get(GridOp grid);
  unsigned count() const { return sizes.size(); }
  int64_t shards(ArrayRef<unsigned> axes) const;
  ArrayAttr attr(ArrayRef<unsigned> axes) const;
  std::optional<unsigned> find(StringRef name) const;
};

/// Split of one dimension; `axes` major first. The grain is the smallest one that cuts in the same places, 1 when not
/// split.
struct DimSplit {
  SmallVector<unsigned, 2> axes;
  int64_t grain = 1;
  bool operator==(const DimSplit &other) const { return axes == other.axes && grain == other.grain; }
};

struct Layout {
  SmallVector<DimSplit, 4> dims;
  SmallVector<unsigned, 2> partial; ///< ascending
  static Layout replicated(int64_t rank) { return {SmallVector<DimSplit, 4>(rank), {}}; }
  bool operator==(const Layout &other) const { return dims == other.dims && partial == other.partial; }
  bool operator!=(const Layout &other) const { return !(*this == other); }
  bool isReplicated() const;
};

/// Fails when the attribute names an axis that the grid does not have.
std::optional<Layout> toLayout(LayoutAttr attr, RankedTensorType whole, const GridAxes &grid);
LayoutAttr toAttr(MLIRContext *context, const Layout &layout, const GridAxes &grid);
RankedTensorType getLocalType(RankedTensorType whole, const Layout &layout, const GridAxes &grid);
/// Text for remarks: "replicated", "split [tp, *]", "a partial sum over tp".
std::string describe(const Layout &layout, RankedTensorType whole, const GridAxes &grid);
/// Smallest grain that cuts `size` over `shards` in the same places as `grain` does.
int64_t canonicalGrain(int64_t size, int64_t grain, int64_t shards);

/// What an op does on one axis of the grid.
struct AxisChoice {
  enum Kind { None, Split, Partial } kind = None;
  int factor = -1;   ///< Split: the factor whose iterations the ranks share out
  int overflow = -1; ///< Split: the factor below it that takes the ranks which `factor` is too small for; -1: none
  int64_t grain = 1; ///< Split: block size of `factor`
  uint32_t partialMask = 0; ///< Partial: operands (bit i) that are partial sums
  bool operator==(const AxisChoice &o) const {
    return kind == o.kind && factor == o.factor && overflow == o.overflow && grain == o.grain &&
           partialMask == o.partialMask;
  }
};

struct OpLayouts {
  SmallVector<Layout> operands, results; ///< in the order of the rule
};

/// Layouts of operands and results under one choice per axis of the grid. None when they cannot be expressed: a factor
/// below one that is not split to size one, uneven splits inside a dimension, a reduction over replicated blocks,
/// partial sums where the op is not linear.
std::optional<OpLayouts> deriveLayouts(const ShardingRule &rule, ArrayRef<AxisChoice> choices, const GridAxes &grid);

/// One step of a conversion.
struct ReshardStep {
  enum Kind { AllReduce, ReduceScatter, AllGather, AllToAll, Slice, Mask } kind;
  SmallVector<unsigned, 2> axes;
  int64_t dim = 0, grain = 1;             ///< split, gathered or (AllToAll) newly split dimension
  int64_t concatDim = 0, concatGrain = 1; ///< AllToAll: dimension that becomes whole
  SmallVector<int64_t> shape;             ///< local shape after the step
};
/// Steps from one layout of a tensor to another; empty when they hold the same. Every pair of layouts has a way.
SmallVector<ReshardStep> planReshard(ArrayRef<int64_t> whole, const Layout &from, const Layout &to,
                                     const GridAxes &grid);
StringRef stepName(ReshardStep::Kind kind);

} // namespace mlir::comm
#endif
