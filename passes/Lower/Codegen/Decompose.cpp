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
  template <typename Combiner> Value reduce(Value x, double neutral) {
    auto init = arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(rowType(), b.getFloatAttr(type.getElementType(), neutral)));
    int64_t last = type.getRank() - 1;
    auto body = [](OpBuilder &inner, Location at, ValueRange args) {
      Value sum = Combiner::create(inner, at, args[0], args[1]);
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
  Value top = w.reduce<arith::MaximumFOp>(x, -std::numeric_limits<double>::infinity());
  Value e = math::ExpOp::create(w.b, w.loc, w.sub(x, w.alongRows(top)));
  Value sum = w.reduce<arith::AddFOp>(e, 0.0);
  return w.mul(e, w.alongRows(w.rows().div(w.rows().constant(1.0), sum)));
}

Value gelu(Writer w, Value x, GeluKind kind) {
  Value inside;
  if (kind == GeluKind::Erf) {
    inside = math::ErfOp::create(w.b, w.loc, w.mul(x, w.constant(0.70710678118654752440)));
  } else {
    Value cubic = w.mul(w.mul(w.mul(x, x), x), w.constant(0.044715));
    inside = math::TanhOp::create(w.b, w.loc, w.mul(w.add(x, cubic), w.constant(0.79788456080286535588)));
  }
  return w.mul(w.mul(x, w.constant(0.5)), w.add(inside, w.constant(1.0)));
}

Value silu(Writer w, Value x) {
  Value e = math::ExpOp::create(w.b, w.loc, arith::NegFOp::create(w.b, w.loc, x));
  return w.div(x, w.add(e, w.constant(1.0)));
}

/// The replacement of a named op; null when it stays.
Value decompose(Operation *op, OpBuilder &builder) {
  auto writer = [&] { return Writer(builder, op->getLoc(), cast<RankedTensorType>(op->getResult(0).getType())); };
  return TypeSwitch<Operation *, Value>(op)
      .Case([&](RMSNormOp n) {
        return norm(writer(), n.getInput(), n.getWeight(), Value(), n.getEpsilon().convertToDouble(), false);
      })
      .Case([&](LayerNormOp n) {
        return norm(writer(), n.getInput(), n.getWeight(), n.getBias(), n.getEpsilon().convertToDouble(), true);
      })
      .Case([&](SoftmaxOp s) { return softmax(writer(), s.getInput()); })
      .Case([&](GeluOp g) { return gelu(writer(), g.getInput(), g.getKind()); })
      .Case([&](SiluOp s) { return silu(writer(), s.getInput()); })
      .Default([](Operation *) { return Value(); });
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
