//===- Interpreter.h - what the IR means, slowly ----------------*- C++ -*-===//
// The oracle of every pass: runs a function of any value form (global, local, async) on N ranks in one process. Clarity
// over speed.
//===----------------------------------------------------------------------===//
#ifndef COMM_INTERPRETER_INTERPRETER_H
#define COMM_INTERPRETER_INTERPRETER_H
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <functional>
#include <vector>

namespace mlir::comm {

/// A tensor on the host. Floats of any width are kept in `floats` as doubles that are exact in the element type;
/// integers and bools in `ints`.
struct HostTensor {
  RankedTensorType type;
  std::vector<double> floats;
  std::vector<int64_t> ints;
  bool isFloat() const { return isa<FloatType>(type.getElementType()); }
  int64_t size() const { return type.getNumElements(); }
  static HostTensor zeros(RankedTensorType type);
  static HostTensor fromAttr(DenseElementsAttr attr);
  DenseElementsAttr toAttr() const;
  bool operator==(const HostTensor &other) const; ///< type and every element; NaN equals NaN
};

struct InterpreterOptions {
  /// Replace nonlinear functions (norm, softmax, exp, gelu, ...) by cheap functions of small integers that keep the
  /// op's dependences: plans that differ only in the order of sums are then bit-equal.
  bool integerStandIns = false;
  /// Contents of a weight: the stored tensor, before slices and layout. Null: a deterministic small-integer pattern
  /// derived from its name.
  std::function<FailureOr<HostTensor>(WeightOp)> weight;
};

/// Evaluates one op of the value forms (comm model ops, arith, math, linalg and tensor on static tensors) on operands;
/// no collectives, no weights. Fails without a diagnostic when the op is not known, when an operand is not of the op's
/// own static type, and where the op has no value: an index out of range, an integer divided by zero.
FailureOr<SmallVector<HostTensor>> evaluateOp(Operation *op, ArrayRef<HostTensor> operands,
                                              const InterpreterOptions &options = {});

/// True when evaluateOp knows the op.
bool canEvaluate(Operation *op);

/// Runs `function` on all ranks of the module's grid (one rank when there is none). `inputs[rank][argument]`, result
/// `[rank][result]`. Emits an error on the op that cannot be run.
FailureOr<std::vector<std::vector<HostTensor>>> interpret(func::FuncOp function,
                                                          const std::vector<std::vector<HostTensor>> &inputs,
                                                          const InterpreterOptions &options = {});

/// One rank's part of a whole tensor under a layout, zero-filled; partial axes: the value on coordinate 0, zeros
/// elsewhere.
HostTensor takeShard(const HostTensor &whole, LayoutAttr layout, GridOp grid, int64_t rank);
/// Inverse: puts the whole tensor together from all ranks (sums partial axes, modular under integer stand-ins). Fails
/// when replicas disagree, or when there is not one shard of the right type per rank of the grid.
FailureOr<HostTensor> assemble(ArrayRef<HostTensor> shards, RankedTensorType whole, LayoutAttr layout, GridOp grid,
                               const InterpreterOptions &options = {});

} // namespace mlir::comm
#endif
