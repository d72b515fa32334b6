//===- Rotary.cpp - comm.rotary as loops over pointers --------------------===//
#include "Internal.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::comm;

void codegen::emitRotary(OpBuilder &b, RotaryOp op, const LoopPlan &plan, ValueRange arguments) {
  Location loc = op.getLoc();
  Value x = arguments[0], cos = arguments[1], sin = arguments[2], out = arguments[3], begin = arguments[4],
        end = arguments[5];
  auto constantInt = [&](int64_t n) -> Value { return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(n)); };
  Value zero = constantInt(0), one = constantInt(1);
  auto loop = [&](Value from, Value to) { return scf::ForOp::create(b, loc, from, to, one); };
  auto load = [&](Value pointer, Value at, Type type) { return loadElement(b, loc, pointer, at, type); };
  auto store = [&](Value value, Value at, Type type) { storeElement(b, loc, value, out, at, type); };
  Type element = op.getType().getElementType();
  int64_t heads = plan.sizes[1], length = plan.sizes[2], depth = plan.sizes[3],
          half = op.getCos().getType().getDimSize(2);
  bool perBatch = op.getCos().getType().getDimSize(0) != 1;
  auto mulAdd = [&](Value a, int64_t factor, Value c) {
    return arith::AddIOp::create(b, loc, arith::MulIOp::create(b, loc, a, constantInt(factor)), c).getResult();
  };
  Value batch = zero;
  if (plan.outer[0] == 0) {
    scf::ForOp batches = loop(begin, end);
    b.setInsertionPointToStart(batches.getBody());
    batch = batches.getInductionVar();
  }
  scf::ForOp head = plan.outer[0] == 0 ? loop(zero, constantInt(heads)) : loop(begin, end);
  b.setInsertionPointToStart(head.getBody());
  scf::ForOp token = loop(zero, constantInt(length));
  b.setInsertionPointToStart(token.getBody());
  Value row =
      mulAdd(mulAdd(mulAdd(batch, heads, head.getInductionVar()), length, token.getInductionVar()), depth, zero);
  Value angle = perBatch ? mulAdd(batch, length, token.getInductionVar()) : token.getInductionVar();
  angle = mulAdd(angle, half, zero);
  scf::ForOp pair = loop(zero, constantInt(half));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(pair.getBody());
    Value j = pair.getInductionVar();
    Value first = op.getInterleaved() ? mulAdd(j, 2, row) : arith::AddIOp::create(b, loc, row, j).getResult();
    Value second = arith::AddIOp::create(b, loc, first, constantInt(op.getInterleaved() ? 1 : half));
    Value at = arith::AddIOp::create(b, loc, angle, j);
    Value a = load(x, first, element), c = load(x, second, element), cosine = load(cos, at, element),
          sine = load(sin, at, element);
    auto mul = [&](Value p, Value q) { return arith::MulFOp::create(b, loc, p, q).getResult(); };
    store(arith::SubFOp::create(b, loc, mul(a, cosine), mul(c, sine)), first, element);
    store(arith::AddFOp::create(b, loc, mul(c, cosine), mul(a, sine)), second, element);
  }
  if (2 * half < depth) {
    scf::ForOp rest = loop(constantInt(2 * half), constantInt(depth));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(rest.getBody());
    Value at = arith::AddIOp::create(b, loc, row, rest.getInductionVar());
    store(load(x, at, element), at, element);
  }
}
