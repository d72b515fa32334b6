//===- Fill.cpp - what lies behind the end of an uneven shard --------------===//
#include "Fill.h"
#include "comm/Analysis/Filling.h"
#include "comm/IR/CommExpertOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::partition;

namespace {
class Follower {
public:
  explicit Follower(const Graph &graph) : graph(graph), grid(graph.grid) {
    for (const OpInfo &op : graph.ops)
      for (int number : op.results)
        if (number >= 0)
          definers[number] = &op;
  }

  SmallVector<UnsafeFill> run() {
    for (auto [index, op] : llvm::enumerate(graph.ops)) {
      if (op.free)
        continue;
      std::optional<OpLayouts> layouts = deriveLayouts(op.rule, op.choices, grid);
      if (!layouts)
        continue;
      check(index, op, *layouts);
      for (auto [result, number] : llvm::enumerate(op.results)) {
        if (number < 0)
          continue;
        made[number] = layouts->results[result];
        SmallVector<Fill> &fills = of[number];
        for (auto [dim, split] : llvm::enumerate(layouts->results[result].dims))
          fills.push_back(hasFill(graph.values[number].type.getDimSize(dim), split)
                              ? transfer(op, *layouts, splitFactors(op, op.rule.results[result][dim]))
                              : Fill());
      }
    }
    return std::move(unsafe);
  }

private:
  bool hasFill(int64_t size, const DimSplit &split) const {
    int64_t shards = grid.shards(split.axes);
    return !split.axes.empty() && !hasReplicatedBlocks(size, split.grain, shards) &&
           getLocalSize(size, split.grain, shards) * shards != size;
  }
  /// The factors of a dimension that some axis splits.
  SmallVector<unsigned, 2> splitFactors(const OpInfo &op, ArrayRef<unsigned> dim) const {
    SmallVector<unsigned, 2> out;
    for (unsigned factor : dim)
      for (const AxisChoice &choice : op.choices)
        if (choice.kind == AxisChoice::Split &&
            (choice.factor == static_cast<int>(factor) || choice.overflow == static_cast<int>(factor)))
          out.push_back(factor);
    return out;
  }

  /// What an operand holds where `factors` are fill; none when it does not vary with them.
  std::optional<Fill> operandFill(const OpInfo &op, const OpLayouts &layouts, size_t index,
                                  ArrayRef<unsigned> factors) const {
    int number = op.operands[index];
    if (number < 0)
      return std::nullopt;
    for (auto [dim, own] : llvm::enumerate(op.rule.operands[index]))
      if (llvm::any_of(own, [&](unsigned factor) { return llvm::is_contained(factors, factor); }))
        return valueFill(number, dim, layouts.operands[index]);
    return std::nullopt;
  }

  /// Fill on `dim` of a value that is brought into layout `want`: zero where it is cut anew, else what its maker left.
  Fill valueFill(int number, size_t dim, const Layout &want) const {
    if (graph.values[number].free)
      return freeFill(number, dim);
    auto it = of.find(number);
    if (it == of.end())
      return Fill::known(0); // an argument
    const Layout &from = made.find(number)->second;
    if (!(from.dims[dim] == want.dims[dim]))
      return Fill::known(0);
    Fill fill = it->second[dim];
    return from.partial == want.partial || fill.isZero() || fill.kind == Fill::Bad ? fill : Fill::finite();
  }
  /// Weights are cut, so zero; splats are made at the local size; ops on them may run on either.
  Fill freeFill(int number, size_t dim) const {
    const OpInfo &op = *definers.lookup(number);
    if (auto constant = dyn_cast<arith::ConstantOp>(op.op)) {
      auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
      if (!dense || !dense.isSplat())
        return Fill::known(0);
      if (isa<FloatType>(dense.getElementType()))
        return Fill::known(dense.getSplatValue<APFloat>().convertToDouble());
      return Fill::known(dense.getSplatValue<APInt>().getSExtValue());
    }
    if (op.op->getNumOperands() == 0)
      return Fill::known(0);
    SmallVector<unsigned, 2> factors(op.rule.results[0][dim]);
    SmallVector<std::optional<Fill>> fills;
    for (size_t index = 0; index < op.operands.size(); ++index) {
      std::optional<Fill> fill;
      for (auto [own, list] : llvm::enumerate(op.rule.operands[index]))
        if (op.operands[index] >= 0 &&
            llvm::any_of(list, [&](unsigned factor) { return llvm::is_contained(factors, factor); }))
          fill = freeFill(op.operands[index], own);
      fills.push_back(fill);
    }
    return join(resultFill(op.op, fills), Fill::known(0));
  }

  Fill transfer(const OpInfo &op, const OpLayouts &layouts, ArrayRef<unsigned> factors) const {
    SmallVector<std::optional<Fill>> fills;
    for (size_t index = 0; index < op.operands.size(); ++index)
      fills.push_back(operandFill(op, layouts, index, factors));
    return resultFill(op.op, fills);
  }

  void check(unsigned index, const OpInfo &op, const OpLayouts &layouts) {
    for (auto [axis, choice] : llvm::enumerate(op.choices)) {
      if (choice.kind != AxisChoice::Split)
        continue;
      SmallVector<unsigned, 2> factors = {static_cast<unsigned>(choice.factor)};
      bool sums = op.rule.factors[choice.factor].kind == FactorKind::Reduction;
      bool zero = false, allZero = true, bad = false, filled = false;
      for (size_t operand = 0; operand < op.operands.size(); ++operand) {
        int number = op.operands[operand];
        if (number < 0)
          continue;
        for (auto [dim, own] : llvm::enumerate(op.rule.operands[operand])) {
          if (!llvm::is_contained(own, factors[0]) ||
              !hasFill(graph.values[number].type.getDimSize(dim), layouts.operands[operand].dims[dim]))
            continue;
          Fill fill = valueFill(number, dim, layouts.operands[operand]);
          filled = true;
          zero |= fill.isZero() && (operand % 2 == 0 || !isa<QuantizedMatmulOp>(op.op)); // of it, input and scales
          allZero &= fill.isZero();
          bad |= fill.kind == Fill::Bad;
          if (operand == 1 && isa<EmbeddingOp, ExpertMatmulOp, GatherOp, GatherNDOp, GatherElementsOp>(op.op) &&
              !fill.isZero())
            unsafe.push_back({index, static_cast<unsigned>(axis), "the fill of its indices may be out of range"});
        }
      }
      // Rows and experts that are not there are not looked up.
      bool lookedUp = isa<EmbeddingOp>(op.op) || (isa<ExpertMatmulOp>(op.op) && factors[0] == expertFactor(op.rule));
      if (!sums || !filled || lookedUp)
        continue;
      bool safe = isa<MatmulOp, QuantizedMatmulOp, ExpertMatmulOp>(op.op) ? zero && !bad : allZero;
      if (!safe)
        unsafe.push_back({index, static_cast<unsigned>(axis),
                          bad ? "the fill of uneven shards may be infinite and would reach its sum"
                              : "the fill of uneven shards is not zero and would reach its sum"});
    }
  }

  const Graph &graph;
  const GridAxes &grid;
  DenseMap<int, const OpInfo *> definers;
  llvm::DenseMap<int, Layout> made;
  llvm::DenseMap<int, SmallVector<Fill>> of;
  SmallVector<UnsafeFill> unsafe;
};
} // namespace

SmallVector<UnsafeFill> partition::findUnsafeFill(const Graph &graph) { return Follower(graph).run(); }
