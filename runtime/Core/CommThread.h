//===- CommThread.h - the communication thread of a rank --------*- C++ -*-===//
#pragma once
#include "runtime/Core/CommQueue.h"
#include <memory>

namespace comm::rt {

struct CommThreadOptions {
  int64_t timeoutMs = 60000; ///< of every wait for other ranks
  int64_t threadSpinNs = 0;  ///< how long the communication thread may spin; 0 when it shares a core with compute
  int64_t callerSpinNs = 0;  ///< the same for the compute thread
};

/// Executes collectives in the order of start(), each with its sequel. A synchronous collective (run) is executed by
/// the caller itself when nothing is queued, which saves two thread switches. After a failure every later call returns
/// it.
class CommThread final : public CommQueue {
public:
  /// `transport` is borrowed and used by nobody else until this is destroyed.
  CommThread(Transport &transport, const CommThreadOptions &);
  /// Aborts the transport when collectives are still queued, then joins.
  ~CommThread() override;
  Status start(const Collective &, int64_t ticket) override;
  Status wait(int64_t ticket) override;
  Status run(const Collective &, int64_t ticket) override;
  CollectiveSpan span(int64_t ticket) const override;

  /// Blocks until nothing is queued. A rank that gives up a run does this before it answers, so that nothing of it
  /// meets the next run.
  Status drain();

  int64_t executed() const;  ///< collectives that succeeded, since creation
  int64_t waitedNs() const;  ///< time the compute thread spent in wait() and run(), since creation
  int64_t bytesSent() const; ///< of the transport; meaningful when nothing is queued

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

} // namespace comm::rt
