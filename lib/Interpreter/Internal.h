//===- Internal.h - shared by the files of the interpreter ------*- C++ -*-===//
#ifndef COMM_LIB_INTERPRETER_INTERNAL_H
#define COMM_LIB_INTERPRETER_INTERNAL_H
#include "comm/Interpreter/Interpreter.h"

namespace mlir::comm::detail {
using Result = FailureOr<SmallVector<HostTensor>>;

/// Integer stand-ins work in the field of integers modulo this prime, where sums and products are exact in any order.
constexpr int64_t kPrime = 2147483647;
inline int64_t toField(int64_t x) { return ((x % kPrime) + kPrime) % kPrime; }
/// A float constant as a field element: integers map to themselves, others to a fixed hash.
int64_t toField(double x);

/// Rounds to the element type.
double roundTo(Type type, double x);
/// Sign-extends to the width of the type; i1 gives 0 or 1.
int64_t wrapTo(Type type, int64_t x);

SmallVector<int64_t> stridesOf(ArrayRef<int64_t> shape);
/// Calls `body` with every index of `shape` in row-major order.
void forEachIndex(ArrayRef<int64_t> shape, llvm::function_ref<void(ArrayRef<int64_t>)> body);
inline int64_t dot(ArrayRef<int64_t> index, ArrayRef<int64_t> strides) {
  int64_t sum = 0;
  for (size_t i = 0; i < index.size(); ++i)
    sum += index[i] * strides[i];
  return sum;
}
/// Copies element `from` of `source` to element `to` of `target`; equal kinds.
inline void copyElement(HostTensor &target, int64_t to, const HostTensor &source, int64_t from) {
  if (target.isFloat())
    target.floats[to] = source.floats[from];
  else
    target.ints[to] = source.ints[from];
}

/// A scalar of either kind.
struct Scalar {
  double f = 0;
  int64_t i = 0;
};
/// One element of an arith or math op. Fails when the op is unknown.
FailureOr<Scalar> evaluateScalar(Operation *op, ArrayRef<Scalar> operands, bool standIns);
bool knowsScalar(Operation *op);

Result evaluateTensorOp(Operation *op, ArrayRef<HostTensor> operands,
                        const InterpreterOptions &options); ///< linalg, tensor, constants
bool knowsTensorOp(Operation *op);
Result evaluateModelOp(Operation *op, ArrayRef<HostTensor> operands, const InterpreterOptions &options);
bool knowsModelOp(Operation *op);

/// A collective or rank-dependent op on all ranks at once: `[rank]` in, `[rank][result]` out.
FailureOr<std::vector<SmallVector<HostTensor>>>
evaluateAcrossRanks(Operation *op, ArrayRef<SmallVector<HostTensor>> operands, const InterpreterOptions &options);
bool needsAllRanks(Operation *op);
/// Sum of two elements, modular under stand-ins.
void accumulate(HostTensor &into, const HostTensor &other, ReduceKind kind, bool standIns);
} // namespace mlir::comm::detail
#endif
