//===- ImportPhase.cpp - the passes after lib/Import, in order ------------===//
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Import/Passes.h"

namespace mlir::comm {

void buildImportPhase(OpPassManager &manager, llvm::function_ref<bool(llvm::StringRef)> isOn,
                      llvm::StringRef precision) {
  auto add = [&](llvm::StringRef name, std::unique_ptr<Pass> pass) {
    if (name.empty() || isOn(name))
      manager.addNestedPass<func::FuncOp>(std::move(pass));
  };
  // Constants were folded while importing. Equal values become one value: the matchers compare values, not
  // computations.
  add("", createCSEPass());
  add("fold-shapes", createFoldShapesPass());
  add("", createCSEPass());
  // Packed projections first: queries, keys and values are then products of their own.
  add("unpack-qkv", createUnpackQKVPass());
  add("raise-norms", createRaiseNormsPass());
  add("raise-activations", createRaiseActivationsPass());
  // Rotary before attention: attention takes queries and keys as they stand.
  add("raise-rotary", createRaiseRotaryPass());
  if (isOn("raise-attention"))
    manager.addPass(createRaiseAttentionPass());
  // Attention leaves transposes that cancel.
  add("fold-shapes", createFoldShapesPass());
  add("", createCSEPass());
  // Last: the products are final, and those inside attention are not among them.
  if (precision != "f32") {
    NarrowProductsPassOptions narrow;
    narrow.precision = precision.str();
    add("", createNarrowProductsPass(narrow));
  }
}

void buildPaddingPhase(OpPassManager &manager, bool anyFill) {
  MaskPaddingPassOptions options;
  options.anyFill = anyFill;
  manager.addPass(createMaskPaddingPass(options));
  manager.addNestedPass<func::FuncOp>(createCSEPass()); // equal masks
}

} // namespace mlir::comm
