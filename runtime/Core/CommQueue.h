//===- CommQueue.h - where the collectives of a rank run --------*- C++ -*-===//
#pragma once
#include "runtime/Core/Counters.h"
#include "runtime/Transport/Transport.h"

namespace comm::rt {

/// Implemented over the communication thread (CommThread.h), by hand in tests. Used by one thread, the compute thread.
class CommQueue {
public:
  virtual ~CommQueue() = default;
  /// Hands over a collective, which stays alive and unchanged until its wait. Queued collectives run in the order of
  /// start(). A ticket may be used again after its wait.
  virtual Status start(const Collective &, int64_t ticket) = 0;
  /// Blocks until the collective of this ticket is done; its failure.
  virtual Status wait(int64_t ticket) = 0;
  /// start and wait in one: the short way of a synchronous collective.
  virtual Status run(const Collective &c, int64_t ticket) {
    Status s = start(c, ticket);
    return s ? wait(ticket) : s;
  }
  /// When the collective of this ticket ran; valid after its wait.
  virtual CollectiveSpan span(int64_t ticket) const = 0;
};

} // namespace comm::rt
