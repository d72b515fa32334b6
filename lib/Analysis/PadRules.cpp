//===- PadRules.cpp - fill at one operation -------------------------------===//
// Loops that are independent keep fill apart by themselves. Whatever takes several elements of a dimension together is
// named here, with what its fill must be; an operation that is not named is refused.
//===----------------------------------------------------------------------===//
#include "PadRules.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"
#include <limits>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::padding;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

static Attribute numberOf(Type element, double number) {
  if (auto type = dyn_cast<FloatType>(element)) {
    APFloat value(number);
    bool losesInfo;
    value.convert(type.getFloatSemantics(), APFloat::rmNearestTiesToEven, &losesInfo);
    return FloatAttr::get(type, value);
  }
  return IntegerAttr::get(
      element, APInt(64, static_cast<uint64_t>(static_cast<int64_t>(number))).trunc(element.getIntOrFloatBitWidth()));
}

/// The element that does not change what a reduction combines; null when that is not known.
static Attribute neutralOf(linalg::ReduceOp reduce) {
  Block &combiner = reduce.getCombiner().front();
  if (!llvm::hasNItems(combiner, 2))
    return nullptr;
  Operation *body = &combiner.front();
  Type element = typeOf(reduce.getInputs()[0]).getElementType();
  constexpr double infinity = std::numeric_limits<double>::infinity();
  auto integer = [&](APInt value) { return Attribute(IntegerAttr::get(element, value)); };
  unsigned width = element.getIntOrFloatBitWidth();
  return TypeSwitch<Operation *, Attribute>(body)
      .Case<arith::AddFOp, arith::AddIOp, arith::OrIOp, arith::XOrIOp>([&](auto) { return numberOf(element, 0); })
      .Case<arith::MulFOp, arith::MulIOp>([&](auto) { return numberOf(element, 1); })
      .Case<arith::MaximumFOp, arith::MaxNumFOp>([&](auto) { return numberOf(element, -infinity); })
      .Case<arith::MinimumFOp, arith::MinNumFOp>([&](auto) { return numberOf(element, infinity); })
      .Case([&](arith::MaxSIOp) { return integer(APInt::getSignedMinValue(width)); })
      .Case([&](arith::MinSIOp) { return integer(APInt::getSignedMaxValue(width)); })
      .Case([&](arith::MaxUIOp) { return integer(APInt::getZero(width)); })
      .Case<arith::MinUIOp, arith::AndIOp>([&](auto) { return integer(APInt::getAllOnes(width)); })
      .Default([](Operation *) { return Attribute(); });
}

std::string OpPadding::mask(unsigned operand, int64_t dim, Attribute neutral, Fill after) {
  PadValue &value = operands[operand];
  std::optional<PadExtent> extent = extentOf(value.dims[dim]);
  if (!extent)
    return refuse(symbolIn(value.dims[dim]), "takes a dimension together that is joined from several");
  PadStep step;
  step.kind = PadStep::Mask;
  step.op = op;
  step.operand = operand;
  step.dim = dim;
  step.extent = *extent;
  step.neutral = neutral;
  steps->push_back(step);
  for (auto [other, fill] : llvm::enumerate(value.fills))
    fill = static_cast<int64_t>(other) == dim ? after : join(fill, after);
  return "";
}

std::string OpPadding::maskZero(unsigned operand, int64_t dim) {
  return mask(operand, dim, numberOf(typeOf(op->getOperand(operand)).getElementType(), 0), Fill::known(0));
}

/// Fill of the summed dimension must be zero on one side and no NaN on the other.
std::string OpPadding::protectProduct(MatmulOp product) {
  int64_t left = typeOf(product.getLhs()).getRank() - (product.getTransposeLhs() ? 2 : 1);
  int64_t right = typeOf(product.getRhs()).getRank() - (product.getTransposeRhs() ? 1 : 2);
  settle(0, left);
  if (symbolAt(0, left) < 0 && symbolAt(1, right) < 0)
    return "";
  auto fill = [&](unsigned operand) { return operands[operand].fills[operand == 0 ? left : right]; };
  if (!fill(0).isZero() && !fill(1).isZero()) {
    unsigned smaller = typeOf(product.getLhs()).getNumElements() <= typeOf(product.getRhs()).getNumElements() ? 0 : 1;
    if (std::string why = maskZero(smaller, smaller == 0 ? left : right); !why.empty())
      return why;
  }
  for (unsigned operand : {0u, 1u})
    if (fill(operand).kind == Fill::Bad)
      if (std::string why = maskZero(operand, operand == 0 ? left : right); !why.empty())
        return why;
  return "";
}

std::string OpPadding::protectSum(linalg::ReduceOp reduce) {
  for (int64_t dim : reduce.getDimensions()) {
    settle(0, dim);
    if (symbolAt(0, dim) < 0)
      continue;
    Attribute neutral = neutralOf(reduce);
    if (!neutral)
      return refuse(symbolAt(0, dim), "combines elements in a way that has no neutral element");
    auto real = dyn_cast<FloatAttr>(neutral);
    double number =
        real ? real.getValueAsDouble() : static_cast<double>(cast<IntegerAttr>(neutral).getValue().getSExtValue());
    Fill fill = operands[0].fills[dim], known = Fill::known(number);
    if (fill.kind == Fill::Known && known.kind == Fill::Known && fill.number == known.number)
      continue;
    if (std::string why = mask(0, dim, neutral, known.kind == Fill::Known ? known : Fill::finite()); !why.empty())
      return why;
  }
  return "";
}

/// A causal mask hides fill on the right; else attention is told how many keys there are.
std::string OpPadding::protectAttention(AttentionOp attention) {
  constexpr int64_t position = 2;
  settle(0, position);
  settle(1, position);
  std::optional<PadExtent> queries = extentOf(operands[0].dims[position]), keys = extentOf(operands[1].dims[position]);
  if (attention.isCausal() && symbolAt(0, position) >= 0 && !queries)
    return refuse(symbolAt(0, position), "is causal over a dimension that is joined from several");
  if (symbolAt(1, position) < 0)
    return "";
  if (!keys)
    return refuse(symbolAt(1, position), "looks at keys of a dimension that is joined from several");
  bool hidden = false;
  if (attention.isCausal()) {
    int64_t offset = static_cast<int64_t>(*attention.getCausalOffset()),
            rows = typeOf(attention.getQuery()).getDimSize(position);
    hidden = queries ? queries->symbol == keys->symbol && offset <= keys->offset - queries->offset
                     : symbolAt(0, position) < 0 && rows - 1 + offset < least[keys->symbol] + keys->offset;
  }
  // A hidden key has the weight 0, and 0 times NaN is NaN.
  if (hidden && operands[1].fills[position].kind != Fill::Bad && operands[2].fills[position].kind != Fill::Bad)
    return "";
  PadStep step;
  step.kind = PadStep::Lengths;
  step.op = op;
  step.extent = *keys;
  steps->push_back(step);
  operands[1].fills[position] = operands[2].fills[position] = Fill::finite(); // not read any more
  if (attention.getMask())
    operands[3].fills[3] = Fill::finite();
  return "";
}

std::string OpPadding::protectSoftmax() {
  int64_t last = typeOf(op->getOperand(0)).getRank() - 1;
  settle(0, last);
  if (symbolAt(0, last) < 0)
    return "";
  Type element = typeOf(op->getOperand(0)).getElementType();
  return mask(0, last, numberOf(element, -std::numeric_limits<double>::infinity()), Fill::known(0));
}

std::string OpPadding::protectTopK(TopKOp top) {
  int64_t last = typeOf(top.getInput()).getRank() - 1;
  if (symbolAt(0, last) < 0)
    return "";
  std::optional<PadExtent> extent = extentOf(operands[0].dims[last]);
  Type element = typeOf(top.getInput()).getElementType();
  if (!extent || !isa<FloatType>(element) || static_cast<int64_t>(top.getK()) > least[extent->symbol] + extent->offset)
    return refuse(symbolAt(0, last), "takes more elements than the smallest size has, or integers");
  settle(0, last);
  double infinity = std::numeric_limits<double>::infinity();
  return mask(0, last, numberOf(element, top.getLargest() ? -infinity : infinity), Fill::finite());
}

/// A division of integers by zero stops the program.
std::string OpPadding::protectDivisor() {
  for (int64_t dim = 0; dim < static_cast<int64_t>(operands[1].dims.size()); ++dim) {
    Fill fill = operands[1].fills[dim];
    if (symbolAt(1, dim) < 0 || (fill.kind == Fill::Known && fill.number != 0))
      continue;
    Attribute one = numberOf(typeOf(op->getOperand(1)).getElementType(), 1);
    if (std::string why = mask(1, dim, one, Fill::known(1)); !why.empty())
      return why;
  }
  return "";
}

/// Fill of indices must lead somewhere, wherever that is. `limits`: of each element of the last dimension, or of all.
std::string OpPadding::protectIndices(unsigned operand, ArrayRef<int64_t> limits) {
  int64_t limit = *llvm::min_element(limits);
  DenseElementsAttr constant;
  if (matchPattern(op->getOperand(operand), m_Constant(&constant)) &&
      llvm::all_of(numbersOf(constant), [&](double index) { return index >= 0 && index < static_cast<double>(limit); }))
    return "";
  for (int64_t dim = 0; dim < static_cast<int64_t>(operands[operand].dims.size()); ++dim) {
    Fill fill = operands[operand].fills[dim];
    if (symbolAt(operand, dim) < 0 ||
        (fill.kind == Fill::Known && fill.number >= 0 && fill.number < static_cast<double>(limit)))
      continue;
    if (std::string why = maskZero(operand, dim); !why.empty())
      return why;
  }
  return "";
}

/// Looking up along a dimension with fill: indices must not count from its end, nor reach what is not there.
std::string OpPadding::protectLookup(int64_t axis, bool canWrap) {
  if (symbolAt(0, axis) < 0)
    return "";
  settle(0, axis);
  std::optional<PadExtent> extent = extentOf(operands[0].dims[axis]);
  if (!extent)
    return refuse(symbolAt(0, axis), "looks up along a dimension that is joined from several");
  DenseElementsAttr constant;
  if (matchPattern(op->getOperand(1), m_Constant(&constant))) {
    bool own = llvm::any_of(operands[1].dims, [](const Dim &dim) { return symbolIn(dim) >= 0; });
    for (double index : numbersOf(constant))
      if (index < 0 || (!own && index >= static_cast<double>(least[extent->symbol] + extent->offset)))
        return refuse(symbolAt(0, axis), "looks up elements that smaller sizes do not have");
    return "";
  }
  if (!canWrap)
    return refuse(symbolAt(0, axis), "looks up elements by computed positions");
  PadStep step;
  step.kind = PadStep::Wrap;
  step.op = op;
  step.operand = 1;
  step.extent = *extent;
  steps->push_back(step);
  return "";
}

std::string OpPadding::protectSlice(tensor::ExtractSliceOp slice) {
  RankedTensorType in = slice.getSourceType(), out = slice.getResultType();
  for (int64_t dim = 0; dim < in.getRank(); ++dim) {
    int about = symbolAt(0, dim);
    if (about < 0 || in.getDimSize(dim) == out.getDimSize(dim))
      continue;
    std::optional<PadExtent> extent = extentOf(operands[0].dims[dim]);
    int64_t start = slice.getStaticOffset(dim), stride = slice.getStaticStride(dim);
    bool fits = extent && (resultVaries(dim)
                               ? stride == 1
                               : start + (out.getDimSize(dim) - 1) * stride < least[extent->symbol] + extent->offset);
    if (!fits)
      return refuse(about, "takes elements that smaller sizes do not have");
    settle(0, dim);
  }
  return "";
}

std::string OpPadding::protectConcat(tensor::ConcatOp concat) {
  auto axis = static_cast<int64_t>(concat.getDim());
  for (unsigned operand = 0; operand < operands.size(); ++operand) {
    if (symbolAt(operand, axis) < 0)
      continue;
    if (operand + 1 != operands.size() || !extentOf(operands[operand].dims[axis]))
      return refuse(symbolAt(operand, axis), "puts something behind a dimension with fill");
    settle(operand, axis);
  }
  return "";
}

std::string OpPadding::protect(SmallVectorImpl<PadStep> &out) {
  steps = &out;
  for (auto [number, parts] : llvm::enumerate(factors))
    if (parts && isRepeated(*parts) && rule.factors[number].kind != FactorKind::Parallel)
      return refuse(0, "works across a dimension whose make is not known");
  std::string why =
      TypeSwitch<Operation *, std::string>(op)
          .Case([&](MatmulOp product) { return protectProduct(product); })
          .Case([&](linalg::ReduceOp reduce) { return protectSum(reduce); })
          .Case([&](AttentionOp attention) { return protectAttention(attention); })
          .Case([&](SoftmaxOp) { return protectSoftmax(); })
          .Case([&](TopKOp top) { return protectTopK(top); })
          .Case([&](EmbeddingOp embedding) { return protectIndices(1, {typeOf(embedding.getTable()).getDimSize(0)}); })
          .Case([&](GatherOp gather) {
            std::string text = protectLookup(gather.getAxis(), true);
            return text.empty() ? protectIndices(1, {typeOf(gather.getData()).getDimSize(gather.getAxis())}) : text;
          })
          .Case([&](GatherElementsOp gather) {
            std::string text = protectLookup(gather.getAxis(), true);
            return text.empty() ? protectIndices(1, {typeOf(gather.getData()).getDimSize(gather.getAxis())}) : text;
          })
          .Case([&](GatherNDOp gather) {
            int64_t batch = gather.getBatchDims(), tuple = typeOf(gather.getIndices()).getShape().back();
            SmallVector<int64_t> limits;
            for (int64_t dim = batch; dim < batch + tuple; ++dim) {
              limits.push_back(typeOf(gather.getData()).getDimSize(dim));
              if (std::string text = protectLookup(dim, false); !text.empty())
                return text;
            }
            return protectIndices(1, limits);
          })
          .Case([&](tensor::ExtractSliceOp slice) { return protectSlice(slice); })
          .Case([&](tensor::ConcatOp concat) { return protectConcat(concat); })
          .Case<arith::DivSIOp, arith::DivUIOp, arith::RemSIOp, arith::RemUIOp>([&](auto) { return protectDivisor(); })
          .Default([](Operation *) { return std::string(); });
  if (!why.empty())
    return why;
  for (auto [number, parts] : llvm::enumerate(factors))
    if (parts && symbolIn(*parts) >= 0 && rule.factors[number].kind != FactorKind::Parallel &&
        !llvm::is_contained(settled, static_cast<unsigned>(number)))
      return refuse(symbolIn(*parts), "works across a dimension with fill");
  return "";
}

Fill OpPadding::fillOf(ArrayRef<unsigned> list, int64_t dim) const {
  auto isLast = [&] { return dim + 1 == typeOf(op->getResult(0)).getRank(); };
  if (isa<SoftmaxOp>(op) && isLast())
    return Fill::known(0);
  if (auto concat = dyn_cast<tensor::ConcatOp>(op); concat && dim == static_cast<int64_t>(concat.getDim()))
    return operands.back().fills[dim];
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op))
    return operands[0].fills[dim];
  SmallVector<std::optional<Fill>> fills;
  for (auto [number, value] : llvm::enumerate(operands)) {
    std::optional<Fill> fill;
    for (auto [own, factorsOfDim] : llvm::enumerate(rule.operands[number]))
      if (own < value.fills.size() && symbolIn(value.dims[own]) >= 0 &&
          llvm::any_of(factorsOfDim, [&](unsigned factor) { return llvm::is_contained(list, factor); }))
        fill = fill ? join(*fill, value.fills[own]) : value.fills[own];
    if (!fill && value.flexible)
      fill = value.uniform;
    if (!fill && value.anyBad())
      fill = Fill::bad();
    fills.push_back(fill);
  }
  return resultFill(op, fills);
}
