//===- Placement.h - which CPUs the threads of a rank run on ----*- C++ -*-===//
// The ranks of a session share the CPUs that the process may use. Where their compute threads fill the machine, an idle
// CPU for a thread that wakes up is rarely found, and two of them end up on one CPU for as long as it takes the system
// to notice: there each has a CPU of its own. Elsewhere the system places them.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <vector>

namespace comm::rt {

enum class Pinning : int32_t { Auto = 0, On, Off };

struct Placement {
  std::vector<int> cpus;   ///< one per compute thread of the rank, the caller's first; empty: not pinned
  int64_t spinNs = 50'000; ///< how long a thread waits for another one before it sleeps
};

/// CPUs that the calling thread may use, in order.
std::vector<int> allowedCpus();

/// For rank `rank` of `ranks` on this machine with `threads` compute threads each. Auto pins more than one thread in
/// all when they fill more than half of the CPUs and no CPU twice; On whenever no CPU is taken twice. Threads that
/// share CPUs do not spin: each would take the CPU from the one that it waits for.
Placement placeRank(Pinning, int64_t rank, int64_t ranks, int64_t threads, const std::vector<int> &cpus);

/// Best effort: a CPU that has gone offline leaves the thread where it is.
void pinThisThread(int cpu);

/// The calling thread stays on `cpu` while this lives (a negative one: nowhere), then may run where it could before.
class PinnedHere {
public:
  explicit PinnedHere(int cpu);
  ~PinnedHere();
  PinnedHere(const PinnedHere &) = delete;
  PinnedHere &operator=(const PinnedHere &) = delete;

private:
  std::vector<int> before;
};

} // namespace comm::rt
