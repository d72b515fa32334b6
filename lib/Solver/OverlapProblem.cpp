//===- OverlapProblem.cpp - checks and virtual time -----------------------===//
#include "comm/Solver/OverlapProblem.h"
#include "lib/Solver/Simulation.h"
#include <algorithm>
#include <cmath>
#include <limits>

namespace comm::solver {

const char *resourceName(Resource resource) {
  switch (resource) {
  case Resource::Compute:
    return "compute";
  case Resource::ScaleUp:
    return "scale_up";
  case Resource::ScaleOut:
    return "scale_out";
  case Resource::CopyEngine:
    return "copy_engine";
  }
  return "";
}

std::string check(const OverlapProblem &problem) {
  int32_t n = static_cast<int32_t>(problem.ops.size());
  if (problem.ops.size() > (1u << 24) || problem.values.size() > (1u << 26))
    return "there are too many ops or values";
  auto finite = [](double x) { return std::isfinite(x) && x >= 0 && x < 1e15; };
  auto rate = [](double x) { return x > 0 && x <= 1; };
  if (!finite(problem.issueUs) || problem.memoryLimit < 0 || problem.maxInFlight < 0)
    return "a limit or the issue time is negative or not finite";
  for (int32_t i = 0; i < n; ++i) {
    const OverlapOp &op = problem.ops[i];
    std::string name = "op " + std::to_string(i);
    if (!finite(op.us))
      return name + ": its time is negative or not finite";
    if (!rate(op.computeRate) || !rate(op.linkRate))
      return name + ": a rate is not in (0, 1]";
    for (int32_t need : op.needs)
      if (need < 0 || need >= i)
        return name + " needs op " + std::to_string(need) + ", which does not stand before it";
  }
  int64_t total = 0;
  for (size_t v = 0; v < problem.values.size(); ++v) {
    const OverlapValue &value = problem.values[v];
    std::string name = "value " + std::to_string(v);
    if (value.bytes < 0 || __builtin_add_overflow(total, value.bytes, &total))
      return name + ": its size is negative or the sum of sizes overflows";
    if (value.producer < 0 || value.producer >= n)
      return name + ": no op " + std::to_string(value.producer) + " produces it";
    for (int32_t user : value.users)
      if (user <= value.producer || user >= n ||
          std::find(problem.ops[user].needs.begin(), problem.ops[user].needs.end(), value.producer) ==
              problem.ops[user].needs.end())
        return name + ": its user " + std::to_string(user) + " does not need its producer";
  }
  return "";
}

std::vector<Step> programOrder(const OverlapProblem &problem) {
  Graph graph(problem);
  return toSteps(graph, graph.steps);
}

OverlapTimes evaluate(const OverlapProblem &problem, const std::vector<Step> &order) {
  OverlapTimes times;
  Graph graph(problem);
  Memory memory(graph);
  Clock clock(problem);
  std::vector<CollectiveTime> record(problem.ops.size());
  for (size_t i = 0; i < record.size(); ++i) {
    record[i].op = static_cast<int32_t>(i);
    record[i].beginUs = -1;
  }
  clock.record = &record;
  for (Step step : order) {
    clock.take(step);
    times.peakBytes = std::max(times.peakBytes, memory.take(graph.stepOf(step)));
    times.mostInFlight = std::max(times.mostInFlight, memory.inFlight());
    if (step.kind == StepKind::Run)
      times.computeUs += problem.ops[step.op].us;
  }
  times.makespanUs = clock.now();
  for (Step step : order) {
    if (step.kind != StepKind::Start)
      continue;
    CollectiveTime &collective = record[step.op];
    collective.exposedUs = problem.ops[step.op].us - collective.hiddenUs;
    times.hiddenUs += collective.hiddenUs;
    times.exposedUs += collective.exposedUs;
    times.collectives.push_back(std::move(collective));
  }
  return times;
}

double lowerBoundUs(const OverlapProblem &problem) {
  std::vector<double> ready(problem.ops.size(), 0);
  double compute = 0, queue[4] = {0, 0, 0, 0}, links = 0, longest = 0;
  for (size_t i = 0; i < problem.ops.size(); ++i) {
    const OverlapOp &op = problem.ops[i];
    for (int32_t need : op.needs)
      ready[i] = std::max(ready[i], ready[need]);
    ready[i] += op.us;
    longest = std::max(longest, ready[i]);
    if (!op.isCollective())
      compute += op.us;
    else
      links = std::max(links, queue[problem.oneQueue ? 0 : static_cast<size_t>(op.resource)] += op.us);
  }
  return std::max({longest, compute, links});
}

std::string verify(const OverlapProblem &problem, const OverlapSchedule &schedule) {
  if (schedule.status == OverlapStatus::TooLarge)
    return schedule.order.empty() ? "" : "a schedule that was not made has an order";
  Graph graph(problem);
  std::vector<int32_t> done(graph.numNeeds.size(), 0);
  if (schedule.order.size() != graph.steps.size())
    return "the order has " + std::to_string(schedule.order.size()) + " steps, the problem " +
           std::to_string(graph.steps.size());
  for (size_t i = 0; i < schedule.order.size(); ++i) {
    Step step = schedule.order[i];
    std::string name = "step " + std::to_string(i) + " (op " + std::to_string(step.op) + ")";
    if (step.op < 0 || step.op >= static_cast<int32_t>(problem.ops.size()) ||
        (step.kind == StepKind::Run) == problem.ops[step.op].isCollective())
      return name + " does not exist or is of the wrong kind";
    if (done[graph.stepOf(step)]++)
      return name + " is taken twice";
    if (step.kind == StepKind::Wait) {
      if (!done[2 * step.op])
        return name + " waits for a collective that was not started";
      continue;
    }
    for (int32_t need : problem.ops[step.op].needs)
      if (!done[graph.completion(need)])
        return name + " comes before op " + std::to_string(need) + " is complete";
  }
  OverlapTimes times = evaluate(problem, schedule.order);
  double slack = 1e-6 * (1 + times.makespanUs);
  if (std::fabs(times.makespanUs - schedule.times.makespanUs) > slack ||
      std::fabs(times.exposedUs - schedule.times.exposedUs) > slack || times.peakBytes != schedule.times.peakBytes)
    return "the times or the peak of the schedule are not those of its order";
  if (schedule.status != OverlapStatus::Ok)
    return "";
  if (problem.memoryLimit > 0 && times.peakBytes > problem.memoryLimit)
    return "the peak of " + std::to_string(times.peakBytes) + " bytes exceeds the limit of " +
           std::to_string(problem.memoryLimit);
  if (problem.maxInFlight > 0 && times.mostInFlight > problem.maxInFlight)
    return std::to_string(times.mostInFlight) + " collectives are under way at once, the limit is " +
           std::to_string(problem.maxInFlight);
  return "";
}

} // namespace comm::solver
