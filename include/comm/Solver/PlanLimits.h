//===- PlanLimits.h - under which limits a program is planned ---*- C++ -*-===//
// A schedule keeps a limit of bytes that are alive at once; whether its buffers can be placed within a limit shows only
// afterwards. Where they cannot, another schedule is tried: one that was made for less.
//
// A larger limit must never be refused where a smaller one was accepted. So schedules are made for limits of one fixed
// ladder only, whatever was asked for: what is tried for a limit is tried for every larger one too before that is
// refused.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <set>

namespace comm::solver {

class PlanLimits {
public:
  /// `limit`: what the plan has to keep; `held`: bytes of it that no plan changes. Both positive.
  PlanLimits(int64_t limit, int64_t held);
  /// The limit to plan for in the next try; 0 after the last one. 1: the plan that needs least.
  int64_t next();
  /// The last try was for 1: at least `bytes` are alive at once in it. Hardly any plan for less is tried after it.
  void setLeast(int64_t bytes) { least = bytes; }

private:
  /// Place `number` of the ladder; negative: below the ladder.
  int64_t at(int64_t number) const;
  const int64_t limit, held;
  int64_t top = -1;   ///< number of the highest place that the limit allows
  int64_t below = -1; ///< number of the next place after the plan that needs least
  int64_t least = 0;
  int step = 0;
  std::set<int64_t> tried;
};

} // namespace comm::solver
