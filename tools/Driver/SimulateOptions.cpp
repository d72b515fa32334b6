//===- SimulateOptions.cpp - the command line of commc simulate -----------===//
#include "tools/Driver/SimulateOptions.h"
#include "tools/Driver/Options.h"
#include "tools/Driver/Version.h"
#include "llvm/ADT/StringRef.h"
#include <CLI/CLI.hpp>

using namespace commc;

static int badUsage(const std::string &what, const std::string &hint) {
  printError("E201", what, "", hint);
  return kUsage;
}

int commc::parseSimulateOptions(int argc, char **argv, SimulateOptions &options) {
  CLI::App app("Run an executable in virtual time: step time, what communication is hidden, memory.\n"
               "Example: commc simulate model.commx --topology=h100_sxm --trace t.json",
               "commc simulate");
  app.footer("Exit codes: 0 ok, 2 usage, 3 bad executable or topology, 5 does not fit in the device's memory "
             "(docs/reference/exit-codes.md).");
  app.allow_extras();
  app.set_version_flag("--version", getVersionText());
  std::vector<std::string> slow;
  app.add_option("executable", options.input, "a .commx file");
  app.add_flag("--json", options.json, "machine-readable result on standard output");
  app.add_flag("-q,--quiet", options.quiet, "totals only, no table of collectives");
  app.add_option("--entry", options.entry, "name of the entry (default: every one)");
  app.add_option("--topology", options.topology, "name of a built-in machine, or a JSON file (default: cpu)")
      ->group("Machine");
  app.add_option("--link", options.link, "one link for all ranks instead of the topology's, as in commrun: 1Gbit,50us")
      ->group("Machine");
  app.add_option("--tuning", options.tuning, "measured rows that override the formulas (written by commc bench)")
      ->group("Machine");
  app.add_option("--ranks", options.ranks,
                 "number of ranks: more replicas of a data-parallel program (default: as compiled)")
      ->check(CLI::Range(int64_t(1), int64_t(65536)))
      ->group("Machine");
  app.add_option("--ranks-per-node", options.ranksPerNode, "ranks that share a node (default: the topology's)")
      ->check(CLI::Range(int64_t(1), int64_t(65536)))
      ->group("Machine");
  app.add_option("--straggler", slow, "a slow rank and its factor, e.g. 3:1.5; repeatable")
      ->group("Disturbance")
      ->allow_extra_args(false);
  app.add_option("--jitter", options.jitter, "compute takes up to this share longer, drawn for each rank and command")
      ->check(CLI::Range(0.0, 100.0))
      ->group("Disturbance");
  app.add_option("--seed", options.seed, "of the jitter")->capture_default_str()->group("Disturbance");
  app.add_option(
      "--study", options.study,
      "instead of an executable: compare predictions with a published experiment, bench/overlap/token_weave.json");
  app.add_option("--clock", options.clock,
                 "of a study: factor on all compute (default: fitted to all published times without communication)")
      ->check(CLI::Range(0.1, 10.0));
  app.add_option("--trace", options.trace, "write a Chrome trace of the (first) entry, as commrun does")
      ->group("Output");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &e) {
    return app.exit(e);
  } catch (const CLI::ParseError &e) {
    std::string what = e.what();
    return what.empty() || !checkLeftovers(app) ? kUsage : badUsage(what, "commc simulate --help");
  }
  if (!checkLeftovers(app))
    return kUsage;
  if (options.input.empty() == options.study.empty())
    return badUsage(options.input.empty() ? "executable is required" : "--study takes the place of the executable",
                    "commc simulate --help");
  if (options.topology.empty())
    options.topology = options.study.empty() ? "cpu" : "h100_sxm";
  for (const std::string &text : slow) {
    auto [rank, factor] = llvm::StringRef(text).split(':');
    int64_t number;
    double value;
    if (rank.getAsInteger(10, number) || factor.getAsDouble(value) || number < 0 || !(value > 0 && value <= 1e6))
      return badUsage("--straggler " + text + " is not of the form rank:factor", "--straggler=3:1.5");
    options.slowRanks[number] = value;
  }
  return -1;
}
