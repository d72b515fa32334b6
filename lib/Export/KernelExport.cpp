//===- KernelExport.cpp - the body of a kernel as a declaration -----------===//
#include "ProgramExport.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::comm;
namespace exe = ::comm::exe;

namespace {
class Declarer {
public:
  std::optional<exe::Kernel> run(KernelOp op) {
    kernel.symbol = op.getSymName().str();
    Block &body = op.getBody().front();
    for (BlockArgument argument : body.getArguments()) {
      exe::KernelStep typed;
      if (!setType(typed, argument.getType()))
        return std::nullopt;
      numbers[argument] = static_cast<int32_t>(kernel.inputs.size());
      kernel.inputs.push_back({typed.dtype, typed.shape});
    }
    for (Operation &inner : body.without_terminator())
      if (!isa<tensor::EmptyOp>(inner) && !add(&inner))
        return std::nullopt;
    for (Value value : body.getTerminator()->getOperands())
      kernel.outputs.push_back(numbers.lookup(value));
    return std::move(kernel);
  }

private:
  static bool setType(exe::KernelStep &step, Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    FailureOr<exe::DType> dtype = tensor ? toDType(tensor.getElementType()) : FailureOr<exe::DType>();
    if (failed(dtype))
      return false;
    step.dtype = *dtype;
    step.shape.assign(tensor.getShape().begin(), tensor.getShape().end());
    return true;
  }

  static bool setSplat(exe::KernelStep &step, const char *key, Attribute value) {
    auto splat = dyn_cast_or_null<SplatElementsAttr>(value);
    if (!splat)
      return false;
    if (isa<FloatType>(splat.getElementType())) {
      step.attrs[key] = splat.getSplatValue<APFloat>().convertToDouble();
      return true;
    }
    APInt bits = splat.getSplatValue<APInt>();
    bool isUnsigned = bits.getBitWidth() == 1 || splat.getElementType().isUnsignedInteger();
    step.attrs[key] = static_cast<int64_t>(isUnsigned ? bits.getZExtValue() : bits.getSExtValue());
    return true;
  }

  bool use(exe::KernelStep &step, Value value) {
    auto it = numbers.find(value);
    if (it == numbers.end())
      return false;
    step.operands.push_back(it->second);
    return true;
  }

  static exe::Attr sorted(ArrayRef<int64_t> dims) {
    std::vector<int64_t> out(dims.begin(), dims.end());
    llvm::sort(out);
    return out;
  }

  bool add(Operation *op) {
    exe::KernelStep step;
    step.op = op->getName().stripDialect().str();
    if (op->getNumResults() != 1 || !setType(step, op->getResult(0).getType()))
      return false;
    bool ok = true;
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      ok = setSplat(step, "value", constant.getValue());
    } else if (auto broadcast = dyn_cast<linalg::BroadcastOp>(op)) {
      step.attrs["dims"] = sorted(broadcast.getDimensions());
      ok = use(step, broadcast.getInput());
    } else if (auto reduce = dyn_cast<linalg::ReduceOp>(op)) {
      ok = addReduce(step, reduce);
    } else {
      for (Value operand : op->getOperands())
        ok &= use(step, operand);
      setAttrs(step, op);
    }
    if (!ok)
      return false;
    numbers[op->getResult(0)] = static_cast<int32_t>(kernel.inputs.size() + kernel.steps.size());
    kernel.steps.push_back(std::move(step));
    return isKnown(kernel.steps.back().op);
  }

  static bool isKnown(const std::string &op) {
    static const char *const others[] = {"constant",   "broadcast", "reduce", "rms_norm",
                                         "layer_norm", "softmax",   "rotary"};
    return exe::elementwiseArity(op) > 0 || llvm::is_contained(others, op);
  }

  bool addReduce(exe::KernelStep &step, linalg::ReduceOp reduce) {
    auto init = reduce.getInits()[0].getDefiningOp<arith::ConstantOp>();
    Block &combiner = reduce.getCombiner().front();
    if (reduce.getInputs().size() != 1 || !init || !llvm::hasNItems(combiner, 2) ||
        combiner.front().getNumOperands() != 2)
      return false;
    step.attrs["dims"] = sorted(reduce.getDimensions());
    step.attrs["combine"] = combiner.front().getName().stripDialect().str();
    // Both elements that are combined, each once: a sum of squares is another thing.
    Value a = combiner.front().getOperand(0), b = combiner.front().getOperand(1);
    bool plain = (a == combiner.getArgument(0) && b == combiner.getArgument(1)) ||
                 (a == combiner.getArgument(1) && b == combiner.getArgument(0));
    return plain && setSplat(step, "init", init.getValue()) && use(step, reduce.getInputs()[0]);
  }

  static void setAttrs(exe::KernelStep &step, Operation *op) {
    if (auto norm = dyn_cast<RMSNormOp>(op))
      step.attrs["epsilon"] = norm.getEpsilon().convertToDouble();
    else if (auto layer = dyn_cast<LayerNormOp>(op))
      step.attrs["epsilon"] = layer.getEpsilon().convertToDouble();
    else if (auto gelu = dyn_cast<GeluOp>(op))
      step.attrs["kind"] = std::string(gelu.getKind() == GeluKind::Erf ? "erf" : "tanh");
    else if (auto rotary = dyn_cast<RotaryOp>(op))
      step.attrs["interleaved"] = int64_t(rotary.getInterleaved());
    else if (auto compare = dyn_cast<arith::CmpFOp>(op))
      step.attrs["predicate"] = arith::stringifyCmpFPredicate(compare.getPredicate()).str();
    else if (auto integers = dyn_cast<arith::CmpIOp>(op))
      step.attrs["predicate"] = arith::stringifyCmpIPredicate(integers.getPredicate()).str();
  }

  exe::Kernel kernel;
  DenseMap<Value, int32_t> numbers;
};
} // namespace

std::optional<exe::Kernel> mlir::comm::declareKernel(KernelOp kernel) { return Declarer().run(kernel); }
