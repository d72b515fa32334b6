//===- Candidates.cpp - which choices the role of an axis lets through ----===//
// Tensor axes: a product with a weight, a table and attention may start a split, tokens are not split (but see
// sequenceParallel); everything else follows what is already split. Data and sequence axes: batch or tokens, wherever
// there are some. Free axes and values with a user's layout: everything.
//===----------------------------------------------------------------------===//
#include "Candidates.h"
#include "comm/IR/CommExpertOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::partition;

int partition::weightOperand(const Graph &graph, const OpInfo &op) {
  auto isFree = [&](unsigned index) { return op.operands[index] >= 0 && graph.values[op.operands[index]].free; };
  if (isa<MatmulOp>(op.op) && isFree(0) != isFree(1))
    return isFree(0) ? 0 : 1;
  if (isa<QuantizedMatmulOp>(op.op) && isFree(1))
    return 1;
  if (isa<EmbeddingOp>(op.op) && isFree(0))
    return 0;
  if (isa<ExpertMatmulOp>(op.op) && isFree(2))
    return 2;
  return -1;
}

static bool isIn(ArrayRef<DimFactors> dims, int factor) {
  return llvm::any_of(dims,
                      [&](const DimFactors &dim) { return llvm::is_contained(dim, static_cast<unsigned>(factor)); });
}

std::string partition::describeChoice(const Graph &graph, const OpInfo &op, const AxisChoice &choice) {
  if (choice.kind == AxisChoice::None)
    return "on every rank";
  if (choice.kind == AxisChoice::Partial)
    return "on partial sums";
  unsigned factor = choice.factor;
  std::string size = " (" + std::to_string(op.rule.factors[factor].size) + ")";
  int weight = weightOperand(graph, op);
  if (isa<MatmulOp, QuantizedMatmulOp>(op.op) && weight >= 0 && isIn(op.rule.operands[weight], factor))
    return (op.rule.factors[factor].kind == FactorKind::Reduction ? "weight by rows" : "weight by columns") + size;
  if (isa<ExpertMatmulOp>(op.op) && weight >= 0 && isIn(op.rule.operands[weight], factor))
    return (factor == expertFactor(op.rule)                         ? "by experts"
            : op.rule.factors[factor].kind == FactorKind::Reduction ? "weights by rows"
                                                                    : "weights by columns") +
           size;
  if (isa<EmbeddingOp>(op.op) && isIn(op.rule.operands[0], factor))
    return (op.rule.factors[factor].kind == FactorKind::Reduction ? "table by vocabulary" : "table by columns") + size;
  if (isa<AttentionOp>(op.op) && factor == op.rule.operands[0][1][0])
    return "by kv heads" + size + (choice.overflow >= 0 ? " and query groups within" : "");
  if (isa<AttentionOp>(op.op) && factor == op.rule.operands[0][1][1])
    return "by query heads of a group" + size;
  uint8_t bits = graph.classOf(op, factor);
  if (bits & kBatch)
    return "by batch" + size;
  if (bits & (kSequence | kToken))
    return "by tokens" + size;
  return (op.rule.factors[factor].kind == FactorKind::Reduction ? "by summed dimension" : "by dimension") + size;
}

static bool isNorm(const OpInfo &op) { return isa<RMSNormOp, LayerNormOp>(op.op); }

/// A norm of whole tokens, not one per head.
static bool isTokenNorm(const Graph &graph, const OpInfo &op) {
  if (!isNorm(op))
    return false;
  for (unsigned factor = 0; factor < op.rule.factors.size(); ++factor)
    if (op.rule.factors[factor].kind == FactorKind::Parallel && op.rule.factors[factor].size > 1 &&
        !graph.classOf(op, factor))
      return false;
  return true;
}

static double opCost(const Graph &graph, const OpInfo &op, ArrayRef<AxisChoice> choices, const OpLayouts &layouts,
                     const CostModel &cost) {
  if (isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op.op))
    return 0;
  double share = 1, bytes = 0, flops = 0, wholeBytes = 0;
  for (auto [axis, choice] : llvm::enumerate(choices)) {
    if (choice.kind != AxisChoice::Split)
      continue;
    int64_t ranks = graph.grid.sizes[axis], size = op.rule.factors[choice.factor].size;
    share *= choice.overflow >= 0 ? 1.0 / ranks : static_cast<double>(getLocalSize(size, choice.grain, ranks)) / size;
  }
  auto add = [&](int number, const Layout &layout) {
    if (number < 0)
      return;
    bytes += getTensorBytes(getLocalType(graph.values[number].type, layout, graph.grid));
    wholeBytes += getTensorBytes(graph.values[number].type);
  };
  for (auto [number, layout] : llvm::zip(op.operands, layouts.operands))
    add(number, layout);
  for (auto [number, layout] : llvm::zip(op.results, layouts.results))
    add(number, layout);
  if (auto withCost = dyn_cast<CostOpInterface>(op.op)) {
    flops = withCost.getFlops();
    double own = withCost.getBytes(); // tables are not read as a whole
    if (own < wholeBytes)
      bytes = own * share;
  } else {
    flops = mlir::comm::detail::elementwiseFlops(op.op);
  }
  return std::max(flops * share / cost.flopsPerUs, bytes / cost.memoryBytesPerUs);
}

CandidateSet partition::candidatesFor(const Graph &graph, const OpInfo &op, unsigned axis, const SearchOptions &options,
                                      bool lifted) {
  CandidateSet out;
  AxisRole role = roleOf(graph.grid.names[axis].getValue());
  bool demanded = llvm::any_of(op.results, [&](int number) { return number >= 0 && graph.values[number].fixed; });
  for (const AxisChoice &choice : enumerateChoices(graph, op, axis)) {
    SmallVector<AxisChoice> all = op.choices;
    all.push_back(choice);
    OpLayouts layouts = *deriveLayouts(op.rule, all, graph.grid);
    Candidate candidate{choice, {}, {}, opCost(graph, op, all, layouts, options.cost), std::move(layouts), false, {}};
    for (const Layout &layout : candidate.layouts.operands)
      candidate.need.push_back(stateOn(layout, axis));
    for (const Layout &layout : candidate.layouts.results)
      candidate.made.push_back(stateOn(layout, axis));
    out.candidates.push_back(std::move(candidate));
  }
  if (role == AxisRole::Free || demanded)
    return out;

  auto keep = [&](auto wanted, bool alsoOthers) {
    bool any = llvm::any_of(out.candidates,
                            [&](const Candidate &c) { return c.choice.kind == AxisChoice::Split && wanted(c.choice); });
    if (any || alsoOthers)
      llvm::erase_if(out.candidates, [&](const Candidate &c) {
        return c.choice.kind == AxisChoice::Split ? !wanted(c.choice) : any && !alsoOthers;
      });
    return any;
  };
  auto classes = [&](const AxisChoice &choice) { return graph.classOf(op, choice.factor); };
  int weight = weightOperand(graph, op);
  if (role == AxisRole::Data || role == AxisRole::Sequence) {
    uint8_t wanted = role == AxisRole::Data ? kBatch : kSequence;
    bool seeds = weight >= 0 || isNorm(op) || (role == AxisRole::Data && isa<AttentionOp>(op.op));
    auto fits = [&](const AxisChoice &choice) {
      uint8_t bits = classes(choice);
      return (bits & wanted) || bits == kToken || (role == AxisRole::Sequence && isa<AttentionOp>(op.op));
    };
    keep(fits, !seeds || !llvm::any_of(out.candidates, [&](const Candidate &c) {
           return c.choice.kind == AxisChoice::Split && fits(c.choice);
         }));
    return out;
  }

  if (weight >= 0) {
    bool table = isa<EmbeddingOp>(op.op), experts = isa<ExpertMatmulOp>(op.op);
    auto type = graph.values[op.operands[weight]].type;
    // A table is shared out by rows when it is a vocabulary, not a handful of positions or segments.
    bool vocabulary = table && type.getDimSize(0) >= 2 * type.getDimSize(1);
    bool seeded = !table || vocabulary;
    bool any = keep(
        [&](const AxisChoice &choice) {
          // Whole experts would leave ranks idle whenever the router prefers some: that split is the user's to ask for.
          return isIn(op.rule.operands[weight], choice.factor) &&
                 !(experts && choice.factor == static_cast<int>(expertFactor(op.rule))) &&
                 (!vocabulary || choice.factor == static_cast<int>(op.rule.operands[0][0][0]));
        },
        !seeded);
    if (seeded && !any) {
      out.note = "no dimension of the weight can be shared out over " + std::to_string(graph.grid.sizes[axis]) +
                 " ranks: kept whole on each";
      llvm::erase_if(out.candidates, [&](const Candidate &c) { return c.choice.kind == AxisChoice::Split && !lifted; });
    }
    // Columns after columns would gather what the first product split; rows take it as it is.
    auto rows = llvm::find_if(out.candidates, [&](const Candidate &c) {
      return c.choice.kind == AxisChoice::Split && op.rule.factors[c.choice.factor].kind == FactorKind::Reduction;
    });
    int other = experts ? 0 : 1 - weight;
    if (!table && rows != out.candidates.end())
      for (Candidate &candidate : out.candidates)
        if (!(candidate.choice == rows->choice))
          candidate.avoid.push_back({other, rows->need[other]});
    return out;
  }
  if (lifted)
    return out;
  bool attention = isa<AttentionOp>(op.op);
  if (options.sequenceParallel && isTokenNorm(graph, op)) {
    if (!keep([&](const AxisChoice &choice) { return (classes(choice) & kSequence) || classes(choice) == kToken; },
              false))
      keep([&](const AxisChoice &choice) { return classes(choice) != 0; }, false);
    return out;
  }
  llvm::erase_if(out.candidates, [&](const Candidate &c) {
    if (c.choice.kind != AxisChoice::Split)
      return false;
    uint8_t bits = classes(c.choice);
    return bits != 0 && !options.sequenceParallel;
  });
  for (Candidate &candidate : out.candidates)
    candidate.follows = candidate.choice.kind == AxisChoice::Split && !attention;
  // What is split stays split while the op can follow.
  for (Candidate &whole : out.candidates)
    for (const Candidate &split : out.candidates)
      if (whole.choice.kind != AxisChoice::Split && split.choice.kind == AxisChoice::Split)
        for (auto [index, need] : llvm::enumerate(split.need))
          if (need.isSplit())
            whole.avoid.push_back({index, need});
  if (attention && !llvm::any_of(out.candidates, [](const Candidate &c) { return c.choice.kind == AxisChoice::Split; }))
    out.note = "heads cannot be shared out over " + std::to_string(graph.grid.sizes[axis]) +
               " ranks: every rank computes all of them";
  return out;
}
