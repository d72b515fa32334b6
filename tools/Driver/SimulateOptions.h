//===- SimulateOptions.h - the command line of commc simulate ---*- C++ -*-===//
#ifndef TOOLS_DRIVER_SIMULATEOPTIONS_H
#define TOOLS_DRIVER_SIMULATEOPTIONS_H
#include <cstdint>
#include <map>
#include <string>

namespace commc {
struct SimulateOptions {
  std::string input, entry, trace, tuning, link;
  std::string study;                   ///< a study file instead of an executable
  std::string topology;                ///< empty: "cpu", of a study "h100_sxm"
  int64_t ranks = 0, ranksPerNode = 0; ///< 0: as compiled; as the topology says
  std::map<int64_t, double> slowRanks;
  double jitter = 0;
  uint64_t seed = 0;
  double clock = 0; ///< of a study; 0: fitted
  bool json = false, quiet = false;
};
/// `argv[0]` is "simulate". As parseOptions: an exit code, or -1 to go on.
int parseSimulateOptions(int argc, char **argv, SimulateOptions &options);
/// simulate --study.
int runStudy(const SimulateOptions &options);
} // namespace commc
#endif
