//===- Simulation.cpp - clock and memory of an overlap problem ------------===//
#include "lib/Solver/Simulation.h"
#include <algorithm>
#include <limits>

namespace comm::solver {
namespace {
// In place of a compute op.
constexpr int32_t kStall = -1, kIssue = -2;
} // namespace

void Clock::take(Step step) {
  switch (step.kind) {
  case StepKind::Run:
    return run(step.op);
  case StepKind::Start:
    return start(step.op);
  case StepKind::Wait:
    return wait(step.op);
  }
}

double Clock::untilNextEnd(double linkRate) const {
  double least = std::numeric_limits<double>::infinity();
  for (const Queue &queue : queues)
    if (queue.busy())
      least = std::min(least, queue.items[queue.head].left / linkRate);
  return least;
}

void Clock::pass(double us, double rate, double linkRate, int32_t computeOp) {
  int active = 0;
  for (const Queue &queue : queues)
    active += queue.busy();
  for (Queue &queue : queues) {
    if (!queue.busy())
      continue;
    Pending &head = queue.items[queue.head];
    double progress = std::min(head.left, us * linkRate);
    head.left -= progress;
    // The end of a piece is where the next event is: what rounding leaves is none.
    bool done = head.left <= 1e-9;
    if (record) {
      CollectiveTime &times = (*record)[head.op];
      if (times.beginUs < 0)
        times.beginUs = time;
      if (computeOp == kStall) {
        times.stallUs += us / active;
        times.hiddenUs += progress - us / active; // beside another collective
      } else if (computeOp == kIssue) {
        times.hiddenUs += progress;
      } else {
        double saved = progress - us * (1 - rate) / active;
        times.hiddenUs += saved;
        if (times.behind.empty() || times.behind.back().first != computeOp)
          times.behind.push_back({computeOp, 0});
        times.behind.back().second += saved;
      }
      if (done)
        times.endUs = time + us;
    }
    if (done)
      ++queue.head;
  }
  time += us;
}

void Clock::run(int32_t op) {
  const OverlapOp &compute = problem->ops[op];
  lastStarted = -1;
  double left = compute.us;
  while (left > 0) {
    double next = untilNextEnd(compute.linkRate);
    if (next == std::numeric_limits<double>::infinity()) {
      time += left;
      return;
    }
    double whole = left / compute.computeRate;
    if (whole <= next) {
      pass(whole, compute.computeRate, compute.linkRate, op);
      return;
    }
    pass(next, compute.computeRate, compute.linkRate, op);
    left -= next * compute.computeRate;
  }
}

void Clock::start(int32_t op) {
  lastStarted = op;
  Queue &queue = queueOf(op);
  if (queue.head > 64 && queue.head * 2 > queue.items.size()) {
    queue.items.erase(queue.items.begin(), queue.items.begin() + static_cast<std::ptrdiff_t>(queue.head));
    queue.head = 0;
  }
  double us = problem->ops[op].us;
  if (us <= 0 && !queue.busy()) {
    if (record)
      (*record)[op].beginUs = (*record)[op].endUs = time;
    return;
  }
  queue.items.push_back({op, us});
}

void Clock::wait(int32_t op) {
  // Handing over and coming back costs compute time, links go on meanwhile; awaited at once there is no hand-over.
  if (lastStarted != op && problem->issueUs > 0) {
    double left = problem->issueUs;
    while (left > 0) {
      double next = std::min(left, untilNextEnd(1));
      pass(next, 1, 1, kIssue);
      left -= next;
    }
  }
  lastStarted = -1;
  while (!isFinished(op))
    pass(untilNextEnd(1), 0, 1, kStall);
}

bool Clock::isFinished(int32_t op) const { return remaining(op) <= 0; }

double Clock::remaining(int32_t op) const {
  for (const Queue &queue : queues) {
    double sum = 0;
    for (size_t i = queue.head; i < queue.items.size(); ++i) {
      sum += queue.items[i].left;
      if (queue.items[i].op == op)
        return std::max(sum, 1e-12);
    }
  }
  return 0;
}

void Clock::pending(std::vector<std::pair<int32_t, double>> &out) const {
  out.clear();
  for (const Queue &queue : queues)
    for (size_t i = queue.head; i < queue.items.size(); ++i)
      out.push_back({queue.items[i].op, queue.items[i].left});
}

Graph::Graph(const OverlapProblem &problem) : problem(problem) {
  size_t n = problem.ops.size();
  successors.resize(2 * n);
  numNeeds.resize(2 * n);
  produced.resize(n);
  used.resize(n);
  for (size_t i = 0; i < n; ++i) {
    int32_t op = static_cast<int32_t>(i);
    steps.push_back(2 * op);
    if (problem.ops[i].isCollective()) {
      steps.push_back(2 * op + 1);
      successors[2 * op].push_back(2 * op + 1);
      ++numNeeds[2 * op + 1];
    }
    std::vector<int32_t> needs = problem.ops[i].needs;
    std::sort(needs.begin(), needs.end());
    needs.erase(std::unique(needs.begin(), needs.end()), needs.end());
    for (int32_t need : needs) {
      successors[completion(need)].push_back(2 * op);
      ++numNeeds[2 * op];
    }
  }
  for (size_t v = 0; v < problem.values.size(); ++v) {
    const OverlapValue &value = problem.values[v];
    std::vector<int32_t> users = value.users;
    std::sort(users.begin(), users.end());
    users.erase(std::unique(users.begin(), users.end()), users.end());
    produced[value.producer].push_back(static_cast<int32_t>(v));
    for (int32_t user : users)
      used[user].push_back(static_cast<int32_t>(v));
    numUses.push_back(static_cast<int32_t>(users.size()) + value.kept);
  }
}

int64_t Memory::take(int32_t step) {
  int32_t op = step / 2;
  bool collective = graph->problem.ops[op].isCollective(), completes = step == graph->completion(op);
  int64_t peak = bytes;
  if (step % 2 == 0) {
    for (int32_t v : graph->produced[op])
      bytes += graph->problem.values[v].bytes;
    peak = bytes;
    flying += collective;
  }
  if (completes) {
    for (int32_t v : graph->used[op])
      if (--uses[v] == 0)
        bytes -= graph->problem.values[v].bytes;
    for (int32_t v : graph->produced[op])
      if (uses[v] == 0)
        bytes -= graph->problem.values[v].bytes; // nobody needs it
    flying -= collective;
  }
  return peak;
}

void Memory::undo(int32_t step) {
  int32_t op = step / 2;
  bool collective = graph->problem.ops[op].isCollective(), completes = step == graph->completion(op);
  if (completes) {
    for (int32_t v : graph->produced[op])
      if (uses[v] == 0)
        bytes += graph->problem.values[v].bytes;
    for (int32_t v : graph->used[op])
      if (uses[v]++ == 0)
        bytes += graph->problem.values[v].bytes;
    flying += collective;
  }
  if (step % 2 == 0) {
    for (int32_t v : graph->produced[op])
      bytes -= graph->problem.values[v].bytes;
    flying -= collective;
  }
}

std::vector<Step> toSteps(const Graph &graph, const std::vector<int32_t> &order) {
  std::vector<Step> steps;
  steps.reserve(order.size());
  for (int32_t id : order)
    steps.push_back(graph.toStep(id));
  return steps;
}

} // namespace comm::solver
