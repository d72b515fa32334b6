//===- CompileSummary.cpp - what commc says about an executable -----------===//
#include "tools/Driver/CompileSummary.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <map>
#include <set>

using namespace commc;
namespace exe = ::comm::exe;

namespace {
/// What an entry reads of the files: bytes and window of a weight, without how it lies on the ranks.
std::string sourceOf(const exe::Weight &weight) {
  std::string key;
  llvm::raw_string_ostream out(key);
  out << weight.file << "|" << weight.offset << "|" << exe::dtypeName(weight.dtype);
  for (int64_t size : weight.shape)
    out << "," << size;
  for (const exe::Slice &slice : weight.slices)
    out << "|" << slice.dim << ":" << slice.start << "+" << slice.size;
  return key;
}

struct WeightUse {
  size_t weights = 0, differ = 0; ///< in all entries; of them, split in another way in some entry
  double bytes = 0, again = 0;    ///< per rank; of them, parts that a rank holds because entries differ
};
/// One rank's weights over all entries: each once where entries agree on how it is split.
WeightUse countWeights(const exe::Executable &executable) {
  struct Source {
    std::set<int64_t> parts; ///< weights of the executable
    std::vector<std::set<int64_t>> entries;
  };
  std::map<std::string, Source> sources;
  for (auto [number, entry] : llvm::enumerate(executable.entries))
    for (const exe::Value &value : entry.split.values)
      if (value.storage == exe::Storage::Weight) {
        Source &source = sources[sourceOf(executable.weights[value.index])];
        source.entries.resize(executable.entries.size());
        source.entries[number].insert(value.index);
        source.parts.insert(value.index);
      }
  WeightUse use;
  for (const auto &[key, source] : sources) {
    auto bytesOf = [&](const std::set<int64_t> &parts) {
      double bytes = 0;
      for (int64_t part : parts) {
        const exe::Weight &weight = executable.weights[part];
        bytes += static_cast<double>(exe::byteSize(
            weight.dtype, exe::localShape(exe::slicedShape(weight), weight.layout, executable.entries[0].split.grid)));
      }
      return bytes;
    };
    double most = 0, all = bytesOf(source.parts);
    for (const std::set<int64_t> &parts : source.entries)
      most = std::max(most, bytesOf(parts));
    ++use.weights;
    use.differ += all > most;
    use.bytes += all;
    use.again += all - most;
  }
  return use;
}
} // namespace

/// "bf16 for 7 of 8 products and 1 of 1 attention, sums in f32"; empty when nothing is narrower than the model says.
static std::string precisionOf(const ::comm::exe::Executable &executable) {
  std::string text, precision;
  for (const char *op : {"matmul", "attention"}) {
    int64_t narrow = 0, all = 0;
    for (const auto &entry : executable.entries)
      for (const auto &command : entry.split.commands) {
        all += command.op == op;
        auto it = command.attrs.find("precision");
        if (command.op != op || it == command.attrs.end())
          continue;
        ++narrow;
        precision = std::get<std::string>(it->second); // commc made it: a string, and one for all
      }
    if (narrow > 0)
      text += (text.empty() ? " for " : " and ") + std::to_string(narrow) + " of " + std::to_string(all) +
              (std::string(op) == "matmul" ? " products" : " attentions");
  }
  return text.empty() ? text : precision + text + ", sums in f32";
}

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
    WeightUse use = countWeights(executable);
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
                        {"precision", precisionOf(executable)},
                        {"ranks", executable.entries.empty() ? 0 : executable.entries[0].split.grid.ranks()},
                        {"entries", std::move(entries)},
                        {"weights", static_cast<int64_t>(use.weights)},
                        {"weights_that_differ", static_cast<int64_t>(use.differ)},
                        {"weight_bytes_per_rank", use.bytes},
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
               << (executable.entries.size() == 1 ? " entry" : " entries");
  for (auto [number, entry] : llvm::enumerate(executable.entries))
    if (executable.entries.size() > 1)
      llvm::outs() << (number == 0 ? ": " : "; ") << entry.name;
  llvm::outs() << "\n";
  llvm::outs() << "plan     " << (executable.entries.empty() ? 1 : executable.entries[0].split.grid.ranks())
               << " ranks (" << grid << ")\n";
  if (std::string precision = precisionOf(executable); !precision.empty())
    llvm::outs() << "numbers  " << precision << "\n";
  for (const auto &entry : executable.entries) {
    double hidden = prediction(("hidden_us." + entry.name).c_str()),
           exposed = prediction(("exposed_us." + entry.name).c_str());
    double step = prediction(("step_us." + entry.name).c_str());
    if (hidden + exposed <= 0 && executable.entries.size() > 1 && step > 0)
      llvm::outs() << llvm::format("predict  step %.3f ms  ", step / 1e3) << entry.name << "\n";
    if (hidden + exposed <= 0)
      continue;
    llvm::outs() << llvm::format("predict  step %.3f ms  compute %.3f  exposed comm %.3f (hidden %.3f = %.0f%%)",
                                 step / 1e3, prediction(("compute_us." + entry.name).c_str()) / 1e3, exposed / 1e3,
                                 hidden / 1e3, 100 * hidden / (hidden + exposed))
                 << (executable.entries.size() > 1 ? "  " + entry.name : "") << "\n";
  }
  for (const auto &entry : executable.entries)
    for (const auto &symbol : entry.pads)
      llvm::outs() << "takes    " << symbol.name << " from " << symbol.least << " to " << symbol.size << "  "
                   << entry.name << "\n";
  double arena = prediction("arena_bytes_per_rank"), peak = prediction("peak_bytes_per_rank");
  llvm::outs() << llvm::format("memory   %.1f MiB per rank: arena %.1f, weights, inputs and outputs %.1f\n",
                               peak / 1048576.0, arena / 1048576.0, (peak - arena) / 1048576.0);
  if (executable.entries.size() > 1) {
    WeightUse use = countWeights(executable);
    llvm::outs() << llvm::format("weights  %zu, %.1f MiB per rank", use.weights, use.bytes / 1048576.0)
                 << (use.differ == 0 ? ", shared by all entries"
                                     : llvm::formatv(": {0} lie differently in some entry, {1:f1} MiB of them twice",
                                                     use.differ, use.again / 1048576.0)
                                           .str())
                 << "\n";
  }
  llvm::outs() << "next     commrun " << path << " --verify\n";
  if (!options.explain)
    llvm::outs() << "notes    " << executable.explain.size() << " decisions: see --explain\n";
}
