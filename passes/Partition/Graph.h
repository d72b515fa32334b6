//===- Graph.h - a function as the search sees it ---------------*- C++ -*-===//
#ifndef PASSES_PARTITION_GRAPH_H
#define PASSES_PARTITION_GRAPH_H
#include "comm/Analysis/Layout.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::comm::partition {

/// What an axis is for, by its name: "tp" splits weights, "dp" the batch, "sp" the tokens; any other axis is searched
/// without seeds.
enum class AxisRole { Free, Tensor, Data, Sequence };
AxisRole roleOf(StringRef axis);

/// What a dimension counts, found from attention, weighted products and embeddings and spread along factors. A set of
/// bits.
enum DimClass : uint8_t { kFeature = 0, kToken = 1, kBatch = 2, kSequence = 4 };

/// What a value is on one axis: replicated, partial sum, or split on dimension n.
struct AxisState {
  int8_t code = 0;
  static AxisState replicated() { return {0}; }
  static AxisState partial() { return {1}; }
  static AxisState split(int64_t dim) { return {static_cast<int8_t>(2 + dim)}; }
  bool isSplit() const { return code >= 2; }
  int64_t dim() const { return code - 2; }
  uint32_t bit() const { return 1u << code; }
  bool operator==(AxisState other) const { return code == other.code; }
};
AxisState stateOn(const Layout &layout, unsigned axis);

struct ValueInfo {
  Value value;
  RankedTensorType type;
  bool free = false;             ///< made of weights and constants only: takes the layout that a user of it asks for
  std::optional<Layout> fixed;   ///< demanded by the user
  std::optional<Layout> settled; ///< state argument: the layout that an entry before gave it
  int state = -1;                ///< argument: number of its state pair
  SmallVector<int> returnedAs;   ///< function results that return it
  SmallVector<int64_t> grain;    ///< per dimension, for the axis under search
  SmallVector<uint8_t> classes;
  Layout layout; ///< so far: axes before the one under search
};

struct OpInfo {
  Operation *op;
  ShardingRule rule;
  bool hasRule = true;
  bool free = false;         ///< like its results
  SmallVector<int> operands; ///< value numbers; -1: not a tensor
  SmallVector<int> results;
  SmallVector<AxisChoice> choices;                     ///< one per axis that was searched
  SmallVector<std::pair<unsigned, AxisChoice>> banned; ///< (axis, choice) that gave unsafe fill
};

struct StatePair {
  int argument = -1, result = -1; ///< numbers in the function's signature
};

class Graph {
public:
  /// Fails with an error on a user layout that does not fit the grid.
  static FailureOr<Graph> build(func::FuncOp function, const GridAxes &grid);

  func::FuncOp function;
  GridAxes grid;
  std::vector<ValueInfo> values;
  std::vector<OpInfo> ops; ///< program order, without the return
  std::vector<StatePair> states;
  SmallVector<int> arguments, returned; ///< value numbers; -1: not a tensor

  /// Block sizes that splits over `shards` ranks must respect, spread over dimensions that share a factor.
  void spreadGrains(unsigned axis);
  /// Drops all choices and layouts, keeps bans.
  void forgetPlan();
  /// Grain of a factor, from the dimensions that it leads.
  int64_t factorGrain(const OpInfo &op, unsigned factor, int64_t shards) const;
  /// Factor that leads a dimension, sizes of one skipped, and the product of those below it. -1: none.
  static std::pair<int, int64_t> leadOf(const ShardingRule &rule, ArrayRef<unsigned> dim);
  /// Bits of what a factor counts.
  uint8_t classOf(const OpInfo &op, unsigned factor) const;
  int operandValue(const OpInfo &op, size_t index) const {
    return index < op.operands.size() ? op.operands[index] : -1;
  }

private:
  void spreadClasses();
  /// Calls `body(value number, dimension, factors)` for every dimension of operands and results that take part.
  void forEachDim(const OpInfo &op, llvm::function_ref<void(int, size_t, ArrayRef<unsigned>)> body) const;
  static int overflowOf(const ShardingRule &rule, unsigned factor);
  friend SmallVector<AxisChoice> enumerateChoices(const Graph &, const OpInfo &, unsigned);
};

/// All choices of an op on an axis that can be expressed beside its earlier choices; the first is None.
SmallVector<AxisChoice> enumerateChoices(const Graph &graph, const OpInfo &op, unsigned axis);

/// Choice per axis as an attribute on the op, from ChooseLayouts to SplitTensors.
inline constexpr llvm::StringLiteral kFactorsAttr = "comm.factors";
DictionaryAttr choicesToAttr(MLIRContext *context, ArrayRef<AxisChoice> choices, const GridAxes &grid);
std::optional<SmallVector<AxisChoice>> choicesFromAttr(DictionaryAttr attr, const ShardingRule &rule,
                                                       const GridAxes &grid);

/// The rule of an op; one factor that must stay whole per dimension when it has none.
ShardingRule ruleOf(Operation *op, bool *hasRule = nullptr);
/// Test seam: changes every rule before it is used, to show that a wrong one is noticed. Returns the hook before; not
/// for several threads.
using RuleHook = void (*)(Operation *, ShardingRule &);
RuleHook setRuleHook(RuleHook hook);
/// True for a value that only weights and constants make, through ops without effects.
bool isFreeOp(Operation *op, llvm::function_ref<bool(Value)> isFree);
} // namespace mlir::comm::partition
#endif
