//===- PredictOverlap.cpp - one verdict for every collective --------------===//
// Matches   functions with collectives, started or synchronous
// Rewrites  nothing: attribute comm.predicted of the function, remarks of the module
// Skips     functions without collectives
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/Verdict.h"
#include "passes/Schedule/Passes.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::comm {
#define GEN_PASS_DEF_PREDICTOVERLAPPASS
#include "passes/Schedule/Passes.h.inc"

namespace {
namespace solver = ::comm::solver;

struct PredictOverlap : impl::PredictOverlapPassBase<PredictOverlap> {
  using PredictOverlapPassBase::PredictOverlapPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal() || function->hasAttr(kReferenceAttr))
      return;
    auto model = loadCostModel(function, {topology, link, tuning});
    if (!model)
      return signalPassFailure();
    OpTimes times(model, getGrid(function));
    OverlapGraphOptions options;
    options.memoryLimit = memoryLimit;
    options.maxInFlight = static_cast<int32_t>(maxInFlight.getValue());
    OverlapGraph graph = buildOverlapGraph(function, times, options);
    if (std::string problem = solver::check(graph.problem); !problem.empty()) {
      function.emitError("error[E100]: '") << function.getName() << "' is not a sound overlap problem: " << problem;
      return signalPassFailure();
    }
    solver::OverlapTimes predicted = solver::evaluate(graph.problem, graph.blockOrder());
    SmallVector<Verdict> verdicts = judgeAll(function, graph, predicted, times);
    int64_t order = 0, overlapped = 0;
    llvm::MapVector<Reason, int64_t> counts;
    for (Reason reason : getReasons())
      counts[reason] = 0;
    for (const Verdict &verdict : verdicts) {
      ++numCollectives;
      overlapped += verdict.hiddenUs > 0.05 * verdict.us;
      ++counts[verdict.reason];
      explain(graph.members[verdict.op].front(), "overlap", print(verdict, graph, order++));
    }
    numOverlapped += overlapped;
    if (!verdicts.empty())
      explain(function->getParentOfType<ModuleOp>(), "overlap", summary(function, predicted, counts, overlapped));
    record(function, predicted, verdicts.size(), overlapped, *model);
  }

private:
  SmallVector<Verdict> judgeAll(func::FuncOp function, OverlapGraph &graph, const solver::OverlapTimes &predicted,
                                const OpTimes &times) {
    const solver::OverlapProblem &problem = graph.problem;
    solver::OverlapTimes unlimited;
    bool limited = !off && (problem.memoryLimit > 0 || problem.maxInFlight > 0);
    if (limited) {
      solver::OverlapProblem free = problem;
      free.memoryLimit = 0;
      free.maxInFlight = 0;
      unlimited = solver::solve(free).times;
    }
    auto gate = function->getAttrOfType<StringAttr>(kGateAttr);
    SmallVector<Verdict> verdicts =
        judge(graph, predicted, limited ? &unlimited : nullptr, times, gate ? gate.getValue() : StringRef());
    // In the plan without overlap it is the choice of the plan that keeps each collective.
    auto plan = function->getAttrOfType<StringAttr>(kPlanAttr);
    bool chosen = plan && plan.getValue() == "sync" && gate;
    for (Verdict &verdict : verdicts)
      if ((off || chosen) && verdict.reason != Reason::Nothing) {
        verdict.reason = off ? Reason::Off : Reason::Gate;
        verdict.note = off ? "" : gate.getValue().str();
      }
    return verdicts;
  }

  static std::string summary(func::FuncOp function, const solver::OverlapTimes &predicted,
                             const llvm::MapVector<Reason, int64_t> &counts, int64_t overlapped) {
    int64_t all = predicted.collectives.size();
    std::string text = llvm::formatv(
        "'{0}': {1} of {2} collectives overlapped, {3:f1} of {4:f1} us hidden; verdicts:", function.getName(),
        overlapped, all, predicted.hiddenUs, predicted.hiddenUs + predicted.exposedUs);
    bool first = true;
    for (auto [reason, count] : counts)
      if (count > 0) {
        text += llvm::formatv("{0} {1} {2}", first ? "" : ",", count, getReasonName(reason));
        first = false;
      }
    return text;
  }

  static void record(func::FuncOp function, const solver::OverlapTimes &predicted, int64_t collectives,
                     int64_t overlapped, const ::comm::cost::CostModel &model) {
    Builder builder(function.getContext());
    auto number = [&](StringRef name, double value) {
      return builder.getNamedAttr(name, builder.getF64FloatAttr(value));
    };
    function->setAttr(
        kPredictedAttr,
        builder.getDictionaryAttr({number("step_us", predicted.makespanUs), number("compute_us", predicted.computeUs),
                                   number("hidden_us", predicted.hiddenUs), number("exposed_us", predicted.exposedUs),
                                   number("overlapped", static_cast<double>(overlapped)),
                                   number("judged", static_cast<double>(collectives)),
                                   builder.getNamedAttr("model", builder.getStringAttr(model.fingerprint()))}));
  }
};
} // namespace
} // namespace mlir::comm
