//===- HiddenKeys.cpp - what a mask hides, whatever it is given -----------===//
// Interval arithmetic on a box of elements: the bounds of a value over all elements of the box, without computing any.
//===----------------------------------------------------------------------===//
#include "passes/Optimize/HiddenKeys.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"
#include <limits>
#include <optional>

using namespace mlir;

namespace {
/// [first, last) per dimension.
using Box = SmallVector<std::pair<int64_t, int64_t>>;
/// Bounds of integers; booleans are 0 and 1.
struct Bounds {
  int64_t low, high;
};

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Calls `visit` with the row-major number of every element of the box.
void forEach(ArrayRef<int64_t> shape, const Box &box, llvm::function_ref<void(int64_t)> visit) {
  SmallVector<int64_t> at;
  for (auto [first, last] : box) {
    if (first >= last)
      return;
    at.push_back(first);
  }
  for (;;) {
    int64_t number = 0;
    for (auto [index, size] : llvm::zip_equal(at, shape))
      number = number * size + index;
    visit(number);
    int64_t dim = static_cast<int64_t>(box.size()) - 1;
    while (dim >= 0 && ++at[dim] == box[dim].second) {
      at[dim] = box[dim].first;
      --dim;
    }
    if (dim < 0)
      return;
  }
}

/// The box of the operand that an op which only moves elements reads; none for other ops.
std::optional<Box> movedBox(Operation *op, const Box &box) {
  if (auto broadcast = dyn_cast<linalg::BroadcastOp>(op)) {
    Box in;
    for (auto [dim, range] : llvm::enumerate(box))
      if (!llvm::is_contained(broadcast.getDimensions(), static_cast<int64_t>(dim)))
        in.push_back(range);
    return in;
  }
  if (auto transpose = dyn_cast<linalg::TransposeOp>(op)) {
    Box in(box.size());
    for (auto [to, from] : llvm::enumerate(transpose.getPermutation()))
      in[from] = box[to];
    return in;
  }
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op);
      slice && op->getNumOperands() == 1 && slice.getSourceType().getRank() == slice.getResultType().getRank()) {
    Box in;
    for (auto [dim, range] : llvm::enumerate(box)) {
      if (slice.getStaticStride(dim) != 1)
        return std::nullopt;
      in.push_back({range.first + slice.getStaticOffset(dim), range.second + slice.getStaticOffset(dim)});
    }
    return in;
  }
  if (!isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op))
    return std::nullopt;
  // Dimensions of one come and go; others must stay what they are.
  SmallVector<std::pair<int64_t, int64_t>> large;
  for (auto [range, size] : llvm::zip_equal(box, typeOf(op->getResult(0)).getShape()))
    if (size != 1)
      large.push_back(range);
  Box in;
  size_t next = 0;
  SmallVector<int64_t> before, after;
  for (int64_t size : typeOf(op->getOperand(0)).getShape()) {
    if (size != 1)
      before.push_back(size);
    in.push_back(size != 1 && next < large.size() ? large[next++] : std::make_pair(int64_t(0), int64_t(1)));
  }
  for (int64_t size : typeOf(op->getResult(0)).getShape())
    if (size != 1)
      after.push_back(size);
  return before == after ? std::optional<Box>(in) : std::nullopt;
}

std::optional<Bounds> compare(arith::CmpIPredicate predicate, Bounds a, Bounds b) {
  using P = arith::CmpIPredicate;
  auto decide = [](bool always, bool never) -> Bounds { return {always ? 1 : 0, never ? 0 : 1}; };
  switch (predicate) {
  case P::sle:
    return decide(a.high <= b.low, a.low > b.high);
  case P::slt:
    return decide(a.high < b.low, a.low >= b.high);
  case P::sge:
    return decide(a.low >= b.high, a.high < b.low);
  case P::sgt:
    return decide(a.low > b.high, a.high <= b.low);
  default:
    return Bounds{0, 1};
  }
}

std::optional<Bounds> boundsOf(Value value, const Box &box, int depth = 0) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  Operation *def = value.getDefiningOp();
  if (!type || !type.getElementType().isIntOrIndex())
    return std::nullopt;
  std::optional<Bounds> unknown = type.getElementType().isInteger(1) ? std::optional<Bounds>({0, 1}) : std::nullopt;
  if (!def || depth > 32)
    return unknown;
  if (std::optional<Box> in = movedBox(def, box)) {
    std::optional<Bounds> moved = boundsOf(def->getOperand(0), *in, depth + 1);
    return moved ? moved : unknown;
  }
  auto operand = [&](unsigned index) { return boundsOf(def->getOperand(index), box, depth + 1); };
  return TypeSwitch<Operation *, std::optional<Bounds>>(def)
      .Case([&](arith::ConstantOp constant) -> std::optional<Bounds> {
        auto data = dyn_cast<DenseIntElementsAttr>(constant.getValue());
        if (!data)
          return unknown;
        bool isBool = type.getElementType().isInteger(1);
        auto number = [&](const APInt &x) {
          return isBool ? static_cast<int64_t>(x.getZExtValue()) : x.getSExtValue();
        };
        if (data.isSplat())
          return Bounds{number(data.getSplatValue<APInt>()), number(data.getSplatValue<APInt>())};
        Bounds found{std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()};
        auto values = data.getValues<APInt>();
        forEach(type.getShape(), box, [&](int64_t i) {
          int64_t x = number(values[i]);
          found = {std::min(found.low, x), std::max(found.high, x)};
        });
        return found.low <= found.high ? std::optional<Bounds>(found) : unknown;
      })
      .Case([&](arith::CmpIOp cmp) -> std::optional<Bounds> {
        std::optional<Bounds> a = operand(0), b = operand(1);
        return a && b ? compare(cmp.getPredicate(), *a, *b) : unknown;
      })
      .Case([&](arith::AndIOp) -> std::optional<Bounds> {
        std::optional<Bounds> a = operand(0), b = operand(1);
        if (!unknown || !a || !b)
          return unknown; // of booleans only
        return Bounds{std::min(a->low, b->low), std::min(a->high, b->high)};
      })
      .Case([&](arith::OrIOp) -> std::optional<Bounds> {
        std::optional<Bounds> a = operand(0), b = operand(1);
        if (!unknown || !a || !b)
          return unknown;
        return Bounds{std::max(a->low, b->low), std::max(a->high, b->high)};
      })
      .Case<arith::AddIOp, arith::SubIOp>([&](auto op) -> std::optional<Bounds> {
        std::optional<Bounds> a = operand(0), b = operand(1);
        Bounds sum{};
        if (unknown || !a || !b)
          return unknown;
        bool subtracts = isa<arith::SubIOp>(op.getOperation());
        bool over = subtracts ? __builtin_sub_overflow(a->low, b->high, &sum.low) ||
                                    __builtin_sub_overflow(a->high, b->low, &sum.high)
                              : __builtin_add_overflow(a->low, b->low, &sum.low) ||
                                    __builtin_add_overflow(a->high, b->high, &sum.high);
        return over ? std::nullopt : std::optional<Bounds>(sum);
      })
      .Case<arith::ExtSIOp>([&](auto) -> std::optional<Bounds> {
        return typeOf(def->getOperand(0)).getElementType().isInteger(1) ? std::nullopt : operand(0);
      })
      .Default([&](Operation *) { return unknown; });
}

/// Every element of the box is minus infinity.
bool isMinusInfinity(Value value, const Box &box, int depth = 0) {
  Operation *def = value.getDefiningOp();
  if (!def || depth > 32)
    return false;
  if (std::optional<Box> in = movedBox(def, box))
    return isMinusInfinity(def->getOperand(0), *in, depth + 1);
  if (auto constant = dyn_cast<arith::ConstantOp>(def)) {
    auto data = dyn_cast<DenseFPElementsAttr>(constant.getValue());
    if (!data)
      return false;
    auto lowest = [](const APFloat &x) { return x.isInfinity() && x.isNegative(); };
    if (data.isSplat())
      return lowest(data.getSplatValue<APFloat>());
    bool all = true;
    auto values = data.getValues<APFloat>();
    forEach(typeOf(value).getShape(), box, [&](int64_t i) { all &= lowest(values[i]); });
    return all;
  }
  if (auto select = dyn_cast<arith::SelectOp>(def); select && isa<RankedTensorType>(select.getCondition().getType())) {
    std::optional<Bounds> condition = boundsOf(select.getCondition(), box, depth + 1);
    bool maybeTrue = !condition || condition->high > 0, maybeFalse = !condition || condition->low < 1;
    return (!maybeTrue || isMinusInfinity(select.getTrueValue(), box, depth + 1)) &&
           (!maybeFalse || isMinusInfinity(select.getFalseValue(), box, depth + 1));
  }
  return false;
}
} // namespace

bool comm::hidesLaterKeys(Value mask, int64_t lastQuery, int64_t firstKey) {
  RankedTensorType type = typeOf(mask);
  if (type.getRank() != 4 || type.getDimSize(2) < lastQuery || type.getDimSize(3) <= firstKey)
    return false;
  Box box;
  for (int64_t size : type.getShape())
    box.push_back({0, size});
  box[2].second = lastQuery;
  box[3].first = firstKey;
  if (!type.getElementType().isInteger(1))
    return isMinusInfinity(mask, box);
  std::optional<Bounds> bounds = boundsOf(mask, box);
  return bounds && bounds->high == 0;
}
