//===- Interpreter.cpp - runs a function on all ranks in lockstep ---------===//
#include "Internal.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::detail;

/// The block that gives the results of a fused group or a kernel call; null for other ops.
static Block *bodyOf(Operation *op) {
  if (auto fused = dyn_cast<FusedOp>(op))
    return &fused.getBody().front();
  auto call = dyn_cast<CallKernelOp>(op);
  auto kernel = call ? SymbolTable::lookupNearestSymbolFrom<KernelOp>(op, call.getKernelAttr()) : KernelOp();
  return kernel ? &kernel.getBody().front() : nullptr;
}

bool comm::canEvaluate(Operation *op) {
  if (Block *body = bodyOf(op))
    return llvm::all_of(body->without_terminator(), [](Operation &inner) { return canEvaluate(&inner); });
  return (knowsModelOp(op) && !needsAllRanks(op)) || knowsTensorOp(op);
}

static FailureOr<SmallVector<HostTensor>> evaluateBody(Block &block, ArrayRef<HostTensor> operands,
                                                       const InterpreterOptions &options) {
  DenseMap<Value, HostTensor> values;
  for (auto [argument, tensor] : llvm::zip_equal(block.getArguments(), operands))
    values[argument] = tensor;
  for (Operation &inner : block.without_terminator()) {
    SmallVector<HostTensor> in;
    for (Value operand : inner.getOperands())
      in.push_back(values[operand]);
    auto out = evaluateOp(&inner, in, options);
    if (failed(out))
      return failure();
    for (auto [result, tensor] : llvm::zip_equal(inner.getResults(), *out))
      values[result] = std::move(tensor);
  }
  SmallVector<HostTensor> results;
  for (Value value : block.getTerminator()->getOperands())
    results.push_back(values[value]);
  return results;
}

static bool isHostType(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || !tensor.hasStaticShape())
    return false;
  Type element = tensor.getElementType();
  return element.isIndex() || isa<FloatType>(element) ||
         (isa<IntegerType>(element) && element.getIntOrFloatBitWidth() <= 64);
}

/// Everything the bodies of the ops may take for granted: operands of the op's own types, that hosts can hold.
static bool isSound(Operation *op, ArrayRef<HostTensor> operands) {
  if (op->getNumResults() == 0 || operands.size() != op->getNumOperands() ||
      !llvm::all_of(op->getResultTypes(), isHostType))
    return false;
  return llvm::all_of(llvm::zip_equal(op->getOperandTypes(), operands), [](auto pair) {
    auto [type, tensor] = pair;
    return isHostType(type) && tensor.type == type &&
           static_cast<int64_t>(tensor.isFloat() ? tensor.floats.size() : tensor.ints.size()) == tensor.size();
  });
}

FailureOr<SmallVector<HostTensor>> comm::evaluateOp(Operation *op, ArrayRef<HostTensor> operands,
                                                    const InterpreterOptions &options) {
  if (!isSound(op, operands))
    return failure();
  if (Block *body = bodyOf(op))
    return evaluateBody(*body, operands, options);
  if (knowsModelOp(op))
    return needsAllRanks(op) ? Result(failure()) : evaluateModelOp(op, operands, options);
  return evaluateTensorOp(op, operands, options);
}

/// Floats become elements of the prime field, in which stand-ins calculate.
static HostTensor inField(HostTensor tensor) {
  for (double &x : tensor.floats)
    x = static_cast<double>(toField(x));
  return tensor;
}

/// A weight nobody supplied: small integers that depend on the stored bytes' place only, so that slices of one file
/// agree.
static HostTensor defaultWeight(WeightOp op) {
  HostTensor stored = HostTensor::zeros(cast<RankedTensorType>(op.getStored()));
  uint64_t seed = static_cast<uint64_t>(op.getOffset()) * 0x9E3779B97F4A7C15ull + 1;
  for (char c : op.getFile())
    seed = seed * 1099511628211ull + static_cast<unsigned char>(c);
  for (int64_t i = 0, n = stored.size(); i < n; ++i) {
    uint64_t mixed = (seed + i) * 0xBF58476D1CE4E5B9ull;
    int64_t x = static_cast<int64_t>((mixed ^ (mixed >> 31)) % 7) - 3;
    if (stored.isFloat())
      stored.floats[i] = static_cast<double>(x);
    else
      stored.ints[i] = wrapTo(stored.type.getElementType(), x);
  }
  return stored;
}

static FailureOr<HostTensor> loadWeight(WeightOp op, int64_t rank, const InterpreterOptions &options) {
  FailureOr<HostTensor> stored = options.weight ? options.weight(op) : FailureOr<HostTensor>(defaultWeight(op));
  if (failed(stored) || stored->type != op.getStored())
    return failure();
  HostTensor sliced = HostTensor::zeros(RankedTensorType::get(op.getSlicedShape(), op.getType().getElementType()));
  SmallVector<int64_t> strides = stridesOf(stored->type.getShape());
  int64_t offset = 0, at = 0;
  if (ArrayAttr slices = op.getSlicesAttr())
    for (Attribute attr : slices)
      offset += cast<SliceAttr>(attr).getStart() * strides[cast<SliceAttr>(attr).getDim()];
  forEachIndex(sliced.type.getShape(),
               [&](ArrayRef<int64_t> i) { copyElement(sliced, at++, *stored, offset + dot(i, strides)); });
  if (options.integerStandIns)
    sliced = inField(std::move(sliced));
  return op.getLayoutAttr() ? takeShard(sliced, op.getLayoutAttr(), getGrid(op), rank) : sliced;
}

namespace {
/// Values of all ranks, op by op.
class Machine {
public:
  Machine(int64_t ranks, const InterpreterOptions &options) : ranks(ranks), options(options) {}

  LogicalResult run(Operation *op) {
    if (auto start = dyn_cast<StartOp>(op)) {
      Operation *collective = start.getCollective();
      if (failed(run(collective)))
        return failure();
      for (int64_t rank = 0; rank < ranks; ++rank)
        for (Value result : collective->getResults()) // rank by rank
          values[start.getToken()].push_back(values[result][rank]);
      return success();
    }
    if (auto wait = dyn_cast<WaitOp>(op)) {
      std::vector<HostTensor> done = values.lookup(wait.getToken()); // a copy: the map may grow
      for (size_t i = 0; i < done.size(); ++i)
        values[wait->getResult(i % wait->getNumResults())].push_back(std::move(done[i]));
      return success();
    }
    std::vector<SmallVector<HostTensor>> in(ranks), out(ranks);
    for (Value operand : op->getOperands())
      for (int64_t rank = 0; rank < ranks; ++rank)
        in[rank].push_back(values[operand][rank]);
    if (needsAllRanks(op)) {
      for (const auto &operands : in)
        if (!isSound(op, operands))
          return op->emitError("the interpreter cannot run this op on such types");
      auto all = evaluateAcrossRanks(op, in, options);
      if (failed(all))
        return op->emitError("the interpreter cannot run this op on ") << ranks << " ranks";
      out = std::move(*all);
    } else {
      for (int64_t rank = 0; rank < ranks; ++rank) {
        FailureOr<SmallVector<HostTensor>> one = failure();
        if (auto weight = dyn_cast<WeightOp>(op)) {
          FailureOr<HostTensor> loaded = loadWeight(weight, rank, options);
          if (succeeded(loaded))
            one = SmallVector<HostTensor>{*loaded};
        } else {
          one = evaluateOp(op, in[rank], options);
        }
        if (failed(one))
          return op->emitError("the interpreter cannot run this op");
        out[rank] = std::move(*one);
      }
    }
    for (auto [index, result] : llvm::enumerate(op->getResults()))
      for (int64_t rank = 0; rank < ranks; ++rank)
        values[result].push_back(std::move(out[rank][index]));
    return success();
  }

  int64_t ranks;
  const InterpreterOptions &options;
  DenseMap<Value, std::vector<HostTensor>> values;
};
} // namespace

FailureOr<std::vector<std::vector<HostTensor>>> comm::interpret(func::FuncOp function,
                                                                const std::vector<std::vector<HostTensor>> &inputs,
                                                                const InterpreterOptions &options) {
  Machine machine(inputs.size(), options);
  if (!llvm::hasSingleElement(function.getBody()))
    return function.emitError("the interpreter runs functions of one block");
  for (auto [index, argument] : llvm::enumerate(function.getArguments()))
    for (const auto &rank : inputs) {
      if (index >= rank.size() || rank[index].type != argument.getType())
        return function.emitError("input ") << index << " is missing or not of type " << argument.getType();
      machine.values[argument].push_back(options.integerStandIns ? inField(rank[index]) : rank[index]);
    }
  Block &block = function.getBody().front();
  for (Operation &op : block.without_terminator())
    if (failed(machine.run(&op)))
      return failure();
  std::vector<std::vector<HostTensor>> results(inputs.size());
  for (Value value : block.getTerminator()->getOperands())
    for (size_t rank = 0; rank < inputs.size(); ++rank)
      results[rank].push_back(machine.values[value][rank]);
  return results;
}
