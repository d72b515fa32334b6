//===- Graph.cpp - values, factors, classes and grains of a function ------===//
#include "Graph.h"
#include "comm/IR/CommExpertOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/StringSwitch.h"
#include <numeric>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::partition;

AxisRole partition::roleOf(StringRef axis) {
  return llvm::StringSwitch<AxisRole>(axis)
      .Case("tp", AxisRole::Tensor)
      .Case("dp", AxisRole::Data)
      .Case("sp", AxisRole::Sequence)
      .Default(AxisRole::Free);
}

AxisState partition::stateOn(const Layout &layout, unsigned axis) {
  if (llvm::is_contained(layout.partial, axis))
    return AxisState::partial();
  for (auto [dim, split] : llvm::enumerate(layout.dims))
    if (llvm::is_contained(split.axes, axis))
      return AxisState::split(dim);
  return AxisState::replicated();
}

static RuleHook ruleHook = nullptr;
RuleHook partition::setRuleHook(RuleHook hook) { return std::exchange(ruleHook, hook); }

ShardingRule partition::ruleOf(Operation *op, bool *hasRule) {
  ShardingRule rule;
  bool known = getShardingRule(op, rule);
  if (known && ruleHook)
    ruleHook(op, rule);
  known = known && rule.operands.size() == op->getNumOperands() && rule.results.size() == op->getNumResults();
  if (hasRule)
    *hasRule = known;
  if (known)
    return rule;
  rule = {};
  auto whole = [&](Value value) {
    SmallVector<DimFactors> dims;
    if (auto type = dyn_cast<RankedTensorType>(value.getType()))
      for (int64_t size : type.getShape()) {
        rule.factors.push_back({size, FactorKind::Whole});
        dims.push_back({static_cast<unsigned>(rule.factors.size() - 1)});
      }
    return dims;
  };
  for (Value operand : op->getOperands())
    rule.operands.push_back(whole(operand));
  for (Value result : op->getResults())
    rule.results.push_back(whole(result));
  return rule;
}

bool partition::isFreeOp(Operation *op, function_ref<bool(Value)> isFree) {
  if (op->getNumResults() != 1 || op->hasAttr(kLayoutAttr))
    return false;
  if (isa<WeightOp, tensor::EmptyOp>(op) || op->hasTrait<OpTrait::ConstantLike>())
    return true;
  return isMemoryEffectFree(op) && op->getNumOperands() > 0 && llvm::all_of(op->getOperands(), isFree);
}

FailureOr<Graph> Graph::build(func::FuncOp function, const GridAxes &grid) {
  Graph graph;
  graph.function = function;
  graph.grid = grid;
  Block &block = function.getBody().front();
  DenseMap<Value, int> numbers;
  bool failedAny = false;
  auto add = [&](Value value, Attribute layout, Operation *owner) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type)
      return -1;
    ValueInfo info;
    info.value = value;
    info.type = type;
    info.layout = Layout::replicated(type.getRank());
    if (auto attr = dyn_cast_or_null<LayoutAttr>(layout)) {
      info.fixed = toLayout(attr, type, grid);
      if (!info.fixed) {
        owner->emitError("'comm.layout' ") << attr << " does not fit the grid or " << type;
        failedAny = true;
      } else if (!info.fixed->partial.empty() && !type.getElementType().isIntOrFloat()) {
        owner->emitError("'comm.layout' asks for a partial sum of ") << type;
        failedAny = true;
      }
    }
    numbers[value] = graph.values.size();
    graph.values.push_back(std::move(info));
    return static_cast<int>(graph.values.size() - 1);
  };
  llvm::StringMap<int> stateOf;
  for (BlockArgument argument : block.getArguments()) {
    unsigned index = argument.getArgNumber();
    int number = add(argument, function.getArgAttr(index, kLayoutAttr), function);
    graph.arguments.push_back(number);
    if (auto name = function.getArgAttrOfType<StringAttr>(index, kStateAttr); name && number >= 0) {
      stateOf[name.getValue()] = graph.states.size();
      graph.values[number].state = graph.states.size();
      graph.states.push_back({static_cast<int>(index), -1});
    }
  }
  for (Operation &op : block.without_terminator()) {
    OpInfo info;
    info.op = &op;
    info.rule = ruleOf(&op, &info.hasRule);
    info.free = isFreeOp(&op, [&](Value value) {
      auto it = numbers.find(value);
      return it != numbers.end() ? graph.values[it->second].free
                                 : value.getDefiningOp() && value.getDefiningOp()->hasTrait<OpTrait::ConstantLike>();
    });
    for (Value operand : op.getOperands())
      info.operands.push_back(isa<RankedTensorType>(operand.getType()) ? numbers.lookup(operand) : -1);
    Attribute layout = op.getAttr(kLayoutAttr);
    auto list = dyn_cast_or_null<ArrayAttr>(layout);
    for (auto [index, result] : llvm::enumerate(op.getResults())) {
      int number = add(result, list && index < list.size() ? list[index] : layout, &op);
      if (number >= 0)
        graph.values[number].free = info.free;
      info.results.push_back(number);
    }
    graph.ops.push_back(std::move(info));
  }
  for (auto [index, value] : llvm::enumerate(block.getTerminator()->getOperands())) {
    auto it = numbers.find(value);
    graph.returned.push_back(it == numbers.end() ? -1 : it->second);
    if (it != numbers.end())
      graph.values[it->second].returnedAs.push_back(index);
    if (auto name = function.getResultAttrOfType<StringAttr>(index, kStateAttr))
      if (auto pair = stateOf.find(name.getValue()); pair != stateOf.end())
        graph.states[pair->second].result = index;
  }
  for (const StatePair &pair : graph.states) {
    // A layout asked for on either side of a state holds on both.
    if (pair.result < 0 || graph.arguments[pair.argument] < 0)
      continue;
    ValueInfo &argument = graph.values[graph.arguments[pair.argument]];
    auto asked = function.getResultAttrOfType<LayoutAttr>(pair.result, kLayoutAttr);
    std::optional<Layout> layout = asked ? toLayout(asked, argument.type, grid) : std::nullopt;
    if (layout && argument.fixed && *layout != *argument.fixed) {
      function.emitError("state argument ")
          << pair.argument << " and result " << pair.result << " have different 'comm.layout's";
      failedAny = true;
    } else if (layout) {
      argument.fixed = layout;
    }
  }
  if (failedAny)
    return failure();
  graph.spreadClasses();
  return graph;
}

void Graph::forgetPlan() {
  for (OpInfo &op : ops)
    op.choices.clear();
  for (ValueInfo &value : values)
    value.layout = Layout::replicated(value.type.getRank());
}

std::pair<int, int64_t> Graph::leadOf(const ShardingRule &rule, ArrayRef<unsigned> dim) {
  int lead = -1;
  int64_t below = 1;
  for (unsigned factor : dim) {
    if (lead < 0 && rule.factors[factor].size != 1)
      lead = factor;
    else
      below *= rule.factors[factor].size;
  }
  return {lead, below};
}

void Graph::forEachDim(const OpInfo &op, function_ref<void(int, size_t, ArrayRef<unsigned>)> body) const {
  for (auto [number, dims] : llvm::zip(op.operands, op.rule.operands))
    for (auto [dim, factors] : llvm::enumerate(dims))
      if (number >= 0 && !values[number].free)
        body(number, dim, factors);
  for (auto [number, dims] : llvm::zip(op.results, op.rule.results))
    for (auto [dim, factors] : llvm::enumerate(dims))
      if (number >= 0 && !values[number].free)
        body(number, dim, factors);
}

/// The factor directly below `factor` wherever it appears, so that ranks can overflow into it; -1: none.
int Graph::overflowOf(const ShardingRule &rule, unsigned factor) {
  int below = -1;
  auto scan = [&](ArrayRef<SmallVector<DimFactors>> all, bool check) {
    for (const auto &dims : all)
      for (const DimFactors &dim : dims)
        for (size_t i = 0; i < dim.size(); ++i) {
          if (!check && dim[i] == factor && i + 1 < dim.size() && rule.factors[dim[i + 1]].size > 1)
            below = dim[i + 1];
          if (check && static_cast<int>(dim[i]) == below && (i == 0 || dim[i - 1] != factor))
            return false;
        }
    return true;
  };
  scan(rule.operands, false);
  scan(rule.results, false);
  if (below < 0 || rule.factors[below].kind != FactorKind::Parallel || !scan(rule.operands, true) ||
      !scan(rule.results, true))
    return -1;
  return below;
}

/// Dimension [factor, below] of `rule` on `shards` ranks may overflow: no block constraint either way.
static bool isLoose(const ShardingRule &rule, unsigned factor, int below, int64_t shards, int64_t dimGrain,
                    ArrayRef<unsigned> dim) {
  int64_t size = rule.factors[factor].size;
  if (below < 0 || !llvm::is_contained(dim, static_cast<unsigned>(below)) || size >= shards || shards % size != 0 ||
      rule.factors[below].size % (shards / size) != 0)
    return false;
  int64_t whole = 1;
  for (unsigned f : dim)
    whole *= rule.factors[f].size;
  return whole / shards % dimGrain == 0;
}

int64_t Graph::factorGrain(const OpInfo &op, unsigned factor, int64_t shards) const {
  int64_t grain = 1;
  int below = overflowOf(op.rule, factor);
  forEachDim(op, [&](int number, size_t dim, ArrayRef<unsigned> factors) {
    auto [lead, minors] = leadOf(op.rule, factors);
    int64_t own = values[number].grain[dim];
    if (lead == static_cast<int>(factor) && minors > 0 && !isLoose(op.rule, factor, below, shards, own, factors))
      grain = std::lcm(grain, std::lcm(own, minors) / minors);
  });
  return grain;
}

void Graph::spreadGrains(unsigned axis) {
  int64_t shards = grid.sizes[axis];
  for (ValueInfo &value : values) {
    value.grain.assign(value.type.getRank(), 1);
    for (int64_t dim = 0; value.fixed && dim < value.type.getRank(); ++dim)
      if (llvm::is_contained(value.fixed->dims[dim].axes, axis))
        value.grain[dim] = value.fixed->dims[dim].grain;
  }
  auto visit = [&](const OpInfo &op) {
    bool changed = false;
    for (unsigned factor = 0; factor < op.rule.factors.size(); ++factor) {
      if (op.rule.factors[factor].size <= 1)
        continue;
      int64_t grain = factorGrain(op, factor, shards);
      int below = overflowOf(op.rule, factor);
      forEachDim(op, [&](int number, size_t dim, ArrayRef<unsigned> factors) {
        auto [lead, minors] = leadOf(op.rule, factors);
        int64_t &own = values[number].grain[dim];
        if (lead != static_cast<int>(factor) || minors == 0 || isLoose(op.rule, factor, below, shards, own, factors))
          return;
        int64_t next = std::lcm(own, grain * minors);
        changed |= next != own;
        own = next;
      });
    }
    return changed;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (const OpInfo &op : ops)
      changed |= !op.free && visit(op);
    for (const OpInfo &op : llvm::reverse(ops))
      changed |= !op.free && visit(op);
  }
}

//===----------------------------------------------------------------------===//
// Classes
//===----------------------------------------------------------------------===//

uint8_t Graph::classOf(const OpInfo &op, unsigned factor) const {
  uint8_t bits = 0;
  forEachDim(op, [&](int number, size_t dim, ArrayRef<unsigned> factors) {
    if (leadOf(op.rule, factors).first == static_cast<int>(factor))
      bits |= values[number].classes[dim];
  });
  return bits;
}

void Graph::spreadClasses() {
  for (ValueInfo &value : values)
    value.classes.assign(value.type.getRank(), kFeature);
  auto mark = [&](const OpInfo &op, unsigned factor, uint8_t bits) {
    bool changed = false;
    forEachDim(op, [&](int number, size_t dim, ArrayRef<unsigned> factors) {
      if (leadOf(op.rule, factors).first != static_cast<int>(factor))
        return;
      changed |= (values[number].classes[dim] & bits) != bits;
      values[number].classes[dim] |= bits;
    });
    return changed;
  };
  auto isFree = [&](const OpInfo &op, size_t index) {
    return op.operands[index] >= 0 && values[op.operands[index]].free;
  };
  for (const OpInfo &op : ops) {
    if (isa<AttentionOp>(op.op)) {
      mark(op, op.rule.operands[0][0][0], kBatch);
      mark(op, op.rule.operands[0][2][0], kSequence);
      mark(op, op.rule.operands[1][2][0], kSequence);
    } else if (isa<EmbeddingOp>(op.op) && isFree(op, 0)) {
      for (const DimFactors &dim : op.rule.operands[1])
        mark(op, dim[0], kToken);
    } else if (isa<ExpertMatmulOp>(op.op) && isFree(op, 2)) {
      for (const DimFactors &dim : op.rule.operands[1])
        mark(op, dim[0], kToken);
    } else if (isa<MatmulOp, QuantizedMatmulOp>(op.op) && isFree(op, 0) != isFree(op, 1)) {
      size_t weight = isFree(op, 0) ? 0 : 1;
      for (const DimFactors &dim : op.rule.operands[1 - weight])
        for (unsigned factor : dim)
          if (!llvm::any_of(op.rule.operands[weight],
                            [&](const DimFactors &other) { return llvm::is_contained(other, factor); }))
            mark(op, factor, kToken);
    }
  }
  auto visit = [&](const OpInfo &op) {
    bool changed = false;
    for (unsigned factor = 0; factor < op.rule.factors.size(); ++factor)
      if (uint8_t bits = op.rule.factors[factor].size > 1 ? classOf(op, factor) : 0)
        changed |= mark(op, factor, bits);
    return changed;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (const OpInfo &op : ops)
      changed |= !op.free && visit(op);
    for (const OpInfo &op : llvm::reverse(ops))
      changed |= !op.free && visit(op);
  }
}
