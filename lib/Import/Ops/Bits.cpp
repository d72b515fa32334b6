//===- Bits.cpp - operators that look at the bits of their operands -------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;
using FP = arith::CmpFPredicate;
using IP = arith::CmpIPredicate;

/// A shift by a negative number of bits, or by more than there are, moves everything out.
LogicalResult bitShift(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needSameElement(0, 1)) || failed(c.needBroadcast(c.in(0), c.in(1))))
    return failure();
  Type element = B::elementOf(c.in(0));
  std::string direction = c.getString("direction", "");
  if (!isa<IntegerType>(element) || element.isInteger(1) || (direction != "LEFT" && direction != "RIGHT"))
    return c.fail("operands that are not integers, or direction '" + direction + "'");
  B &b = c.b;
  Value x = c.in(0), by = c.in(1);
  b.broadcastPair(x, by);
  // Seen without sign, a negative count is a large one.
  Value inside = b.create<arith::CmpIOp>(IP::ult, by, b.splatLike(by, element.getIntOrFloatBitWidth()));
  Value safe = b.select(inside, by, b.splatLike(by, 0)), zero = b.splatLike(x, 0);
  if (direction == "LEFT")
    return c.done(b.select(inside, b.create<arith::ShLIOp>(x, safe), zero));
  if (c.isUnsigned(0))
    return c.done(b.select(inside, b.create<arith::ShRUIOp>(x, safe), zero));
  Value out = b.select(b.compare(FP::OLT, IP::slt, x, zero), b.splatLike(x, -1), zero);
  return c.done(b.select(inside, b.create<arith::ShRSIOp>(x, safe), out));
}

/// The same bytes as another type of the same width.
LogicalResult bitCast(NodeContext &c) {
  if (failed(c.needInputs(1, 1)))
    return failure();
  int64_t type = c.getInt("to", 0);
  Type from = B::elementOf(c.in(0)), to = c.elementType(type);
  if (!to)
    return failure();
  bool bools = from.isInteger(1) || to.isInteger(1);
  auto bytes = [](Type t) { return getElementBytes(t); };
  if (bytes(from) != bytes(to))
    return c.fail("types of different widths", "E313");
  Value x = c.in(0);
  c.resultUnsigned = NodeContext::isUnsignedType(type);
  if (bools || isa<IntegerType>(from) == isa<IntegerType>(to)) {
    if (isa<FloatType>(from) && from != to) { // f16 and bf16 share their width
      Type bits = c.b.getBuilder().getIntegerType(16);
      x = c.b.create<arith::BitcastOp>(B::withElement(x, bits), x);
      return c.done(c.b.create<arith::BitcastOp>(B::withElement(x, to), x));
    }
    return c.done(c.b.castTo(x, to));
  }
  return c.done(c.b.create<arith::BitcastOp>(B::withElement(x, to), x));
}
} // namespace

void addBitOps(OpTable &table) {
  table.add("BitShift", bitShift);
  table.add("BitCast", bitCast);
}

} // namespace mlir::comm
