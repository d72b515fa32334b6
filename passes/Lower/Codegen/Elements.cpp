//===- Elements.cpp - one element in memory and in a register -------------===//
// 16-bit floats live in memory only; registers hold f32.
//===----------------------------------------------------------------------===//
#include "Internal.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace mlir::comm;

Type codegen::registerType(Type element) {
  return element.isF16() || element.isBF16() ? Float32Type::get(element.getContext()) : element;
}

static Type memoryType(Type element) {
  MLIRContext *context = element.getContext();
  if (element.isInteger(1))
    return IntegerType::get(context, 8);
  return element.isBF16() ? IntegerType::get(context, 16) : element;
}

Value codegen::loadElement(OpBuilder &b, Location loc, Value pointer, Value linear, Type element) {
  Type memory = memoryType(element);
  Value address = LLVM::GEPOp::create(b, loc, pointer.getType(), memory, pointer, ArrayRef<LLVM::GEPArg>{linear});
  Value x = LLVM::LoadOp::create(b, loc, memory, address);
  if (element.isInteger(1))
    return arith::TruncIOp::create(b, loc, element, x);
  if (element.isBF16()) {
    Value wide = arith::ExtUIOp::create(b, loc, b.getI32Type(), x);
    wide = arith::ShLIOp::create(b, loc, wide, arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(16)));
    return arith::BitcastOp::create(b, loc, b.getF32Type(), wide);
  }
  return element.isF16() ? Value(arith::ExtFOp::create(b, loc, b.getF32Type(), x)) : x;
}

/// Round to nearest even in integers: arith.truncf would call a library on CPUs without the instruction.
static Value roundToBF16(OpBuilder &b, Location loc, Value x) {
  auto c = [&](int64_t v) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(v)).getResult(); };
  Value bits = arith::BitcastOp::create(b, loc, b.getI32Type(), x);
  Value odd = arith::AndIOp::create(b, loc, arith::ShRUIOp::create(b, loc, bits, c(16)), c(1));
  Value rounded = arith::AddIOp::create(b, loc, bits, arith::AddIOp::create(b, loc, odd, c(0x7fff)));
  Value magnitude = arith::AndIOp::create(b, loc, bits, c(0x7fffffff));
  Value isNaN = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ugt, magnitude, c(0x7f800000));
  Value quiet = arith::OrIOp::create(b, loc, bits, c(0x400000));
  Value chosen = arith::SelectOp::create(b, loc, isNaN, quiet, rounded);
  return arith::TruncIOp::create(b, loc, b.getI16Type(), arith::ShRUIOp::create(b, loc, chosen, c(16)));
}

void codegen::storeElement(OpBuilder &b, Location loc, Value x, Value pointer, Value linear, Type element) {
  if (element.isInteger(1))
    x = arith::ExtUIOp::create(b, loc, b.getI8Type(), x);
  else if (element.isBF16())
    x = roundToBF16(b, loc, x);
  else if (element.isF16())
    x = arith::TruncFOp::create(b, loc, element, x);
  Value address =
      LLVM::GEPOp::create(b, loc, pointer.getType(), memoryType(element), pointer, ArrayRef<LLVM::GEPArg>{linear});
  LLVM::StoreOp::create(b, loc, x, address);
}
