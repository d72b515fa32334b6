//===- SplitTensors.cpp - whole tensors become one rank's ------------------===//
// Matches   every op of a function of form `global` with its layouts
// Rewrites  the op on local types, behind the collectives that bring its operands into the layouts it needs
// Skips     functions with comm.reference; modules without a grid
//===----------------------------------------------------------------------===//
#include "Fill.h"
#include "Search.h"
#include "comm/Analysis/Explain.h"
#include "comm/IR/CommExpertOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "passes/Partition/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::comm {
#define GEN_PASS_DEF_SPLITTENSORSPASS
#include "passes/Partition/Passes.h.inc"
using namespace partition;

namespace {
/// Fills OpInfo::choices from `comm.factors`, or from the layout of the first result where there are none.
LogicalResult readChoices(Graph &graph) {
  bool planned = llvm::any_of(graph.ops, [](const OpInfo &op) { return op.op->hasAttr(kFactorsAttr); });
  if (planned) {
    for (OpInfo &op : graph.ops) {
      op.choices.assign(graph.grid.count(), {});
      auto attr = op.op->getAttrOfType<DictionaryAttr>(kFactorsAttr);
      if (!attr)
        continue;
      std::optional<SmallVector<AxisChoice>> choices = choicesFromAttr(attr, op.rule, graph.grid);
      if (!choices)
        return op.op->emitError("'comm.factors' ") << attr << " does not fit the op or the grid";
      op.choices = *choices;
    }
    return success();
  }
  for (unsigned axis = 0; axis < graph.grid.count(); ++axis) {
    graph.spreadGrains(axis);
    for (OpInfo &op : graph.ops) {
      AxisChoice best;
      const ValueInfo *result = op.results.empty() || op.results[0] < 0 ? nullptr : &graph.values[op.results[0]];
      if (result && result->fixed && !op.free) {
        AxisState wanted = stateOn(*result->fixed, axis);
        bool partialIn = llvm::any_of(op.operands, [&](int number) {
          return number >= 0 && graph.values[number].fixed &&
                 stateOn(*graph.values[number].fixed, axis) == AxisState::partial();
        });
        for (const AxisChoice &choice : enumerateChoices(graph, op, axis)) {
          SmallVector<AxisChoice> all = op.choices;
          all.push_back(choice);
          if (!(stateOn(deriveLayouts(op.rule, all, graph.grid)->results[0], axis) == wanted))
            continue;
          if (best.kind == AxisChoice::None || (choice.kind == AxisChoice::Partial && partialIn))
            best = choice;
        }
      }
      op.choices.push_back(best);
    }
  }
  return success();
}

class Splitter {
public:
  Splitter(Graph &graph) : graph(graph), grid(graph.grid), builder(graph.function.getContext()) {}
  int64_t collectives = 0;

  LogicalResult run() {
    func::FuncOp function = graph.function;
    Block &block = function.getBody().front();
    SmallVector<Operation *> old;
    for (Operation &op : block)
      old.push_back(&op);
    splitArguments(block);
    for (OpInfo &op : graph.ops) {
      builder.setInsertionPoint(op.op);
      if (!op.free && failed(splitOp(op)))
        return failure();
    }
    if (failed(splitReturn(block)))
      return failure();
    for (Operation *op : llvm::reverse(old))
      if (!isa<func::ReturnOp>(op)) {
        op->dropAllUses();
        op->erase();
      }
    return success();
  }

private:
  struct Version {
    Layout layout;
    Value value;
  };

  Layout layoutAttrOf(Attribute attr, RankedTensorType type) {
    if (auto layout = dyn_cast_or_null<LayoutAttr>(attr))
      if (std::optional<Layout> out = toLayout(layout, type, grid))
        return *out;
    return Layout::replicated(type.getRank());
  }

  /// Local type, and what Export must know of the whole one.
  template <typename SetAttr> RankedTensorType splitPort(RankedTensorType type, const Layout &layout, SetAttr setAttr) {
    if (layout.isReplicated())
      return type;
    setAttr(kLayoutAttr, toAttr(builder.getContext(), layout, grid));
    setAttr(kWholeAttr, TypeAttr::get(type));
    return getLocalType(type, layout, grid);
  }

  void splitArguments(Block &block) {
    for (BlockArgument argument : block.getArguments()) {
      int number = graph.arguments[argument.getArgNumber()];
      if (number < 0)
        continue;
      unsigned index = argument.getArgNumber();
      Layout layout = layoutAttrOf(graph.function.getArgAttr(index, kLayoutAttr), graph.values[number].type);
      argument.setType(splitPort(graph.values[number].type, layout, [&](StringRef name, Attribute value) {
        graph.function.setArgAttr(index, name, value);
      }));
      versions[number].push_back({layout, argument});
    }
  }

  LogicalResult splitReturn(Block &block) {
    Operation *ret = block.getTerminator();
    builder.setInsertionPoint(ret);
    SmallVector<Type> types;
    for (auto [index, number] : llvm::enumerate(graph.returned)) {
      if (number >= 0) {
        RankedTensorType type = graph.values[number].type;
        Layout layout = layoutAttrOf(graph.function.getResultAttr(index, kLayoutAttr), type);
        Value value = obtain(number, layout, ret);
        if (!value)
          return failure();
        ret->setOperand(index, value);
        splitPort(type, layout,
                  [&, i = index](StringRef name, Attribute attr) { graph.function.setResultAttr(i, name, attr); });
      }
      types.push_back(ret->getOperand(index).getType());
    }
    Block &entry = graph.function.getBody().front();
    graph.function.setType(FunctionType::get(builder.getContext(), entry.getArgumentTypes(), types));
    return success();
  }

  LogicalResult splitOp(OpInfo &op) {
    std::optional<OpLayouts> layouts = deriveLayouts(op.rule, op.choices, grid);
    if (!layouts)
      return op.op->emitError("its 'comm.factors' cannot be expressed as layouts");
    if (isa<WeightOp>(op.op)) { // with a user's layout
      versions[op.results[0]].push_back(
          {*graph.values[op.results[0]].fixed, cutFree(op, *graph.values[op.results[0]].fixed)});
      return success();
    }
    SmallVector<Value> operands;
    for (auto [index, operand] : llvm::enumerate(op.op->getOperands())) {
      Value value = op.operands[index] < 0 ? scalars.lookupOrDefault(operand)
                                           : obtain(op.operands[index], layouts->operands[index], op.op);
      if (!value)
        return failure();
      operands.push_back(value);
    }
    Operation *local = localise(op, operands, *layouts);
    for (auto [index, number] : llvm::enumerate(op.results)) {
      if (number < 0) {
        scalars.map(op.op->getResult(index), local->getResult(index));
        continue;
      }
      versions[number].push_back({layouts->results[index], local->getResult(index)});
      const std::optional<Layout> &asked = graph.values[number].fixed;
      if (asked && *asked != layouts->results[index]) {
        Value value = obtain(number, *asked, op.op);
        versions[number] = {{*asked, value}};
      }
    }
    return success();
  }

  /// The op on local operands; attributes that hold static shapes are rebuilt.
  Operation *localise(const OpInfo &info, ArrayRef<Value> operands, const OpLayouts &layouts) {
    Operation *op = info.op;
    SmallVector<Type> types;
    for (auto [index, number] : llvm::enumerate(info.results))
      types.push_back(number < 0 ? op->getResult(index).getType()
                                 : getLocalType(graph.values[number].type, layouts.results[index], grid));
    Operation *local;
    if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
      SmallVector<OpFoldResult> shape;
      for (int64_t size : cast<RankedTensorType>(types[0]).getShape())
        shape.push_back(builder.getIndexAttr(size));
      local = tensor::ExpandShapeOp::create(builder, op->getLoc(), cast<RankedTensorType>(types[0]), operands[0],
                                            expand.getReassociationIndices(), shape);
    } else {
      IRMapping map;
      for (auto [index, operand] : llvm::enumerate(op->getOperands()))
        map.map(operand, operands[index]);
      local = builder.clone(*op, map);
      local->setOperands(operands); // one value may be needed in two layouts
      for (auto [result, type] : llvm::zip_equal(local->getResults(), types))
        result.setType(type);
    }
    local->removeAttr(kLayoutAttr);
    local->removeAttr(kFactorsAttr);
    if (auto slice = dyn_cast<tensor::ExtractSliceOp>(local)) {
      SmallVector<int64_t> sizes(slice.getStaticSizes());
      ArrayRef<int64_t> whole =
          graph.values[info.operands[0]].type.getShape(); // the operand itself may be a split argument
      ArrayRef<int64_t> source = slice.getSourceType().getShape();
      for (auto [dim, size] : llvm::enumerate(sizes))
        if (source[dim] != whole[dim])
          size = source[dim];
      slice.setStaticSizes(sizes);
    } else if (auto embedding = dyn_cast<EmbeddingOp>(local)) {
      const DimSplit &rows = layouts.operands[0].dims[0];
      if (!rows.axes.empty()) {
        embedding.setVocab(graph.values[info.operands[0]].type.getDimSize(0));
        embedding.setVocabAxesAttr(grid.attr(rows.axes));
        embedding.setGrain(rows.grain);
      }
    } else if (auto product = dyn_cast<ExpertMatmulOp>(local)) {
      const DimSplit &experts = layouts.operands[2].dims[0];
      if (!experts.axes.empty()) {
        product.setExperts(graph.values[info.operands[2]].type.getDimSize(0));
        product.setExpertAxesAttr(grid.attr(experts.axes));
        product.setGrain(experts.grain);
      }
    }
    return local;
  }

  //===--------------------------------------------------------------------===//
  // Versions of a value
  //===--------------------------------------------------------------------===//

  double costOf(ArrayRef<ReshardStep> steps, RankedTensorType type) {
    double total = 0, before = type.getNumElements();
    for (const ReshardStep &step : steps) {
      double after = 1;
      for (int64_t size : step.shape)
        after *= size;
      total += cost.collective(step.kind, std::max(before, after) * getElementBytes(type.getElementType()),
                               grid.shards(step.axes));
      before = after;
    }
    return total;
  }

  /// The value in a layout, converted from the version from which that is cheapest.
  Value obtain(int number, const Layout &want, Operation *user) {
    const ValueInfo &value = graph.values[number];
    for (const Version &version : versions[number])
      if (version.layout == want)
        return version.value;
    if (value.free) {
      Value made = makeFree(number, want, user);
      versions[number].push_back({want, made});
      return made;
    }
    SmallVector<ReshardStep> best;
    const Version *source = nullptr;
    for (const Version &version : versions[number]) {
      SmallVector<ReshardStep> steps = planReshard(value.type.getShape(), version.layout, want, grid);
      if (!source || costOf(steps, value.type) < costOf(best, value.type)) {
        source = &version;
        best = std::move(steps);
      }
    }
    Layout from = source->layout;
    Value result = emit(source->value, best);
    if (Operation *local = source->value.getDefiningOp(); local && !best.empty())
      explainSteps(value, from, want, best, user);
    versions[number].push_back({want, result});
    return result;
  }

  void explainSteps(const ValueInfo &value, const Layout &from, const Layout &want, ArrayRef<ReshardStep> steps,
                    Operation *user) {
    std::string text;
    for (const ReshardStep &step : steps) {
      if (step.kind == ReshardStep::Slice || step.kind == ReshardStep::Mask)
        continue;
      text += (text.empty() ? "" : ", ") + stepName(step.kind).str() + " over";
      for (unsigned axis : step.axes)
        text += " " + grid.names[axis].getValue().str();
    }
    if (!text.empty())
      explain(value.value.getDefiningOp() ? value.value.getDefiningOp() : user, "layout",
              text + ", it is " + describe(from, value.type, grid) + " and " + getSiteName(user) + " needs it " +
                  describe(want, value.type, grid));
  }

  Value emit(Value value, ArrayRef<ReshardStep> steps) {
    for (const ReshardStep &step : steps) {
      Location loc = value.getLoc();
      auto type = RankedTensorType::get(step.shape, cast<RankedTensorType>(value.getType()).getElementType());
      ArrayAttr axes = grid.attr(step.axes);
      StringRef symbol = grid.symbol.getValue();
      uint64_t dim = step.dim;
      collectives += step.kind != ReshardStep::Slice && step.kind != ReshardStep::Mask;
      switch (step.kind) {
      case ReshardStep::AllReduce:
        value = AllReduceOp::create(builder, loc, type, ReduceKind::Sum, value, symbol, axes);
        break;
      case ReshardStep::ReduceScatter:
        value = ReduceScatterOp::create(builder, loc, type, ReduceKind::Sum, value, dim, step.grain, symbol, axes);
        break;
      case ReshardStep::AllGather:
        value = AllGatherOp::create(builder, loc, type, value, dim, step.grain, symbol, axes);
        break;
      case ReshardStep::AllToAll:
        value = AllToAllOp::create(builder, loc, type, value, dim, step.concatDim, step.grain, step.concatGrain, symbol,
                                   axes);
        break;
      case ReshardStep::Slice:
        value = ShardSliceOp::create(builder, loc, type, value, dim, step.grain, symbol, axes, /*shift=*/0);
        break;
      case ReshardStep::Mask:
        value = RankMaskOp::create(builder, loc, type, value, symbol, axes);
        break;
      }
    }
    return value;
  }

  //===--------------------------------------------------------------------===//
  // Values of weights and constants
  //===--------------------------------------------------------------------===//

  OpInfo &infoOf(int number) {
    if (infos.empty())
      for (OpInfo &op : graph.ops)
        for (int result : op.results)
          if (result >= 0)
            infos[result] = &op;
    return *infos.lookup(number);
  }

  /// A weight-like value in a layout: made in that layout where possible, else whole and then cut.
  Value makeFree(int number, const Layout &want, Operation *user) {
    if (!want.partial.empty()) {
      Layout kept = want;
      kept.partial.clear();
      return emit(obtain(number, kept, user), planReshard(graph.values[number].type.getShape(), kept, want, grid));
    }
    OpInfo &op = infoOf(number);
    if (Value cut = cutFree(op, want))
      return cut;
    if (op.op->getNumOperands() > 0) {
      if (std::optional<OpLayouts> layouts = want.isReplicated()
                                                 ? deriveLayouts(op.rule, SmallVector<AxisChoice>(grid.count()), grid)
                                                 : choicesFor(op, want))
        return rebuildFree(op, *layouts, user);
    }
    Layout whole = Layout::replicated(want.dims.size());
    Value value = want.isReplicated() ? builder.clone(*op.op)->getResult(0) : obtain(number, whole, user);
    return want.isReplicated() ? value
                               : emit(value, planReshard(graph.values[number].type.getShape(), whole, want, grid));
  }

  Value rebuildFree(OpInfo &op, const OpLayouts &layouts, Operation *user) {
    SmallVector<Value> operands;
    for (auto [index, operand] : llvm::enumerate(op.op->getOperands()))
      operands.push_back(op.operands[index] < 0 ? rebuildScalar(operand)
                                                : obtain(op.operands[index], layouts.operands[index], user));
    return localise(op, operands, layouts)->getResult(0);
  }
  /// Constants that are no tensors, operands of fills and the like.
  Value rebuildScalar(Value value) {
    if (!scalars.contains(value))
      scalars.map(value, builder.clone(*value.getDefiningOp(), scalars)->getResult(0));
    return scalars.lookup(value);
  }

  /// Weights, splats and empty tensors can be cut for nothing. Null for anything else.
  Value cutFree(const OpInfo &info, const Layout &want) {
    RankedTensorType type = graph.values[info.results[0]].type, local = getLocalType(type, want, grid);
    Location loc = info.op->getLoc();
    if (auto weight = dyn_cast<WeightOp>(info.op))
      return WeightOp::create(builder, loc, local, weight.getNameAttr(), weight.getFileAttr(), weight.getOffsetAttr(),
                              weight.getStoredAttr(), weight.getSlicesAttr(),
                              want.isReplicated() ? LayoutAttr() : toAttr(builder.getContext(), want, grid));
    if (isa<tensor::EmptyOp>(info.op))
      return tensor::EmptyOp::create(builder, loc, local.getShape(), local.getElementType());
    if (auto constant = dyn_cast<arith::ConstantOp>(info.op))
      if (auto dense = dyn_cast<DenseElementsAttr>(constant.getValue()); dense && (dense.isSplat() || local == type))
        return arith::ConstantOp::create(builder, loc, dense.isSplat() ? dense.resizeSplat(local) : dense);
    return {};
  }

  /// Layouts of an op that makes its result in `want`, if it can.
  std::optional<OpLayouts> choicesFor(const OpInfo &op, const Layout &want) {
    SmallVector<AxisChoice> choices(grid.count());
    for (auto [dim, split] : llvm::enumerate(want.dims)) {
      if (split.axes.empty())
        continue;
      auto [lead, minors] = Graph::leadOf(op.rule, op.rule.results[0][dim]);
      if (lead < 0 || split.axes.size() != 1)
        return std::nullopt;
      AxisChoice &choice = choices[split.axes[0]];
      choice.kind = AxisChoice::Split;
      choice.factor = lead;
      choice.grain = split.grain % minors == 0 ? split.grain / minors : 1;
    }
    std::optional<OpLayouts> layouts = deriveLayouts(op.rule, choices, grid);
    return layouts && layouts->results[0] == want ? layouts : std::nullopt;
  }

  Graph &graph;
  const GridAxes &grid;
  OpBuilder builder;
  CostModel cost;
  DenseMap<int, SmallVector<Version, 2>> versions;
  DenseMap<int, OpInfo *> infos;
  IRMapping scalars;
};

struct SplitTensors : impl::SplitTensorsPassBase<SplitTensors> {
  void runOnOperation() override {
    GridOp gridOp = getGrid(getOperation());
    if (!gridOp)
      return;
    GridAxes grid = GridAxes::get(gridOp);
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal() || function->hasAttr(kReferenceAttr))
        continue;
      FailureOr<Graph> graph = Graph::build(function, grid);
      if (failed(graph) || failed(readChoices(*graph)))
        return signalPassFailure();
      for (const UnsafeFill &fill : findUnsafeFill(*graph)) {
        graph->ops[fill.op].op->emitError("cannot be split like this over ")
            << grid.names[fill.axis] << ": " << fill.why;
        return signalPassFailure();
      }
      Splitter splitter(*graph);
      if (failed(splitter.run()))
        return signalPassFailure();
      numCollectives += splitter.collectives;
    }
  }
};
} // namespace
} // namespace mlir::comm
