//===- Report.cpp - the facts as JSON -------------------------------------===//
#include "Report.h"
#include <algorithm>
#include <cmath>
#include <cstdio>

namespace commrun {
namespace {
std::string quoted(const std::string &text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\')
      out += '\\';
    if (c < 32) {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", c);
      out += code;
    } else
      out += static_cast<char>(c);
  }
  return out + "\"";
}

std::string timesText(double communication, double hidden, double exposed, double late) {
  char text[200];
  std::snprintf(text, sizeof(text), "\"communication_ms\":%.6f,\"hidden_ms\":%.6f,\"exposed_ms\":%.6f,\"late_ms\":%.6f",
                communication, hidden, exposed, late);
  return text;
}

std::string collectivesJson(const std::vector<comm_collective_stats> &each) {
  std::string out;
  for (const comm_collective_stats &c : each)
    out += (out.empty() ? "{\"op\":" : ",{\"op\":") + quoted(c.op) + ",\"label\":" + quoted(c.label) +
           ",\"command\":" + std::to_string(c.command) + ",\"started\":" + (c.started ? "true" : "false") +
           ",\"bytes\":" + std::to_string(c.bytes) +
           ",\"bytes_sent_per_rank\":" + std::to_string(c.bytes_sent_per_rank) + "," +
           timesText(c.communication_ms, c.hidden_ms, c.exposed_ms, c.late_ms) + "}";
  return "[" + out + "]";
}
} // namespace

std::string jsonText(const Report &r) {
  auto error = [](const std::vector<Difference> &list) {
    double abs = 0, rel = 0;
    bool ok = true;
    for (const Difference &d : list) {
      abs = std::max(abs, d.maxAbs);
      rel = std::max(rel, d.maxRel);
      ok &= d.ok;
    }
    char text[128];
    std::snprintf(text, sizeof(text), "{\"ok\":%s,\"max_abs_error\":%.9g,\"max_rel_error\":%.9g,\"tensors\":%zu}",
                  ok ? "true" : "false", abs, rel, list.size());
    return std::string(text);
  };
  const comm_session_stats &s = r.benched ? r.bench.stats : r.stats;
  char text[1024];
  std::string out = "{";
  if (r.benched) {
    std::snprintf(text, sizeof(text),
                  "\"latency_best_ms\":%.6f,\"latency_median_ms\":%.6f,\"wait_share\":%.6f,\"iterations\":%zu,",
                  r.bench.best(), r.bench.quantile(0.5), r.bench.waitShare, r.bench.ms.size());
    out += text;
    if (!r.bench.msWithoutOverlap.empty()) {
      std::snprintf(text, sizeof(text), "\"without_overlap_best_ms\":%.6f,\"without_overlap_median_ms\":%.6f,",
                    r.bench.msWithoutOverlap.front(), r.bench.medianWithoutOverlap());
      out += text;
    }
    if (!std::isnan(r.bench.predictedMs)) {
      std::snprintf(text, sizeof(text), "\"predicted_ms\":%.6f,", r.bench.predictedMs);
      out += text;
    }
  }
  if (!r.expected.empty())
    out += "\"expect\":" + error(r.expected) + ",";
  if (!r.verified.empty())
    out += "\"verify\":" + error(r.verified) + ",";
  std::snprintf(text, sizeof(text),
                "\"last_run_ms\":%.6f,\"bytes_sent_per_rank\":%lld,\"collectives_executed\":%lld,\"collectives_"
                "planned\":%lld,\"ranks\":%lld,"
                "\"arena_bytes\":%lld,\"weight_bytes\":%lld,\"interpreted_kernels\":%lld,\"compute_ms\":%.6f,",
                s.last_ms, static_cast<long long>(s.bytes_sent_per_rank),
                static_cast<long long>(s.collectives_executed), static_cast<long long>(s.collectives_planned),
                static_cast<long long>(s.ranks), static_cast<long long>(s.arena_bytes),
                static_cast<long long>(s.weight_bytes), static_cast<long long>(s.interpreted), s.compute_ms);
  return out + text + timesText(s.communication_ms, s.hidden_ms, s.exposed_ms, s.late_ms) +
         ",\"link\":" + quoted(r.link) + ",\"collectives\":" + collectivesJson(r.each) + "}";
}

} // namespace commrun
