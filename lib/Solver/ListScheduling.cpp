//===- ListScheduling.cpp - overlap by critical path within hard limits ---===//
// A reference order that keeps the limits exists before anything is moved. Each step takes the most urgent ready op,
// but only if the reference order, resumed behind it, still keeps the limits: so there is always a step that may be
// taken, and no limit is ever exceeded. Several notions of urgency are tried; the program order competes too.
//===----------------------------------------------------------------------===//
#include "lib/Solver/MemoryOrder.h"
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

/// Steps up to which another reference order is also searched for.
constexpr size_t kSearchedRepairs = 200;

int64_t peakOf(const Graph &graph, const std::vector<int32_t> &order) {
  Memory memory(graph);
  int64_t peak = 0;
  for (int32_t step : order)
    peak = std::max(peak, memory.take(step));
  return peak;
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
    Progress after(memory, missing, taken);
    ++repairWork;
    if (!after.memory.fits(after.take(graph, step)))
      return false;
    std::vector<int32_t> rest = order;
    rest.push_back(step);
    repairWork += static_cast<int64_t>(reference.size()) / 8;
    if (!completeFrugally(graph, after, true, rest, repairWork)) {
      // A search is worth its time only where there are few others.
      if (problem.memoryLimit <= 0 || graph.steps.size() > kSearchedRepairs)
        return false;
      rest.resize(order.size() + 1);
      MemorySearch search;
      search.enough = problem.memoryLimit;
      search.mustFit = true;
      search.width = 64;
      search.work = kRepairWork / 16;
      if (completeSparingly(graph, std::move(after), search, rest, repairWork) < 0)
        return false;
    }
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

/// How an order within the limit is looked for, the quick ways first.
static std::vector<MemorySearch> memorySearches(const Graph &graph) {
  size_t steps = graph.steps.size();
  std::vector<MemorySearch> all(2);
  all[0].width = 256;
  all[1].kind = MemorySearch::Beam;
  all[1].width = 24;
  if (steps <= 400) {
    all.push_back(all[1]);
    all.back().width = 400;
  }
  if (steps <= 32) {
    all.push_back(all[0]);
    all.back().kind = MemorySearch::Exact;
    all.back().width = 20000;
  }
  for (MemorySearch &search : all) {
    search.enough = graph.problem.memoryLimit;
    search.work = 600000;
  }
  return all;
}

/// Orders that list scheduling may fall back on: the program's, and one that needs little memory. When none keeps the
/// limit, the one with the smallest peak.
static std::vector<std::vector<int32_t>> findReferences(const Graph &graph, bool &fit) {
  int64_t limit = graph.problem.memoryLimit, work = 0;
  std::vector<std::vector<int32_t>> references{graph.steps};
  fit = true;
  if (limit <= 0)
    return references;
  references.emplace_back();
  completeFrugally(graph, Progress(graph), false, references[1], work);
  std::vector<int64_t> peaks{peakOf(graph, references[0]), peakOf(graph, references[1])};
  // Greed fails where bytes have to be spent before more of them come back.
  for (const MemorySearch &search : memorySearches(graph)) {
    if (*std::min_element(peaks.begin(), peaks.end()) <= limit)
      break;
    references.emplace_back();
    completeSparingly(graph, Progress(graph), search, references.back(), work);
    peaks.push_back(peakOf(graph, references.back()));
  }
  size_t least = static_cast<size_t>(std::min_element(peaks.begin(), peaks.end()) - peaks.begin());
  fit = peaks[least] <= limit;
  std::vector<std::vector<int32_t>> found;
  for (size_t i = 0; i < references.size(); ++i)
    if (fit ? peaks[i] <= limit : i == least)
      found.push_back(std::move(references[i]));
  return found;
}

OverlapSchedule solve(const OverlapProblem &problem) {
  Graph graph(problem);
  OverlapSchedule best;
  bool fit = false;
  std::vector<std::vector<int32_t>> references = findReferences(graph, fit);
  if (!fit) {
    best.status = OverlapStatus::MemoryInfeasible;
    best.order = toSteps(graph, references[0]);
    best.times = evaluate(problem, best.order);
    return best;
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
