//===- SimulateOptions.h - the command line of commc simulate ---*- C++ -*-===//
#ifndef TOOLS_DRIVER_SIMULATEOPTIONS_H
#define TOOLS_DRIVER_SIMULATEOPTIONS_H
#include <cstdint>
#include <map>
#include <string>

namespace commc {
struct SimulateOptions {
  std::string input, entry, trace, tuning, link;
  std::string topology = "cpu";
  int64_t ranks = 0, ranksPerNode = 0; ///< 0: as compiled; as the topology says
  std::map<int64_t, double> slowRanks;
  double jitter = 0;
  uint64_t seed = 0;
  bool collectives = true, json = false, quiet = false;
};
/// `argv[0]` is "simulate". As parseOptions: an exit code, or -1 to go on.
int parseSimulateOptions(int argc, char **argv, SimulateOptions &options);
} // namespace commc
#endif
