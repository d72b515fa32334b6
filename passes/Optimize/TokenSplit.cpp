//===- TokenSplit.cpp - which ops work on a part of the tokens ------------===//
#include "passes/Optimize/TokenSplit.h"
#include "comm/Analysis/Explain.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/Optimize/HiddenKeys.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::comm;

namespace {
RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// A cut of a factor: the factor is (outer, size, inner).
struct FactorCut {
  unsigned factor;
  int64_t outer, size, at;
};

int64_t sizeOf(const ShardingRule &rule, ArrayRef<unsigned> factors) {
  int64_t size = 1;
  for (unsigned factor : factors)
    size *= rule.factors[factor].size;
  return size;
}

/// The factor of the dimension that the cut goes through; none when it goes through several.
std::optional<FactorCut> toFactor(const ShardingRule &rule, ArrayRef<unsigned> factors, const Cut &cut) {
  int64_t before = 1;
  for (unsigned factor : factors) {
    int64_t size = rule.factors[factor].size;
    if (cut.outer % before == 0 && size % (cut.outer / before) == 0 && size / (cut.outer / before) % cut.size == 0 &&
        size > 1)
      return FactorCut{factor, cut.outer / before, cut.size, cut.at};
    before *= size;
  }
  return std::nullopt;
}

/// The cut of a tensor whose dimensions are made of these factors.
std::optional<Cut> toCut(const ShardingRule &rule, ArrayRef<DimFactors> dims, const FactorCut &cut) {
  for (auto [dim, factors] : llvm::enumerate(dims))
    for (auto [place, factor] : llvm::enumerate(factors))
      if (factor == cut.factor)
        return Cut{static_cast<int64_t>(dim), sizeOf(rule, ArrayRef(factors).take_front(place)) * cut.outer, cut.size,
                   cut.at};
  return std::nullopt;
}

bool isSite(Operation *op) { return isa<AllReduceOp, AllReduceNormOp, ReduceScatterOp, ScatterNormGatherOp>(op); }
} // namespace

RankedTensorType comm::getPartType(RankedTensorType whole, const Cut &cut, int part) {
  SmallVector<int64_t> shape(whole.getShape());
  shape[cut.dim] = shape[cut.dim] / cut.size * cut.length(part);
  return RankedTensorType::get(shape, whole.getElementType());
}

TokenSplit::TokenSplit(Block &block, Value seed, int64_t dim, int64_t at) {
  cuts[seed] = {dim, 1, typeOf(seed).getDimSize(dim), at};
  for (Operation &op : block)
    visit(&op);
}

std::optional<Cut> TokenSplit::cutOf(Value value) const {
  auto it = cuts.find(value);
  return it == cuts.end() ? std::nullopt : std::optional<Cut>(it->second);
}

void TokenSplit::visit(Operation *op) {
  int64_t depth = 0;
  bool cut = false, joins = false;
  for (Value operand : op->getOperands()) {
    depth = std::max(depth, depthAfter.lookup(operand));
    cut |= cuts.contains(operand);
    joins |= joined.contains(operand);
  }
  depths[op] = depth;
  OpPlan plan;
  SmallVector<Cut> results;
  std::string why;
  if (cut && !op->hasTrait<OpTrait::IsTerminator>()) {
    why = this->plan(op, plan, results);
    if (!why.empty() && firstReason.empty())
      firstReason = getSiteName(op) + ": " + why;
  }
  bool isCut = cut && why.empty() && !op->hasTrait<OpTrait::IsTerminator>();
  if (!isCut)
    plan = OpPlan();
  for (auto [index, result] : llvm::enumerate(op->getResults())) {
    if (isCut && plan.kind != OpPlan::Pick)
      cuts[result] = results[index];
    else if (cut || joins)
      joined.insert(result);
    depthAfter[result] = depth + (isSite(op) && isCut);
  }
  if (isSite(op) && (cut || joins)) {
    ++(isCut ? splitSites : joinedSites);
    if (isCut && siteRows == 0)
      siteRows = ScatterNormGatherOp::getNumRows(typeOf(op->getOperand(0)));
  }
  plans[op] = std::move(plan);
}

bool TokenSplit::demand(Operation *op, unsigned index, std::optional<Cut> cut, OpPlan &plan) {
  Value operand = op->getOperand(index);
  std::optional<Cut> have = cutOf(operand);
  plan.operands[index] = cut;
  return have ? have == cut : !joined.contains(operand);
}

std::string TokenSplit::plan(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results) {
  plan.operands.assign(op->getNumOperands(), std::nullopt);
  if (isa<CollectiveOpInterface, ShardSliceOp, RankMaskOp>(op))
    return planCollective(op, plan, results);
  if (auto attention = dyn_cast<AttentionOp>(op))
    if (std::optional<Cut> cut = cutOf(attention.getQuery()); cut && cut->dim == 2)
      return planAttention(attention, plan, results);
  if (auto concat = dyn_cast<tensor::ConcatOp>(op))
    for (Value input : concat.getInputs())
      if (std::optional<Cut> cut = cutOf(input); cut && cut->dim == static_cast<int64_t>(concat.getDim()))
        return planConcat(op, plan, results);
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op))
    if (std::optional<Cut> cut = cutOf(slice.getSource());
        cut && op->getNumOperands() == 1 && slice.getStaticSize(cut->dim) != slice.getSourceType().getDimSize(cut->dim))
      return planPick(op, plan, results);
  return planRule(op, plan, results);
}

std::string TokenSplit::planRule(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results) {
  ShardingRule rule;
  if (!getShardingRule(op, rule))
    return "nothing is known about its rows";
  std::optional<FactorCut> chosen;
  for (unsigned i = 0; i < op->getNumOperands() && !chosen; ++i) {
    std::optional<Cut> cut = cutOf(op->getOperand(i));
    if (!cut)
      continue;
    std::optional<FactorCut> factor = toFactor(rule, rule.operands[i][cut->dim], *cut);
    if (factor && rule.factors[factor->factor].kind == FactorKind::Parallel)
      chosen = factor;
  }
  if (!chosen)
    return "it is not independent per row";
  plan.kind = OpPlan::Rule;
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    if (isa<RankedTensorType>(op->getOperand(i).getType()) &&
        !demand(op, i, toCut(rule, rule.operands[i], *chosen), plan))
      return "its operand " + std::to_string(i) + " is needed whole, or cut in another way";
  for (auto &dims : rule.results) {
    std::optional<Cut> cut = toCut(rule, dims, *chosen);
    if (!cut)
      return "it reduces over rows";
    results.push_back(*cut);
  }
  return results.size() == op->getNumResults() ? "" : "it has several results";
}

std::string TokenSplit::planCollective(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results) {
  plan.kind = OpPlan::Rule;
  std::optional<Cut> cut = cutOf(op->getOperand(0));
  auto touches = [&](std::initializer_list<int64_t> dims) { return llvm::is_contained(dims, cut ? cut->dim : -1); };
  if (auto norm = dyn_cast<AllReduceNormOp>(op)) {
    if (!cut)
      cut = cutOf(norm.getResidual());
    if (!cut || touches({norm.getInput().getType().getRank() - 1}))
      return "the cut is not between rows";
    for (unsigned i = 0; i < op->getNumOperands(); ++i)
      if (!demand(op, i, i < 2 ? cut : std::nullopt, plan))
        return "its operand " + std::to_string(i) + " is needed whole, or cut in another way";
    results.assign(2, *cut);
    return "";
  }
  bool fits = TypeSwitch<Operation *, bool>(op)
                  .Case<AllReduceOp, RankMaskOp>([](auto) { return true; })
                  .Case<AllGatherOp, ReduceScatterOp, ShardSliceOp>(
                      [&](auto o) { return !touches({static_cast<int64_t>(o.getDim())}); })
                  .Case([&](AllToAllOp o) {
                    return !touches({static_cast<int64_t>(o.getSplitDim()), static_cast<int64_t>(o.getConcatDim())});
                  })
                  .Default([](Operation *) { return false; });
  if (!fits || !cut)
    return "it moves rows between ranks";
  if (isa<AllReduceOp>(op) && touches({typeOf(op->getOperand(0)).getRank() - 1}))
    return "the cut is not between rows";
  plan.operands[0] = cut;
  results.push_back(*cut);
  return "";
}

std::string TokenSplit::planAttention(AttentionOp op, OpPlan &plan, SmallVectorImpl<Cut> &results) {
  plan.kind = OpPlan::Attention;
  Cut q = *cutOf(op.getQuery());
  std::optional<Cut> k = cutOf(op.getKey()), v = cutOf(op.getValue());
  if (q.outer != 1 || q.size != op.getQuery().getType().getDimSize(2))
    return "its queries are not cut between positions";
  if (k != v || joined.contains(op.getKey()) || joined.contains(op.getValue()))
    return "keys and values are not cut alike";
  if (k && (k->dim != 2 || k->outer != 1 || k->size != op.getKey().getType().getDimSize(2)))
    return "its keys are not cut between positions";
  std::string shown = !op.getMask() ? "there is no mask" : k ? whyLaterKeysShow(op.getMask(), q.at, k->at) : "";
  bool hidden = k && shown.empty();
  if (k && !op.isCausal() && !hidden)
    return "attention is not causal: the first part would need keys of the second, " + shown;
  if (k && !hidden && static_cast<int64_t>(*op.getCausalOffset()) > k->at - q.at)
    return "the causal mask is not aligned at the end: the first part would need keys of the second";
  plan.operands[0] = q;
  plan.operands[1] = plan.operands[2] = k;
  for (unsigned i = 3; i < op->getNumOperands(); ++i) {
    bool isMask = op.getMask() && i == 3;
    std::optional<Cut> cut;
    if (isMask && typeOf(op.getMask()).getDimSize(2) != 1)
      cut = q;
    if (!demand(op, i, cut, plan))
      return "its mask or lengths need both parts";
  }
  results.push_back(q);
  return "";
}

std::string TokenSplit::planConcat(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results) {
  plan.kind = OpPlan::Concat;
  auto dim = static_cast<int64_t>(cast<tensor::ConcatOp>(op).getDim());
  int64_t before = 0, total = typeOf(op->getResult(0)).getDimSize(dim);
  std::optional<Cut> found;
  for (auto [index, input] : llvm::enumerate(op->getOperands())) {
    std::optional<Cut> cut = cutOf(input);
    if (joined.contains(input) ||
        (cut && (found || cut->dim != dim || cut->outer != 1 || cut->size != typeOf(input).getDimSize(dim))))
      return "it puts together what needs both parts";
    if (cut) {
      found = Cut{dim, 1, total, before + cut->at};
      plan.operands[index] = cut;
    }
    before += typeOf(input).getDimSize(dim);
  }
  results.push_back(*found);
  return "";
}

std::string TokenSplit::planPick(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &) {
  auto slice = cast<tensor::ExtractSliceOp>(op);
  Cut cut = *cutOf(slice.getSource());
  int64_t from = slice.getStaticOffset(cut.dim), count = slice.getStaticSize(cut.dim),
          stride = slice.getStaticStride(cut.dim);
  int64_t border = slice.getSourceType().getDimSize(cut.dim) / cut.size * cut.at;
  if (cut.outer != 1 || count < 1 || stride < 1)
    return "it takes positions out of both parts";
  bool first = from + (count - 1) * stride < border, second = from >= border;
  if (!first && !second)
    return "it takes positions out of both parts";
  plan.kind = OpPlan::Pick;
  plan.part = first ? 0 : 1;
  plan.operands[0] = cut;
  return "";
}
