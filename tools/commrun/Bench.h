//===- Bench.h - timing a call ----------------------------------*- C++ -*-===//
#pragma once
#include "Program.h"

namespace commrun {

/// Times of a series of runs. `waitShare`: time that the slowest rank's compute waited for communication, of the whole.
struct BenchResult {
  std::vector<double> ms; ///< sorted
  double waitShare = 0;
  comm_session_stats stats = {};
  double best() const { return ms.front(); }
  double quantile(double q) const;
};

BenchResult bench(Session &, const Call &, const Options &);
/// The summary block.
std::string benchText(const BenchResult &, const Options &);

} // namespace commrun
