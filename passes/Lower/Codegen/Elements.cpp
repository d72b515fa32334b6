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

void codegen::storeElement(OpBuilder &b, Location loc, Value x, Value pointer, Value linear, Type element) {
  if (element.isInteger(1))
    x = arith::ExtUIOp::create(b, loc, b.getI8Type(), x);
  else if (element.isBF16()) // compileObject knows how the ISA level does it
    x = arith::BitcastOp::create(b, loc, b.getI16Type(), arith::TruncFOp::create(b, loc, element, x));
  else if (element.isF16())
    x = arith::TruncFOp::create(b, loc, element, x);
  Value address =
      LLVM::GEPOp::create(b, loc, pointer.getType(), memoryType(element), pointer, ArrayRef<LLVM::GEPArg>{linear});
  LLVM::StoreOp::create(b, loc, x, address);
}
