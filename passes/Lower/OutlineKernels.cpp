//===- OutlineKernels.cpp - each group becomes a named kernel -------------===//
// Matches   comm.fused
// Rewrites  comm.kernel @k_<hash of its text> at the end of the module, comm.call_kernel in its place; equal bodies
// share a kernel Skips     nothing; a body that cannot be compiled is an error
//===----------------------------------------------------------------------===//
#include "mlir/IR/AsmState.h"
#include "mlir/IR/IRMapping.h"
#include "passes/Lower/Codegen/Codegen.h"
#include "passes/Lower/Passes.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/xxhash.h"

namespace mlir::comm {
#define GEN_PASS_DEF_OUTLINEKERNELSPASS
#include "passes/Lower/Passes.h.inc"
namespace {

/// The body as text with local names and without locations: equal text, equal kernel.
std::string textOf(FusedOp fused) {
  std::string text;
  llvm::raw_string_ostream out(text);
  OpPrintingFlags flags;
  flags.printGenericOpForm().useLocalScope().elideLargeElementsAttrs(-1);
  AsmState state(fused, flags);
  for (Type type : fused.getInputs().getTypes())
    out << type << ",";
  for (Operation &op : fused.getBody().front()) {
    op.print(out, state);
    out << "\n";
  }
  return text;
}

struct OutlineKernels : impl::OutlineKernelsPassBase<OutlineKernels> {
  using OutlineKernelsPassBase::OutlineKernelsPassBase;

  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    SmallVector<FusedOp> groups;
    getOperation().walk([&](FusedOp fused) { groups.push_back(fused); });
    bool failed = false;
    for (FusedOp fused : groups) {
      std::string text = textOf(fused);
      KernelOp &kernel = kernels[text];
      if (!kernel && !(kernel = outline(fused, text, symbols))) {
        failed = true;
        continue;
      }
      OpBuilder builder(fused);
      auto call = CallKernelOp::create(builder, fused.getLoc(), fused.getResultTypes(),
                                       FlatSymbolRefAttr::get(kernel.getSymNameAttr()), fused.getInputs());
      fused.replaceAllUsesWith(call);
      fused.erase();
      ++numCalls;
    }
    kernels.clear();
    if (failed)
      signalPassFailure();
  }

private:
  KernelOp outline(FusedOp fused, StringRef text, SymbolTable &symbols) {
    Block &body = fused.getBody().front();
    std::string why;
    if (!canCompileKernel(body, &why)) {
      fused.emitError("error[E404]: this group of ops cannot be compiled as one kernel: ") << why;
      return nullptr;
    }
    OpBuilder builder = OpBuilder::atBlockEnd(getOperation().getBody());
    std::string name = "k_" + llvm::utohexstr(llvm::xxh3_64bits(text), /*LowerCase=*/true, 16);
    auto kernel = KernelOp::create(builder, fused.getLoc(), builder.getStringAttr(name),
                                   builder.getI64IntegerAttr(getKernelIterations(body)));
    IRMapping mapping;
    fused.getBody().cloneInto(&kernel.getBody(), mapping);
    symbols.insert(kernel); // renames when a user's symbol has the name
    ++numKernels;
    return kernel;
  }

  llvm::StringMap<KernelOp> kernels;
};
} // namespace
} // namespace mlir::comm
