//===- Bench.cpp - timing a call ------------------------------------------===//
#include "Bench.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <thread>

namespace commrun {
namespace {
std::string format(const char *pattern, double v) {
  char text[64];
  std::snprintf(text, sizeof(text), pattern, v);
  return text;
}

std::string bytesText(double v) {
  const char *units[] = {"B", "KB", "MB", "GB", "TB"};
  int u = 0;
  for (; v >= 1000 && u < 4; ++u)
    v /= 1000;
  return format(u ? "%.1f " : "%.0f ", v) + units[u];
}

std::string cpuName() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0)
      return line.substr(std::min(line.find(':') + 2, line.size()));
  return "unknown cpu";
}
} // namespace

double BenchResult::quantileOf(const std::vector<double> &sorted, double q) {
  // Nearest rank: a time that was measured.
  auto i = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::min(sorted.size() - 1, i > 0 ? i - 1 : 0)];
}

namespace {
/// Sums of times over runs.
struct Totals {
  void add(const comm_session_stats &s, const std::vector<comm_collective_stats> &each) {
    sum.compute_ms += s.compute_ms;
    sum.communication_ms += s.communication_ms;
    sum.hidden_ms += s.hidden_ms;
    sum.exposed_ms += s.exposed_ms;
    sum.late_ms += s.late_ms;
    sum.wait_ms_max += s.wait_ms_max;
    collectives.resize(each.size());
    for (size_t i = 0; i < each.size(); ++i) {
      collectives[i].communication_ms += each[i].communication_ms;
      collectives[i].hidden_ms += each[i].hidden_ms;
      collectives[i].exposed_ms += each[i].exposed_ms;
      collectives[i].late_ms += each[i].late_ms;
    }
  }
  void mean(double runs, comm_session_stats &s, std::vector<comm_collective_stats> &each) const {
    s.compute_ms = sum.compute_ms / runs;
    s.communication_ms = sum.communication_ms / runs;
    s.hidden_ms = sum.hidden_ms / runs;
    s.exposed_ms = sum.exposed_ms / runs;
    s.late_ms = sum.late_ms / runs;
    for (size_t i = 0; i < each.size(); ++i) {
      each[i].communication_ms = collectives[i].communication_ms / runs;
      each[i].hidden_ms = collectives[i].hidden_ms / runs;
      each[i].exposed_ms = collectives[i].exposed_ms / runs;
      each[i].late_ms = collectives[i].late_ms / runs;
    }
  }
  comm_session_stats sum = {};
  std::vector<comm_collective_stats> collectives;
};
} // namespace

namespace {
/// From here on the session carries the states of the call, from what they are in it.
void keepState(const EntryInfo &entry, Session &session, comm_state_mode mode, Call &call, TensorMap &outputs) {
  if (entry.states.empty())
    throw Failure{2, "E203", "--keep-state: the entry '" + entry.name + "' has no state", "commc inspect lists them"};
  session.keepState(mode);
  for (const auto &[input, output] : entry.states) {
    if (auto given = call.inputs.find(input); given != call.inputs.end())
      session.setState(input, *given->second);
    call.inputs.erase(input);
    outputs.erase(output);
  }
}
} // namespace

BenchResult bench(const Executable &exe, Session &session, Call call, const Options &options) {
  TensorMap outputs = session.makeOutputs(call);
  if (options.keepState != COMM_STATE_NONE)
    keepState(exe.entries[static_cast<size_t>(call.entry)], session, options.keepState, call, outputs);
  // By the time of the session, which all ranks of an MPI world agree on: they must make the same number of runs.
  double warm = 0;
  do {
    session.run(call, outputs);
    warm += session.stats().last_ms;
  } while (warm < options.warmupMs);
  BenchResult result;
  result.link = session.link();
  result.predictedMs = exe.predictedMs(call.entry);
  result.each = session.collectives();
  bool overlaps = std::any_of(result.each.begin(), result.each.end(), [](const auto &c) { return c.started != 0; });
  Totals totals;
  for (int i = 0; i < options.iterations; ++i) {
    if (overlaps) {
      session.setOverlap(false);
      session.run(call, outputs);
      result.msWithoutOverlap.push_back(session.stats().last_ms);
      session.setOverlap(true);
    }
    session.run(call, outputs);
    result.stats = session.stats();
    result.each = session.collectives();
    result.ms.push_back(result.stats.last_ms);
    totals.add(result.stats, result.each);
  }
  totals.mean(options.iterations, result.stats, result.each);
  double total = std::accumulate(result.ms.begin(), result.ms.end(), 0.0);
  result.waitShare = total > 0 ? totals.sum.wait_ms_max / total : 0;
  std::sort(result.ms.begin(), result.ms.end());
  std::sort(result.msWithoutOverlap.begin(), result.msWithoutOverlap.end());
  return result;
}

namespace {
std::string communicationText(const BenchResult &r) {
  const comm_session_stats &s = r.stats;
  if (s.collectives_planned == 0)
    return "";
  auto ms = [](double v) { return format("%.3f", v); };
  double hidden = s.communication_ms > 0 ? 100 * s.hidden_ms / s.communication_ms : 0;
  std::string out = "Compute " + ms(s.compute_ms) + " ms   Communication " + ms(s.communication_ms) + " ms (hidden " +
                    ms(s.hidden_ms) + " = " + format("%.0f", hidden) + "%, exposed " + ms(s.exposed_ms) +
                    ")   Late ranks " + ms(s.late_ms) + " ms";
  if (!r.msWithoutOverlap.empty())
    out += "   Without overlap: " + ms(r.medianWithoutOverlap()) + " ms (" +
           format("%.2f", r.medianWithoutOverlap() / r.quantile(0.5)) + "x)";
  return out + "\n";
}

std::string collectivesText(const BenchResult &r) {
  std::string out = "command  collective       bytes        ms     hidden  exposed     late  label\n";
  for (const comm_collective_stats &c : r.each) {
    char line[256];
    std::snprintf(line, sizeof(line), "%7lld  %-14s %7s %9.3f  %9.3f %8.3f %8.3f  %s%s\n",
                  static_cast<long long>(c.command), c.op, bytesText(static_cast<double>(c.bytes)).c_str(),
                  c.communication_ms, c.hidden_ms, c.exposed_ms, c.late_ms, c.label, c.started ? "" : " (synchronous)");
    out += line;
  }
  return out;
}
} // namespace

std::string benchText(const BenchResult &r, const Options &options) {
  auto ms = [](double v) { return format("%.3f", v); };
  double mean = std::accumulate(r.ms.begin(), r.ms.end(), 0.0) / static_cast<double>(r.ms.size());
  const comm_session_stats &s = r.stats;
  std::string out = "=== Performance summary ===\n";
  out += "Throughput: " + format("%.1f", 1000.0 / mean) + " qps   Latency ms: min " + ms(r.ms.front()) + " max " +
         ms(r.ms.back()) + " mean " + ms(mean) + " median " + ms(r.quantile(0.5)) + " p90 " + ms(r.quantile(0.9)) +
         " p95 " + ms(r.quantile(0.95)) + " p99 " + ms(r.quantile(0.99)) + "   runs " + std::to_string(r.ms.size()) +
         "\n";
  out += communicationText(r);
  out += "Waiting for communication: " + format("%.1f", 100 * r.waitShare) + "% of the time (slowest rank)\n";
  if (s.ranks > 1 && !options.mpi)
    out += "Passed to ranks and back " + bytesText(static_cast<double>(s.bytes_passed)) + " per run\n";
  out += "Bytes sent per rank " + bytesText(static_cast<double>(s.bytes_sent_per_rank)) + "   Collectives " +
         std::to_string(s.collectives_executed) + "/" + std::to_string(s.collectives_planned) + " executed   Ranks " +
         std::to_string(s.ranks) + " as " +
         (options.mpi              ? "MPI processes"
          : options.threadsAsRanks ? "threads"
                                   : "processes") +
         " x " + std::to_string(options.threads) + (options.threads == 1 ? " thread" : " threads") +
         (s.pinned ? ", pinned\n" : "\n");
  if (s.outside_ms > 0)
    out += "Outside of commands " + ms(s.outside_ms) + " ms, " + format("%.2f", 100 * s.outside_ms / s.last_ms) +
           "% of the last run (slowest rank)\n";
  out += "Arena " + bytesText(static_cast<double>(s.arena_bytes)) + "   Weights " +
         bytesText(static_cast<double>(s.weight_bytes)) + " per rank   Environment: " + cpuName() + ", " +
         std::to_string(std::thread::hardware_concurrency()) + " cores" +
         (options.trace.empty() ? "" : ", tracing on") + ", link " + r.link + "\n";
  if (!std::isnan(r.predictedMs))
    out += "Predicted " + ms(r.predictedMs) + " ms, error " +
           format("%.1f", 100 * (r.predictedMs / r.quantile(0.5) - 1)) + "%\n";
  int64_t busy = s.ranks * options.threads, cores = std::thread::hardware_concurrency();
  if (busy > cores)
    out += "note: " + std::to_string(busy) + " compute threads share " + std::to_string(cores) +
           " cores: ranks wait for each other's turn\n";
  if (options.verbose && !r.each.empty())
    out += collectivesText(r);
  return out;
}

} // namespace commrun
