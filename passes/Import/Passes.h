//===- Passes.h - global -> global ------------------------------*- C++ -*-===//
#ifndef PASSES_IMPORT_PASSES_H
#define PASSES_IMPORT_PASSES_H
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace mlir::comm {
#define GEN_PASS_DECL
#include "passes/Import/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Import/Passes.h.inc"

/// What follows lib/Import: raises what exporters left decomposed. Runs on the module. `isOn` is asked for
/// "fold-shapes", "unpack-qkv", "raise-norms", "raise-activations", "raise-rotary" and "raise-attention". `precision`
/// of f32 products: f32, bf16 or f16.
void buildImportPhase(OpPassManager &manager, llvm::function_ref<bool(llvm::StringRef)> isOn,
                      llvm::StringRef precision = "f32");
/// Where entries come with siblings (comm.sibling): behind all others.
void buildPaddingPhase(OpPassManager &manager, bool anyFill);
} // namespace mlir::comm
#endif
