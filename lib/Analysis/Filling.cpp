//===- Filling.cpp - what ops make of fill --------------------------------===//
#include "comm/Analysis/Filling.h"
#include "comm/IR/CommExpertOps.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace mlir::comm;

Fill Fill::known(double x) { return std::isfinite(x) ? Fill{Known, x} : Fill{Bad, 0}; }

Fill comm::join(Fill a, Fill b) {
  if (a.kind == Fill::Bad || b.kind == Fill::Bad)
    return Fill::bad();
  return a.kind == Fill::Known && b.kind == Fill::Known && a.number == b.number ? a : Fill::finite();
}

namespace {
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
} // namespace

Fill comm::resultFill(Operation *op, ArrayRef<std::optional<Fill>> fills) {
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
      .Case<MatmulOp, ExpertMatmulOp>([&](auto) { return product(); })
      .Case([&](QuantizedMatmulOp) { // zero bytes are no zero weights, but a zero scale makes them so
        bool zero = (fills[0] && fills[0]->isZero()) || (fills[2] && fills[2]->isZero());
        return anyBad ? Fill::bad() : zero ? Fill::known(0) : Fill::finite();
      })
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
