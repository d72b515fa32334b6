//===- Experts.h - rows times the matrix that each one chose ----*- C++ -*-===//
#ifndef COMM_LIB_INTERPRETER_EXPERTS_H
#define COMM_LIB_INTERPRETER_EXPERTS_H
#include "Internal.h"
#include "comm/IR/CommExpertOps.h"

namespace mlir::comm::detail {
/// The rows of experts [first, first + count), which are all of `in[2]`; other rows are zeros. Fails on an id outside
/// [0, experts).
FailureOr<HostTensor> expertMatmul(ExpertMatmulOp op, ArrayRef<HostTensor> in, int64_t first, int64_t count,
                                   int64_t experts, bool standIns);
} // namespace mlir::comm::detail
#endif
