//===- Bench.cpp - timing a call ------------------------------------------===//
#include "Bench.h"
#include <algorithm>
#include <chrono>
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

double BenchResult::quantile(double q) const {
  // Nearest rank: a time that was measured.
  auto i = static_cast<size_t>(std::ceil(q * static_cast<double>(ms.size())));
  return ms[std::min(ms.size() - 1, i > 0 ? i - 1 : 0)];
}

BenchResult bench(Session &session, const Call &call, const Options &options) {
  using Clock = std::chrono::steady_clock;
  TensorMap outputs = session.makeOutputs(call.entry);
  auto until = Clock::now() + std::chrono::duration<double, std::milli>(options.warmupMs);
  do
    session.run(call, outputs);
  while (Clock::now() < until);
  BenchResult result;
  double waited = 0;
  for (int i = 0; i < options.iterations; ++i) {
    auto begin = Clock::now();
    session.run(call, outputs);
    result.ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    result.stats = session.stats();
    waited += result.stats.wait_ms_max;
  }
  double total = std::accumulate(result.ms.begin(), result.ms.end(), 0.0);
  result.waitShare = total > 0 ? waited / total : 0;
  std::sort(result.ms.begin(), result.ms.end());
  return result;
}

std::string benchText(const BenchResult &r, const Options &options) {
  auto ms = [](double v) { return format("%.3f", v); };
  double mean = std::accumulate(r.ms.begin(), r.ms.end(), 0.0) / static_cast<double>(r.ms.size());
  const comm_session_stats &s = r.stats;
  std::string out = "=== Performance summary ===\n";
  out += "Throughput: " + format("%.1f", 1000.0 / mean) + " qps   Latency ms: min " + ms(r.ms.front()) + " max " +
         ms(r.ms.back()) + " mean " + ms(mean) + " median " + ms(r.quantile(0.5)) + " p90 " + ms(r.quantile(0.9)) +
         " p95 " + ms(r.quantile(0.95)) + " p99 " + ms(r.quantile(0.99)) + "   runs " + std::to_string(r.ms.size()) +
         "\n";
  out += "Waiting for communication: " + format("%.1f", 100 * r.waitShare) + "% of the time (slowest rank)\n";
  out += "Bytes sent per rank " + bytesText(static_cast<double>(s.bytes_sent_per_rank)) + "   Collectives " +
         std::to_string(s.collectives_executed) + "/" + std::to_string(s.collectives_planned) + " executed   Ranks " +
         std::to_string(s.ranks) + " as " + (options.threadsAsRanks ? "threads" : "processes") + " x " +
         std::to_string(options.threads) + (options.threads == 1 ? " thread\n" : " threads\n");
  out += "Arena " + bytesText(static_cast<double>(s.arena_bytes)) + "   Weights " +
         bytesText(static_cast<double>(s.weight_bytes)) + " per rank   Environment: " + cpuName() + ", " +
         std::to_string(std::thread::hardware_concurrency()) + " cores" +
         (options.trace.empty() ? "" : ", tracing on") + "\n";
  int64_t busy = s.ranks * options.threads, cores = std::thread::hardware_concurrency();
  if (busy > cores)
    out += "note: " + std::to_string(busy) + " compute threads share " + std::to_string(cores) +
           " cores: ranks wait for each other's turn\n";
  return out;
}

} // namespace commrun
