//===- HeldBytes.cpp - what a rank holds whatever the schedule ------------===//
// The sizes are those of exe::HeldWeights; here ops become what it knows: commands that read weights.
//===----------------------------------------------------------------------===//
#include "comm/Analysis/HeldBytes.h"
#include "comm/Executable/RankMemory.h"
#include "comm/IR/CommExpertOps.h"
#include "comm/IR/CommOps.h"
#include "comm/IR/Precision.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"
#include <deque>

using namespace mlir;
using namespace mlir::comm;
namespace exe = ::comm::exe;

namespace {
/// Only the width matters of what is not packed.
exe::DType dtypeOf(Type type) {
  if (type.isF32())
    return exe::DType::F32;
  if (type.isF16())
    return exe::DType::F16;
  if (type.isBF16())
    return exe::DType::BF16;
  switch (getElementBytes(type)) {
  case 1:
    return exe::DType::I8;
  case 2:
    return exe::DType::I16;
  case 4:
    return exe::DType::I32;
  default:
    return type.isF64() ? exe::DType::F64 : exe::DType::I64;
  }
}

class HeldReader {
public:
  explicit HeldReader(func::FuncOp function)
      : function(function), embeds(function->getParentOp() && function->getParentOp()->hasAttr(kEmbedsWeightsAttr)) {
    if (GridOp found = getGrid(function); found && !function->hasAttr(kReferenceAttr))
      for (auto [name, size] : llvm::zip_equal(found.getAxes().getAsRange<StringAttr>(), found.getSizes()))
        grid.axes.push_back({name.str(), size});
  }

  HeldBytes run() {
    for (Operation &op : function.getBody().front())
      visit(&op);
    HeldBytes out;
    out.weights = held.packed + held.copied;
    out.mapped = held.mapped;
    out.loading = held.most;
    for (auto [number, type] : llvm::enumerate(function.getArgumentTypes()))
      out.ports += portBytes(type, function.getArgAttrOfType<TypeAttr>(number, kWholeAttr));
    for (auto [number, type] : llvm::enumerate(function.getResultTypes()))
      out.ports += portBytes(type, function.getResultAttrOfType<TypeAttr>(number, kWholeAttr));
    return out;
  }

private:
  /// A part stands beside what is seen of the whole.
  static int64_t portBytes(Type type, TypeAttr whole) {
    int64_t bytes = getTensorBytes(type);
    return whole && getTensorBytes(whole.getValue()) != bytes ? 2 * bytes : bytes;
  }

  void visit(Operation *op) {
    if (auto weight = dyn_cast<WeightOp>(op))
      return addWeight(op, weight.getFile(), weight.getOffset(), cast<ShapedType>(weight.getStored()),
                       weight.getSlicesAttr(), weight.getLayoutAttr());
    if (auto weight = dyn_cast<LoadedWeightOp>(op))
      return addWeight(op, weight.getFile(), weight.getOffset(), cast<ShapedType>(weight.getStored()),
                       weight.getSlicesAttr(), weight.getLayoutAttr());
    if (auto data = dyn_cast<DataOp>(op))
      return addConstant(op, data.getValue());
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      if (auto value = dyn_cast<ElementsAttr>(constant.getValue()); value && !isa<SplatElementsAttr>(value))
        addConstant(op, value);
      return;
    }
    if (isa<ViewOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ExtractSliceOp, tensor::CastOp>(op))
      return addView(op);
    read(op);
  }

  void addWeight(Operation *op, StringRef file, int64_t offset, ShapedType stored, ArrayAttr slices,
                 LayoutAttr layout) {
    exe::Weight weight;
    weight.offset = embeds ? 0 : offset;
    weight.dtype = dtypeOf(stored.getElementType());
    weight.shape.assign(stored.getShape().begin(), stored.getShape().end());
    if (slices)
      for (auto slice : slices.getAsRange<SliceAttr>())
        weight.slices.push_back({slice.getDim(), slice.getStart(), slice.getSize()});
    if (layout && !layout.isReplicated())
      for (int64_t dim = 0; dim < layout.getRank(); ++dim) {
        exe::Split split;
        for (StringRef axis : layout.getAxes(dim))
          split.axes.push_back(axis.str());
        split.grain = layout.getGrainOf(dim);
        weight.layout.dims.push_back(std::move(split));
      }
    NamedAttrList key(op->getAttrDictionary()); // tied weights are loaded once, whatever they are called
    key.erase("name");
    add(op, key.getDictionary(op->getContext()), std::move(weight));
  }

  void addConstant(Operation *op, ElementsAttr value) {
    exe::Weight weight;
    weight.dtype = dtypeOf(value.getElementType());
    weight.shape.assign(value.getShapedType().getShape().begin(), value.getShapedType().getShape().end());
    add(op, value, std::move(weight));
  }

  void add(Operation *op, Attribute key, exe::Weight weight) {
    auto [it, isNew] = numbers.try_emplace(key, static_cast<int64_t>(weights.size()));
    if (isNew)
      weights.push_back(std::move(weight));
    inputs[op->getResult(0)] = {&weights[static_cast<size_t>(it->second)], it->second, 0, exe::DType::F32, {}};
  }

  void addView(Operation *op) {
    auto it = inputs.find(op->getOperand(0));
    if (it == inputs.end())
      return read(op);
    exe::WeightInput view = it->second;
    if (auto part = dyn_cast<ViewOp>(op))
      view.offset += part.getOffset();
    if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op)) {
      int64_t stride = getElementBytes(slice.getSourceType().getElementType());
      for (int64_t d = slice.getSourceType().getRank() - 1; d >= 0; --d) {
        if (int64_t first = slice.getStaticOffsets()[static_cast<size_t>(d)]; !ShapedType::isDynamic(first))
          view.offset += first * stride;
        stride *= slice.getSourceType().getDimSize(d);
      }
    }
    inputs[op->getResult(0)] = view;
  }

  exe::WeightInput inputOf(Value value) const {
    auto it = inputs.find(value);
    exe::WeightInput input = it == inputs.end() ? exe::WeightInput() : it->second;
    if (auto type = dyn_cast<ShapedType>(value.getType())) {
      input.dtype = dtypeOf(type.getElementType());
      input.shape.assign(type.getShape().begin(), type.getShape().end());
    }
    return input;
  }

  void read(Operation *op) {
    exe::Command command = commandOf(op);
    std::vector<exe::WeightInput> operands;
    auto list = [&](ValueRange values) {
      for (Value value : values)
        operands.push_back(inputOf(value));
    };
    if (auto given = dyn_cast<CommandOp>(op))
      list(given.getInputs());
    else
      op->walk([&](Operation *inner) { list(inner->getOperands()); });
    held.add(command, operands, grid);
  }

  static exe::Command commandOf(Operation *op) {
    exe::Command command;
    auto withPrecision = [&](Operation *product) {
      if (StringRef precision = getPrecision(product); !precision.empty())
        command.attrs["precision"] = precision.str();
    };
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](CommandOp given) {
          command.op = given.getName().str();
          for (NamedAttribute param : given.getParams())
            if (auto number = dyn_cast<IntegerAttr>(param.getValue()))
              command.attrs[param.getName().str()] = number.getInt();
            else if (auto text = dyn_cast<StringAttr>(param.getValue()))
              command.attrs[param.getName().str()] = text.str();
        })
        .Case([&](MatmulOp m) {
          command.op = "matmul";
          command.attrs["transpose_b"] = static_cast<int64_t>(m.getTransposeRhs());
          withPrecision(m);
        })
        .Case([&](ExpertMatmulOp m) {
          command.op = "expert_matmul";
          command.attrs["transpose"] = static_cast<int64_t>(m.getTranspose());
        })
        .Case([&](QuantizedMatmulOp q) {
          command.op = "quantized_matmul";
          command.attrs["bits"] = static_cast<int64_t>(q.getBits());
          command.attrs["block"] = static_cast<int64_t>(q.getBlock());
          command.attrs["signed"] = static_cast<int64_t>(q.getIsSigned());
          command.attrs["k_major"] = static_cast<int64_t>(q.getKMajor());
        });
    return command;
  }

  func::FuncOp function;
  const bool embeds;
  exe::Grid grid;
  exe::HeldWeights held;
  std::deque<exe::Weight> weights; ///< stay where they are
  DenseMap<Attribute, int64_t> numbers;
  DenseMap<Value, exe::WeightInput> inputs;
};
} // namespace

HeldBytes mlir::comm::getHeldBytes(func::FuncOp function) { return HeldReader(function).run(); }
