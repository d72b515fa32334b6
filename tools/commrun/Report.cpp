//===- Report.cpp - the facts as JSON -------------------------------------===//
#include "Report.h"
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace commrun {
namespace {
using Json = nlohmann::ordered_json;

void addTimes(Json &to, double communication, double hidden, double exposed, double late) {
  to["communication_ms"] = communication;
  to["hidden_ms"] = hidden;
  to["exposed_ms"] = exposed;
  to["late_ms"] = late;
}

Json differenceJson(const std::vector<Difference> &list) {
  double abs = 0, rel = 0;
  bool ok = true;
  for (const Difference &d : list) {
    abs = std::max(abs, d.maxAbs);
    rel = std::max(rel, d.maxRel);
    ok &= d.ok;
  }
  return {{"ok", ok}, {"max_abs_error", abs}, {"max_rel_error", rel}, {"tensors", list.size()}};
}

Json collectivesJson(const std::vector<comm_collective_stats> &each) {
  Json out = Json::array();
  for (const comm_collective_stats &c : each) {
    Json one = {{"op", c.op},           {"label", c.label},
                {"command", c.command}, {"started", c.started != 0},
                {"bytes", c.bytes},     {"bytes_sent_per_rank", c.bytes_sent_per_rank}};
    addTimes(one, c.communication_ms, c.hidden_ms, c.exposed_ms, c.late_ms);
    out.push_back(std::move(one));
  }
  return out;
}
} // namespace

std::string jsonText(const Report &r) {
  const comm_session_stats &s = r.benched ? r.bench.stats : r.stats;
  Json out;
  if (r.benched) {
    out["latency_best_ms"] = r.bench.best();
    out["latency_median_ms"] = r.bench.quantile(0.5);
    out["wait_share"] = r.bench.waitShare;
    out["iterations"] = r.bench.ms.size();
    if (!r.bench.msWithoutOverlap.empty()) {
      out["without_overlap_best_ms"] = r.bench.msWithoutOverlap.front();
      out["without_overlap_median_ms"] = r.bench.medianWithoutOverlap();
    }
    if (!std::isnan(r.bench.predictedMs))
      out["predicted_ms"] = r.bench.predictedMs;
  }
  if (!r.expected.empty())
    out["expect"] = differenceJson(r.expected);
  if (!r.verified.empty())
    out["verify"] = differenceJson(r.verified);
  out["last_run_ms"] = s.last_ms;
  out["bytes_sent_per_rank"] = s.bytes_sent_per_rank;
  out["bytes_passed"] = s.bytes_passed;
  out["collectives_executed"] = s.collectives_executed;
  out["collectives_planned"] = s.collectives_planned;
  out["ranks"] = s.ranks;
  out["arena_bytes"] = s.arena_bytes;
  out["weight_bytes"] = s.weight_bytes;
  out["pinned"] = s.pinned != 0;
  if (s.outside_ms > 0)
    out["outside_ms"] = s.outside_ms;
  out["weight_bytes_shared"] = s.weight_bytes_shared;
  out["weight_bytes_packed"] = s.weight_bytes_packed;
  out["weight_bytes_read"] = s.weight_bytes_read;
  out["weight_bytes_kept"] = s.weight_bytes_kept;
  if (s.peak_bytes > 0)
    out["peak_bytes"] = s.peak_bytes;
  out["interpreted_kernels"] = s.interpreted;
  out["compute_ms"] = s.compute_ms;
  addTimes(out, s.communication_ms, s.hidden_ms, s.exposed_ms, s.late_ms);
  out["link"] = r.link;
  out["collectives"] = collectivesJson(r.each);
  // Labels come from models: what is no UTF-8 is replaced.
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

} // namespace commrun
