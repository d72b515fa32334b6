//===- ChooseLayouts.cpp - how every value lies on the ranks ---------------===//
// Matches   functions of form `global`
// Rewrites  nothing; writes comm.layout and comm.factors
// Skips     functions with comm.reference; grids of one rank
//===----------------------------------------------------------------------===//
#include "Fill.h"
#include "Search.h"
#include "comm/Analysis/Explain.h"
#include "comm/IR/CommExpertOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Partition/Passes.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::comm {
#define GEN_PASS_DEF_CHOOSELAYOUTSPASS
#include "passes/Partition/Passes.h.inc"
using namespace partition;

namespace {
/// Writes the plan on the IR.
void record(Graph &graph) {
  MLIRContext *context = graph.function.getContext();
  auto layoutOf = [&](int number) { return toAttr(context, graph.values[number].layout, graph.grid); };
  for (auto [index, number] : llvm::enumerate(graph.arguments))
    if (number >= 0 && (graph.values[number].fixed || !graph.values[number].layout.isReplicated()))
      graph.function.setArgAttr(index, kLayoutAttr, layoutOf(number));
  for (const StatePair &state : graph.states)
    if (int number = graph.arguments[state.argument];
        state.result >= 0 && number >= 0 && !graph.values[number].layout.isReplicated())
      graph.function.setResultAttr(state.result, kLayoutAttr, layoutOf(number));
  for (const OpInfo &op : graph.ops) {
    if (op.free)
      continue;
    DictionaryAttr factors = choicesToAttr(context, op.choices, graph.grid);
    op.op->setAttr(kFactorsAttr, factors);
    SmallVector<Attribute> layouts;
    for (int number : op.results)
      if (number >= 0)
        layouts.push_back(layoutOf(number));
    if (layouts.size() == op.op->getNumResults() && !layouts.empty())
      op.op->setAttr(kLayoutAttr, layouts.size() == 1 ? layouts[0] : Attribute(ArrayAttr::get(context, layouts)));
  }
}

/// Padding and copies that a choice brings with it.
std::string sacrifice(const Graph &graph, const OpInfo &op, unsigned axis) {
  const AxisChoice &choice = op.choices[axis];
  if (choice.kind != AxisChoice::Split || choice.overflow >= 0)
    return choice.overflow >= 0 ? "; each kv head lies on several ranks" : "";
  int64_t size = op.rule.factors[choice.factor].size, ranks = graph.grid.sizes[axis], blocks = size / choice.grain;
  if (hasReplicatedBlocks(size, choice.grain, ranks))
    return llvm::formatv("; only {0} blocks for {1} ranks, each lies on {2}", blocks, ranks, ranks / blocks);
  int64_t local = getLocalSize(size, choice.grain, ranks);
  if (local * ranks != size)
    return llvm::formatv("; {0} do not divide by {1}: {2} each, {3} of them fill", blocks, ranks, local / choice.grain,
                         (local * ranks - size) / choice.grain);
  return "";
}

/// A cache goes from entry to entry, so all of them hold it alike. Its length may differ, what is split may not.
void settleStates(Graph &graph, const llvm::StringMap<std::pair<RankedTensorType, Layout>> &states) {
  for (const StatePair &pair : graph.states) {
    int number = graph.arguments[pair.argument];
    auto it = states.find(graph.function.getArgAttrOfType<StringAttr>(pair.argument, kStateAttr).getValue());
    if (it == states.end() || number < 0 || graph.values[number].fixed ||
        graph.values[number].type.getRank() != it->second.first.getRank())
      continue;
    bool same = true;
    for (auto [dim, split] : llvm::enumerate(it->second.second.dims))
      same &= split.axes.empty() || graph.values[number].type.getDimSize(dim) == it->second.first.getDimSize(dim);
    if (same)
      graph.values[number].settled = it->second.second;
  }
}
void keepStates(Graph &graph, llvm::StringMap<std::pair<RankedTensorType, Layout>> &states) {
  for (const StatePair &pair : graph.states)
    if (int number = graph.arguments[pair.argument]; number >= 0)
      states.try_emplace(graph.function.getArgAttrOfType<StringAttr>(pair.argument, kStateAttr).getValue(),
                         graph.values[number].type, graph.values[number].layout);
}

bool isRemarkable(const OpInfo &op) {
  return isa<MatmulOp, QuantizedMatmulOp, ExpertMatmulOp, AttentionOp, EmbeddingOp, GatherOp, RMSNormOp, LayerNormOp>(
      op.op);
}

void explainAxis(const Graph &graph, unsigned axis, ArrayRef<Decision> decisions) {
  for (auto [op, decision] : llvm::zip_equal(graph.ops, decisions)) {
    std::string given = op.free ? "" : sacrifice(graph, op, axis);
    if (op.free || (!isRemarkable(op) && given.empty() && decision.note.empty() && op.hasRule))
      continue;
    std::string text =
        llvm::formatv("over {0} {1}, {2:f1} us with its conversions{3}", graph.grid.names[axis].getValue(),
                      describeChoice(graph, op, decision.choice), decision.costUs, given);
    if (decision.runnerUpBreaksRole)
      text += "; " + decision.runnerUp + " would undo or start a split here";
    else if (decision.hadAlternative)
      text += decision.runnerUpUs >= 0
                  ? llvm::formatv("; next best {0} costs {1:f1} us more", decision.runnerUp, decision.runnerUpUs).str()
                  : llvm::formatv("; {0} is {1:f1} us cheaper here and dearer later", decision.runnerUp,
                                  -decision.runnerUpUs)
                        .str();
    if (!op.hasRule)
      text += "; the op has no sharding rule, so its operands are brought together";
    if (!decision.note.empty())
      text += "; " + decision.note;
    if (llvm::any_of(op.results, [&](int result) { return result >= 0 && graph.values[result].fixed; }))
      text += "; the user fixed the layout of its result";
    explain(op.op, "layout", text);
  }
}

struct ChooseLayouts : impl::ChooseLayoutsPassBase<ChooseLayouts> {
  using ChooseLayoutsPassBase::ChooseLayoutsPassBase;

  /// Searches all axes; again without the choices whose fill would reach a sum, until there are none. Each round takes
  /// at least one away.
  SmallVector<std::vector<Decision>> search(Graph &graph, const SearchOptions &options) {
    while (true) {
      SmallVector<std::vector<Decision>> decisions;
      for (unsigned axis = 0; axis < graph.grid.count(); ++axis)
        decisions.push_back(searchAxis(graph, axis, options));
      SmallVector<UnsafeFill> unsafe = findUnsafeFill(graph);
      if (unsafe.empty())
        return decisions;
      for (const UnsafeFill &fill : unsafe) {
        OpInfo &op = graph.ops[fill.op];
        op.banned.push_back({fill.axis, op.choices[fill.axis]});
        explain(op.op, "layout",
                "over " + graph.grid.names[fill.axis].getValue() + " not " +
                    describeChoice(graph, op, op.choices[fill.axis]) + ": " + fill.why);
        ++numRefused;
      }
      graph.forgetPlan();
    }
  }

  void runOnOperation() override {
    GridOp gridOp = getGrid(getOperation());
    if (!gridOp || gridOp.getNumRanks() == 1)
      return;
    GridAxes grid = GridAxes::get(gridOp);
    SearchOptions options;
    options.beam = std::max(1u, beam.getValue());
    options.sequenceParallel = sequenceParallel;
    options.cost = {latencyUs, bandwidthGBs * 1e3, gflops * 1e3, memoryGBs * 1e3};
    llvm::StringMap<std::pair<RankedTensorType, Layout>> states;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal() || function->hasAttr(kReferenceAttr))
        continue;
      FailureOr<Graph> graph = Graph::build(function, grid);
      if (failed(graph))
        return signalPassFailure();
      settleStates(*graph, states);
      SmallVector<std::vector<Decision>> decisions = search(*graph, options);
      for (unsigned axis = 0; axis < grid.count(); ++axis)
        if (grid.sizes[axis] > 1)
          explainAxis(*graph, axis, decisions[axis]);
      record(*graph);
      keepStates(*graph, states);
      for (const OpInfo &op : graph->ops) {
        bool split =
            llvm::any_of(op.choices, [](const AxisChoice &choice) { return choice.kind == AxisChoice::Split; });
        ++(split ? numSplit : numReplicated);
      }
    }
  }
};
} // namespace

void buildPartitionPhase(OpPassManager &manager, const PartitionOptions &options) {
  ChooseLayoutsPassOptions choose;
  choose.beam = options.beam;
  choose.sequenceParallel = options.sequenceParallel;
  choose.latencyUs = options.latencyUs;
  choose.bandwidthGBs = options.bandwidthGBs;
  choose.gflops = options.gflops;
  choose.memoryGBs = options.memoryGBs;
  manager.addPass(createChooseLayoutsPass(choose));
  manager.addPass(createSplitTensorsPass());
}
} // namespace mlir::comm
