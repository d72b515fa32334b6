//===- Trace.h - what ran when, as a Chrome trace ---------------*- C++ -*-===//
#pragma once
#include "comm/Executable/Executable.h"
#include <cstdint>
#include <string>
#include <vector>

namespace comm::rt {

enum class TraceKind : int32_t { Compute = 0, Collective, Wait };

/// Plain data: it crosses processes in shared memory. Times are ns of one clock for all processes of the machine.
struct TraceEvent {
  TraceKind kind = TraceKind::Compute;
  int32_t command = -1; ///< index in the program; of a wait: the command that issued the collective
  int64_t beginNs = 0, endNs = 0;
  int64_t startNs = 0; ///< of a collective: when compute issued it
  int64_t metNs = 0;   ///< of a collective and its wait: when all members were there; 0: not known
  int32_t chain = -1;  ///< of compute: the first command of the chain that it ran in
};

/// Events of one run of one rank, in memory that the caller owns.
struct TraceBuffer {
  TraceEvent *events = nullptr;
  int64_t capacity = 0, count = 0;
  void add(const TraceEvent &e) {
    if (count < capacity)
      events[count++] = e;
  }
};

int64_t traceNowNs();

/// Chrome trace JSON: pid = rank, tid 0 = compute, 1 = communication; times in us since the first event. Waits are
/// category "exposed" while data moved and "late" before all ranks were there, collectives "communication"; flow arrows
/// lead from start to the collective to the wait.
std::string chromeTrace(const exe::Program &, const std::string &title,
                        const std::vector<std::vector<TraceEvent>> &ranks);

} // namespace comm::rt
