//===- PlanLimits.cpp - under which limits a program is planned -----------===//
#include "comm/Solver/PlanLimits.h"
#include <cmath>
#include <iterator>

namespace comm::solver {
namespace {
constexpr int64_t kUnit = 64;        // bytes, the alignment of buffers
constexpr int64_t kPerDoubling = 32; // places of the ladder: each 2 % above the one before
constexpr int64_t kPlaces = 46 * kPerDoubling;
/// How far below the first try the next ones are: a few bytes less often give the same schedule.
constexpr int64_t kDown[] = {0, 2, 5};
} // namespace

PlanLimits::PlanLimits(int64_t limit, int64_t held) : limit(limit), held(held) {
  while (top + 1 < kPlaces && at(top + 1) <= limit)
    ++top;
  below = top;
}

int64_t PlanLimits::at(int64_t number) const {
  if (number < 0)
    return 1;
  double bytes = static_cast<double>(kUnit) * std::exp2(static_cast<double>(number) / kPerDoubling);
  return held + static_cast<int64_t>(bytes) / kUnit * kUnit;
}

int64_t PlanLimits::next() {
  constexpr int kFirst = std::size(kDown);
  for (; step <= kFirst; ++step) {
    int64_t bytes = step == kFirst ? 1 : at(top - kDown[step]);
    if ((bytes > 1 || step == kFirst) && tried.insert(bytes).second) {
      ++step;
      return bytes;
    }
  }
  if (least > limit)
    return 0;
  // As far down as the first tries of any limit that could be kept.
  for (; below >= 0 && at(below + kDown[kFirst - 1]) >= least; --below)
    if (tried.insert(at(below)).second)
      return at(below);
  return 0;
}

} // namespace comm::solver
