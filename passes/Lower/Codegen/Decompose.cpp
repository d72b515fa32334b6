//===- Decompose.cpp - norms, softmax and activations as arith and linalg -===//
#include "Internal.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"
#include <limits>

using namespace mlir;
using namespace mlir::comm;

namespace {
/// Writes the arithmetic of one op on tensors of its type.
class Writer {
public:
  Writer(OpBuilder &builder, Location loc, RankedTensorType type) : b(builder), loc(loc), type(type) {}

  Value constant(double x) {
    return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, b.getFloatAttr(type.getElementType(), x)));
  }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }

  RankedTensorType rowType() { return RankedTensorType::get(type.getShape().drop_back(), type.getElementType()); }
  /// Reduces the last dimension.
  template <typename Combiner>
  Value reduce(Value x, double neutral, arith::FastMathFlags flags = arith::FastMathFlags::none) {
    auto init = arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(rowType(), b.getFloatAttr(type.getElementType(), neutral)));
    int64_t last = type.getRank() - 1;
    auto body = [flags](OpBuilder &inner, Location at, ValueRange args) {
      Value sum = Combiner::create(inner, at, args[0], args[1], flags);
      linalg::YieldOp::create(inner, at, sum);
    };
    return linalg::ReduceOp::create(b, loc, ValueRange{x}, ValueRange{init}, ArrayRef<int64_t>{last}, body)
        .getResult(0);
  }
  /// A value per row on every element of the row.
  Value alongRows(Value row) {
    Value empty = tensor::EmptyOp::create(b, loc, type.getShape(), type.getElementType());
    return linalg::BroadcastOp::create(b, loc, row, empty, ArrayRef<int64_t>{type.getRank() - 1}).getResult()[0];
  }
  /// A vector of the last dimension on every row.
  Value acrossRows(Value vector) {
    if (type.getRank() == 1)
      return vector;
    Value empty = tensor::EmptyOp::create(b, loc, type.getShape(), type.getElementType());
    return linalg::BroadcastOp::create(b, loc, vector, empty,
                                       llvm::to_vector(llvm::seq<int64_t>(0, type.getRank() - 1)))
        .getResult()[0];
  }
  Writer rows() { return Writer(b, loc, rowType()); }

  OpBuilder &b;
  Location loc;
  RankedTensorType type;
};

Value norm(Writer w, Value x, Value weight, Value bias, double epsilon, bool center) {
  Writer rows = w.rows();
  Value perElement = rows.constant(1.0 / static_cast<double>(w.type.getShape().back()));
  if (center)
    x = w.sub(x, w.alongRows(rows.mul(w.reduce<arith::AddFOp>(x, 0.0), perElement)));
  Value variance = rows.mul(w.reduce<arith::AddFOp>(w.mul(x, x), 0.0), perElement);
  // sqrt and a division once a row: rsqrt under fast-math gives NaN at zero.
  Value scale =
      rows.div(rows.constant(1.0), math::SqrtOp::create(w.b, w.loc, rows.add(variance, rows.constant(epsilon))));
  Value y = w.mul(w.mul(x, w.alongRows(scale)), w.acrossRows(weight));
  return bias ? w.add(y, w.acrossRows(bias)) : y;
}

Value softmax(Writer w, Value x) {
  // Without regard to NaN: wherever one is, its exponential and so the sum are NaN whatever the largest is.
  Value top = w.reduce<arith::MaximumFOp>(x, -std::numeric_limits<double>::infinity(), arith::FastMathFlags::nnan);
  Value e = math::ExpOp::create(w.b, w.loc, w.sub(x, w.alongRows(top)));
  Value sum = w.reduce<arith::AddFOp>(e, 0.0);
  return w.mul(e, w.alongRows(w.rows().div(w.rows().constant(1.0), sum)));
}

Value silu(Writer w, Value x, Value argument) {
  Value e = math::ExpOp::create(w.b, w.loc, arith::NegFOp::create(w.b, w.loc, argument));
  return w.div(x, w.add(e, w.constant(1.0)));
}

/// x (1 + erf(x / sqrt2)) / 2 = max(x, 0) - |x| erfc(|x| / sqrt2) / 2, for both tails without cancellation. -log2 of
/// that erfc is a smooth function: a polynomial to 1e-8 of the result, growing without bound, so that large x need no
/// case.
Value geluErf(Writer w, Value x) {
  const double c[] = {1.1511110067367554,     0.4591621458530426,     0.05262761190533638,    -0.007245420943945646,
                      0.00027207567472942173, 0.00013147323625162244, -2.805694384733215e-05, 1.902065832837252e-06};
  auto isLess = [&](Value a, Value b) -> Value {
    return arith::CmpFOp::create(w.b, w.loc, arith::CmpFPredicate::OLT, a, b);
  };
  auto select = [&](Value condition, Value a, Value b) -> Value {
    return arith::SelectOp::create(w.b, w.loc, condition, a, b);
  };
  Value size = math::AbsFOp::create(w.b, w.loc, x), most = w.constant(16);
  size = select(isLess(most, x), most, size); // infinity times zero would be NaN
  Value power = w.constant(c[7]);
  for (int i = 6; i >= 0; --i)
    power = w.add(w.mul(power, size), w.constant(c[i]));
  power = arith::NegFOp::create(w.b, w.loc, w.mul(power, size));
  Value tail = w.mul(w.mul(size, w.constant(0.5)), math::Exp2Op::create(w.b, w.loc, power));
  Value zero = w.constant(0);
  return w.sub(select(isLess(x, zero), zero, x), tail);
}

/// x (1 + tanh(u)) / 2 = x / (1 + exp(-2u))
Value gelu(Writer w, Value x, GeluKind kind) {
  if (kind == GeluKind::Erf)
    return geluErf(w, x);
  Value square = w.mul(w.mul(x, x), w.constant(0.044715 * 1.59576912160573071176));
  return silu(w, x, w.mul(x, w.add(square, w.constant(1.59576912160573071176))));
}

/// The replacement of a named op; null when it stays. Numbers of 16 bits are seen as f32, constants too.
Value decompose(Operation *op, OpBuilder &builder) {
  if (op->getNumResults() != 1)
    return Value();
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  if (!type)
    return Value();
  bool isNarrow = type.getElementType().isF16() || type.getElementType().isBF16();
  Type f32 = builder.getF32Type();
  Writer w(builder, op->getLoc(), isNarrow ? RankedTensorType::get(type.getShape(), f32) : type);
  auto wide = [&](Value x) -> Value {
    if (!isNarrow || !x)
      return x;
    auto narrow = cast<RankedTensorType>(x.getType());
    return arith::ExtFOp::create(builder, op->getLoc(), RankedTensorType::get(narrow.getShape(), f32), x);
  };
  Value y =
      TypeSwitch<Operation *, Value>(op)
          .Case([&](RMSNormOp n) {
            return norm(w, wide(n.getInput()), wide(n.getWeight()), Value(), n.getEpsilon().convertToDouble(), false);
          })
          .Case([&](LayerNormOp n) {
            return norm(w, wide(n.getInput()), wide(n.getWeight()), wide(n.getBias()), n.getEpsilon().convertToDouble(),
                        true);
          })
          .Case([&](SoftmaxOp s) { return softmax(w, wide(s.getInput())); })
          .Case([&](GeluOp g) { return gelu(w, wide(g.getInput()), g.getKind()); })
          .Case([&](SiluOp s) {
            Value x = wide(s.getInput());
            return silu(w, x, x);
          })
          .Default([](Operation *) { return Value(); });
  return y && isNarrow ? Value(arith::TruncFOp::create(builder, op->getLoc(), type, y)) : y;
}
} // namespace

func::FuncOp codegen::decomposedCopy(Block &body, StringRef name, OpBuilder &builder) {
  Operation *yield = body.getTerminator();
  auto function = func::FuncOp::create(builder, yield->getLoc(), name,
                                       builder.getFunctionType(body.getArgumentTypes(), yield->getOperandTypes()));
  Block *entry = function.addEntryBlock();
  OpBuilder inner = OpBuilder::atBlockEnd(entry);
  IRMapping map;
  map.map(body.getArguments(), entry->getArguments());
  for (Operation &op : body.without_terminator())
    inner.clone(op, map);
  SmallVector<Value> results;
  for (Value value : yield->getOperands())
    results.push_back(map.lookup(value));
  func::ReturnOp::create(inner, yield->getLoc(), results);
  for (Operation &op : llvm::make_early_inc_range(*entry)) {
    inner.setInsertionPoint(&op);
    if (Value replacement = decompose(&op, inner)) {
      op.getResult(0).replaceAllUsesWith(replacement);
      op.erase();
    }
  }
  return function;
}
