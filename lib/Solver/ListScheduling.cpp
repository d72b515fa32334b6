//===- ListScheduling.cpp - overlap by critical path within hard limits ---===//
// A reference order that keeps the limits exists before anything is moved. Each step takes the most urgent ready op,
// but only if the reference order, resumed behind it, still keeps the limits: so there is always a step that may be
// taken, and no limit is ever exceeded. Several notions of urgency are tried; the program order competes too.
//===----------------------------------------------------------------------===//
#include "lib/Solver/Simulation.h"
#include <algorithm>
#include <numeric>
#include <set>

namespace comm::solver {
namespace {

/// How far behind the front of the reference order a step may be taken from when a limit has to be checked: bounds the
/// time of a check.
constexpr int32_t kWindow = 512;
/// Steps that may be spent on other reference orders; bounds the time of a schedule.
constexpr int64_t kRepairWork = 400000;

int64_t peakOf(const Graph &graph, const std::vector<int32_t> &order) {
  Memory memory(graph);
  int64_t peak = 0;
  for (int32_t step : order)
    peak = std::max(peak, memory.take(step));
  return peak;
}

/// Takes the rest of the program greedily in bytes: of all ready steps the one after which least is alive; a collective
/// is awaited at once. Appends to `order`; false as soon as a limit is exceeded when `limited`. `work` counts the steps
/// tried.
bool completeFrugally(const Graph &graph, Memory &memory, std::vector<int32_t> missing, const std::vector<bool> &taken,
                      bool limited, std::vector<int32_t> &order, int64_t &work) {
  std::vector<int32_t> ready;
  for (int32_t step : graph.steps)
    if (missing[step] == 0 && !taken[step])
      ready.push_back(step);
  auto takeOne = [&](int32_t step) {
    bool good = memory.fits(memory.take(step));
    order.push_back(step);
    for (int32_t next : graph.successors[step])
      if (--missing[next] == 0 && (next % 2 == 0 || next != step + 1))
        ready.push_back(next);
    return good || !limited;
  };
  while (!ready.empty()) {
    // A long list of equals is not searched to its end.
    size_t best = 0, scanned = std::min<size_t>(ready.size(), 256);
    std::pair<int64_t, int32_t> least{INT64_MAX, 0};
    for (size_t i = 0; i < scanned; ++i) {
      int32_t step = ready[i];
      bool starts = graph.toStep(step).kind == StepKind::Start;
      memory.take(step);
      if (starts)
        memory.take(step + 1);
      std::pair<int64_t, int32_t> key{memory.live(), step};
      if (starts)
        memory.undo(step + 1);
      memory.undo(step);
      if (key < least) {
        least = key;
        best = i;
      }
    }
    work += static_cast<int64_t>(scanned);
    int32_t step = ready[best];
    ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(best));
    if (!takeOne(step) || (graph.toStep(step).kind == StepKind::Start && !takeOne(step + 1)))
      return false;
  }
  return true;
}

std::vector<int32_t> frugalOrder(const Graph &graph) {
  std::vector<int32_t> order;
  Memory memory(graph);
  int64_t work = 0;
  completeFrugally(graph, memory, graph.numNeeds, std::vector<bool>(graph.numNeeds.size(), false), false, order, work);
  return order;
}

/// A notion of urgency.
struct Policy {
  enum By { Path, Tail, Program } by = Path; ///< longest way to the end with the op itself, without it; program order
  bool eagerStarts = true; ///< a start goes as soon as its operands are there; else when it is the most urgent
  bool lazyWaits = false;  ///< waits only when nothing else is left, even for what is already there
  double linkWeight = 1;   ///< of collectives on the way to the end
};
constexpr Policy kPolicies[] = {
    {Policy::Path, true, false, 1},    {Policy::Tail, true, false, 1},  {Policy::Path, true, true, 1},
    {Policy::Tail, true, true, 1},     {Policy::Path, false, false, 1}, {Policy::Tail, false, false, 1},
    {Policy::Path, true, false, 3},    {Policy::Tail, true, false, 3},  {Policy::Program, true, true, 1},
    {Policy::Program, true, false, 1}, {Policy::Path, false, true, 1},
};

class ListScheduler {
public:
  ListScheduler(const Graph &graph, std::vector<int32_t> reference, const Policy &policy)
      : graph(graph), problem(graph.problem), reference(std::move(reference)), policy(policy), memory(graph),
        clock(problem), missing(graph.numNeeds), taken(graph.numNeeds.size(), false), place(graph.numNeeds.size(), 0) {
    findPlaces();
    rank();
  }

  std::vector<int32_t> run() {
    for (int32_t step : graph.steps)
      if (missing[step] == 0)
        enqueue(step);
    order.reserve(reference.size());
    while (order.size() < reference.size()) {
      int64_t before = repairs;
      int32_t step = choose();
      // What was looked at later may have changed the reference order.
      take(repairs == before || fits(step) ? step : reference[front]);
    }
    return std::move(order);
  }

private:
  /// Most urgent first: a larger rank, then the program's order.
  void rank() {
    std::vector<double> path(graph.numNeeds.size(), 0), urgency;
    for (auto it = graph.steps.rbegin(); it != graph.steps.rend(); ++it) {
      int32_t step = *it;
      const OverlapOp &op = problem.ops[step / 2];
      for (int32_t next : graph.successors[step])
        path[step] = std::max(path[step], path[next]);
      if (step % 2 == 0)
        path[step] += op.us * (op.isCollective() ? policy.linkWeight : 1);
    }
    urgency = path;
    for (size_t step = 0; policy.by == Policy::Tail && step < urgency.size(); step += 2)
      urgency[step] -= problem.ops[step / 2].us * (problem.ops[step / 2].isCollective() ? policy.linkWeight : 1);
    ranks.assign(graph.numNeeds.size(), 0);
    std::vector<int32_t> sorted = graph.steps;
    if (policy.by != Policy::Program)
      std::stable_sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) { return urgency[a] > urgency[b]; });
    for (size_t i = 0; i < sorted.size(); ++i)
      ranks[sorted[i]] = static_cast<int32_t>(i);
  }

  void enqueue(int32_t step) {
    StepKind kind = graph.toStep(step).kind;
    ready[static_cast<size_t>(kind)].insert({ranks[step], step});
  }

  void take(int32_t step) {
    taken[step] = true;
    order.push_back(step);
    memory.take(step);
    clock.take(graph.toStep(step));
    ready[static_cast<size_t>(graph.toStep(step).kind)].erase({ranks[step], step});
    for (int32_t next : graph.successors[step])
      if (--missing[next] == 0)
        enqueue(next);
    while (front < reference.size() && taken[reference[front]])
      ++front;
  }

  bool limited() const { return problem.memoryLimit > 0 || problem.maxInFlight > 0; }

  void findPlaces() {
    for (size_t i = 0; i < reference.size(); ++i)
      place[reference[i]] = static_cast<int32_t>(i);
  }

  /// Whether the limits can be kept behind `step`: with the rest of the reference order, or with another rest, which
  /// then becomes the reference.
  bool fits(int32_t step) {
    if (!limited() || reference[front] == step || resumes(step))
      return true;
    if (repairWork > kRepairWork)
      return false;
    Memory after = memory;
    std::vector<int32_t> rest = order, missingAfter = missing;
    std::vector<bool> takenAfter = taken;
    ++repairWork;
    if (!after.fits(after.take(step)))
      return false;
    rest.push_back(step);
    takenAfter[step] = true;
    for (int32_t next : graph.successors[step])
      --missingAfter[next];
    repairWork += static_cast<int64_t>(reference.size()) / 8;
    if (!completeFrugally(graph, after, std::move(missingAfter), takenAfter, true, rest, repairWork))
      return false;
    reference = std::move(rest);
    ++repairs;
    findPlaces();
    front = order.size();
    return true;
  }

  /// Whether `step` and then the rest of the reference order keep the limits. Behind the place of `step` nothing
  /// changes, so only what stands before it is looked at.
  bool resumes(int32_t step) {
    if (place[step] - static_cast<int32_t>(front) > kWindow)
      return false;
    bool good = memory.fits(memory.take(step));
    undoList.assign(1, step);
    for (size_t i = front; good && reference[i] != step; ++i) {
      if (taken[reference[i]])
        continue;
      good = memory.fits(memory.take(reference[i]));
      undoList.push_back(reference[i]);
    }
    for (auto it = undoList.rbegin(); it != undoList.rend(); ++it)
      memory.undo(*it);
    return good;
  }

  /// First of a queue that fits; -1 when none does.
  template <typename Filter> int32_t first(StepKind kind, Filter filter) {
    for (auto [rank, step] : ready[static_cast<size_t>(kind)])
      if (filter(step) && fits(step))
        return step;
    return -1;
  }

  int32_t choose() {
    auto any = [](int32_t) { return true; };
    int32_t start = first(StepKind::Start, any);
    if (start >= 0 && policy.eagerStarts)
      return start;
    int32_t run = first(StepKind::Run, any);
    if (start >= 0 && (run < 0 || ranks[start] < ranks[run]))
      return start;
    int32_t wait = policy.lazyWaits && run >= 0
                       ? -1
                       : first(StepKind::Wait, [&](int32_t step) { return clock.isFinished(step / 2); });
    if (run >= 0 && (wait < 0 || ranks[run] < ranks[wait]))
      return run;
    if (wait >= 0)
      return wait;
    // Compute would stand still: for what is there first.
    double least = 0;
    for (auto [rank, step] : ready[static_cast<size_t>(StepKind::Wait)]) {
      double left = clock.remaining(step / 2);
      if ((wait < 0 || left < least) && fits(step)) {
        wait = step;
        least = left;
      }
    }
    return wait >= 0 ? wait : reference[front];
  }

  const Graph &graph;
  const OverlapProblem &problem;
  std::vector<int32_t> reference;
  Policy policy;
  Memory memory;
  Clock clock;
  std::vector<int32_t> missing, ranks, order, undoList;
  std::vector<bool> taken;
  std::vector<int32_t> place;
  size_t front = 0; ///< of the reference order: everything before it is taken
  int64_t repairWork = 0, repairs = 0;
  std::set<std::pair<int32_t, int32_t>> ready[3];
};

} // namespace

OverlapSchedule solve(const OverlapProblem &problem) {
  Graph graph(problem);
  // Orders to fall back on: the program's, and one that needs little memory.
  std::vector<std::vector<int32_t>> references{graph.steps};
  OverlapSchedule best;
  if (problem.memoryLimit > 0) {
    references.push_back(frugalOrder(graph));
    int64_t peaks[] = {peakOf(graph, references[0]), peakOf(graph, references[1])};
    if (std::min(peaks[0], peaks[1]) > problem.memoryLimit) {
      best.status = OverlapStatus::MemoryInfeasible;
      best.order = toSteps(graph, references[peaks[1] < peaks[0]]);
      best.times = evaluate(problem, best.order);
      return best;
    }
    if (peaks[1] > problem.memoryLimit)
      references.pop_back();
    else if (peaks[0] > problem.memoryLimit)
      references.erase(references.begin());
  }
  auto consider = [&](const std::vector<int32_t> &order) {
    OverlapSchedule schedule;
    schedule.order = toSteps(graph, order);
    schedule.times = evaluate(problem, schedule.order);
    // Equal ones differ by rounding; the first of them stays.
    if (best.order.empty() || schedule.times.makespanUs < best.times.makespanUs * (1 - 1e-9))
      best = std::move(schedule);
  };
  for (const std::vector<int32_t> &reference : references)
    consider(reference);
  for (const std::vector<int32_t> &reference : references)
    for (const Policy &policy : kPolicies)
      consider(ListScheduler(graph, reference, policy).run());
  return best;
}

} // namespace comm::solver
