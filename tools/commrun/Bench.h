//===- Bench.h - timing a call ----------------------------------*- C++ -*-===//
#pragma once
#include "Program.h"

namespace commrun {

/// Times of a series of runs. `waitShare`: time that the slowest rank's compute waited for communication, of the whole.
struct BenchResult {
  std::vector<double> ms; ///< sorted
  double waitShare = 0;
  comm_session_stats stats = {};           ///< of the last run, its times the mean over all runs
  std::vector<comm_collective_stats> each; ///< the same for every collective
  std::vector<double> msWithoutOverlap;    ///< sorted; empty when the program starts no collective ahead
  std::string link;
  double predictedMs = 0; ///< NaN: the executable does not say
  double best() const { return ms.front(); }
  double quantile(double q) const { return quantileOf(ms, q); }
  double medianWithoutOverlap() const { return quantileOf(msWithoutOverlap, 0.5); }

private:
  static double quantileOf(const std::vector<double> &sorted, double q);
};

/// Where the program starts collectives ahead, runs with and without overlap take turns.
BenchResult bench(const Executable &, Session &, Call, const Options &);
/// The summary block; with -v a line per collective.
std::string benchText(const BenchResult &, const Options &);

} // namespace commrun
