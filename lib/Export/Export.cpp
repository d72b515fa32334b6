//===- Export.cpp - form `command` -> executable --------------------------===//
#include "ProgramExport.h"
#include "comm/Executable/RankMemory.h"
#include "comm/IR/Pads.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace mlir::comm;
namespace exe = ::comm::exe;

namespace {
/// Largest constant that the text of the final IR shows.
constexpr int64_t kShownElements = 16;

std::string printIR(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream out(text);
  OpPrintingFlags flags;
  flags.elideLargeElementsAttrs(kShownElements).elideLargeResourceString(kShownElements);
  auto explained = module->getAttr("comm.explain"); // has its own place in the executable
  module->removeAttr("comm.explain");
  module.print(out, flags);
  if (explained)
    module->setAttr("comm.explain", explained);
  return text;
}

/// Pairs of inputs and outputs that carry the same state.
FailureOr<std::vector<exe::StatePair>> statesOf(func::FuncOp function, const exe::Program &program) {
  llvm::MapVector<StringRef, exe::StatePair> pairs;
  size_t inputs = 0, outputs = 0;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    bool isOutput = function.getArgAttr(i, kOutputAttr) != nullptr;
    const exe::Port &port = isOutput ? program.outputs[outputs++] : program.inputs[inputs++];
    auto state = function.getArgAttrOfType<StringAttr>(i, kStateAttr);
    if (!state)
      continue;
    std::string &side = isOutput ? pairs[state.getValue()].output : pairs[state.getValue()].input;
    if (!side.empty())
      return function.emitError("error[E125]: state '")
             << state.getValue() << "' stands on '" << side << "' and on '" << port.name << "'";
    side = port.name;
  }
  std::vector<exe::StatePair> states;
  for (auto &[name, pair] : pairs) {
    if (pair.input.empty() || pair.output.empty())
      return function.emitError("error[E125]: state '")
             << name << "' has no " << (pair.input.empty() ? "input" : "output");
    states.push_back(pair);
  }
  return states;
}

StringRef referenceOf(func::FuncOp function) {
  Attribute attr = function->getAttr(kReferenceAttr);
  if (auto symbol = dyn_cast_or_null<FlatSymbolRefAttr>(attr))
    return symbol.getValue();
  if (auto text = dyn_cast_or_null<StringAttr>(attr))
    return text.getValue();
  return "";
}

class Exporter {
public:
  Exporter(ModuleOp module, const ExportOptions &options)
      : module(module), options(options), grid(getGrid(module)), weights(out, this->options) {}

  FailureOr<exe::Executable> run(std::vector<exe::NativeObject> objects) {
    out.compilerVersion = options.compilerVersion;
    out.options = options.options;
    out.modelName = options.modelName;
    out.modelSha256 = options.modelSha256;
    out.objects = std::move(objects);
    bool ok = true;
    for (func::FuncOp function : module.getOps<func::FuncOp>())
      if (function->hasAttr(kEntryAttr) && !function->hasAttr(kReferenceAttr))
        ok &= succeeded(addEntry(function));
    if (ok && out.entries.empty())
      return module.emitError("error[E123]: no function is an entry");
    if (!ok)
      return failure();
    for (KernelOp kernel : module.getOps<KernelOp>())
      if (std::optional<exe::Kernel> declaration = declareKernel(kernel))
        out.kernels.push_back(std::move(*declaration));
    out.finalIR = printIR(module);
    if (auto lines = module->getAttrOfType<ArrayAttr>("comm.explain"))
      for (auto line : lines.getAsRange<StringAttr>())
        out.explain.push_back(line.str());
    predict();
    std::vector<std::string> problems = exe::validate(out);
    for (const std::string &problem : problems)
      module.emitError("error[E126]: the executable is not sound: ") << problem;
    if (!problems.empty())
      return failure();
    return std::move(out);
  }

private:
  LogicalResult addEntry(func::FuncOp function) {
    exe::Entry entry;
    entry.name = function.getName().str();
    FailureOr<exe::Program> split = exportProgram(function, grid, weights);
    if (failed(split))
      return failure();
    entry.split = std::move(*split);
    if (entry.split.grid.ranks() == 1) {
      entry.reference = entry.split;
    } else {
      auto references = llvm::make_filter_range(module.getOps<func::FuncOp>(),
                                                [&](func::FuncOp f) { return referenceOf(f) == function.getName(); });
      if (references.empty())
        return function.emitError("error[E123]: '")
               << function.getName() << "' has no unsplit model (a function with comm.reference = @"
               << function.getName() << ")";
      FailureOr<exe::Program> reference = exportProgram(*references.begin(), nullptr, weights);
      if (failed(reference))
        return failure();
      entry.reference = std::move(*reference);
    }
    FailureOr<std::vector<exe::StatePair>> states = statesOf(function, entry.split);
    if (failed(states))
      return failure();
    entry.states = std::move(*states);
    if (auto pads = function->getAttrOfType<ArrayAttr>(kPadsAttr))
      for (auto symbol : pads.getAsRange<DictionaryAttr>()) {
        auto number = [&](StringRef key) { return symbol.getAs<IntegerAttr>(key).getInt(); };
        entry.pads.push_back(
            {symbol.getAs<StringAttr>("name").str(), number("size"), number("least"), number("input")});
      }
    if (auto predicted = function->getAttrOfType<DictionaryAttr>("comm.predicted"))
      for (NamedAttribute item : predicted)
        if (auto value = dyn_cast<FloatAttr>(item.getValue()))
          out.predictions[item.getName().str() + "." + entry.name] = value.getValueAsDouble();
    out.entries.push_back(std::move(entry));
    return success();
  }

  /// Of all entries together: a session prepares every one of them; and of each when there are several.
  void predict() {
    std::vector<const exe::Program *> all;
    auto memory = [&](const std::string &prefix, const std::vector<const exe::Program *> &programs) {
      exe::RankMemory use = exe::rankMemory(out, programs);
      out.predictions[prefix + "peak_bytes_per_rank"] = static_cast<double>(use.peak());
      out.predictions[prefix + "held_bytes_per_rank"] = static_cast<double>(use.held());
      out.predictions[prefix + "weight_bytes_per_rank"] = static_cast<double>(use.weights());
      out.predictions[prefix + "mapped_bytes_per_rank"] = static_cast<double>(use.mapped);
      out.predictions[prefix + "arena_bytes_per_rank"] = static_cast<double>(use.arena);
      out.predictions[prefix + "runtime_bytes_per_rank"] = static_cast<double>(exe::runtimeBytes(out, programs));
    };
    auto record = [&](const std::string &name, const exe::Entry &entry, double value) {
      double &largest = out.predictions[name];
      largest = std::max(largest, value);
      if (out.entries.size() > 1)
        out.predictions[entry.name + "/" + name] = value;
    };
    auto isPlanned = [](const exe::Command &command) { return command.attrs.count("plan_id") > 0; };
    for (const exe::Entry &entry : out.entries) {
      all.push_back(&entry.split);
      if (out.entries.size() > 1)
        memory(entry.name + "/", {&entry.split});
      record("communication_bytes_per_rank", entry, static_cast<double>(entry.split.commBytes));
      record("collectives", entry, static_cast<double>(llvm::count_if(entry.split.commands, isPlanned)));
      record("bytes_sent_per_rank", entry, static_cast<double>(bytesSent(entry.split)));
    }
    memory("", all);
  }

  ModuleOp module;
  ExportOptions options;
  GridOp grid;
  exe::Executable out;
  WeightTable weights;
};
} // namespace

FailureOr<exe::Executable> mlir::comm::exportExecutable(ModuleOp module, std::vector<exe::NativeObject> objects,
                                                        const ExportOptions &options) {
  return Exporter(module, options).run(std::move(objects));
}
