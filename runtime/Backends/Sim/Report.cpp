//===- Report.cpp - the trace of a simulated run --------------------------===//
#include "comm/Simulator/Simulator.h"
#include "runtime/Core/Trace.h"
#include <cmath>

namespace comm::sim {
namespace {
int64_t ns(double us) { return std::llround(us * 1000); }

rt::TraceEvent toTrace(const SimEvent &e) {
  rt::TraceEvent out;
  out.kind = e.kind == SimEvent::Compute      ? rt::TraceKind::Compute
             : e.kind == SimEvent::Collective ? rt::TraceKind::Collective
                                              : rt::TraceKind::Wait;
  out.command = e.command;
  out.beginNs = ns(e.beginUs);
  out.endNs = ns(e.endUs);
  out.startNs = ns(e.startUs);
  out.metNs = ns(e.metUs);
  return out;
}
} // namespace

std::string simulatedTrace(const exe::Program &program, const std::string &title, const SimResult &result,
                           int64_t maxRanks) {
  std::vector<std::vector<rt::TraceEvent>> ranks;
  for (int64_t r = 0; r < result.ranks; ++r) {
    auto c = static_cast<size_t>(result.classOf[static_cast<size_t>(r)]);
    bool shown = result.ranks <= maxRanks || (static_cast<int64_t>(c) < maxRanks && result.classes[c].first == r);
    if (!shown)
      continue;
    ranks.resize(static_cast<size_t>(r) + 1);
    for (const SimEvent &e : result.classes[c].events)
      ranks.back().push_back(toTrace(e));
  }
  return rt::chromeTrace(program, title, ranks);
}

} // namespace comm::sim
