//===- Simulation.h - clock and memory of an overlap problem ----*- C++ -*-===//
// Shared by evaluation, list scheduling and the exact search.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Solver/OverlapProblem.h"
#include <array>

namespace comm::solver {

/// Virtual time while steps are taken. Copyable, so that a search can go back.
class Clock {
public:
  explicit Clock(const OverlapProblem &problem) : problem(&problem) {}

  void run(int32_t op);
  void start(int32_t op);
  void wait(int32_t op);
  void take(Step step);
  double now() const { return time; }
  bool isFinished(int32_t op) const;
  /// Microseconds of work in front of and including `op` on its queue, if compute stood still; 0 when finished.
  double remaining(int32_t op) const;
  /// Collectives not yet finished, with what is left of each, queue after queue.
  void pending(std::vector<std::pair<int32_t, double>> &out) const;

  /// Where given, filled while steps are taken; `record[op]` for collectives.
  std::vector<CollectiveTime> *record = nullptr;

private:
  struct Pending {
    int32_t op;
    double left;
  };
  struct Queue {
    std::vector<Pending> items;
    size_t head = 0;
    bool busy() const { return head < items.size(); }
  };
  static constexpr size_t kQueues = 3;
  Queue &queueOf(int32_t op) {
    return queues[problem->oneQueue ? 0 : static_cast<size_t>(problem->ops[op].resource) - 1];
  }
  /// Moves all queues on by `us` of wall time; compute progresses at `rate` (0: it stands still), links at `linkRate`.
  void pass(double us, double rate, double linkRate, int32_t computeOp);
  double untilNextEnd(double linkRate) const;

  const OverlapProblem *problem;
  double time = 0;
  int32_t lastStarted = -1; ///< nothing has run since: a wait for it costs no issue
  std::array<Queue, kQueues> queues;
};

/// Who uses what, and the steps of a problem as numbers: op i runs or starts as 2i and is awaited as 2i + 1.
struct Graph {
  explicit Graph(const OverlapProblem &problem);
  int32_t stepOf(Step step) const { return 2 * step.op + (step.kind == StepKind::Wait); }
  Step toStep(int32_t id) const {
    int32_t op = id / 2;
    return {op, id % 2 ? StepKind::Wait : problem.ops[op].isCollective() ? StepKind::Start : StepKind::Run};
  }
  /// The step after which the result of an op is there.
  int32_t completion(int32_t op) const { return 2 * op + problem.ops[op].isCollective(); }

  const OverlapProblem &problem;
  std::vector<std::vector<int32_t>> successors; ///< by step
  std::vector<int32_t> numNeeds;                ///< by step
  std::vector<std::vector<int32_t>> produced;   ///< values by op
  std::vector<std::vector<int32_t>> used;       ///< values by op, each once
  std::vector<int32_t> numUses;                 ///< by value
  std::vector<int32_t> steps;                   ///< all, in program order, waits at once
};

/// Live bytes while steps are taken, with undo.
class Memory {
public:
  explicit Memory(const Graph &graph) : graph(&graph), uses(graph.numUses) {}
  /// Bytes while the step runs; afterwards `live()` is what stays.
  int64_t take(int32_t step);
  void undo(int32_t step);
  int64_t live() const { return bytes; }
  int32_t inFlight() const { return flying; }
  bool fits(int64_t peak) const {
    const OverlapProblem &p = graph->problem;
    return (p.memoryLimit <= 0 || peak <= p.memoryLimit) && fitsInFlight();
  }
  bool fitsInFlight() const {
    const OverlapProblem &p = graph->problem;
    return p.maxInFlight <= 0 || flying <= p.maxInFlight;
  }

private:
  const Graph *graph;
  std::vector<int32_t> uses;
  int64_t bytes = 0;
  int32_t flying = 0;
};

/// The sequence of `order` as steps of the API.
std::vector<Step> toSteps(const Graph &graph, const std::vector<int32_t> &order);

} // namespace comm::solver
