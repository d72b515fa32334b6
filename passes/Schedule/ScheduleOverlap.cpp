//===- ScheduleOverlap.cpp - starts and waits where the model says --------===//
// Matches   functions in form async
// Rewrites  the order of ops in the block; `order` and `on` of every start
// Skips     functions without comm.start
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/OverlapGraph.h"
#include "comm/Solver/BufferPlan.h"
#include "passes/Schedule/Passes.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::comm {
#define GEN_PASS_DEF_SCHEDULEOVERLAPPASS
#include "passes/Schedule/Passes.h.inc"

namespace {
namespace solver = ::comm::solver;

struct ScheduleOverlap : impl::ScheduleOverlapPassBase<ScheduleOverlap> {
  using ScheduleOverlapPassBase::ScheduleOverlapPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal() || function.getBody().front().getOps<StartOp>().empty())
      return;
    auto model = loadCostModel(function, {topology, link, tuning});
    if (!model)
      return signalPassFailure();
    OpTimes times(model, getGrid(function));
    OverlapGraphOptions options;
    options.memoryLimit = memoryLimit;
    options.maxInFlight = static_cast<int32_t>(maxInFlight.getValue());
    options.keepComputeOrder = keepOrder;
    OverlapGraph graph = buildOverlapGraph(function, times, options);
    std::string problem = solver::check(graph.problem);
    solver::OverlapSchedule schedule;
    if (problem.empty()) {
      int64_t arenaLimit = graph.problem.memoryLimit;
      if (keepOrder)
        boundByProgram(graph.problem);
      schedule = arenaLimit > 0 ? placed(function, graph, arenaLimit) : solver::solve(graph.problem);
      problem = solver::verify(graph.problem, schedule);
    }
    if (!problem.empty()) {
      function.emitError("error[E100]: the schedule of '") << function.getName() << "' is not sound: " << problem;
      return signalPassFailure();
    }
    if (schedule.status == solver::OverlapStatus::MemoryInfeasible && failed(refuse(function, graph, schedule)))
      return signalPassFailure();
    graph.apply(schedule.order, function.getBody().front());
    number(graph, schedule);
    numOverlapped += llvm::count_if(schedule.times.collectives,
                                    [](const solver::CollectiveTime &collective) { return collective.hiddenUs > 0; });
  }

private:
  /// A schedule whose buffers fit too.
  static solver::OverlapSchedule placed(func::FuncOp function, const OverlapGraph &graph, int64_t arenaLimit) {
    solver::PlacedSchedule found = solver::solveInArena(graph.problem, arenaLimit);
    if (found.schedule.status == solver::OverlapStatus::Ok && found.arenaBytes > arenaLimit)
      explain(
          function, "overlap",
          llvm::formatv("memory limit: {0} bytes are alive at once and {1} would be allowed, but no placement of the "
                        "buffers below {2} bytes was found",
                        found.schedule.times.peakBytes, arenaLimit, found.arenaBytes)
              .str());
    return found.schedule;
  }

  /// Without reordering, memory may not rise either.
  static void boundByProgram(solver::OverlapProblem &problem) {
    int64_t program = solver::evaluate(problem, solver::programOrder(problem)).peakBytes;
    problem.memoryLimit =
        problem.memoryLimit > 0 ? std::min(problem.memoryLimit, program) : std::max<int64_t>(program, 1);
  }

  /// The limit cannot be kept. An error, or, where the buffer planner has the last word, the smallest order and a
  /// remark.
  LogicalResult refuse(func::FuncOp function, const OverlapGraph &graph, const solver::OverlapSchedule &schedule) {
    std::string text = llvm::formatv(
        "no order of '{0}' keeps the limit of {1} bytes per rank: the smallest peak found is "
        "{2} bytes, {3} of them weights, constants, inputs and outputs",
        function.getName(), memoryLimit.getValue(), schedule.times.peakBytes + graph.fixedBytes, graph.fixedBytes);
    if (!strict) {
      explain(function, "overlap", "memory limit: " + text + "; every collective is awaited at once");
      return success();
    }
    return function.emitError("error[E502]: ")
           << text << "; raise the limit, split over more ranks, or compile for smaller input shapes";
  }

  /// One total order, and what carries each collective.
  void number(const OverlapGraph &graph, const solver::OverlapSchedule &schedule) {
    int64_t order = 0;
    for (const solver::CollectiveTime &collective : schedule.times.collectives) {
      auto start = dyn_cast<StartOp>(graph.members[collective.op].front());
      if (!start)
        continue;
      start.setOrder(order++);
      ++numStarts;
      start->setAttr(kLinkAttr,
                     StringAttr::get(&getContext(), solver::resourceName(graph.problem.ops[collective.op].resource)));
    }
  }
};
} // namespace
} // namespace mlir::comm
