//===- Futex.h - time and sleeping across processes -------------*- C++ -*-===//
#pragma once
#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace comm::rt {

static_assert(std::atomic<uint32_t>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free &&
                  sizeof(std::atomic<uint32_t>) == 4,
              "atomics are shared between processes and slept on");

/// ns of a clock that all processes of the machine share; it stands still for nobody.
inline int64_t monotonicNs() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * int64_t(1000000000) + t.tv_nsec;
}

/// Sleeps while `word` holds `value`, at most until `deadlineNs` (INT64_MAX: no deadline). Wakes without reason too.
inline void futexWait(const std::atomic<uint32_t> &word, uint32_t value, int64_t deadlineNs) {
  timespec at{deadlineNs / 1000000000, deadlineNs % 1000000000};
  ::syscall(SYS_futex, reinterpret_cast<const uint32_t *>(&word), FUTEX_WAIT_BITSET, value,
            deadlineNs == INT64_MAX ? nullptr : &at, nullptr, FUTEX_BITSET_MATCH_ANY);
}

inline void futexWake(std::atomic<uint32_t> &word) {
  ::syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

/// Tells the core that this is a spin loop.
inline void spinPause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// The time `timeoutMs` from now; 0 means no deadline.
inline int64_t deadlineAfter(int64_t timeoutMs) {
  constexpr int64_t most = INT64_MAX / 4000000;
  return timeoutMs <= 0 || timeoutMs > most ? INT64_MAX : monotonicNs() + timeoutMs * 1000000;
}

/// Spins for `spinNs`, then returns the last answer of `done`.
template <class Done> bool spinUntil(int64_t spinNs, const Done &done) {
  if (done())
    return true;
  if (spinNs <= 0)
    return false;
  for (int64_t end = monotonicNs() + spinNs; monotonicNs() < end;)
    for (int i = 0; i < 32; ++i) {
      if (done())
        return true;
      spinPause();
    }
  return done();
}

} // namespace comm::rt
