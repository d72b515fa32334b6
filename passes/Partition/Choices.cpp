//===- Choices.cpp - what an op can do on an axis -------------------------===//
#include "Graph.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::partition;

/// Sums of bools have no meaning.
static bool canBePartial(const OpInfo &op, const Graph &graph) {
  return llvm::all_of(op.results, [&](int number) {
    return number >= 0 && graph.values[number].type.getElementType().isIntOrFloat() &&
           !graph.values[number].type.getElementType().isInteger(1);
  });
}

SmallVector<AxisChoice> partition::enumerateChoices(const Graph &graph, const OpInfo &op, unsigned axis) {
  SmallVector<AxisChoice> out = {AxisChoice{}};
  const ShardingRule &rule = op.rule;
  int64_t ranks = graph.grid.sizes[axis];
  SmallVector<AxisChoice> all = op.choices;
  auto tryChoice = [&](AxisChoice choice) {
    if (llvm::is_contained(op.banned, std::pair(axis, choice)) || llvm::is_contained(out, choice))
      return;
    all.push_back(choice);
    if (deriveLayouts(rule, all, graph.grid))
      out.push_back(choice);
    all.pop_back();
  };
  if (ranks == 1 || op.results.empty())
    return out;
  bool sums = canBePartial(op, graph);
  for (unsigned factor = 0; factor < rule.factors.size(); ++factor) {
    FactorKind kind = rule.factors[factor].kind;
    int64_t size = rule.factors[factor].size;
    if (kind == FactorKind::Whole || size <= 1 || (kind == FactorKind::Reduction && !sums))
      continue;
    AxisChoice choice;
    choice.kind = AxisChoice::Split;
    choice.factor = factor;
    choice.grain = graph.factorGrain(op, factor, ranks);
    // Ranks that earlier axes put on the same factor.
    int64_t before = 1;
    for (auto [earlier, other] : llvm::enumerate(op.choices))
      if (other.kind == AxisChoice::Split &&
          (other.factor == static_cast<int>(factor) || other.overflow == static_cast<int>(factor)))
        before *= graph.grid.sizes[earlier];
    int below = Graph::overflowOf(rule, factor);
    if (below >= 0 && size % before == 0 && size / before < ranks) {
      AxisChoice wide = choice;
      wide.overflow = below;
      wide.grain = 1;
      tryChoice(wide);
    }
    // Blocks must become fewer per rank.
    if (getLocalSize(size, choice.grain, before * ranks) <
        (before == 1 ? size : getLocalSize(size, choice.grain, before)))
      tryChoice(choice);
  }
  if (!sums || rule.linearIn.empty())
    return out;
  AxisChoice partial;
  partial.kind = AxisChoice::Partial;
  if (rule.linearInAny) {
    for (size_t i = 0; i < rule.linearIn.size(); ++i)
      if (rule.linearIn[i]) {
        partial.partialMask = 1u << i;
        tryChoice(partial);
      }
  } else if (rule.linearIn.size() <= 32) {
    for (size_t i = 0; i < rule.linearIn.size(); ++i)
      partial.partialMask |= rule.linearIn[i] ? 1u << i : 0;
    tryChoice(partial);
  }
  return out;
}

DictionaryAttr partition::choicesToAttr(MLIRContext *context, ArrayRef<AxisChoice> choices, const GridAxes &grid) {
  SmallVector<NamedAttribute> out;
  for (auto [axis, choice] : llvm::enumerate(choices)) {
    if (choice.kind == AxisChoice::Split)
      out.push_back(
          {grid.names[axis], DenseI64ArrayAttr::get(context, {choice.factor, choice.overflow, choice.grain})});
    else if (choice.kind == AxisChoice::Partial)
      out.push_back({grid.names[axis], DenseI64ArrayAttr::get(context, {-1, choice.partialMask})});
  }
  return DictionaryAttr::get(context, out);
}

std::optional<SmallVector<AxisChoice>> partition::choicesFromAttr(DictionaryAttr attr, const ShardingRule &rule,
                                                                  const GridAxes &grid) {
  SmallVector<AxisChoice> out(grid.count());
  for (NamedAttribute entry : attr) {
    std::optional<unsigned> axis = grid.find(entry.getName().getValue());
    auto numbers = dyn_cast<DenseI64ArrayAttr>(entry.getValue());
    if (!axis || !numbers || numbers.size() < 2)
      return std::nullopt;
    AxisChoice &choice = out[*axis];
    int64_t factors = rule.factors.size();
    if (numbers[0] < 0) {
      choice.kind = AxisChoice::Partial;
      choice.partialMask = numbers[1];
      continue;
    }
    if (numbers.size() != 3 || numbers[0] >= factors || numbers[1] >= factors || numbers[2] < 1)
      return std::nullopt;
    choice.kind = AxisChoice::Split;
    choice.factor = numbers[0];
    choice.overflow = numbers[1];
    choice.grain = numbers[2];
  }
  return out;
}
