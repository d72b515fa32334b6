//===- ImportPhase.cpp - the passes after lib/Import, in order ------------===//
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Import/Passes.h"

namespace mlir::comm {

void buildImportPhase(OpPassManager &manager) {
  // Equal values become one value first: the matchers compare values, not computations.
  manager.addNestedPass<func::FuncOp>(createCSEPass());
  manager.addNestedPass<func::FuncOp>(createFoldShapesPass());
  manager.addNestedPass<func::FuncOp>(createCSEPass());
  manager.addNestedPass<func::FuncOp>(createUnpackQKVPass());
  manager.addNestedPass<func::FuncOp>(createRaiseNormsPass());
  manager.addNestedPass<func::FuncOp>(createRaiseActivationsPass());
  manager.addNestedPass<func::FuncOp>(createRaiseRotaryPass());
  // After rotary: keys are then plain values. Before the last folding: it leaves transposes to cancel.
  manager.addPass(createRaiseAttentionPass());
  manager.addNestedPass<func::FuncOp>(createFoldShapesPass());
  manager.addNestedPass<func::FuncOp>(createCSEPass());
}

} // namespace mlir::comm
