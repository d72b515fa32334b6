//===- RunResult.cpp - the reports of all ranks as one --------------------===//
#include "runtime/Core/Engine.h"
#include <algorithm>

namespace comm::rt {

void addReport(const RankReport &report, const std::vector<CollectiveTimes> &each, std::vector<TraceEvent> trace,
               size_t ranks, RunResult &result) {
  result.waitNs = std::max(result.waitNs, report.waitNs);
  result.computeNs = std::max(result.computeNs, report.runNs - report.waitNs);
  result.partBytes += report.partBytes;
  result.bytesSent = std::max(result.bytesSent, report.bytesSent);
  result.collectives = std::min(result.collectives, report.collectives);
  result.peakBytes = std::max(result.peakBytes, report.peakBytes);
  result.planned = std::max(result.planned, report.planned);
  int64_t inside = report.waitNs;
  for (const TraceEvent &event : trace)
    inside += event.kind == TraceKind::Compute ? event.endNs - event.beginNs : 0;
  if (!trace.empty())
    result.outsideNs = std::max(result.outsideNs, report.runNs - inside);
  addMean(each, ranks, result.each);
  result.trace.push_back(std::move(trace));
}

Status checkPlanned(const RunResult &result) {
  if (result.collectives == result.planned)
    return Status::ok();
  return {Code::Internal, "a rank executed " + std::to_string(result.collectives) + " collectives of " +
                              std::to_string(result.planned) + " planned"};
}

} // namespace comm::rt
