//===- Report.h - what one invocation found out -----------------*- C++ -*-===//
#pragma once
#include "Bench.h"
#include "Compare.h"

namespace commrun {

/// What one invocation found out; printed as text or JSON.
struct Report {
  std::vector<std::string> lines;
  std::vector<Difference> expected, verified;
  bool benched = false;
  BenchResult bench;
  comm_session_stats stats = {};
  std::vector<comm_collective_stats> each; ///< of the last call; of the mean run after a bench
  std::string link;
};

/// The same facts as one JSON object.
std::string jsonText(const Report &);

} // namespace commrun
