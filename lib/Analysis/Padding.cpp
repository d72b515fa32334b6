//===- Padding.cpp - may an entry run smaller inputs? ---------------------===//
// The entry and its siblings are walked in lockstep: the same operations, on types that differ only where a dimension
// is made of a symbol. What the fill of each dimension becomes is followed through the sharding rules; where it would
// reach a sum, a softmax or an index and is not known to be harmless there, a step is planned that makes it so.
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Padding.h"
#include "PadRules.h"
#include "comm/Analysis/Explain.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include <cmath>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::padding;

namespace {
class Planner {
public:
  Planner(func::FuncOp entry, ArrayRef<PadSymbol> symbols, ArrayRef<PadSibling> siblings, bool anyFill)
      : entry(entry), symbols(symbols), siblings(siblings), anyFill(anyFill), twins(siblings.size()) {
    for (const PadSymbol &symbol : symbols)
      least.push_back(symbol.size);
    for (const PadSibling &sibling : siblings)
      least[sibling.symbol] = std::min(least[sibling.symbol], sibling.size);
  }

  PadPlan run() {
    if (!(addArguments() && walk()))
      plan.steps.clear();
    return std::move(plan);
  }

private:
  bool refuse(unsigned symbol, const Twine &why) {
    plan.symbol = symbol;
    plan.reason = why.str();
    return false;
  }
  bool refuseSibling(unsigned sibling, const Twine &why) {
    plan.sibling = static_cast<int>(sibling);
    return refuse(siblings[sibling].symbol, why);
  }
  std::string at(unsigned sibling) const {
    return symbols[siblings[sibling].symbol].name + "=" + std::to_string(siblings[sibling].size);
  }
  static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }
  int64_t twinSize(unsigned sibling, Value value, int64_t dim) const {
    return typeOf(twins[sibling].lookup(value)).getDimSize(dim);
  }
  /// The first symbol that a dimension depends on; -1: none.
  int variesWith(Value value, int64_t dim) const {
    for (unsigned i = 0; i < siblings.size(); ++i)
      if (twinSize(i, value, dim) != typeOf(value).getDimSize(dim))
        return static_cast<int>(siblings[i].symbol);
    return -1;
  }

  /// What the sizes alone say: exact, or a symbol and a constant. None: something else.
  std::optional<Dim> dimBySizes(Value value, int64_t dim) const {
    int64_t size = typeOf(value).getDimSize(dim);
    int symbol = variesWith(value, dim);
    if (symbol < 0)
      return Dim{Part{size}};
    int64_t offset = size - symbols[symbol].size;
    for (unsigned i = 0; i < siblings.size(); ++i) {
      bool own = siblings[i].symbol == static_cast<unsigned>(symbol);
      if (twinSize(i, value, dim) != (own ? siblings[i].size + offset : size))
        return std::nullopt;
    }
    return Dim{Part{size, symbol, offset}};
  }
  bool agrees(ArrayRef<Part> parts, Value value, int64_t dim) const {
    if (isRepeated(parts))
      return true;
    for (unsigned i = 0; i < siblings.size(); ++i) {
      int64_t size = 1;
      for (const Part &part : parts)
        size *= part.symbol == static_cast<int>(siblings[i].symbol) ? siblings[i].size + part.offset : part.size;
      if (size != twinSize(i, value, dim))
        return false;
    }
    return true;
  }

  bool addArguments() {
    for (unsigned i = 0; i < siblings.size(); ++i) {
      func::FuncOp twin = siblings[i].function;
      if (twin.getNumArguments() != entry.getNumArguments())
        return refuseSibling(i, "the model has other inputs at " + at(i));
      for (auto [argument, other] : llvm::zip_equal(entry.getArguments(), twin.getArguments()))
        twins[i].map(argument, other);
    }
    for (BlockArgument argument : entry.getArguments()) {
      auto name = entry.getArgAttrOfType<StringAttr>(argument.getArgNumber(), kNameAttr);
      std::string what = "input '" + (name ? name.str() : std::to_string(argument.getArgNumber())) + "'";
      if (entry.getArgAttr(argument.getArgNumber(), kFixedAttr))
        return refuse(0, what + " is fixed to one value");
      PadValue value;
      if (!addPorts(argument, what, value.dims, plan.arguments))
        return false;
      bool isFloat = isa<FloatType>(typeOf(argument).getElementType());
      value.fills.assign(value.dims.size(), anyFill && isFloat ? Fill::bad() : Fill::known(0));
      known[argument] = std::move(value);
    }
    return true;
  }

  bool addPorts(Value value, const std::string &what, SmallVector<Dim> &dims,
                SmallVectorImpl<SmallVector<PadPort>> &ports) {
    bool given = !dims.empty();
    ports.emplace_back();
    for (int64_t dim = 0; dim < typeOf(value).getRank(); ++dim) {
      std::optional<Dim> parts =
          given && !isRepeated(dims[dim]) ? std::optional<Dim>(dims[dim]) : dimBySizes(value, dim);
      int symbol = parts ? symbolIn(*parts) : variesWith(value, dim);
      std::optional<PadExtent> extent = parts ? extentOf(*parts) : std::nullopt;
      if (symbol >= 0 && !extent)
        return refuse(symbol, "dimension " + Twine(dim) + " of " + what + " is more than '" + symbols[symbol].name +
                                  "' and a constant");
      if (extent)
        ports.back().push_back({dim, *extent});
      if (!given)
        dims.push_back(*parts);
    }
    return true;
  }

  bool walk() {
    SmallVector<Block::iterator> positions;
    for (PadSibling sibling : siblings)
      positions.push_back(sibling.function.getBody().front().begin());
    for (Operation &op : entry.getBody().front()) {
      SmallVector<Operation *> others;
      for (auto [i, sibling] : llvm::enumerate(siblings)) {
        func::FuncOp function = sibling.function;
        if (positions[i] == function.getBody().front().end())
          return refuseSibling(i, "the model has fewer operations at " + at(i));
        others.push_back(&*positions[i]++);
        std::string why;
        if (!sameOperation(&op, others.back(), why))
          return refuseSibling(i, "'" + getSiteName(&op) + "' " + why + " at " + at(i));
        for (auto [operand, other] : llvm::zip_equal(op.getOperands(), others.back()->getOperands()))
          if (twins[i].lookupOrNull(operand) != other)
            return refuseSibling(i, "'" + getSiteName(&op) + "' has other operands at " + at(i));
        for (auto [result, other] : llvm::zip_equal(op.getResults(), others.back()->getResults()))
          twins[i].map(result, other);
      }
      if (!visit(&op, others))
        return false;
    }
    return true;
  }

  bool visit(Operation *op, ArrayRef<Operation *> others) {
    if (isa<func::ReturnOp>(op))
      return addResults(op);
    if (isa<tensor::EmptyOp>(op)) {
      known[op->getResult(0)].flexible = true;
      return true;
    }
    if (auto constant = dyn_cast<arith::ConstantOp>(op))
      return addConstant(constant, others);
    if (isa<WeightOp>(op)) {
      PadValue &value = known[op->getResult(0)];
      value.fills.assign(typeOf(op->getResult(0)).getRank(), Fill::finite());
      return addDims(op->getResult(0), value.dims, getSiteName(op));
    }
    return addOperation(op);
  }

  bool addDims(Value value, SmallVectorImpl<Dim> &dims, const std::string &site) {
    for (int64_t dim = 0; dim < typeOf(value).getRank(); ++dim) {
      std::optional<Dim> parts = dimBySizes(value, dim);
      if (!parts)
        return refuse(variesWith(value, dim),
                      "dimension " + Twine(dim) + " of '" + site + "' is more than a symbol and a constant");
      dims.push_back(*parts);
    }
    return true;
  }

  //===--- constants ------------------------------------------------------===//
  bool addConstant(arith::ConstantOp op, ArrayRef<Operation *> others) {
    auto attr = dyn_cast<DenseElementsAttr>(op.getValue());
    PadValue &value = known[op.getResult()];
    SmallVector<DenseElementsAttr> small;
    bool splat = attr && attr.isSplat(), equal = true;
    for (Operation *other : others) {
      small.push_back(dyn_cast<DenseElementsAttr>(cast<arith::ConstantOp>(other).getValue()));
      if (!attr || !small.back())
        return refuse(0, "'" + getSiteName(op) + "' is a constant of another kind");
      splat &= small.back().isSplat();
      equal &= splat && small.back().getSplatValue<Attribute>() == attr.getSplatValue<Attribute>();
    }
    if (!splat)
      return addTable(op, attr, small, value);
    value.flexible = true;
    value.uniform = Fill::known(numbersOf(attr.resizeSplat(RankedTensorType::get({}, attr.getElementType())))[0]);
    return equal || addCount(op, attr, small, value);
  }

  /// A number that follows from a size: that of elements in a mean.
  bool addCount(arith::ConstantOp op, DenseElementsAttr attr, ArrayRef<DenseElementsAttr> small, PadValue &value) {
    auto numberOf = [](DenseElementsAttr splat) {
      return numbersOf(splat.resizeSplat(RankedTensorType::get({}, splat.getElementType())))[0];
    };
    double number = numberOf(attr);
    int symbol = -1;
    for (auto [i, other] : llvm::enumerate(small))
      if (numberOf(other) != number)
        symbol = static_cast<int>(siblings[i].symbol);
    // The line through two sizes; all others must lie on it.
    double slope = 0;
    for (auto [i, other] : llvm::enumerate(small))
      if (static_cast<int>(siblings[i].symbol) == symbol)
        slope = (number - numberOf(other)) / static_cast<double>(symbols[symbol].size - siblings[i].size);
    double term = number - slope * static_cast<double>(symbols[symbol].size);
    bool fits = slope == std::nearbyint(slope) && term == std::nearbyint(term) && std::fabs(slope) < 1e9 &&
                std::fabs(term) < 1e9 && !attr.getElementType().isInteger(1);
    for (auto [i, other] : llvm::enumerate(small)) {
      bool own = static_cast<int>(siblings[i].symbol) == symbol;
      fits &= numberOf(other) == (own ? slope * static_cast<double>(siblings[i].size) + term : number);
    }
    if (!fits)
      return refuse(symbol, "the constant of '" + getSiteName(op) + "' follows from '" + symbols[symbol].name +
                                "' in a way that is not a multiple and a constant");
    PadStep step;
    step.kind = PadStep::Count;
    step.op = op;
    step.extent.symbol = symbol;
    step.factor = static_cast<int64_t>(slope);
    step.term = static_cast<int64_t>(term);
    plan.steps.push_back(step);
    value.uniform = Fill::finite();
    return true;
  }

  /// A table of a smaller size must be the beginning of the larger one.
  bool addTable(arith::ConstantOp op, DenseElementsAttr attr, ArrayRef<DenseElementsAttr> small, PadValue &value) {
    std::vector<double> numbers = numbersOf(attr);
    ArrayRef<int64_t> shape = attr.getType().getShape();
    for (auto [i, other] : llvm::enumerate(small)) {
      std::vector<double> fewer = numbersOf(other);
      SmallVector<int64_t> index(shape.size(), 0);
      ArrayRef<int64_t> extent = other.getType().getShape();
      for (double number : fewer) {
        int64_t at = 0;
        bool inside = true;
        for (size_t dim = 0; dim < shape.size(); ++dim) {
          inside &= index[dim] < shape[dim];
          at = at * shape[dim] + index[dim];
        }
        if (!inside || (numbers[at] != number && !(std::isnan(numbers[at]) && std::isnan(number))))
          return refuseSibling(i, "the constant of '" + getSiteName(op) + "' at " + this->at(i) +
                                      " is not the beginning of the larger one");
        for (size_t dim = shape.size(); dim-- > 0 && ++index[dim] == extent[dim];)
          index[dim] = 0;
      }
    }
    if (!addDims(op.getResult(), value.dims, getSiteName(op)))
      return false;
    for (int64_t dim = 0; dim < static_cast<int64_t>(shape.size()); ++dim)
      value.fills.push_back(tableFill(numbers, shape, dim, value.dims[dim]));
    return true;
  }

  Fill tableFill(const std::vector<double> &numbers, ArrayRef<int64_t> shape, int64_t dim, ArrayRef<Part> parts) const {
    std::optional<PadExtent> extent = extentOf(parts);
    if (!extent)
      return Fill::finite();
    int64_t inner = 1, first = least[extent->symbol] + extent->offset;
    for (size_t next = dim + 1; next < shape.size(); ++next)
      inner *= shape[next];
    std::optional<Fill> fill;
    for (size_t i = 0; i < numbers.size(); ++i)
      if (static_cast<int64_t>(i) / inner % shape[dim] >= first)
        fill = fill ? join(*fill, Fill::known(numbers[i])) : Fill::known(numbers[i]);
    return fill.value_or(Fill::finite());
  }

  //===--- operations -----------------------------------------------------===//
  bool addOperation(Operation *op) {
    OpPadding view(op, least);
    bool anyPadded = false, allFlexible = true;
    int symbol = -1;
    for (Value operand : op->getOperands()) {
      const PadValue &value = known[operand];
      view.operands.push_back(value);
      allFlexible &= value.flexible;
      for (const Dim &dim : value.dims)
        symbol = symbol < 0 ? symbolIn(dim) : symbol;
    }
    for (Value result : op->getResults())
      for (int64_t dim = 0; dim < typeOf(result).getRank(); ++dim)
        symbol = symbol < 0 ? variesWith(result, dim) : symbol;
    anyPadded = symbol >= 0;
    view.hasRule = getShardingRule(op, view.rule);
    if (!view.hasRule) {
      if (anyPadded)
        return refuse(symbol, describe(op) + " is not known to keep fill apart");
      for (Value result : op->getResults()) {
        PadValue &value = known[result];
        for (int64_t size : typeOf(result).getShape())
          value.dims.push_back({Part{size}});
        value.fills.assign(value.dims.size(), Fill::finite());
      }
      return true;
    }
    bool free = op->hasTrait<OpTrait::Elementwise>() ||
                isa<linalg::BroadcastOp, linalg::TransposeOp, linalg::FillOp, tensor::ExpandShapeOp,
                    tensor::CollapseShapeOp, tensor::ExtractSliceOp>(op);
    if (allFlexible && free) {
      SmallVector<std::optional<Fill>> fills;
      for (const PadValue &operand : view.operands)
        fills.push_back(operand.uniform);
      PadValue &value = known[op->getResult(0)];
      value.flexible = true;
      value.uniform = isa<linalg::FillOp>(op) ? view.operands[0].uniform : resultFill(op, fills);
      return true;
    }
    if (!findFactors(op, view))
      return false;
    std::string why = view.protect(plan.steps);
    if (!why.empty())
      return refuse(view.symbol, describe(op) + " " + why);
    for (unsigned result = 0; result < op->getNumResults(); ++result)
      if (!addResult(op, result, view))
        return false;
    return true;
  }

  static std::string describe(Operation *op) {
    std::string site = getSiteName(op), name = op->getName().getStringRef().str();
    return site == name ? "'" + site + "'" : "'" + site + "' (" + name + ")";
  }

  /// The parts of every factor, from the operands that have it.
  bool findFactors(Operation *op, OpPadding &view) {
    view.factors.assign(view.rule.factors.size(), std::nullopt);
    for (bool flexible : {false, true})
      for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
        PadValue &value = view.operands[i];
        if (value.flexible != flexible || operand.getDefiningOp<tensor::EmptyOp>())
          continue;
        for (auto [dim, list] : llvm::enumerate(view.rule.operands[i])) {
          if (flexible) {
            if (list.size() == 1 && !view.factors[list[0]])
              view.factors[list[0]] = dimBySizes(operand, dim);
            continue;
          }
          SmallVector<int64_t> sizes;
          SmallVector<Dim> parts;
          for (unsigned factor : list)
            sizes.push_back(view.rule.factors[factor].size);
          if (isRepeated(value.dims[dim]))
            continue; // below, where nothing else says how it is made
          int symbol = symbolIn(value.dims[dim]);
          if (list.size() == 1)
            parts.push_back(value.dims[dim]);
          else if (!splitDim(value.dims[dim], sizes, parts))
            return symbol >= 0 ? refuse(symbol, describe(op) + " cuts a dimension with '" + symbols[symbol].name +
                                                    "' into other rows")
                               : refuse(0, describe(op) + " cuts a dimension in a way that is not understood");
          for (auto [factor, part] : llvm::zip_equal(list, parts)) {
            std::optional<Dim> &own = view.factors[factor];
            if (own && normalized(*own) != normalized(part) && (symbolIn(*own) >= 0 || symbolIn(part) >= 0))
              return refuse(std::max(symbolIn(*own), symbolIn(part)),
                            describe(op) + " joins dimensions that do not end alike");
            if (!own)
              own = part;
          }
        }
      }
    for (auto [i, operand] : llvm::enumerate(op->getOperands()))
      for (auto [dim, list] : llvm::enumerate(view.rule.operands[i]))
        if (dim < view.operands[i].dims.size() && isRepeated(view.operands[i].dims[dim]))
          for (unsigned factor : list)
            if (!view.factors[factor])
              view.factors[factor] = Dim{Part{view.rule.factors[factor].size, Part::kRepeated}};
    // What a flexible operand is like here.
    for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
      PadValue &value = view.operands[i];
      for (auto [dim, list] : llvm::enumerate(view.rule.operands[i])) {
        if (!value.flexible || operand.getDefiningOp<tensor::EmptyOp>())
          break;
        Dim parts;
        for (unsigned factor : list) {
          if (!view.factors[factor])
            return refuse(std::max(0, variesWith(operand, dim)), describe(op) + " has a size that is not understood");
          llvm::append_range(parts, *view.factors[factor]);
        }
        value.dims.push_back(parts);
        value.fills.push_back(value.uniform);
      }
    }
    view.resultVaries = [this, result = op->getResult(0)](int64_t dim) { return variesWith(result, dim) >= 0; };
    return true;
  }

  bool addResult(Operation *op, unsigned number, OpPadding &view) {
    Value result = op->getResult(number);
    PadValue &value = known[result];
    for (auto [dim, list] : llvm::enumerate(view.rule.results[number])) {
      Dim parts;
      bool complete = true;
      for (unsigned factor : list) {
        complete &= view.factors[factor].has_value();
        if (view.factors[factor])
          llvm::append_range(parts, *view.factors[factor]);
      }
      if (!complete || (list.empty() && typeOf(result).getDimSize(dim) != 1)) {
        std::optional<Dim> bySizes = dimBySizes(result, dim);
        if (!bySizes && isa<linalg::BroadcastOp>(op) && list.size() == 1)
          bySizes = Dim{Part{typeOf(result).getDimSize(dim), Part::kRepeated}};
        if (!bySizes)
          return refuse(variesWith(result, dim), describe(op) + " has a size that is not understood");
        parts = *bySizes;
      }
      if (parts.size() > 1 && llvm::any_of(parts, [](const Part &part) { return part.symbol == Part::kRepeated; })) {
        if (!llvm::all_of(parts, [](const Part &part) { return part.symbol == Part::kRepeated || part.size == 1; }))
          return refuse(std::max(0, variesWith(result, dim)), describe(op) + " has a size that is not understood");
        parts = Dim{Part{typeOf(result).getDimSize(dim), Part::kRepeated}};
      }
      if (!agrees(parts, result, dim))
        return refuse(std::max({variesWith(result, dim), symbolIn(parts), 0}),
                      describe(op) + " changes with a size in a way that is not understood");
      value.dims.push_back(parts);
      value.fills.push_back(symbolIn(parts) < 0 ? Fill::finite() : view.fillOf(list, dim));
    }
    return true;
  }

  bool addResults(Operation *op) {
    for (auto [number, operand] : llvm::enumerate(op->getOperands())) {
      PadValue value = known[operand];
      auto name = entry.getResultAttrOfType<StringAttr>(number, kNameAttr);
      std::string what = "output '" + (name ? name.str() : std::to_string(number)) + "'";
      if (value.flexible)
        value.dims.clear();
      if (!addPorts(operand, what, value.dims, plan.results))
        return false;
    }
    return true;
  }

  func::FuncOp entry;
  ArrayRef<PadSymbol> symbols;
  ArrayRef<PadSibling> siblings;
  bool anyFill;
  SmallVector<int64_t> least; ///< smallest size of each symbol
  std::vector<IRMapping> twins;
  DenseMap<Value, PadValue> known;
  PadPlan plan;
};
} // namespace

PadPlan mlir::comm::planPadding(func::FuncOp entry, ArrayRef<PadSymbol> symbols, ArrayRef<PadSibling> siblings,
                                bool anyFill) {
  return Planner(entry, symbols, siblings, anyFill).run();
}
