//===- Team.h - the compute threads of one rank -----------------*- C++ -*-===//
#pragma once
#include "runtime/Core/Placement.h"
#include "runtime/Transport/Transport.h"
#include <functional>
#include <memory>

namespace comm::rt {

/// A fixed team; the caller takes part. Iterations are dealt out in one contiguous range per member, the same for every
/// run.
class Team {
public:
  /// Members run on the CPUs of `placement` after the first one, which is the caller's to take.
  explicit Team(int threads, const Placement &placement = {});
  ~Team();
  /// Calls body(begin, end) over [0, iterations); returns the failure of the lowest range, if any. Called by one thread
  /// at a time.
  Status run(int64_t iterations, const std::function<Status(int64_t, int64_t)> &body);
  int size() const { return threads; }

private:
  struct Impl;
  int threads;
  std::unique_ptr<Impl> impl; ///< null for a team of one
};

} // namespace comm::rt
