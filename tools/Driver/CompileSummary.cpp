//===- CompileSummary.cpp - what commc says about an executable -----------===//
#include "tools/Driver/CompileSummary.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace commc;

void commc::printCompileSummary(const Options &options, const ::comm::exe::Executable &executable,
                                const std::string &path, uint64_t bytes) {
  if (options.explain && !options.json)
    for (const std::string &line : executable.explain)
      llvm::outs() << line << "\n";
  auto prediction = [&](const char *key) {
    auto it = executable.predictions.find(key);
    return it == executable.predictions.end() ? 0.0 : it->second;
  };
  if (options.json) {
    llvm::json::Object predictions;
    for (const auto &[key, value] : executable.predictions)
      predictions[key] = value;
    llvm::json::Array entries;
    for (const auto &entry : executable.entries)
      entries.push_back(entry.name);
    llvm::json::Array explain;
    for (const std::string &line : executable.explain)
      explain.push_back(line);
    llvm::outs() << llvm::json::Value(llvm::json::Object{
                        {"output", path},
                        {"explain", std::move(explain)},
                        {"bytes", static_cast<int64_t>(bytes)},
                        {"ranks", executable.entries.empty() ? 0 : executable.entries[0].split.grid.ranks()},
                        {"entries", std::move(entries)},
                        {"predictions", std::move(predictions)}})
                 << "\n";
    return;
  }
  if (options.quiet)
    return;
  std::string grid;
  for (const Axis &axis : options.grid)
    grid += (grid.empty() ? "" : ", ") + axis.name + " " + std::to_string(axis.size);
  llvm::outs() << "model    " << executable.modelName << ", " << executable.entries.size()
               << (executable.entries.size() == 1 ? " entry\n" : " entries\n");
  llvm::outs() << "plan     " << (executable.entries.empty() ? 1 : executable.entries[0].split.grid.ranks())
               << " ranks (" << grid << ")\n";
  for (const auto &entry : executable.entries) {
    double hidden = prediction(("hidden_us." + entry.name).c_str()),
           exposed = prediction(("exposed_us." + entry.name).c_str());
    if (hidden + exposed <= 0)
      continue;
    llvm::outs() << llvm::format("predict  step %.3f ms  compute %.3f  exposed comm %.3f (hidden %.3f = %.0f%%)",
                                 prediction(("step_us." + entry.name).c_str()) / 1e3,
                                 prediction(("compute_us." + entry.name).c_str()) / 1e3, exposed / 1e3, hidden / 1e3,
                                 100 * hidden / (hidden + exposed))
                 << (executable.entries.size() > 1 ? "  " + entry.name : "") << "\n";
  }
  double arena = prediction("arena_bytes_per_rank"), peak = prediction("peak_bytes_per_rank");
  llvm::outs() << llvm::format("memory   %.1f MiB per rank: arena %.1f, weights, inputs and outputs %.1f\n",
                               peak / 1048576.0, arena / 1048576.0, (peak - arena) / 1048576.0);
  llvm::outs() << "next     commrun " << path << " --verify\n";
  if (!options.explain)
    llvm::outs() << "notes    " << executable.explain.size() << " decisions: see --explain\n";
}
