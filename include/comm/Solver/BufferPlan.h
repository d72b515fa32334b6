//===- BufferPlan.h - where buffers lie, as plain data ----------*- C++ -*-===//
// build, check(), solve, verify(). Times are command numbers, both ends included.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Solver/OverlapProblem.h"

namespace comm::solver {

struct BufferRequest {
  int64_t bytes = 0;
  int64_t first = 0, last = 0; ///< first and last command that needs it
  bool shared = false;         ///< operand or result of a collective: lies in the shared part
};

struct BufferPlan {
  std::vector<int64_t> offsets; ///< bytes, one per request
  int64_t arenaBytes = 0;
  int64_t sharedBytes = 0; ///< shared buffers lie in [0, sharedBytes)
  int64_t lowerBound = 0;  ///< most bytes live at one command: no plan is smaller
};

inline constexpr int64_t kBufferAlignment = 64;

/// One sentence when a request is malformed or the sum of sizes overflows; else empty.
std::string check(const std::vector<BufferRequest> &requests);
/// Greedy best fit: shared buffers first, then the others around them; the best of several orders. When that needs more
/// than `limit` bytes (0: no limit) although no more are alive at once, other rules and then changes of the order are
/// tried until one fits or a budget is spent. Deterministic; needs check() to be empty.
BufferPlan planBuffers(const std::vector<BufferRequest> &requests, int64_t limit = 0);
/// Checks a plan against its requests, whoever made it: alignment, bounds, no bytes shared by two buffers alive at
/// once. Empty when sound.
std::string verify(const std::vector<BufferRequest> &requests, const BufferPlan &plan);

/// The values of a schedule as buffers; times are steps of `order`. Values without bytes are left out.
std::vector<BufferRequest> bufferRequests(const OverlapProblem &, const std::vector<Step> &order);

/// solve() for an arena of `arenaLimit` bytes: where a schedule within the limit of the problem has its buffers placed
/// in more, schedules with a smaller limit are tried. The one whose arena is smallest when none fits.
struct PlacedSchedule {
  OverlapSchedule schedule;
  int64_t arenaBytes = 0; ///< that planBuffers() needs for it
};
PlacedSchedule solveInArena(const OverlapProblem &, int64_t arenaLimit);

} // namespace comm::solver
