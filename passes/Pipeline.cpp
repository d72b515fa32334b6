//===- Pipeline.cpp - the phases as pass pipelines ------------------------===//
// Read this file to know what happens to a model, and why in this order.
//===----------------------------------------------------------------------===//
#include "passes/Pipeline.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Import/Passes.h"
#include "passes/Optimize/Passes.h"
#include "passes/Schedule/Passes.h"
#include "passes/Verify/Passes.h"

using namespace mlir;
using namespace mlir::comm;

ArrayRef<PhaseInfo> mlir::comm::getPhases() {
  static const PhaseInfo phases[] = {
#define COMM_PHASE(Name, flag, formIn, formOut, text) {Phase::Name, flag, formIn, formOut, text},
#include "passes/Phases.def"
#undef COMM_PHASE
  };
  return phases;
}

const PhaseInfo &mlir::comm::getPhaseInfo(Phase phase) { return getPhases()[static_cast<size_t>(phase)]; }

ArrayRef<StringRef> mlir::comm::getOptionalPasses() {
  static const StringRef passes[] = {"fold-shapes",      "unpack-qkv",      "raise-norms",          "raise-activations",
                                     "raise-rotary",     "raise-attention", "fuse-all-reduce-norm", "sink-waits",
                                     "fuse-elementwise", "in-place"};
  return passes;
}

// --stop-after=import
static void buildImport(OpPassManager &pm, const PipelineOptions &options) {
  buildImportPhase(pm, [&](StringRef pass) { return options.isOn(pass); });
}

// --stop-after=partition
static void buildPartition(OpPassManager &pm, const PipelineOptions &options) {
  buildPartitionPhase(pm, options.partition);
}

// --stop-after=optimize
static void buildOptimize(OpPassManager &pm, const PipelineOptions &options) {
  OpPassManager &function = pm.nest<func::FuncOp>();
  function.addPass(createCSEPass()); // equal conversions become one
  const WeaveOptions &weave = options.weave;
  if (options.isOn("fuse-all-reduce-norm")) {
    FuseAllReduceNormPassOptions fuse;
    fuse.settle = weave.plan != "plain";
    function.addPass(createFuseAllReduceNormPass(fuse));
  }
  if (weave.plan == "split") {
    SplitTokensPassOptions split;
    split.cut = weave.cut;
    split.tile = weave.tile;
    split.offset = weave.offset;
    split.minRows = weave.minRows;
    function.addPass(createSplitTokensPass(split)); // before the residual is split: both parts have one of their own
  }
  if (weave.chunks != 1) {
    PipelineMatmulsPassOptions chunks;
    chunks.chunks = weave.chunks;
    chunks.tile = weave.tile;
    function.addPass(createPipelineMatmulsPass(chunks));
  }
  if (weave.plan != "plain")
    function.addPass(createShardResidualPass());
  // Last chance: from `async` on no collective may vanish.
  function.addPass(createCanonicalizerPass());
  function.addPass(createCSEPass());
}

// --stop-after=schedule
static void buildSchedule(OpPassManager &pm, const PipelineOptions &options) {
  if (!options.overlap)
    return; // synchronous collectives are legal in `async`
  OpPassManager &function = pm.nest<func::FuncOp>();
  function.addPass(createMakeAsyncPass());
  if (options.isOn("sink-waits"))
    function.addPass(createSinkWaitsPass());
}

// --stop-after=lower
static void buildLower(OpPassManager &pm, const PipelineOptions &options) {
  LowerOptions lower = options.lower;
  lower.fuseElementwise = options.isOn("fuse-elementwise");
  lower.inPlace = options.isOn("in-place");
  buildLowerPhase(pm, lower);
}

void mlir::comm::buildPhase(Phase phase, OpPassManager &pm, const PipelineOptions &options) {
  switch (phase) {
  case Phase::Import:
    buildImport(pm, options);
    break;
  case Phase::Partition:
    buildPartition(pm, options);
    break;
  case Phase::Optimize:
    buildOptimize(pm, options);
    break;
  case Phase::Schedule:
    buildSchedule(pm, options);
    break;
  case Phase::Lower:
    buildLower(pm, options);
    break;
  case Phase::Export:
    return;
  }
  VerifyFormPassOptions verify;
  verify.form = getPhaseInfo(phase).formOut.str();
  pm.addPass(createVerifyFormPass(verify));
}
