//===- Match.h - looking through broadcasts and reshapes --------*- C++ -*-===//
#ifndef PASSES_IMPORT_MATCH_H
#define PASSES_IMPORT_MATCH_H
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include <optional>

namespace mlir::comm {

inline RankedTensorType tensorTypeOf(Value value) { return cast<RankedTensorType>(value.getType()); }
inline ArrayRef<int64_t> shapeOf(Value value) { return tensorTypeOf(value).getShape(); }

/// A value seen through broadcasts, transposes and reshapes that only add or drop dimensions of size 1. `dims[i]` is
/// the dimension of `value` that dimension i of the start runs over; -1: none (broadcast, or size 1).
struct View {
  Value value;
  SmallVector<int64_t> dims;
  explicit View(Value start);
  /// Goes as far up as it can.
  void skip();
  /// Goes on at an operand that has the same shape (elementwise ops).
  void into(Value operand);
  /// True when dimension i of the start runs over dimension i of `value` for every i < `count` that is not of size 1,
  /// and the others are broadcast.
  bool isPrefix(ArrayRef<int64_t> startShape, size_t count) const;
  /// True when only the last dimension of the start is run over, by a vector.
  bool isLastDim() const;
};

/// The number that all elements of a constant have, also through views; none otherwise.
std::optional<double> getSplatNumber(Value value);
bool isSplatOf(Value value, double number, double tolerance = 1e-6);
/// value = x * factor (multiplication by, or division by, a splat).
bool matchScaled(Value value, Value &x, double &factor);
/// An op with a splat on one side: gives the other operand and the number.
template <typename OpTy> bool matchWithSplat(Value value, Value &other, double &number) {
  auto op = value.getDefiningOp<OpTy>();
  if (!op)
    return false;
  for (unsigned side = 0; side < 2; ++side)
    if (auto splat = getSplatNumber(op->getOperand(side))) {
      other = op->getOperand(1 - side);
      number = *splat;
      return true;
    }
  return false;
}

// Builders of form `global`.
/// Inserts and drops dimensions of size 1, or groups neighbours; nothing when the type is right.
Value buildReshape(OpBuilder &builder, Location loc, Value value, ArrayRef<int64_t> shape);
Value buildTranspose(OpBuilder &builder, Location loc, Value value, ArrayRef<int64_t> permutation);
Value buildSplat(OpBuilder &builder, Location loc, RankedTensorType type, double number);
/// A window of a weight as a weight.
Value buildWeightSlice(OpBuilder &builder, WeightOp weight, int64_t dim, int64_t start, int64_t size);
/// Window of the last dimension of a vector: of a weight, or by tensor.extract_slice.
Value buildVectorSlice(OpBuilder &builder, Location loc, Value vector, int64_t start, int64_t size);
/// Erases what has no use, from the end.
void eraseDeadOps(Operation *function);

} // namespace mlir::comm
#endif
