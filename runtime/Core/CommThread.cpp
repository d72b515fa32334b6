//===- CommThread.cpp - the communication thread of a rank ----------------===//
// One producer (compute), one consumer (the thread), a ring between them. Counters say how far both are; each side
// rings the other's bell when that one sleeps. While all that was issued is done, the transport belongs to the compute
// thread.
//===----------------------------------------------------------------------===//
#include "runtime/Core/CommThread.h"
#include "runtime/Transport/Shm/Futex.h"
#include <array>
#include <deque>
#include <thread>

namespace comm::rt {
namespace {
constexpr uint32_t ringSize = 256;

/// The collective of one ticket.
struct Slot {
  const Collective *collective = nullptr;
  uint32_t number = 0; ///< value of `issued` once it was handed over
  CollectiveSpan span;
};

/// Where one thread sleeps until another one has changed something.
class Bell {
public:
  /// Sequentially consistent with the change that comes before it: either the sleeper sees that or we see the sleeper.
  void ring() {
    if (!sleeping.load())
      return;
    word.fetch_add(1);
    futexWake(word);
  }
  template <class Done> void sleepUntil(int64_t spinNs, const Done &done) {
    if (spinUntil(spinNs, done))
      return;
    sleeping.store(true);
    for (;;) {
      uint32_t seen = word.load();
      if (done())
        break;
      futexWait(word, seen, INT64_MAX);
    }
    sleeping.store(false);
  }

private:
  std::atomic<uint32_t> word{0};
  std::atomic<bool> sleeping{false};
};

bool reached(uint32_t counter, uint32_t number) { return static_cast<int32_t>(counter - number) >= 0; }
} // namespace

struct CommThread::Impl {
  Impl(Transport &transport, const CommThreadOptions &options) : transport(transport), options(options) {}

  /// `number`: what failedNumber becomes when it fails.
  void execute(Slot &slot, uint32_t number, int64_t spinNs) {
    slot.span = {};
    slot.span.beginNs = monotonicNs();
    if (!failed) {
      int64_t sentBefore = transport.bytesSent();
      WaitBudget budget{options.timeoutMs, spinNs};
      Status s = transport.run(*slot.collective, budget);
      slot.span.metNs = transport.metNs();
      for (const Sequel *next = slot.collective->sequel; s && next; next = next->next.sequel) {
        s = next->step ? next->step() : Status::ok();
        if (s)
          s = transport.run(next->next, budget);
      }
      slot.span.sentBytes = transport.bytesSent() - sentBefore;
      if (s)
        executed.fetch_add(1, std::memory_order_relaxed);
      else {
        failure = std::move(s);
        failedNumber = number;
        failed = true;
      }
    }
    slot.span.endNs = monotonicNs();
  }

  void loop() {
    for (uint32_t taken = 0;; ++taken) {
      threadBell.sleepUntil(options.threadSpinNs, [&] { return issued != taken || stop; });
      if (issued == taken)
        return; // stopped
      execute(*ring[taken % ringSize], taken + 1, options.threadSpinNs);
      done = taken + 1;
      callerBell.ring();
    }
  }

  void waitFor(uint32_t number) {
    callerBell.sleepUntil(options.callerSpinNs, [&] { return reached(done, number); });
  }

  Slot &slotOf(int64_t ticket) {
    if (static_cast<size_t>(ticket) >= slots.size())
      slots.resize(static_cast<size_t>(ticket) + 1);
    return slots[static_cast<size_t>(ticket)];
  }

  Status outcome(uint32_t number) const { return failed && reached(number, failedNumber) ? failure : Status::ok(); }

  Transport &transport;
  const CommThreadOptions options;
  std::deque<Slot> slots; ///< by ticket; only the compute thread adds some, which leaves the others where they are
  std::array<Slot *, ringSize> ring{};
  std::atomic<uint32_t> issued{0}, done{0};
  Bell threadBell, callerBell;
  std::atomic<bool> stop{false}, failed{false};
  Status failure; ///< with failedNumber: written once, before `failed`
  uint32_t failedNumber = 0;
  std::atomic<int64_t> executed{0};
  int64_t waited = 0;
  std::thread thread;
};

CommThread::CommThread(Transport &transport, const CommThreadOptions &options)
    : impl(std::make_unique<Impl>(transport, options)) {
  impl->thread = std::thread([this] { impl->loop(); });
}

CommThread::~CommThread() {
  if (impl->issued != impl->done)
    impl->transport.abort(
        {Code::PeerLost, "rank " + std::to_string(impl->transport.rank()) + " ended while it had collectives to run"});
  impl->stop = true;
  impl->threadBell.ring();
  impl->thread.join();
}

Status CommThread::start(const Collective &c, int64_t ticket) {
  if (ticket < 0)
    return {Code::InvalidArgument, "a ticket is negative"};
  uint32_t next = impl->issued + 1;
  impl->waitFor(next - ringSize); // room in the ring
  Slot &slot = impl->slotOf(ticket);
  slot.collective = &c;
  slot.number = next;
  impl->ring[(next - 1) % ringSize] = &slot;
  impl->issued = next;
  impl->threadBell.ring();
  return Status::ok();
}

Status CommThread::wait(int64_t ticket) {
  if (ticket < 0 || static_cast<size_t>(ticket) >= impl->slots.size())
    return {Code::InvalidArgument, "ticket " + std::to_string(ticket) + " was never started"};
  int64_t begin = monotonicNs();
  uint32_t number = impl->slots[static_cast<size_t>(ticket)].number;
  impl->waitFor(number);
  impl->waited += monotonicNs() - begin;
  return impl->outcome(number);
}

Status CommThread::run(const Collective &c, int64_t ticket) {
  uint32_t issued = impl->issued;
  if (impl->done != issued) {
    if (Status s = start(c, ticket); !s)
      return s;
    return wait(ticket);
  }
  if (ticket < 0)
    return {Code::InvalidArgument, "a ticket is negative"};
  Slot &slot = impl->slotOf(ticket);
  slot.collective = &c;
  slot.number = issued;
  impl->execute(slot, issued + 1, impl->options.callerSpinNs);
  impl->waited += slot.span.endNs - slot.span.beginNs;
  return impl->outcome(issued + 1);
}

Status CommThread::drain() {
  uint32_t issued = impl->issued;
  impl->waitFor(issued);
  return impl->outcome(issued + 1);
}

CollectiveSpan CommThread::span(int64_t ticket) const { return impl->slots[static_cast<size_t>(ticket)].span; }

int64_t CommThread::executed() const { return impl->executed; }
int64_t CommThread::waitedNs() const { return impl->waited; }
int64_t CommThread::bytesSent() const { return impl->transport.bytesSent(); }

} // namespace comm::rt
