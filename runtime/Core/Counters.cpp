//===- Counters.cpp - what communication took, and what of it compute felt ===//
#include "runtime/Core/Counters.h"
#include <algorithm>

namespace comm::rt {

void splitTimes(const std::vector<CollectiveSpan> &spans, const std::vector<Interval> &waits,
                std::vector<CollectiveTimes> &out) {
  out.resize(spans.size());
  size_t first = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    const CollectiveSpan &span = spans[i];
    // Without a meeting of its own (one rank) all of it is movement.
    int64_t met = std::clamp(span.metNs ? span.metNs : span.beginNs, span.beginNs, span.endNs);
    CollectiveTimes &t = out[i];
    t.movedNs = span.endNs - met;
    t.exposedNs = t.lateNs = 0;
    t.sentBytes = span.sentBytes;
    while (first < waits.size() && waits[first].endNs <= span.beginNs)
      ++first;
    auto common = [](const Interval &w, int64_t begin, int64_t end) {
      return std::max<int64_t>(0, std::min(w.endNs, end) - std::max(w.beginNs, begin));
    };
    for (size_t w = first; w < waits.size() && waits[w].beginNs < span.endNs; ++w) {
      t.exposedNs += common(waits[w], met, span.endNs);
      t.lateNs += common(waits[w], span.beginNs, met);
    }
  }
}

void addMean(const std::vector<CollectiveTimes> &one, size_t ranks, std::vector<CollectiveTimes> &mean) {
  mean.resize(one.size());
  auto n = static_cast<int64_t>(ranks);
  for (size_t i = 0; i < one.size(); ++i) {
    mean[i].command = one[i].command;
    mean[i].movedNs += one[i].movedNs / n;
    mean[i].exposedNs += one[i].exposedNs / n;
    mean[i].lateNs += one[i].lateNs / n;
    mean[i].sentBytes += one[i].sentBytes / n;
  }
}

} // namespace comm::rt
