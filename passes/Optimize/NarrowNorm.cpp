//===- NarrowNorm.cpp - a norm between casts as a norm of 16 bits ---------===//
#include "passes/Optimize/NarrowNorm.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::comm;

static Type elementOf(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }

Operation *mlir::comm::findWideNorm(Value sum) {
  for (Operation *user : sum.getUsers())
    if (auto cast = dyn_cast<arith::ExtFOp>(user))
      for (Operation *next : cast->getUsers())
        if (isa<RMSNormOp, LayerNormOp>(next) && next->getOperand(0) == cast.getResult())
          return next;
  return nullptr;
}

/// The vector of `element` that widens to `wide`, from before the cast or as a constant without loss; null otherwise.
static Value narrowVector(Value wide, Type element, RewriterBase &rewriter) {
  if (auto cast = wide.getDefiningOp<arith::ExtFOp>())
    return elementOf(cast.getIn()) == element ? cast.getIn() : Value();
  auto constant = wide.getDefiningOp<arith::ConstantOp>();
  auto data = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr();
  if (!data)
    return nullptr;
  bool loses = false;
  const llvm::fltSemantics &to = cast<FloatType>(element).getFloatSemantics();
  auto convert = [&](APFloat x) {
    bool inexact = false;
    x.convert(to, APFloat::rmNearestTiesToEven, &inexact);
    loses |= inexact;
    return x;
  };
  auto type = RankedTensorType::get(data.getType().getShape(), element);
  SmallVector<APFloat> values;
  for (const APFloat &x : data.getValues<APFloat>())
    values.push_back(convert(x));
  return loses ? Value() : arith::ConstantOp::create(rewriter, constant.getLoc(), DenseElementsAttr::get(type, values));
}

std::string mlir::comm::narrowNorm(Operation *norm, RewriterBase &rewriter) {
  Value sum = norm->getOperand(0).getDefiningOp<arith::ExtFOp>().getIn();
  Type element = elementOf(sum);
  SmallVector<arith::TruncFOp> results;
  for (Operation *user : norm->getResult(0).getUsers()) {
    auto cast = dyn_cast<arith::TruncFOp>(user);
    if (!cast || elementOf(cast.getResult()) != element)
      return "its result is read in the wider type";
    results.push_back(cast);
  }
  if (results.empty())
    return "nothing reads it";
  rewriter.setInsertionPoint(norm);
  SmallVector<Value> operands{sum};
  for (Value vector : llvm::drop_begin(norm->getOperands())) {
    operands.push_back(narrowVector(vector, element, rewriter));
    if (!operands.back())
      return "its parameters are of the wider type and would be rounded";
  }
  Operation *made = rewriter.clone(*norm);
  made->setOperands(operands);
  made->getResult(0).setType(sum.getType());
  for (arith::TruncFOp cast : results)
    rewriter.replaceOp(cast, made->getResult(0));
  rewriter.eraseOp(norm);
  return "";
}
