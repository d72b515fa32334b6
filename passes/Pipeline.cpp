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
  static const StringRef passes[] = {
      "fold-shapes",        "unpack-qkv",       "raise-norms",      "raise-activations",
      "raise-rotary",       "raise-attention",  "mask-padding",     "fuse-all-reduce-norm",
      "split-tokens",       "pipeline-matmuls", "shard-residual",   "chunk-collectives",
      "bucket-collectives", "schedule-overlap", "fuse-elementwise", "in-place"};
  return passes;
}

// --stop-after=import
static void buildImport(OpPassManager &pm, const PipelineOptions &options) {
  buildImportPhase(pm, [&](StringRef pass) { return options.isOn(pass); }, options.precision);
}

void mlir::comm::buildMaskPadding(OpPassManager &pm, const PipelineOptions &options) {
  buildPaddingPhase(pm, options.anyFill);
}

// --stop-after=partition
static void buildPartition(OpPassManager &pm, const PipelineOptions &options) {
  buildPartitionPhase(pm, options.partition);
}

ArrayRef<StringRef> mlir::comm::getPlans() {
  static const StringRef plans[] = {"sync", "plain", "pipeline", "fuse", "split"};
  return plans;
}

void mlir::comm::buildOptimizeFunction(OpPassManager &function, const PipelineOptions &options, StringRef plan) {
  function.addPass(createCSEPass()); // equal conversions become one
  const WeaveOptions &weave = options.weave;
  bool fused = plan == "fuse" || plan == "split";
  if (options.isOn("fuse-all-reduce-norm")) {
    FuseAllReduceNormPassOptions fuse;
    fuse.settle = fused;
    function.addPass(createFuseAllReduceNormPass(fuse));
  }
  if (plan == "split" && options.isOn("split-tokens")) {
    SplitTokensPassOptions split;
    split.cut = weave.cut;
    split.tile = weave.tile;
    split.offset = weave.offset;
    split.minRows = weave.minRows;
    function.addPass(createSplitTokensPass(split)); // before the residual is split: both parts have one of their own
  }
  // How many chunks: what is asked for; else the plan says whether, and predicted time how many.
  if ((weave.chunks > 1 || (weave.chunks == 0 && plan == "pipeline")) && options.isOn("pipeline-matmuls")) {
    PipelineMatmulsPassOptions chunks;
    chunks.topology = options.cost.topology;
    chunks.link = options.cost.link;
    chunks.tuning = options.cost.tuning;
    chunks.chunks = weave.chunks;
    chunks.order = weave.order;
    if (weave.chunks > 1 || weave.order == "ring")
      chunks.minRows = 2; // asked for
    chunks.tile = weave.tile;
    function.addPass(createPipelineMatmulsPass(chunks));
  }
  if (fused && options.isOn("shard-residual"))
    function.addPass(createShardResidualPass());
  // Last chance: from `async` on no collective may vanish.
  function.addPass(createCanonicalizerPass());
  function.addPass(createCSEPass());
}

// --stop-after=optimize
static void buildOptimize(OpPassManager &pm, const PipelineOptions &options) {
  // Each entry has its own plan: a long prompt may be worth splitting, a single token is not.
  pm.addPass(createChoosePlanPass(options));
  pm.addPass(createRunPlansPass(options));
}

/// Options of a pass that predicts.
template <typename PassOptions> static PassOptions withCost(const PipelineOptions &options) {
  PassOptions pass;
  pass.topology = options.cost.topology;
  pass.link = options.cost.link;
  pass.tuning = options.cost.tuning;
  if (options.lower.memoryLimit > 0)
    pass.memoryLimit = std::max<int64_t>(1, options.lower.memoryLimit - options.scheduleReserve);
  return pass;
}

void mlir::comm::buildScheduleFunction(OpPassManager &function, const PipelineOptions &options, StringRef plan) {
  if (options.overlap != OverlapMode::Off && plan != "sync") { // synchronous collectives are legal in `async`
    bool mayCut = options.overlap == OverlapMode::Auto || options.overlap == OverlapMode::Max;
    if (mayCut && options.isOn("bucket-collectives"))
      function.addPass(createBucketCollectivesPass(withCost<BucketCollectivesPassOptions>(options)));
    if (mayCut && options.isOn("chunk-collectives")) {
      auto chunk = withCost<ChunkCollectivesPassOptions>(options);
      chunk.chunks = options.overlap == OverlapMode::Max ? 2 : 0;
      function.addPass(createChunkCollectivesPass(chunk));
    }
    function.addPass(createMakeAsyncPass());
    if (options.isOn("schedule-overlap")) {
      auto schedule = withCost<ScheduleOverlapPassOptions>(options);
      schedule.keepOrder = options.overlap == OverlapMode::Safe;
      schedule.strict = false; // the plan of the buffers has the last word on memory
      function.addPass(createScheduleOverlapPass(schedule));
    } else {
      function.addPass(createSinkWaitsPass());
    }
  }
  // Behind every reordering.
  auto predict = withCost<PredictOverlapPassOptions>(options);
  predict.off = options.overlap == OverlapMode::Off;
  function.addPass(createPredictOverlapPass(predict));
}

// --stop-after=schedule
static void buildSchedule(OpPassManager &pm, const PipelineOptions &options) {
  pm.addPass(createRunSchedulesPass(options));
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
