//===- Pipeline.h - the phases as pass pipelines ----------------*- C++ -*-===//
#ifndef PASSES_PIPELINE_H
#define PASSES_PIPELINE_H
#include "comm/Analysis/OpTimes.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Lower/Passes.h"
#include "passes/Partition/Passes.h"
#include <set>
#include <string>

namespace mlir::comm {

/// The phases of Phases.def, in order.
enum class Phase {
#define COMM_PHASE(Name, flag, formIn, formOut, text) Name,
#include "passes/Phases.def"
#undef COMM_PHASE
};
struct PhaseInfo {
  Phase phase;
  llvm::StringRef flag, formIn, formOut, text;
};
llvm::ArrayRef<PhaseInfo> getPhases();
const PhaseInfo &getPhaseInfo(Phase phase);

/// What the Optimize phase does about communication around norms and products.
struct WeaveOptions {
  std::string plan = "auto";  ///< of getPlans(), or "auto": what is predicted to be fastest, for each entry
  int64_t cut = 0;            ///< split: where; 0: chosen
  int64_t tile = 64;          ///< split, chunks: rows of a tile
  int64_t offset = 0;         ///< split: rows of the first part beyond half
  int64_t minRows = 64;       ///< split: fewest rows
  int64_t chunks = 0;         ///< of each product beside a collective; 0: as the plan says
  std::string order = "auto"; ///< pipeline: direct, ring, or auto
};

/// How far communication may be moved beside compute.
enum class OverlapMode {
  Off,  ///< collectives stay synchronous
  Safe, ///< starts and waits move, compute keeps its order, memory does not rise
  Auto, ///< whatever is predicted to be faster
  Max   ///< all that is legal, whatever is predicted
};

/// Everything the pipeline can be asked for; tools bind flags to it once.
struct PipelineOptions {
  OverlapMode overlap = OverlapMode::Auto;
  CostOptions cost;               ///< what predictions are made for
  std::set<std::string> disabled; ///< passes switched off, by the names of getOptionalPasses()
  std::string precision = "f32";  ///< of products with f32 operands: f32, bf16 or f16
  bool anyFill = false;           ///< nothing is known of what smaller floating-point inputs are filled up with
  PartitionOptions partition;
  WeaveOptions weave;
  LowerOptions lower;
  int64_t scheduleReserve = 0; ///< bytes of the memory limit that Schedule leaves to the placement of buffers
  bool isOn(llvm::StringRef pass) const { return !disabled.count(pass.str()); }
};

/// The ways to run the reductions of a tensor-parallel entry. "sync": as they are, and nothing is computed meanwhile;
/// "plain": as they are, beside compute; "pipeline": with the products
/// beside them in chunks of rows; "fuse": reduction, residual and norm as one, the residual split by rows; "split":
/// fused, and the tokens in two parts. One that nothing matches equals plain.
llvm::ArrayRef<llvm::StringRef> getPlans();

/// Names of the passes that may be switched off (`--no-<name>`); the program means the same without each of them.
llvm::ArrayRef<llvm::StringRef> getOptionalPasses();

/// Appends the passes of one phase and the check of its outgoing form. Export has none.
void buildPhase(Phase phase, OpPassManager &pm, const PipelineOptions &options);

/// Behind Import when entries come with siblings: they learn to run smaller inputs.
void buildMaskPadding(OpPassManager &pm, const PipelineOptions &options);

// Parts of the phases, for one function.
void buildOptimizeFunction(OpPassManager &function, const PipelineOptions &options, llvm::StringRef plan);
void buildScheduleFunction(OpPassManager &function, const PipelineOptions &options, llvm::StringRef plan);

/// Gives every entry its plan (attributes comm.plan and comm.gate): by request, by a row of the tuning file, or by
/// predicted time of every candidate. In ChoosePlan.cpp, as the next one.
std::unique_ptr<Pass> createChoosePlanPass(const PipelineOptions &options);
/// Runs buildOptimizeFunction on every function, each with its plan.
std::unique_ptr<Pass> createRunPlansPass(const PipelineOptions &options);
/// Runs buildScheduleFunction on every function, each with its plan.
std::unique_ptr<Pass> createRunSchedulesPass(const PipelineOptions &options);

} // namespace mlir::comm
#endif
