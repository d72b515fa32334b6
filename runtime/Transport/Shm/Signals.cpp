//===- Signals.cpp - how ranks wait for each other, and for a link --------===//
#include "runtime/Transport/Shm/Futex.h"
#include "runtime/Transport/Shm/ShmOperation.h"
#include <algorithm>
#include <sys/prctl.h>

namespace comm::rt::shm {

void ShmTransport::signal(const Op &op) {
  for (int32_t rank : *op.members) {
    if (rank == self)
      continue;
    auto r = static_cast<size_t>(rank);
    // Sequentially consistent on both sides: either the sleeper sees the signal or we see the sleeper.
    segment.signals(rank, self).store(++signalled[r]);
    RankControl &peer = segment.control(rank);
    if (peer.sleeping.load()) {
      peer.doorbell.fetch_add(1);
      futexWake(peer.doorbell);
    }
  }
}

Status ShmTransport::await(const Op &op) {
  marks.clear();
  for (int32_t rank : *op.members)
    if (rank != self)
      marks.emplace_back(rank, ++expected[static_cast<size_t>(rank)]);
  return awaitMarks(op, marks);
}

Status ShmTransport::awaitMarks(const Op &op, const Marks &list) {
  auto late = [&](const std::pair<int32_t, uint32_t> &mark) {
    return static_cast<int32_t>(segment.signals(self, mark.first).load() - mark.second) < 0;
  };
  auto over = [&] { return segment.aborted() || std::none_of(list.begin(), list.end(), late); };
  bool done = spinUntil(op.budget.spinNs, over);
  if (!done) {
    int64_t deadline = deadlineAfter(op.budget.timeoutMs);
    control.sleeping.store(1);
    for (;;) {
      uint32_t seen = control.doorbell.load();
      done = over();
      if (done || (deadline != INT64_MAX && monotonicNs() >= deadline))
        break;
      futexWait(control.doorbell, seen, deadline);
    }
    control.sleeping.store(0);
  }
  if (segment.aborted())
    return segment.abortStatus();
  if (done)
    return Status::ok();
  std::string who;
  for (const auto &mark : list)
    if (late(mark))
      who +=
          (who.empty() ? "rank " : ", rank ") + std::to_string(mark.first) + " (" + segment.activity(mark.first) + ")";
  return {Code::Timeout, "rank " + std::to_string(self) + " waited " + std::to_string(op.budget.timeoutMs) + " ms " +
                             segment.activity(self) + " for " + who};
}

//===--- the emulated link ----------------------------------------------------------------------===//

/// Sleeps until `ns`, or until the group is aborted. The time stands still for nobody, so waking late does not add up.
Status ShmTransport::sleepUntil(int64_t ns) {
  // By default the system may be 50 us late.
  static thread_local bool fine = ::prctl(PR_SET_TIMERSLACK, 1000) == 0;
  (void)fine;
  constexpr int64_t wakeUpNs = 6000; // what it takes to get a core again; the rest is spun
  for (int64_t left = ns - monotonicNs(); left > 0; left = ns - monotonicNs()) {
    uint32_t seen = control.doorbell.load(); // an abort rings it
    if (segment.aborted())
      return segment.abortStatus();
    if (left > wakeUpNs)
      futexWait(control.doorbell, seen, ns - wakeUpNs);
    else
      spinPause();
  }
  return Status::ok();
}

/// Waits until `elements` that peers had ready at `readyNs` have come, from each of `senders` of them.
Status ShmTransport::arrive(const Op &op, int64_t readyNs, int64_t elements, int64_t senders) {
  if (!segment.link().active() || elements <= 0)
    return Status::ok();
  return sleepUntil(port.arrive(readyNs, elements * senders * op.width));
}

/// Elements handled at once: all of them, unless a link delivers them bit by bit.
int64_t ShmTransport::pieceOf(const Op &op, int64_t elements) const {
  if (!segment.link().active())
    return std::max<int64_t>(1, elements);
  return std::max<int64_t>(1, segment.link().chunkBytes / op.width);
}

} // namespace comm::rt::shm
