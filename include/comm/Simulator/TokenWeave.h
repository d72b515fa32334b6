//===- TokenWeave.h - a published experiment, simulated ---------*- C++ -*-===//
// TokenWeave cuts the tokens of a tensor-parallel transformer in two and runs the fused all_reduce + add + norm of one
// part beside the attention or MLP of the other (arXiv 2505.11329). Here the layer chain of a model becomes a program
// of the simulator: communication and norm kernels cost what a table of measurements says, products, attention and
// experts what the cost model says. The prediction stands beside the published time.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Simulator/Simulator.h"

namespace comm::sim {

/// Measured kernels by number of tokens, at 16 KiB per token; us.
struct KernelTable {
  std::vector<double> tokens;
  std::map<std::string, std::vector<double>> us;                    ///< "all_reduce", "norm", "fused", ...
  std::vector<double> units;                                        ///< SMs given to the fused kernel, rising
  std::vector<std::pair<double, std::vector<double>>> fusedByUnits; ///< tokens -> us for each of `units`
  double of(const std::string &kernel, double tokens) const;
  /// The fused kernel on a number of SMs; 0: on the best one.
  double fused(double tokens, int64_t units) const;
};

/// One run that was published.
struct WeavePoint {
  int64_t tokens = 0;
  int64_t attentionUnits = 0, mlpUnits = 0; ///< SMs of the fused kernel beside attention and beside the MLP
  int64_t offset = 0;                       ///< the prefix has tokens / 2 + offset
  double baseMs = 0, deletedMs = 0, splitMs = 0;
};
struct WeaveModel {
  std::string name;
  int64_t ranks = 8, layers = 0, hidden = 0, heads = 0, kvHeads = 0, headDim = 128, inter = 0, experts = 0, topk = 0;
  std::vector<WeavePoint> points;
};
struct WeaveStudy {
  std::string source;
  double launchUs = 0;         ///< of each kernel, when a framework launches one by one
  double joinUs = 0;           ///< of making two streams wait for each other
  double collectiveFactor = 1; ///< of collectives inside a model, where operands are in the cache, on the table's
  KernelTable kernels;
  std::vector<WeaveModel> models;
};
/// Reads a study; false and one sentence on error.
bool loadWeaveStudy(const std::string &path, WeaveStudy &out, std::string &error);

enum class WeavePlan {
  Plain,   ///< all_reduce, then add and norm of all rows
  Deleted, ///< plain without its all_reduce: the bound of hiding, results wrong
  Fused,   ///< the fused kernel, nothing beside it
  Split,   ///< two parts in four windows
  Unfused, ///< reduce_scatter, norm of the own rows, all_gather
};
/// The layer chain as a program with its costs, which live no longer than the machine.
struct WeaveProgram {
  exe::Program program;
  std::unique_ptr<Costs> costs;
};

/// Predicted ms of each plan at one point, in the order of WeavePlan.
struct WeavePrediction {
  double ms[5] = {0, 0, 0, 0, 0};
  double of(WeavePlan plan) const { return ms[static_cast<size_t>(plan)]; }
  double speedUp() const { return of(WeavePlan::Plain) / of(WeavePlan::Split); }
};

/// A device with its cost model. Not for several threads at once.
class WeaveMachine {
public:
  explicit WeaveMachine(const cost::CostModel &);
  /// Factor on everything that is bound by operations: the published runs had locked clocks.
  void setClock(double factor);
  /// The factor with which predicted and published times without all_reduce agree in the (geometric) mean of all
  /// points.
  double fitClock(const WeaveStudy &);
  void build(const WeaveStudy &, const WeaveModel &, const WeavePoint &, WeavePlan, WeaveProgram &out) const;
  /// False and one sentence when a program does not run.
  bool predict(const WeaveStudy &, const WeaveModel &, const WeavePoint &, WeavePrediction &out,
               std::string &error) const;

private:
  struct Impl;
  std::shared_ptr<const Impl> impl;
};

} // namespace comm::sim
