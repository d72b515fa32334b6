//===- Counters.h - what communication took, and what of it compute felt --*- C++ -*-===//
// Moved: from the moment all members of a collective had come to its end. Exposed: the part of that during which this
// rank's compute stood in some wait; the rest was hidden. Late: compute stood and the members had not all come, which
// no faster link would have shortened.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace comm::rt {

/// When a collective ran, in ns of the trace clock.
struct CollectiveSpan {
  int64_t beginNs = 0, metNs = 0, endNs = 0; ///< taken from the queue, all members there, done
  int64_t sentBytes = 0;
};

struct Interval {
  int64_t beginNs = 0, endNs = 0;
};

/// One collective of one run on one rank. Plain data: it crosses processes.
struct CollectiveTimes {
  int64_t command = -1; ///< that issued it
  int64_t movedNs = 0, exposedNs = 0, lateNs = 0, sentBytes = 0;
  int64_t hiddenNs() const { return movedNs - exposedNs; }
};

struct RunCounters {
  int64_t collectives = 0;           ///< finished
  int64_t waitNs = 0;                ///< compute blocked on communication
  int64_t runNs = 0;                 ///< the whole run of this rank
  int64_t partBytes = 0;             ///< copied between whole inputs and outputs and this rank's part
  std::vector<CollectiveTimes> each; ///< in the order of issue; every collective of the program
};

/// The parts of `spans` that lie in `waits`; both are in order and free of overlap.
void splitTimes(const std::vector<CollectiveSpan> &spans, const std::vector<Interval> &waits,
                std::vector<CollectiveTimes> &out);

/// Adds what one of `ranks` ranks measured to the mean over all of them.
void addMean(const std::vector<CollectiveTimes> &one, size_t ranks, std::vector<CollectiveTimes> &mean);

} // namespace comm::rt
