//===- HiddenKeys.cpp - what a mask hides, whatever it is given -----------===//
// Interval arithmetic on a box of elements: the bounds of a value over all elements of the box, without computing any.
//===----------------------------------------------------------------------===//
#include "passes/Optimize/HiddenKeys.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <limits>
#include <optional>

using namespace mlir;
using mlir::comm::ShardSliceOp;

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
  // Which shard a rank has is not known here: all that it may be. An uneven one has fill.
  if (auto shard = dyn_cast<ShardSliceOp>(op)) {
    auto dim = static_cast<int64_t>(shard.getDim());
    int64_t whole = typeOf(shard.getInput()).getDimSize(dim), local = shard.getType().getDimSize(dim);
    Box in = box;
    in[dim] = {0, whole};
    return local > 0 && whole % local == 0 && dim < 2 ? std::optional<Box>(in) : std::nullopt;
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

/// Bounds of floats that are numbers.
struct FloatBounds {
  double low, high;
};

/// The truth of a comparison of everything in `a` with everything in `b`.
template <typename Interval>
std::optional<Bounds> compare(arith::CmpIPredicate predicate, const Interval &a, const Interval &b) {
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

/// The predicate on integers that an ordered one on floats is.
arith::CmpIPredicate asInteger(arith::CmpFPredicate predicate) {
  using F = arith::CmpFPredicate;
  using P = arith::CmpIPredicate;
  switch (predicate) {
  case F::OLE:
    return P::sle;
  case F::OLT:
    return P::slt;
  case F::OGE:
    return P::sge;
  case F::OGT:
    return P::sgt;
  default:
    return P::eq; // not decided
  }
}

std::optional<FloatBounds> rangeOf(Value value, const Box &box, int depth = 0);

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
      .Case([&](arith::CmpFOp cmp) -> std::optional<Bounds> {
        std::optional<FloatBounds> a = rangeOf(cmp.getLhs(), box, depth + 1), b = rangeOf(cmp.getRhs(), box, depth + 1);
        return a && b ? compare(asInteger(cmp.getPredicate()), *a, *b) : unknown;
      })
      .Case([&](arith::XOrIOp) -> std::optional<Bounds> { // of booleans: not, where one side is known
        std::optional<Bounds> a = operand(0), b = operand(1);
        if (!unknown || !a || !b || (a->low != a->high && b->low != b->high))
          return unknown;
        if (a->low != a->high)
          std::swap(a, b);
        return a->low == 0 ? *b : Bounds{1 - b->high, 1 - b->low};
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
      .Case<arith::ExtUIOp>([&](auto) -> std::optional<Bounds> {
        return typeOf(def->getOperand(0)).getElementType().isInteger(1) ? operand(0) : std::nullopt;
      })
      .Default([&](Operation *) { return unknown; });
}

/// Bounds of all values; none where one may be no number.
std::optional<FloatBounds> corners(std::initializer_list<double> values) {
  FloatBounds out{*values.begin(), *values.begin()};
  for (double x : values) {
    if (x != x)
      return std::nullopt;
    out = {std::min(out.low, x), std::max(out.high, x)};
  }
  return out;
}

std::optional<FloatBounds> constantRange(arith::ConstantOp constant, const Box &box) {
  auto data = dyn_cast<DenseFPElementsAttr>(constant.getValue());
  if (!data)
    return std::nullopt;
  auto number = [](APFloat x) {
    bool lost;
    x.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
    return x.convertToDouble();
  };
  if (data.isSplat())
    return corners({number(data.getSplatValue<APFloat>())});
  std::optional<FloatBounds> found;
  bool isNumber = true;
  auto values = data.getValues<APFloat>();
  forEach(typeOf(constant.getResult()).getShape(), box, [&](int64_t i) {
    double x = number(values[i]);
    isNumber &= x == x;
    found = found ? FloatBounds{std::min(found->low, x), std::max(found->high, x)} : FloatBounds{x, x};
  });
  return isNumber ? found : std::nullopt;
}

std::optional<FloatBounds> rangeOf(Value value, const Box &box, int depth) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  Operation *def = value.getDefiningOp();
  if (!type || !isa<FloatType>(type.getElementType()) || !def || depth > 32)
    return std::nullopt;
  if (std::optional<Box> in = movedBox(def, box))
    return rangeOf(def->getOperand(0), *in, depth + 1);
  if (auto constant = dyn_cast<arith::ConstantOp>(def))
    return constantRange(constant, box);
  auto operand = [&](unsigned index) { return rangeOf(def->getOperand(index), box, depth + 1); };
  if (isa<arith::ExtFOp>(def)) // lossless
    return operand(0);
  if (isa<arith::UIToFPOp, arith::SIToFPOp>(def)) {
    std::optional<Bounds> from = boundsOf(def->getOperand(0), box, depth + 1);
    bool isBool = typeOf(def->getOperand(0)).getElementType().isInteger(1);
    if (!from || (isa<arith::SIToFPOp>(def) ? isBool : from->low < 0)) // a signed boolean is 0 or -1
      return std::nullopt;
    return FloatBounds{static_cast<double>(from->low), static_cast<double>(from->high)};
  }
  if (auto select = dyn_cast<arith::SelectOp>(def); select && isa<RankedTensorType>(select.getCondition().getType())) {
    std::optional<Bounds> condition = boundsOf(select.getCondition(), box, depth + 1);
    bool maybeTrue = !condition || condition->high > 0, maybeFalse = !condition || condition->low < 1;
    std::optional<FloatBounds> a = maybeTrue ? operand(1) : operand(2), b = maybeFalse ? operand(2) : a;
    return a && b ? corners({a->low, a->high, b->low, b->high}) : std::nullopt;
  }
  if (!isa<arith::AddFOp, arith::SubFOp, arith::MulFOp>(def))
    return std::nullopt;
  std::optional<FloatBounds> a = operand(0), b = operand(1);
  if (!a || !b)
    return std::nullopt;
  if (isa<arith::AddFOp>(def))
    return corners({a->low + b->low, a->high + b->high});
  if (isa<arith::SubFOp>(def))
    return corners({a->low - b->high, a->high - b->low});
  return corners({a->low * b->low, a->low * b->high, a->high * b->low, a->high * b->high});
}

/// What a finite mask takes from hidden keys and not from visible ones. exp(x) is 0 in f32 from x = -104 on, so a
/// hidden key has no weight, bit for bit, unless the scores of one row differ by 9,796 and more: scores of that size
/// would make the mask itself useless. -1e4 is -9984 in bf16, exporters write nothing smaller.
constexpr double kFiniteGap = 9900;

/// Every query before `lastQuery` has a key before `firstKey` whose mask is above `hidden` by the gap: key 0, or its
/// own.
bool everyRowSees(Value mask, Box box, int64_t lastQuery, int64_t firstKey, double hidden) {
  auto sees = [&](int64_t firstRow, int64_t lastRow, int64_t key) {
    box[2] = {firstRow, lastRow};
    box[3] = {key, key + 1};
    std::optional<FloatBounds> range = rangeOf(mask, box);
    return range && range->low - hidden >= kFiniteGap;
  };
  if (firstKey > 0 && sees(0, lastQuery, 0))
    return true;
  int64_t before = firstKey - lastQuery; // keys of the cache
  bool all = before >= 0;
  for (int64_t row = 0; all && row < lastQuery; ++row)
    all = sees(row, row + 1, before + row);
  return all;
}
} // namespace

std::string comm::whyLaterKeysShow(Value mask, int64_t lastQuery, int64_t firstKey) {
  const char *unknown = "its mask is not known to hide them";
  RankedTensorType type = typeOf(mask);
  if (type.getRank() != 4 || type.getDimSize(2) < lastQuery || type.getDimSize(3) <= firstKey)
    return unknown;
  Box box;
  for (int64_t size : type.getShape())
    box.push_back({0, size});
  box[2].second = lastQuery;
  box[3].first = firstKey;
  if (type.getElementType().isInteger(1)) {
    std::optional<Bounds> bounds = boundsOf(mask, box);
    return bounds && bounds->high == 0 ? "" : unknown;
  }
  std::optional<FloatBounds> hidden = rangeOf(mask, box);
  if (!hidden || hidden->high > -kFiniteGap)
    return unknown;
  if (std::isinf(hidden->high))
    return "";
  box[3].first = 0;
  return everyRowSees(mask, box, lastQuery, firstKey, hidden->high)
             ? ""
             : "its mask hides them by a finite number only, and a query may see no other key";
}
