//===- Pipeline.h - the phases as pass pipelines ----------------*- C++ -*-===//
#ifndef PASSES_PIPELINE_H
#define PASSES_PIPELINE_H
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
  /// plain: reductions as they are; fuse: scatter_norm_gather with the residual split by rows; split: also the tokens
  /// in two parts.
  std::string plan = "plain";
  int64_t cut = 0;      ///< split: where; 0: chosen
  int64_t tile = 64;    ///< split, chunks: rows of a tile
  int64_t offset = 0;   ///< split: rows of the first part beyond half
  int64_t minRows = 64; ///< split: fewest rows
  int64_t chunks = 1;   ///< of each product beside a collective; 0: chosen
};

/// Everything the pipeline can be asked for; tools bind flags to it once.
struct PipelineOptions {
  bool overlap = true;            ///< false: collectives stay synchronous
  std::set<std::string> disabled; ///< passes switched off, by the names of getOptionalPasses()
  PartitionOptions partition;
  WeaveOptions weave;
  LowerOptions lower;
  bool isOn(llvm::StringRef pass) const { return !disabled.count(pass.str()); }
};

/// Names of the passes that may be switched off (`--no-<name>`); the program means the same without each of them.
llvm::ArrayRef<llvm::StringRef> getOptionalPasses();

/// Appends the passes of one phase and the check of its outgoing form. Export has none.
void buildPhase(Phase phase, OpPassManager &pm, const PipelineOptions &options);

} // namespace mlir::comm
#endif
