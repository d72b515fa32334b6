//===- Placement.cpp - which CPUs the threads of a rank run on ------------===//
#include "runtime/Core/Placement.h"
#include <sched.h>

namespace comm::rt {
namespace {
void allow(const std::vector<int> &cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus)
    CPU_SET(cpu, &set);
  (void)::sched_setaffinity(0, sizeof(set), &set);
}
} // namespace

std::vector<int> allowedCpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set))
        cpus.push_back(cpu);
  return cpus;
}

Placement placeRank(Pinning pinning, int64_t rank, int64_t ranks, int64_t threads, const std::vector<int> &cpus) {
  Placement placement;
  int64_t all = ranks * threads, have = static_cast<int64_t>(cpus.size());
  if (all > have)
    placement.spinNs = 0;
  bool pin = pinning == Pinning::On || (pinning == Pinning::Auto && all > 1 && 2 * all > have);
  if (pin && all <= have)
    placement.cpus.assign(cpus.begin() + rank * threads, cpus.begin() + (rank + 1) * threads);
  return placement;
}

void pinThisThread(int cpu) { allow({cpu}); }

PinnedHere::PinnedHere(int cpu) {
  if (cpu < 0)
    return;
  before = allowedCpus();
  allow({cpu});
}

PinnedHere::~PinnedHere() {
  if (!before.empty())
    allow(before);
}

} // namespace comm::rt
