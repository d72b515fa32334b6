//===- SplitCase.h - one module, whole and split, interpreted ---*- C++ -*-===//
#ifndef TEST_UNIT_PARTITION_SPLITCASE_H
#define TEST_UNIT_PARTITION_SPLITCASE_H
#include "comm/Interpreter/Interpreter.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Partition/Passes.h"
#include <functional>
#include <string>

namespace commtest {
mlir::MLIRContext &sharedContext();
/// Splits @main of `text` and runs both with integer stand-ins on inputs made from `seed`. Empty when they agree bit
/// for bit, else what went wrong. `split` is the module after the phase and what `more` adds behind it.
std::string compareSplit(const std::string &text, uint32_t seed, const mlir::comm::PartitionOptions &options,
                         mlir::OwningOpRef<mlir::ModuleOp> *split = nullptr,
                         const std::function<void(mlir::OpPassManager &)> &more = {});
} // namespace commtest
#endif
