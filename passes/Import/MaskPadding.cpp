//===- MaskPadding.cpp - entries that run smaller inputs ------------------===//
// Matches   functions with comm.sizes and siblings (comm.sibling) of the same model at smaller sizes
// Rewrites  selects in front of what would take fill in, lengths of attention, counts of means; the size of a symbol in
// a call
//           becomes an input of the function. Arguments and results say which of their dimensions may be smaller
// Skips     symbols for which the analysis finds no way; why is in comm.exact. The siblings vanish
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/Padding.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "passes/Import/Passes.h"
#include <map>

namespace mlir::comm {
#define GEN_PASS_DEF_MASKPADDINGPASS
#include "passes/Import/Passes.h.inc"
namespace {

/// Carries out a plan on one function.
class Masker {
public:
  Masker(func::FuncOp function, ArrayRef<PadSymbol> symbols)
      : function(function), symbols(symbols), inputs(symbols.size(), -1), builder(function.getContext()) {}

  void apply(ArrayRef<PadStep> steps) {
    for (unsigned symbol = 0; symbol < symbols.size(); ++symbol) // in order, whichever comes first below
      if (llvm::any_of(steps, [&](const PadStep &step) { return step.extent.symbol == symbol; }))
        addInput(symbol);
    for (const PadStep &step : steps)
      switch (step.kind) {
      case PadStep::Mask:
        applyMask(step);
        break;
      case PadStep::Lengths:
        applyLengths(step);
        break;
      case PadStep::Wrap:
        applyWrap(step);
        break;
      case PadStep::Count:
        applyCount(step);
        break;
      }
  }
  /// Argument that holds the size of a symbol; -1: nothing needs it.
  int64_t inputOf(unsigned symbol) const { return inputs[symbol]; }

private:
  template <typename OpTy, typename... Args> Value create(Args &&...args) {
    return OpTy::create(builder, loc, std::forward<Args>(args)...)->getResult(0);
  }
  Value splat(RankedTensorType type, int64_t number) {
    return create<arith::ConstantOp>(
        DenseElementsAttr::get(type, APInt(type.getElementTypeBitWidth(), static_cast<uint64_t>(number), true)));
  }
  /// A value of the dimensions in `kept`, in order, repeated along all others.
  Value broadcast(Value value, ArrayRef<int64_t> shape, ArrayRef<int64_t> kept) {
    Type element = cast<RankedTensorType>(value.getType()).getElementType();
    SmallVector<int64_t> added;
    for (int64_t dim = 0; dim < static_cast<int64_t>(shape.size()); ++dim)
      if (!llvm::is_contained(kept, dim))
        added.push_back(dim);
    if (added.empty())
      return value;
    Value empty = create<tensor::EmptyOp>(shape, element);
    return create<linalg::BroadcastOp>(value, empty, added);
  }

  /// The extent as a tensor without dimensions; made once, at the beginning of the function.
  Value extentOf(PadExtent extent) {
    Value &value = extents[{extent.symbol, extent.offset}];
    if (value)
      return value;
    OpBuilder::InsertionGuard guard(builder);
    toPrelude();
    auto scalar = RankedTensorType::get({}, builder.getI64Type());
    Value size = function.getArgument(addInput(extent.symbol));
    value = create<tensor::CollapseShapeOp>(scalar, size, ArrayRef<ReassociationIndices>{});
    if (extent.offset != 0)
      value = create<arith::AddIOp>(value, splat(scalar, extent.offset));
    prelude = value.getDefiningOp();
    return value;
  }
  /// For each position of a dimension, whether it lies before the extent.
  Value insideOf(PadExtent extent, int64_t size) {
    Value bound = extentOf(extent);
    Value &value = insides[{extent.symbol, extent.offset, size}];
    if (value)
      return value;
    OpBuilder::InsertionGuard guard(builder);
    toPrelude();
    SmallVector<int64_t> positions(size);
    for (int64_t i = 0; i < size; ++i)
      positions[i] = i;
    auto type = RankedTensorType::get({size}, builder.getI64Type());
    Value iota = create<arith::ConstantOp>(DenseElementsAttr::get(type, ArrayRef<int64_t>(positions)));
    value = create<arith::CmpIOp>(arith::CmpIPredicate::slt, iota, broadcast(bound, {size}, {}));
    prelude = value.getDefiningOp();
    return value;
  }
  void toPrelude() {
    if (prelude)
      builder.setInsertionPointAfter(prelude);
    else
      builder.setInsertionPointToStart(&function.getBody().front());
  }

  unsigned addInput(unsigned symbol) {
    if (inputs[symbol] >= 0)
      return static_cast<unsigned>(inputs[symbol]);
    std::string name = "#" + symbols[symbol].name;
    auto isTaken = [&] {
      for (unsigned i = 0; i < function.getNumArguments(); ++i)
        if (auto other = function.getArgAttrOfType<StringAttr>(i, kNameAttr); other && other.getValue() == name)
          return true;
      return false;
    };
    while (isTaken())
      name = "#" + name;
    unsigned index = function.getNumArguments();
    NamedAttrList attributes;
    attributes.set(kNameAttr, builder.getStringAttr(name));
    (void)function.insertArgument(index, RankedTensorType::get({1}, builder.getI64Type()),
                                  attributes.getDictionary(function.getContext()),
                                  NameLoc::get(builder.getStringAttr(name)));
    inputs[symbol] = index;
    return index;
  }

  void at(const PadStep &step) {
    loc = step.op->getLoc();
    builder.setInsertionPoint(step.op);
  }
  void applyMask(const PadStep &step) {
    at(step);
    Value value = step.op->getOperand(step.operand);
    auto type = cast<RankedTensorType>(value.getType());
    Value inside = broadcast(insideOf(step.extent, type.getDimSize(step.dim)), type.getShape(), {step.dim});
    Value neutral = create<arith::ConstantOp>(DenseElementsAttr::get(type, step.neutral));
    step.op->setOperand(step.operand, create<arith::SelectOp>(inside, value, neutral));
  }
  void applyLengths(const PadStep &step) {
    at(step);
    auto attention = cast<AttentionOp>(step.op);
    int64_t batch = attention.getQuery().getType().getDimSize(0);
    auto type = RankedTensorType::get({batch}, builder.getI64Type());
    Value lengths = broadcast(extentOf(step.extent), {batch}, {});
    if (Value given = attention.getLengths()) {
      if (given.getType() != type)
        given = create<arith::ExtSIOp>(type, given);
      lengths = create<arith::MinSIOp>(given, lengths);
    }
    attention.getLengthsMutable().assign(lengths);
  }
  void applyWrap(const PadStep &step) {
    at(step);
    Value index = step.op->getOperand(step.operand);
    auto type = cast<RankedTensorType>(index.getType());
    Value bound = extentOf(step.extent);
    if (!type.getElementType().isInteger(64))
      bound = create<arith::TruncIOp>(RankedTensorType::get({}, type.getElementType()), bound);
    bound = broadcast(bound, type.getShape(), {});
    Value negative = create<arith::CmpIOp>(arith::CmpIPredicate::slt, index, splat(type, 0));
    step.op->setOperand(step.operand, create<arith::SelectOp>(negative, create<arith::AddIOp>(index, bound), index));
  }
  void applyCount(const PadStep &step) {
    at(step);
    auto type = cast<RankedTensorType>(step.op->getResult(0).getType());
    Type element = type.getElementType();
    auto scalar = RankedTensorType::get({}, builder.getI64Type()), converted = RankedTensorType::get({}, element);
    PadExtent size = {step.extent.symbol, 0};
    Value count = extentOf(size);
    builder.setInsertionPointAfter(prelude); // constants stand in front of what the extents are made of
    if (step.factor != 1)
      count = create<arith::MulIOp>(count, splat(scalar, step.factor));
    if (step.term != 0)
      count = create<arith::AddIOp>(count, splat(scalar, step.term));
    if (isa<FloatType>(element))
      count = create<arith::SIToFPOp>(converted, count);
    else if (!element.isInteger(64))
      count = create<arith::TruncIOp>(converted, count);
    count = broadcast(count, type.getShape(), {});
    prelude = count.getDefiningOp();
    step.op->getResult(0).replaceAllUsesWith(count);
    step.op->erase();
  }

  func::FuncOp function;
  ArrayRef<PadSymbol> symbols;
  SmallVector<int64_t> inputs;
  OpBuilder builder;
  Location loc = builder.getUnknownLoc();
  Operation *prelude = nullptr; ///< last of the ops at the beginning
  std::map<std::pair<unsigned, int64_t>, Value> extents;
  std::map<std::tuple<unsigned, int64_t, int64_t>, Value> insides;
};

struct MaskPadding : impl::MaskPaddingPassBase<MaskPadding> {
  using MaskPaddingPassBase::MaskPaddingPassBase;

  void runOnOperation() override {
    SmallVector<func::FuncOp> entries, all(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp function : all)
      if (function->hasAttr(kSizesAttr))
        entries.push_back(function);
    for (func::FuncOp entry : entries) {
      SmallVector<PadSymbol> symbols;
      for (NamedAttribute size : entry->getAttrOfType<DictionaryAttr>(kSizesAttr))
        symbols.push_back({size.getName().str(), cast<IntegerAttr>(size.getValue()).getInt()});
      SmallVector<PadSibling> siblings;
      for (func::FuncOp function : all)
        if (auto of = function->getAttrOfType<FlatSymbolRefAttr>(kSiblingAttr); of && of.getValue() == entry.getName())
          for (NamedAttribute size : function->getAttrOfType<DictionaryAttr>(kSiblingSizeAttr))
            for (auto [number, symbol] : llvm::enumerate(symbols))
              if (symbol.name == size.getName())
                siblings.push_back(
                    {function, static_cast<unsigned>(number), cast<IntegerAttr>(size.getValue()).getInt()});
      llvm::stable_sort(siblings, [](const PadSibling &a, const PadSibling &b) { return a.size < b.size; });
      pad(entry, std::move(symbols), std::move(siblings));
    }
    for (func::FuncOp function : all)
      if (function->hasAttr(kSiblingAttr))
        function.erase();
  }

private:
  void note(func::FuncOp entry, const Twine &text) {
    explain(getOperation(), "padding", "'" + entry.getName() + "' " + text);
  }

  /// Gives up the sibling that differs, else the smallest, at last the symbol that a reason is about, until a plan is
  /// left.
  void pad(func::FuncOp entry, SmallVector<PadSymbol> symbols, SmallVector<PadSibling> siblings) {
    NamedAttrList exact;
    auto drop = [&](unsigned symbol, const std::string &reason) {
      exact.set(symbols[symbol].name, StringAttr::get(&getContext(), reason));
      note(entry, "takes no other size of '" + Twine(symbols[symbol].name) + "' than " + Twine(symbols[symbol].size) +
                      ": " + reason);
      symbols.erase(symbols.begin() + symbol);
      llvm::erase_if(siblings, [&](const PadSibling &sibling) { return sibling.symbol == symbol; });
      for (PadSibling &sibling : siblings)
        sibling.symbol -= sibling.symbol > symbol;
      ++numRefused;
    };
    for (unsigned symbol = symbols.size(); symbol-- > 0;)
      if (llvm::none_of(siblings, [&](const PadSibling &sibling) { return sibling.symbol == symbol; }))
        drop(symbol, "the model is not known at a smaller size");
    PadPlan plan;
    while (!symbols.empty() && !(plan = planPadding(entry, symbols, siblings, anyFill)).reason.empty()) {
      auto own = [&](const PadSibling &sibling) { return sibling.symbol == plan.symbol; };
      if (llvm::count_if(siblings, own) == 1) {
        drop(plan.symbol, plan.reason);
        continue;
      }
      // A sibling may differ by itself: where two sizes happen to be equal, passes see other things.
      auto wrong = plan.sibling >= 0 ? siblings.begin() + plan.sibling : llvm::find_if(siblings, own);
      note(entry, "was not compared at a " + Twine(symbols[plan.symbol].name) + " of " + Twine(wrong->size) + ": " +
                      plan.reason);
      siblings.erase(wrong);
    }
    entry->removeAttr(kSizesAttr);
    if (!exact.empty())
      entry->setAttr(kExactAttr, exact.getDictionary(&getContext()));
    if (!symbols.empty())
      rewrite(entry, symbols, siblings, plan);
  }

  void rewrite(func::FuncOp entry, ArrayRef<PadSymbol> symbols, ArrayRef<PadSibling> siblings, const PadPlan &plan) {
    Masker masker(entry, symbols);
    masker.apply(plan.steps);
    Builder builder(&getContext());
    auto portAttr = [&](ArrayRef<PadPort> ports) {
      SmallVector<int64_t> numbers;
      for (const PadPort &port : ports)
        numbers.append({port.dim, static_cast<int64_t>(port.extent.symbol), port.extent.offset});
      return builder.getDenseI64ArrayAttr(numbers);
    };
    for (auto [number, ports] : llvm::enumerate(plan.arguments))
      if (!ports.empty())
        entry.setArgAttr(number, kPadAttr, portAttr(ports));
    for (auto [number, ports] : llvm::enumerate(plan.results))
      if (!ports.empty())
        entry.setResultAttr(number, kPadAttr, portAttr(ports));
    SmallVector<Attribute> pads;
    for (auto [number, symbol] : llvm::enumerate(symbols)) {
      int64_t least = symbol.size;
      for (const PadSibling &sibling : siblings)
        if (sibling.symbol == number)
          least = std::min(least, sibling.size);
      pads.push_back(builder.getDictionaryAttr(
          {builder.getNamedAttr("name", builder.getStringAttr(symbol.name)),
           builder.getNamedAttr("size", builder.getI64IntegerAttr(symbol.size)),
           builder.getNamedAttr("least", builder.getI64IntegerAttr(least)),
           builder.getNamedAttr("input", builder.getI64IntegerAttr(masker.inputOf(number)))}));
      note(entry, "takes " + Twine(symbol.name) + " from " + Twine(least) + " to " + Twine(symbol.size) + ", " +
                      Twine(plan.steps.size()) + (plan.steps.size() == 1 ? " mask" : " masks") + " against fill");
    }
    entry->setAttr(kPadsAttr, builder.getArrayAttr(pads));
    numMasks += plan.steps.size();
    ++numPadded;
  }
};
} // namespace
} // namespace mlir::comm
