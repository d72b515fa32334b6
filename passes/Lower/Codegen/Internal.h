//===- Internal.h - stages of the code generator ----------------*- C++ -*-===//
#ifndef PASSES_LOWER_CODEGEN_INTERNAL_H
#define PASSES_LOWER_CODEGEN_INTERNAL_H
#include "Codegen.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/DenseMap.h"

namespace mlir::comm::codegen {

/// A copy of a body in a function of its own (tensors in, tensors out), with norms, softmax and activations rewritten
/// to arith, math and linalg. 16-bit float arithmetic is done in f32 by the loops, so no conversions are added here.
func::FuncOp decomposedCopy(Block &body, StringRef name, OpBuilder &builder);

/// Which dimensions of the iteration space each value has, and the loops over them.
struct LoopPlan {
  SmallVector<int64_t> sizes;         ///< dimensions of the space after merging
  SmallVector<unsigned> outer, inner; ///< dimension numbers, outermost first; inner ones are reduced or vectorised
  DenseMap<Value, uint64_t>
      masks; ///< bit d: the value has dimension d; block arguments are absent (they take the user's)
  DenseMap<std::pair<Operation *, unsigned>, uint64_t> argumentMasks; ///< operand (op, index) that is a block argument
  bool isRotary = false;
  bool byColumns = false; ///< rows, then columns, both in ranges
};
/// Fails with a reason when the body is not one loop nest.
FailureOr<LoopPlan> planLoops(func::FuncOp function, std::string &why);
/// Loops over rows and, apart from them, the last dimension, for a body whose results all have both and whose elements
/// need no other column. Fails on any other.
FailureOr<LoopPlan> planColumns(func::FuncOp function);

/// Writes `void symbol(void *const *buffers, int64_t begin, int64_t end)` into `module` (scf, arith, math, llvm); of a
/// plan by columns, `void symbol_columns(void *const *buffers, int64_t begin, int64_t end, int64_t first, int64_t
/// last)`.
LogicalResult emitLoops(ModuleOp module, func::FuncOp source, const LoopPlan &plan, StringRef symbol);

/// What registers hold of an element in memory: f32 for floats of 16 bits, else the same.
Type registerType(Type element);
/// Element `linear` of the buffer at `pointer`, as registers hold it.
Value loadElement(OpBuilder &b, Location loc, Value pointer, Value linear, Type element);
void storeElement(OpBuilder &b, Location loc, Value x, Value pointer, Value linear, Type element);
/// The loops of a lone rotary at the builder's place. `arguments`: x, cos, sin and the result, then begin and end.
void emitRotary(OpBuilder &b, RotaryOp op, const LoopPlan &plan, ValueRange arguments);

/// exp and exp2 of f32, exp and log of f64, and the remainder of f32: what upstream would call a library for.
void populateScalarMathPatterns(RewritePatternSet &patterns);

/// Lowers a module of emitted kernels to one object. Destroys nothing of `module` (works on a clone).
FailureOr<std::vector<uint8_t>> compileObject(ModuleOp module, StringRef isa);

} // namespace mlir::comm::codegen
#endif
