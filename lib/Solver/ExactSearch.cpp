//===- ExactSearch.cpp - the optimum of small overlap problems ------------===//
// Depth first over all orders of steps. Cut by a lower bound of what is left, and by states reached before: with the
// same steps taken and the same collectives under way, an earlier clock with less left on every link is at least as
// good.
//===----------------------------------------------------------------------===//
#include "lib/Solver/Simulation.h"
#include <algorithm>
#include <limits>
#include <map>

namespace comm::solver {
namespace {

class ExactSearch {
public:
  ExactSearch(const Graph &graph, double known) : graph(graph), problem(graph.problem), memory(graph), best(known) {
    missing = graph.numNeeds;
    tail.assign(graph.numNeeds.size(), 0);
    for (auto it = graph.steps.rbegin(); it != graph.steps.rend(); ++it) {
      for (int32_t next : graph.successors[*it])
        tail[*it] = std::max(tail[*it], tail[next]);
      if (*it % 2 == 0)
        tail[*it] += problem.ops[*it / 2].us;
    }
    for (const OverlapOp &op : problem.ops)
      if (!op.isCollective())
        computeLeft += op.us;
  }

  /// An order faster than `known`, empty when there is none.
  std::vector<int32_t> run() {
    descend(Clock(problem), -1);
    return bestOrder;
  }

private:
  struct State {
    double time;
    std::vector<double> left;
  };

  void descend(const Clock &clock, int32_t last) {
    if (order.size() == graph.steps.size()) {
      if (clock.now() < best - 1e-9 * (1 + best)) {
        best = clock.now();
        bestOrder = order;
      }
      return;
    }
    if (bound(clock) >= best - 1e-9 * (1 + best) || seen(clock, last))
      return;
    // Most urgent first: good solutions early cut more.
    std::vector<int32_t> candidates;
    for (int32_t step : graph.steps)
      if (missing[step] == 0 && !(taken >> step & 1))
        candidates.push_back(step);
    std::stable_sort(candidates.begin(), candidates.end(), [&](int32_t a, int32_t b) { return tail[a] > tail[b]; });
    for (int32_t step : candidates) {
      bool good = memory.fits(memory.take(step));
      if (good) {
        Clock next = clock;
        next.take(graph.toStep(step));
        enter(step);
        descend(next, step);
        leave(step);
      }
      memory.undo(step);
    }
  }

  void enter(int32_t step) {
    taken |= uint64_t(1) << step;
    order.push_back(step);
    for (int32_t next : graph.successors[step])
      --missing[next];
    const OverlapOp &op = problem.ops[step / 2];
    computeLeft -= op.isCollective() ? 0 : op.us;
  }
  void leave(int32_t step) {
    taken &= ~(uint64_t(1) << step);
    order.pop_back();
    for (int32_t next : graph.successors[step])
      ++missing[next];
    const OverlapOp &op = problem.ops[step / 2];
    computeLeft += op.isCollective() ? 0 : op.us;
  }

  double bound(const Clock &clock) {
    double longest = std::max(0.0, computeLeft);
    for (int32_t step : graph.steps)
      if (missing[step] == 0 && !(taken >> step & 1))
        longest = std::max(longest, tail[step] + (step % 2 ? clock.remaining(step / 2) : 0));
    return clock.now() + longest;
  }

  /// True when a state at least as good was here before.
  bool seen(const Clock &clock, int32_t last) {
    clock.pending(pending);
    // An immediate wait costs less than a later one: what was started last is part of the state.
    std::vector<int32_t> key{last >= 0 && graph.toStep(last).kind == StepKind::Start ? last : -1};
    State state{clock.now(), {}};
    for (auto [op, left] : pending) {
      key.push_back(op);
      state.left.push_back(left);
    }
    std::vector<State> &states = memo[{taken, key}];
    for (const State &other : states) {
      bool better = other.time <= state.time;
      for (size_t i = 0; better && i < state.left.size(); ++i)
        better = other.left[i] <= state.left[i];
      if (better)
        return true;
    }
    states.push_back(std::move(state));
    return false;
  }

  const Graph &graph;
  const OverlapProblem &problem;
  Memory memory;
  double best, computeLeft = 0;
  uint64_t taken = 0;
  std::vector<int32_t> missing, order, bestOrder;
  std::vector<double> tail;
  std::vector<std::pair<int32_t, double>> pending;
  std::map<std::pair<uint64_t, std::vector<int32_t>>, std::vector<State>> memo;
};

} // namespace

OverlapSchedule solveExact(const OverlapProblem &problem, int32_t maxOps) {
  OverlapSchedule schedule;
  if (problem.ops.size() > static_cast<size_t>(std::min(maxOps, 31))) {
    schedule.status = OverlapStatus::TooLarge;
    return schedule;
  }
  Graph graph(problem);
  OverlapSchedule known = solve(problem);
  bool feasible = known.status == OverlapStatus::Ok;
  std::vector<int32_t> order =
      ExactSearch(graph, feasible ? known.times.makespanUs : std::numeric_limits<double>::max()).run();
  if (order.empty())
    return known; // already the best, or nothing fits
  schedule.order = toSteps(graph, order);
  schedule.times = evaluate(problem, schedule.order);
  return schedule;
}

} // namespace comm::solver
