//===- Fill.cpp - what lies behind the end of an uneven shard --------------===//
#include "Fill.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::partition;

namespace {
/// A known number, some finite number, or perhaps an infinity or NaN.
struct Fill {
  enum Kind { Known, Finite, Bad } kind = Known;
  double number = 0;
  static Fill known(double x) { return std::isfinite(x) ? Fill{Known, x} : Fill{Bad, 0}; }
  static Fill finite() { return {Finite, 0}; }
  static Fill bad() { return {Bad, 0}; }
  bool isZero() const { return kind == Known && number == 0; }
};
Fill join(Fill a, Fill b) {
  if (a.kind == Fill::Bad || b.kind == Fill::Bad)
    return Fill::bad();
  return a.kind == Fill::Known && b.kind == Fill::Known && a.number == b.number ? a : Fill::finite();
}

Fill unary(Operation *op, Fill x) {
  if (x.kind == Fill::Bad)
    return x;
  bool known = x.kind == Fill::Known;
  auto apply = [&](double (*function)(double), bool total) {
    return known ? Fill::known(function(x.number)) : total ? Fill::finite() : Fill::bad();
  };
  return TypeSwitch<Operation *, Fill>(op)
      .Case([&](arith::NegFOp) { return known ? Fill::known(-x.number) : x; })
      .Case([&](math::ExpOp) { return apply(std::exp, true); })
      .Case([&](math::TanhOp) { return apply(std::tanh, true); })
      .Case([&](math::ErfOp) { return apply(std::erf, true); })
      .Case([&](math::AbsFOp) { return apply(std::fabs, true); })
      .Case([&](math::SinOp) { return apply(std::sin, true); })
      .Case([&](math::CosOp) { return apply(std::cos, true); })
      .Case([&](math::FloorOp) { return apply(std::floor, true); })
      .Case([&](math::CeilOp) { return apply(std::ceil, true); })
      .Case([&](math::SqrtOp) { return apply(std::sqrt, false); })
      .Case([&](math::LogOp) { return apply(std::log, false); })
      .Case([&](math::RsqrtOp) { return known ? Fill::known(1 / std::sqrt(x.number)) : Fill::bad(); })
      .Case<arith::ExtFOp, arith::TruncFOp, arith::ExtSIOp, arith::TruncIOp, arith::SIToFPOp, arith::FPToSIOp>(
          [&](auto) { return x.isZero() ? x : Fill::finite(); })
      .Case<GeluOp, SiluOp>([&](auto) { return x.isZero() ? x : Fill::finite(); })
      .Default([&](Operation *other) {
        return isa<IntegerType>(getElementTypeOrSelf(other->getResult(0))) ? Fill::finite() : Fill::bad();
      });
}

Fill binary(Operation *op, Fill a, Fill b) {
  if (a.kind == Fill::Bad || b.kind == Fill::Bad)
    return Fill::bad();
  bool known = a.kind == Fill::Known && b.kind == Fill::Known;
  auto value = [&](double x) { return known ? Fill::known(x) : Fill::finite(); };
  return TypeSwitch<Operation *, Fill>(op)
      .Case<arith::AddFOp, arith::AddIOp>([&](auto) { return value(a.number + b.number); })
      .Case<arith::SubFOp, arith::SubIOp>([&](auto) { return value(a.number - b.number); })
      .Case<arith::MulFOp, arith::MulIOp>(
          [&](auto) { return a.isZero() || b.isZero() ? Fill::known(0) : value(a.number * b.number); })
      .Case<arith::MaximumFOp, arith::MaxNumFOp, arith::MaxSIOp>(
          [&](auto) { return value(std::max(a.number, b.number)); })
      .Case<arith::MinimumFOp, arith::MinNumFOp, arith::MinSIOp>(
          [&](auto) { return value(std::min(a.number, b.number)); })
      .Case([&](arith::DivFOp) {
        if (b.kind != Fill::Known || b.number == 0)
          return Fill::bad();
        return value(a.number / b.number);
      })
      .Case([&](math::PowFOp) { return known ? Fill::known(std::pow(a.number, b.number)) : Fill::bad(); })
      .Default([&](Operation *other) {
        return isa<IntegerType>(getElementTypeOrSelf(other->getResult(0))) ? Fill::finite() : Fill::bad();
      });
}

class Follower {
public:
  explicit Follower(const Graph &graph) : graph(graph), grid(graph.grid) {
    for (const OpInfo &op : graph.ops)
      for (int number : op.results)
        if (number >= 0)
          definers[number] = &op;
  }

  SmallVector<UnsafeFill> run() {
    for (auto [index, op] : llvm::enumerate(graph.ops)) {
      if (op.free)
        continue;
      std::optional<OpLayouts> layouts = deriveLayouts(op.rule, op.choices, grid);
      if (!layouts)
        continue;
      check(index, op, *layouts);
      for (auto [result, number] : llvm::enumerate(op.results)) {
        if (number < 0)
          continue;
        made[number] = layouts->results[result];
        SmallVector<Fill> &fills = of[number];
        for (auto [dim, split] : llvm::enumerate(layouts->results[result].dims))
          fills.push_back(hasFill(graph.values[number].type.getDimSize(dim), split)
                              ? transfer(op, *layouts, splitFactors(op, op.rule.results[result][dim]))
                              : Fill());
      }
    }
    return std::move(unsafe);
  }

private:
  bool hasFill(int64_t size, const DimSplit &split) const {
    int64_t shards = grid.shards(split.axes);
    return !split.axes.empty() && !hasReplicatedBlocks(size, split.grain, shards) &&
           getLocalSize(size, split.grain, shards) * shards != size;
  }
  /// The factors of a dimension that some axis splits.
  SmallVector<unsigned, 2> splitFactors(const OpInfo &op, ArrayRef<unsigned> dim) const {
    SmallVector<unsigned, 2> out;
    for (unsigned factor : dim)
      for (const AxisChoice &choice : op.choices)
        if (choice.kind == AxisChoice::Split &&
            (choice.factor == static_cast<int>(factor) || choice.overflow == static_cast<int>(factor)))
          out.push_back(factor);
    return out;
  }

  /// What an operand holds where `factors` are fill; none when it does not vary with them.
  std::optional<Fill> operandFill(const OpInfo &op, const OpLayouts &layouts, size_t index,
                                  ArrayRef<unsigned> factors) const {
    int number = op.operands[index];
    if (number < 0)
      return std::nullopt;
    for (auto [dim, own] : llvm::enumerate(op.rule.operands[index]))
      if (llvm::any_of(own, [&](unsigned factor) { return llvm::is_contained(factors, factor); }))
        return valueFill(number, dim, layouts.operands[index]);
    return std::nullopt;
  }

  /// Fill on `dim` of a value that is brought into layout `want`: zero where it is cut anew, else what its maker left.
  Fill valueFill(int number, size_t dim, const Layout &want) const {
    if (graph.values[number].free)
      return freeFill(number, dim);
    auto it = of.find(number);
    if (it == of.end())
      return Fill::known(0); // an argument
    const Layout &from = made.find(number)->second;
    if (!(from.dims[dim] == want.dims[dim]))
      return Fill::known(0);
    Fill fill = it->second[dim];
    return from.partial == want.partial || fill.isZero() || fill.kind == Fill::Bad ? fill : Fill::finite();
  }
  /// Weights are cut, so zero; splats are made at the local size; ops on them may run on either.
  Fill freeFill(int number, size_t dim) const {
    const OpInfo &op = *definers.lookup(number);
    if (auto constant = dyn_cast<arith::ConstantOp>(op.op)) {
      auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
      if (!dense || !dense.isSplat())
        return Fill::known(0);
      if (isa<FloatType>(dense.getElementType()))
        return Fill::known(dense.getSplatValue<APFloat>().convertToDouble());
      return Fill::known(dense.getSplatValue<APInt>().getSExtValue());
    }
    if (op.op->getNumOperands() == 0)
      return Fill::known(0);
    SmallVector<unsigned, 2> factors(op.rule.results[0][dim]);
    SmallVector<std::optional<Fill>> fills;
    for (size_t index = 0; index < op.operands.size(); ++index) {
      std::optional<Fill> fill;
      for (auto [own, list] : llvm::enumerate(op.rule.operands[index]))
        if (op.operands[index] >= 0 &&
            llvm::any_of(list, [&](unsigned factor) { return llvm::is_contained(factors, factor); }))
          fill = freeFill(op.operands[index], own);
      fills.push_back(fill);
    }
    return join(combine(op, fills), Fill::known(0));
  }

  Fill transfer(const OpInfo &op, const OpLayouts &layouts, ArrayRef<unsigned> factors) const {
    SmallVector<std::optional<Fill>> fills;
    for (size_t index = 0; index < op.operands.size(); ++index)
      fills.push_back(operandFill(op, layouts, index, factors));
    return combine(op, fills);
  }

  /// Fill of a result from that of the operands that vary with the filled factor.
  Fill combine(const OpInfo &info, ArrayRef<std::optional<Fill>> fills) const {
    Operation *op = info.op;
    auto at = [&](size_t index) { return fills[index].value_or(Fill::finite()); };
    bool anyZero = false, anyBad = false;
    Fill all = Fill::finite();
    bool first = true;
    for (const std::optional<Fill> &fill : fills) {
      if (!fill)
        continue;
      anyZero |= fill->isZero();
      anyBad |= fill->kind == Fill::Bad;
      all = first ? *fill : join(all, *fill);
      first = false;
    }
    auto product = [&] { return anyBad ? Fill::bad() : anyZero ? Fill::known(0) : Fill::finite(); };
    auto plain = [&] { return anyBad ? Fill::bad() : Fill::finite(); };
    return TypeSwitch<Operation *, Fill>(op)
        .Case([&](MatmulOp) { return product(); })
        .Case([&](AttentionOp) { return !anyBad && fills[2] && fills[2]->isZero() ? Fill::known(0) : plain(); })
        .Case([&](RMSNormOp norm) {
          return !norm.getEpsilon().isZero() ? (at(0).isZero() ? at(0) : plain()) : Fill::bad();
        })
        .Case([&](LayerNormOp norm) { return !norm.getEpsilon().isZero() ? plain() : Fill::bad(); })
        .Case([&](SoftmaxOp) { return plain(); })
        .Case([&](RotaryOp) { return at(0).isZero() ? at(0) : plain(); })
        .Case<EmbeddingOp, GatherOp, GatherNDOp, GatherElementsOp>(
            [&](auto) { return fills[0] && !fills[1] ? *fills[0] : plain(); })
        .Case<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ExtractSliceOp, tensor::ConcatOp>(
            [&](auto) { return all; })
        .Case<linalg::TransposeOp, linalg::BroadcastOp>([&](auto) { return fills[0].value_or(Fill::finite()); })
        .Case([&](linalg::ReduceOp) {
          return at(0).isZero() && at(1).isZero()          ? at(0)
                 : fills[0] && fills[0]->kind == Fill::Bad ? Fill::bad()
                                                           : Fill::finite();
        })
        .Case([&](arith::SelectOp) { return join(at(1), at(2)); })
        .Case<arith::CmpFOp, arith::CmpIOp>([&](auto) { return Fill::finite(); })
        .Default([&](Operation *other) {
          if (other->getNumOperands() == 1)
            return unary(other, at(0));
          return other->getNumOperands() == 2 ? binary(other, at(0), at(1)) : plain();
        });
  }

  void check(unsigned index, const OpInfo &op, const OpLayouts &layouts) {
    for (auto [axis, choice] : llvm::enumerate(op.choices)) {
      if (choice.kind != AxisChoice::Split)
        continue;
      SmallVector<unsigned, 2> factors = {static_cast<unsigned>(choice.factor)};
      bool sums = op.rule.factors[choice.factor].kind == FactorKind::Reduction;
      bool zero = false, allZero = true, bad = false, filled = false;
      for (size_t operand = 0; operand < op.operands.size(); ++operand) {
        int number = op.operands[operand];
        if (number < 0)
          continue;
        for (auto [dim, own] : llvm::enumerate(op.rule.operands[operand])) {
          if (!llvm::is_contained(own, factors[0]) ||
              !hasFill(graph.values[number].type.getDimSize(dim), layouts.operands[operand].dims[dim]))
            continue;
          Fill fill = valueFill(number, dim, layouts.operands[operand]);
          filled = true;
          zero |= fill.isZero();
          allZero &= fill.isZero();
          bad |= fill.kind == Fill::Bad;
          if (operand == 1 && isa<EmbeddingOp, GatherOp, GatherNDOp, GatherElementsOp>(op.op) && !fill.isZero())
            unsafe.push_back({index, static_cast<unsigned>(axis), "the fill of its indices may be out of range"});
        }
      }
      if (!sums || !filled || isa<EmbeddingOp>(op.op)) // rows that are not there are not looked up
        continue;
      bool safe = isa<MatmulOp>(op.op) ? zero && !bad : allZero;
      if (!safe)
        unsafe.push_back({index, static_cast<unsigned>(axis),
                          bad ? "the fill of uneven shards may be infinite and would reach its sum"
                              : "the fill of uneven shards is not zero and would reach its sum"});
    }
  }

  const Graph &graph;
  const GridAxes &grid;
  DenseMap<int, const OpInfo *> definers;
  llvm::DenseMap<int, Layout> made;
  llvm::DenseMap<int, SmallVector<Fill>> of;
  SmallVector<UnsafeFill> unsafe;
};
} // namespace

SmallVector<UnsafeFill> partition::findUnsafeFill(const Graph &graph) { return Follower(graph).run(); }
