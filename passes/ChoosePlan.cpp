//===- ChoosePlan.cpp - one plan per entry --------------------------------===//
// Every candidate is made in full on a copy of the entry, optimised and scheduled, and the predicted times of the
// copies are compared: what decides is what will run. No other plan than plain is taken for a gain that is within the
// noise.
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/OverlapGraph.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/Pipeline.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace mlir::comm;

namespace {
/// Smallest gain over a simpler plan that counts, as a share of its compute: that is what predictions get wrong, and
/// what a slow link makes small.
constexpr double kHysteresis = 0.02;
/// The same on CPU ranks, where predictions of a step are off by more and steps differ by more from run to run.
constexpr double kCpuHysteresis = 0.10;

struct Candidate {
  StringRef plan;
  double stepUs = 0, computeUs = 0, hiddenUs = 0, collectives = 0;
  int64_t numOps = 0; ///< equal numbers and times: nothing matched
};

/// Rows that the entry's largest reduction works on.
int64_t countTokens(func::FuncOp function) {
  int64_t tokens = 0;
  function.walk([&](CollectiveOpInterface op) {
    auto type = dyn_cast<RankedTensorType>(op->getOperand(0).getType());
    if (type && type.getRank() > 1 && type.getShape().back() > 0)
      tokens = std::max(tokens, type.getNumElements() / type.getShape().back());
  });
  return tokens;
}

/// Plan of the row whose token count is nearest, at most half as much again away; empty when there is none.
std::string planOfTuning(const CostOptions &cost, int64_t tokens) {
  if (cost.tuning.empty() || tokens <= 0)
    return "";
  auto buffer = llvm::MemoryBuffer::getFile(cost.tuning);
  auto parsed = buffer ? llvm::json::parse((*buffer)->getBuffer()) : llvm::json::Value(nullptr);
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return ""; // the cost model has reported the file
  }
  auto *object = parsed->getAsObject();
  auto *rows = object ? object->getArray("plans") : nullptr;
  if (!rows)
    return "";
  std::string best, topology = cost.topology.empty() ? "cpu" : cost.topology;
  double least = 1.5;
  for (const llvm::json::Value &value : *rows) {
    auto *row = value.getAsObject();
    auto wanted = row ? row->getString("topology") : std::nullopt;
    auto count = row ? row->getInteger("tokens") : std::nullopt;
    auto plan = row ? row->getString("plan") : std::nullopt;
    if (!count || *count <= 0 || !plan || !llvm::is_contained(getPlans(), *plan) || (wanted && *wanted != topology))
      continue;
    double ratio = static_cast<double>(std::max(*count, tokens)) / static_cast<double>(std::min(*count, tokens));
    if (ratio <= least) {
      least = ratio;
      best = plan->str();
    }
  }
  return best;
}

template <typename Derived> struct ModulePass : PassWrapper<Derived, OperationPass<ModuleOp>> {
  explicit ModulePass(PipelineOptions options) : options(std::move(options)) {}
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<CommDialect, arith::ArithDialect, func::FuncDialect, linalg::LinalgDialect, math::MathDialect,
                    tensor::TensorDialect>();
  }
  PipelineOptions options;
};

struct ChoosePlan : ModulePass<ChoosePlan> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ChoosePlan)
  using ModulePass::ModulePass;
  StringRef getArgument() const override { return "comm-choose-plan"; }
  StringRef getDescription() const override { return "take the plan with the least predicted time"; }

  void runOnOperation() override {
    for (func::FuncOp function : llvm::to_vector(getOperation().getOps<func::FuncOp>()))
      if (!function.isExternal() && !function->hasAttr(kReferenceAttr) && failed(choose(function)))
        return signalPassFailure();
  }

private:
  void set(func::FuncOp function, StringRef plan, const Twine &why) {
    function->setAttr(kPlanAttr, StringAttr::get(&getContext(), plan));
    explain(getOperation(), "plan", "'" + function.getName() + "' runs the plan " + plan + ": " + why);
  }

  LogicalResult choose(func::FuncOp function) {
    int64_t tokens = countTokens(function);
    if (tokens == 0)
      return success(); // nothing is communicated
    if (options.weave.plan != "auto")
      return request(function);
    if (options.overlap == OverlapMode::Off || options.overlap == OverlapMode::Safe) {
      set(function, "plain", options.overlap == OverlapMode::Off ? "overlap is off" : "compute is not to be reordered");
      return success();
    }
    if (std::string row = planOfTuning(options.cost, tokens); !row.empty()) {
      set(function, row, "a row of the tuning file for about " + Twine(tokens) + " tokens");
      return success();
    }
    SmallVector<Candidate> candidates;
    for (StringRef plan : getPlans()) {
      Candidate candidate{plan};
      if (failed(predict(function, candidate)))
        return failure();
      // A plan that changed nothing is not a choice.
      bool same = llvm::any_of(candidates, [&](const Candidate &other) {
        return other.numOps == candidate.numOps && other.stepUs == candidate.stepUs;
      });
      if (!same)
        candidates.push_back(candidate);
    }
    decide(function, candidates, tokens);
    return success();
  }

  /// A plan that was asked for is taken, and said when nothing matches it.
  LogicalResult request(func::FuncOp function) {
    Candidate plain{"plain"}, asked{options.weave.plan};
    if (options.weave.plan != "plain" && (failed(predict(function, plain)) || failed(predict(function, asked))))
      return failure();
    bool same = options.weave.plan != "plain" && plain.numOps == asked.numOps && plain.stepUs == asked.stepUs;
    set(function, options.weave.plan, same ? "by request, but nothing matches it and it equals plain" : "by request");
    return success();
  }

  /// Down the list, which begins with the simplest plan, a plan must gain on the one that is taken so far.
  void decide(func::FuncOp function, ArrayRef<Candidate> candidates, int64_t tokens) {
    const Candidate *best = &candidates.front(), *base = best;
    bool always = options.overlap == OverlapMode::Max;
    // Per collective a gain below the price of handing one over is within the noise of the model, too.
    std::string error;
    auto model = loadCostModel(options.cost, error);
    double least = model && model->topology().device.cpu ? kCpuHysteresis : kHysteresis;
    for (const Candidate &candidate : candidates.drop_front()) {
      double noise = std::max(base->computeUs * least, (model ? model->chunkOverheadUs() : 0) * base->collectives);
      if (!always && (candidate.stepUs >= base->stepUs - noise || candidate.stepUs >= best->stepUs))
        continue;
      best = &candidate;
      if (candidate.plan == "plain")
        base = best; // the others hide communication in other ways: they are compared with this one
    }
    std::string others;
    bool hidesMore = false;
    for (const Candidate &candidate : candidates)
      if (&candidate != best) {
        others += llvm::formatv("{0}{1} {2:f1} us", others.empty() ? "" : ", ", candidate.plan, candidate.stepUs);
        hidesMore |= candidate.hiddenUs > best->hiddenUs * (1 + kHysteresis);
      }
    std::string text = llvm::formatv("predicted {0:f1} us at {1} tokens", best->stepUs, tokens);
    set(function, best->plan, text + (others.empty() ? "; no other plan matches" : "; " + others));
    if (best == base && hidesMore)
      function->setAttr(
          kGateAttr,
          StringAttr::get(&getContext(), llvm::formatv("{0} {1:f1} us, {2}", best->plan, best->stepUs, others).str()));
  }

  /// Makes the candidate on a copy; only its numbers stay.
  LogicalResult predict(func::FuncOp function, Candidate &candidate) {
    Attribute remarks = getOperation()->getAttr(kExplainAttr);
    OpBuilder builder(function);
    auto copy = cast<func::FuncOp>(builder.clone(*function));
    copy.setName((function.getName() + "." + candidate.plan).str());
    OpPassManager pm(func::FuncOp::getOperationName());
    buildOptimizeFunction(pm, options, candidate.plan);
    buildScheduleFunction(pm, options, candidate.plan);
    LogicalResult done = runPipeline(pm, copy);
    if (auto predicted = copy->getAttrOfType<DictionaryAttr>(kPredictedAttr)) {
      candidate.stepUs = cast<FloatAttr>(predicted.get("step_us")).getValueAsDouble();
      candidate.computeUs = cast<FloatAttr>(predicted.get("compute_us")).getValueAsDouble();
      candidate.hiddenUs = cast<FloatAttr>(predicted.get("hidden_us")).getValueAsDouble();
      candidate.collectives = cast<FloatAttr>(predicted.get("judged")).getValueAsDouble();
    }
    copy.walk([&](Operation *) { ++candidate.numOps; });
    copy.erase();
    if (remarks)
      getOperation()->setAttr(kExplainAttr, remarks);
    else
      getOperation()->removeAttr(kExplainAttr);
    return done;
  }
};

/// Runs one part of the pipeline on every function, each with its plan.
struct RunByPlan : ModulePass<RunByPlan> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(RunByPlan)
  using Build = void (*)(OpPassManager &, const PipelineOptions &, StringRef plan);
  RunByPlan(const PipelineOptions &options, StringRef argument, StringRef description, Build build)
      : ModulePass(options), argument(argument), description(description), build(build) {}
  StringRef getArgument() const override { return argument; }
  StringRef getDescription() const override { return description; }

  void runOnOperation() override {
    for (func::FuncOp function : llvm::to_vector(getOperation().getOps<func::FuncOp>())) {
      auto plan = function->getAttrOfType<StringAttr>(kPlanAttr);
      OpPassManager pm(func::FuncOp::getOperationName());
      build(pm, options, plan ? plan.getValue() : "plain");
      if (failed(runPipeline(pm, function)))
        return signalPassFailure();
    }
  }

private:
  StringRef argument, description; ///< of literals
  Build build;
};
} // namespace

std::unique_ptr<Pass> mlir::comm::createChoosePlanPass(const PipelineOptions &options) {
  return std::make_unique<ChoosePlan>(options);
}
std::unique_ptr<Pass> mlir::comm::createRunSchedulesPass(const PipelineOptions &options) {
  return std::make_unique<RunByPlan>(options, "comm-run-schedules", "schedule every function as its plan says",
                                     buildScheduleFunction);
}
std::unique_ptr<Pass> mlir::comm::createRunPlansPass(const PipelineOptions &options) {
  return std::make_unique<RunByPlan>(options, "comm-run-plans", "optimise every function as its plan says",
                                     buildOptimizeFunction);
}
