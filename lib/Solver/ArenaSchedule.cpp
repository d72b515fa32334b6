//===- ArenaSchedule.cpp - schedules whose buffers fit too ----------------===//
// The bytes alive at once say how small an arena can be, not how small it gets: buffers must lie in one piece. What
// placing them costs more is taken off the limit of the next schedule.
//===----------------------------------------------------------------------===//
#include "comm/Solver/BufferPlan.h"
#include <algorithm>

namespace comm::solver {
namespace {
constexpr int kTries = 5; ///< schedules, the first included

int64_t arenaOf(const OverlapProblem &problem, const OverlapSchedule &schedule, int64_t limit) {
  return planBuffers(bufferRequests(problem, schedule.order), limit).arenaBytes;
}
} // namespace

std::vector<BufferRequest> bufferRequests(const OverlapProblem &problem, const std::vector<Step> &order) {
  std::vector<int64_t> begins(problem.ops.size(), 0), ends(problem.ops.size(), 0);
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i].kind != StepKind::Wait)
      begins[order[i].op] = static_cast<int64_t>(i);
    ends[order[i].op] = static_cast<int64_t>(i);
  }
  std::vector<BufferRequest> requests;
  for (const OverlapValue &value : problem.values) {
    if (value.bytes == 0)
      continue;
    BufferRequest request;
    request.bytes = value.bytes;
    request.first = begins[value.producer];
    request.last = value.kept ? static_cast<int64_t>(order.size()) - 1 : ends[value.producer];
    request.shared = problem.ops[value.producer].isCollective();
    for (int32_t user : value.users) {
      request.last = std::max(request.last, ends[user]);
      request.shared |= problem.ops[user].isCollective();
    }
    requests.push_back(request);
  }
  return requests;
}

PlacedSchedule solveInArena(const OverlapProblem &problem, int64_t arenaLimit) {
  PlacedSchedule best{solve(problem), 0};
  best.arenaBytes = arenaOf(problem, best.schedule, arenaLimit);
  if (best.schedule.status != OverlapStatus::Ok || arenaLimit <= 0)
    return best;
  OverlapProblem tighter = problem;
  int64_t arena = best.arenaBytes, less = kBufferAlignment, limit = std::min(arenaLimit, best.schedule.times.peakBytes);
  for (int i = 1; i < kTries && best.arenaBytes > arenaLimit; ++i) {
    limit -= less = std::max(arena - arenaLimit, 3 * less);
    if (limit <= 0)
      break;
    tighter.memoryLimit = limit;
    OverlapSchedule schedule = solve(tighter);
    arena = arenaOf(problem, schedule, arenaLimit);
    // Also an order that does not keep the smaller limit may be one whose buffers fit.
    bool last = schedule.status != OverlapStatus::Ok;
    schedule.status = OverlapStatus::Ok;
    if (arena < best.arenaBytes && (problem.memoryLimit <= 0 || schedule.times.peakBytes <= problem.memoryLimit))
      best = {std::move(schedule), arena};
    if (last)
      break;
  }
  return best;
}

} // namespace comm::solver
