//===- ProgramExport.h - one function as a program (private) --------------===//
#ifndef COMM_LIB_EXPORT_PROGRAMEXPORT_H
#define COMM_LIB_EXPORT_PROGRAMEXPORT_H
#include "WeightTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::comm {
/// A planned function of form `command` as a program over `grid` (null: one rank).
FailureOr<::comm::exe::Program> exportProgram(func::FuncOp function, GridOp grid, WeightTable &weights);
/// The body of a kernel as data; nothing when it holds an op or a type that declarations cannot say.
std::optional<::comm::exe::Kernel> declareKernel(KernelOp kernel);
/// Bytes that one rank sends in a run, with ring algorithms.
int64_t bytesSent(const ::comm::exe::Program &program);
} // namespace mlir::comm
#endif
