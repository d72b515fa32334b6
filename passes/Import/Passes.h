//===- Passes.h - global -> global ------------------------------*- C++ -*-===//
#ifndef PASSES_IMPORT_PASSES_H
#define PASSES_IMPORT_PASSES_H
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir::comm {
#define GEN_PASS_DECL
#include "passes/Import/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Import/Passes.h.inc"

/// What follows lib/Import: raises what exporters left decomposed. Runs on the module.
void buildImportPhase(OpPassManager &manager);
} // namespace mlir::comm
#endif
