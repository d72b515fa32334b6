//===- LowerPhase.cpp - the passes of the phase in order ------------------===//
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Lower/Passes.h"

using namespace mlir;

void comm::buildLowerPhase(OpPassManager &manager, const LowerOptions &options) {
  // First, so that the adds and norms which it leaves join their neighbours.
  manager.addNestedPass<func::FuncOp>(createDecomposeCollectivesPass());
  FuseElementwisePassOptions fuse;
  fuse.fuse = options.fuseElementwise;
  manager.addNestedPass<func::FuncOp>(createFuseElementwisePass(fuse));
  manager.addPass(createOutlineKernelsPass());
  manager.addPass(createConvertToCommandsPass());
  PlanBuffersPassOptions plan;
  plan.memoryLimit = options.memoryLimit;
  plan.inPlace = options.inPlace;
  plan.strict = options.strict;
  manager.addPass(createPlanBuffersPass(plan));
}
