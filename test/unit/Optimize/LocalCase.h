//===- LocalCase.h - a module of form local, before and after passes ------===//
#ifndef TEST_UNIT_OPTIMIZE_LOCALCASE_H
#define TEST_UNIT_OPTIMIZE_LOCALCASE_H
#include "comm/Interpreter/Interpreter.h"
#include "mlir/IR/OwningOpRef.h"
#include <string>

namespace commtest {
/// A decoder in form local: `layers` layers of attention and MLP, tensor-parallel over `ranks` ranks.
struct Decoder {
  int64_t ranks = 2, batch = 1, tokens = 4, past = 0, layers = 1;
  bool causal = true, layerNorm = false, bias = false, flat = false, returnsSum = false;
  std::string module() const;
};

/// Interprets @main of the module on all ranks before and after `pipeline` (a textual pass pipeline): with integer
/// stand-ins results must be equal bit for bit, with real numbers close and finite. Arguments named r* are the same on
/// all ranks, others differ. Empty, or what is wrong. `after`: the module behind the passes.
std::string compareLocal(const std::string &text, const std::string &pipeline, uint32_t seed,
                         mlir::OwningOpRef<mlir::ModuleOp> *after = nullptr);
/// Ops of a name in @main.
int64_t countOps(mlir::ModuleOp module, llvm::StringRef name);
} // namespace commtest
#endif
