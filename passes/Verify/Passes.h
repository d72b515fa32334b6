//===- Passes.h - checks between phases -------------------------*- C++ -*-===//
#ifndef PASSES_VERIFY_PASSES_H
#define PASSES_VERIFY_PASSES_H
#include "mlir/Pass/Pass.h"

namespace mlir::comm {
#define GEN_PASS_DECL
#include "passes/Verify/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Verify/Passes.h.inc"
} // namespace mlir::comm
#endif
