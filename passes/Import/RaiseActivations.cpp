//===- RaiseActivations.cpp - name decomposed GELU and SiLU ---------------===//
// Matches   0.5 x (1 + erf(x / sqrt 2)), 0.5 x (1 + tanh(k (x + c x^3))), x / (1 + exp(-x)) and x sigmoid(x), factors
// in any order Rewrites  comm.gelu, comm.silu Skips     constants that differ, another x in one of the places
//===----------------------------------------------------------------------===//
#include "passes/Import/Match.h"
#include "passes/Import/Passes.h"
#include <cmath>

namespace mlir::comm {
#define GEN_PASS_DEF_RAISEACTIVATIONSPASS
#include "passes/Import/Passes.h.inc"
namespace {
constexpr double kTolerance = 1e-4;
bool isNear(double value, double expected) { return std::abs(value - expected) <= kTolerance * std::abs(expected); }

/// A product taken apart: constant factor and the others. Division by a splat counts.
struct Product {
  double factor = 1;
  SmallVector<Value> values;
  explicit Product(Value value) { add(value, 0); }
  void add(Value value, int depth) {
    Value x;
    double scale = 1;
    if (depth < 8 && matchScaled(value, x, scale)) {
      factor *= scale;
      return add(x, depth + 1);
    }
    auto mul = value.getDefiningOp<arith::MulFOp>();
    if (!mul || depth >= 8)
      return values.push_back(value);
    add(mul.getLhs(), depth + 1);
    add(mul.getRhs(), depth + 1);
  }
};

/// The factors of `x` in `product`, removed, if x itself is a product too (x = a*b gives both).
bool removeFactors(SmallVector<Value> &values, Value x) {
  if (auto *found = llvm::find(values, x); found != values.end()) {
    values.erase(found);
    return true;
  }
  return false;
}

/// y = 1 + f(z): gives z.
template <typename OpTy> Value matchOnePlus(Value y) {
  Value inner;
  double number = 0;
  if (!matchWithSplat<arith::AddFOp>(y, inner, number) || !isNear(number, 1))
    return nullptr;
  auto op = inner.getDefiningOp<OpTy>();
  return op ? op.getOperand() : Value();
}

/// z = c x.
bool isScaled(Value z, Value x, double factor) {
  Product product(z);
  return product.values.size() == 1 && product.values[0] == x && isNear(product.factor, factor);
}

/// z = sqrt(2/pi) (x + 0.044715 x^3), or x (0.79788 + 0.035677 x^2).
bool isTanhArgument(Value z, Value x) {
  constexpr double kOuter = 0.7978845608, kCube = 0.044715;
  Product product(z);
  double first = kOuter, second = kCube * kOuter;
  int power = 3;
  if (product.values.size() == 2 && removeFactors(product.values, x))
    power = 2;
  if (product.values.size() != 1)
    return false;
  auto sum = product.values[0].getDefiningOp<arith::AddFOp>();
  for (unsigned side = 0; sum && side < 2; ++side) {
    Product cube(sum->getOperand(side));
    bool isPower = static_cast<int>(cube.values.size()) == power &&
                   llvm::all_of(cube.values, [&](Value value) { return value == x; });
    if (!isPower || !isNear(cube.factor * product.factor, second))
      continue;
    Value other = sum->getOperand(1 - side);
    std::optional<double> number = getSplatNumber(other);
    if (power == 2 ? number && isNear(*number * product.factor, first) : isScaled(other, x, first / product.factor))
      return true;
  }
  return false;
}

/// s = 1 / (1 + exp(-x)).
Value matchSigmoid(Value s) {
  auto div = s.getDefiningOp<arith::DivFOp>();
  if (!div || !isSplatOf(div.getLhs(), 1))
    return nullptr;
  Value e = matchOnePlus<math::ExpOp>(div.getRhs());
  auto neg = e ? e.getDefiningOp<arith::NegFOp>() : arith::NegFOp();
  return neg ? neg.getOperand() : Value();
}

struct RaiseActivations : impl::RaiseActivationsPassBase<RaiseActivations> {
  using RaiseActivationsPassBase::RaiseActivationsPassBase;

  Value raise(Operation *op, OpBuilder &builder) {
    Value root = op->getResult(0);
    if (auto div = dyn_cast<arith::DivFOp>(op)) { // x / (1 + exp(-x))
      Value e = matchOnePlus<math::ExpOp>(div.getRhs());
      auto neg = e ? e.getDefiningOp<arith::NegFOp>() : arith::NegFOp();
      if (neg && neg.getOperand() == div.getLhs())
        return ++numSilu, SiluOp::create(builder, op->getLoc(), div.getLhs()).getResult();
    }
    auto mul = dyn_cast<arith::MulFOp>(op);
    for (unsigned side = 0; mul && side < 2; ++side)
      if (matchSigmoid(mul->getOperand(side)) == mul->getOperand(1 - side))
        return ++numSilu, SiluOp::create(builder, op->getLoc(), mul->getOperand(1 - side)).getResult();
    Product product(root);
    if (product.values.size() != 2 || !isNear(product.factor, 0.5))
      return nullptr;
    for (unsigned side = 0; side < 2; ++side) {
      Value x = product.values[side], gate = product.values[1 - side];
      if (Value z = matchOnePlus<math::ErfOp>(gate); z && isScaled(z, x, std::sqrt(0.5)))
        return ++numGelu, GeluOp::create(builder, op->getLoc(), GeluKind::Erf, x).getResult();
      if (Value z = matchOnePlus<math::TanhOp>(gate); z && isTanhArgument(z, x))
        return ++numGelu, GeluOp::create(builder, op->getLoc(), GeluKind::Tanh, x).getResult();
    }
    return nullptr;
  }

  void runOnOperation() override {
    SmallVector<Operation *> candidates; // last first: the whole product before its parts
    getOperation().walk([&](Operation *op) {
      if (isa<arith::MulFOp, arith::DivFOp>(op) && isa<RankedTensorType>(op->getResult(0).getType()))
        candidates.push_back(op);
    });
    for (Operation *op : llvm::reverse(candidates)) {
      OpBuilder builder(op);
      if (Value result = op->use_empty() ? Value() : raise(op, builder))
        op->getResult(0).replaceAllUsesWith(result);
    }
    eraseDeadOps(getOperation());
  }
};
} // namespace
} // namespace mlir::comm
