//===- Passes.h - local -> local --------------------------------*- C++ -*-===//
#ifndef PASSES_OPTIMIZE_PASSES_H
#define PASSES_OPTIMIZE_PASSES_H
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::comm {
#define GEN_PASS_DECL
#include "passes/Optimize/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Optimize/Passes.h.inc"
} // namespace mlir::comm
#endif
