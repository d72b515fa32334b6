//===- Inspect.cpp - commc inspect ----------------------------------------===//
#include "comm/Executable/Executable.h"
#include "comm/IR/CommOps.h"
#include "comm/Import/Import.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "tools/Driver/Driver.h"
#include "tools/Driver/Problems.h"
#include "tools/Driver/Prove.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

using namespace commc;
using namespace mlir::comm;

static std::string describe(const GraphValue &value) {
  std::string text = value.name + "  " + value.elementType + " [";
  for (size_t i = 0; i < value.dims.size(); ++i)
    text += (i ? ", " : "") + value.dims[i];
  return text + "]";
}

static llvm::json::Array toJson(const std::vector<GraphValue> &values) {
  llvm::json::Array list;
  for (const GraphValue &value : values)
    list.push_back(
        llvm::json::Object{{"name", value.name}, {"type", value.elementType}, {"dims", llvm::json::Array(value.dims)}});
  return list;
}

static int inspectModel(const Options &options) {
  Problems problems;
  auto model = OnnxModel::open(options.input, getOpenOptions(options), problems);
  if (!model) {
    printProblems(problems, options.quiet);
    return exitCodeOf(problems);
  }
  model->check(problems);
  if (options.json) {
    llvm::outs() << llvm::json::Value(llvm::json::Object{{"inputs", toJson(model->getInputs())},
                                                         {"outputs", toJson(model->getOutputs())},
                                                         {"supported", !hasErrors(problems)}})
                 << "\n";
    return exitCodeOf(problems);
  }
  llvm::outs() << "model    " << options.input << "\n";
  for (const GraphValue &value : model->getInputs())
    llvm::outs() << "input    " << describe(value) << "\n";
  for (const GraphValue &value : model->getOutputs())
    llvm::outs() << "output   " << describe(value) << "\n";
  printProblems(problems, options.quiet);
  return exitCodeOf(problems);
}

static llvm::json::Array toJson(const std::vector<::comm::exe::Port> &ports) {
  llvm::json::Array list;
  for (const ::comm::exe::Port &port : ports)
    list.push_back(llvm::json::Object{
        {"name", port.name}, {"type", ::comm::exe::dtypeName(port.dtype)}, {"dims", llvm::json::Array(port.shape)}});
  return list;
}

static void printExecutableJson(const ::comm::exe::Executable &executable, const std::string &hash,
                                const std::vector<std::string> &proofs) {
  llvm::json::Array entries, explain(executable.explain);
  llvm::json::Object predictions;
  for (const auto &[key, value] : executable.predictions)
    predictions[key] = value;
  for (const ::comm::exe::Entry &entry : executable.entries) {
    llvm::json::Object axes, collectives;
    for (const auto &axis : entry.split.grid.axes)
      axes[axis.name] = axis.size;
    std::map<std::string, int64_t> counts;
    for (const ::comm::exe::Command &command : entry.split.commands)
      if (const std::string &name = ::comm::exe::collectiveOf(command); !name.empty())
        ++counts[name];
    for (const auto &[name, count] : counts)
      collectives[name] = count;
    llvm::json::Array states;
    for (const ::comm::exe::StatePair &state : entry.states)
      states.push_back(llvm::json::Object{{"input", state.input}, {"output", state.output}});
    entries.push_back(llvm::json::Object{{"name", entry.name},
                                         {"ranks", entry.split.grid.ranks()},
                                         {"grid", std::move(axes)},
                                         {"arena_bytes", entry.split.arenaBytes},
                                         {"commands", static_cast<int64_t>(entry.split.commands.size())},
                                         {"collectives", std::move(collectives)},
                                         {"inputs", toJson(entry.split.inputs)},
                                         {"outputs", toJson(entry.split.outputs)},
                                         {"states", std::move(states)}});
  }
  llvm::outs() << llvm::json::Value(llvm::json::Object{
                      {"hash", hash},
                      {"model", executable.modelName},
                      {"compiler", executable.compilerVersion},
                      {"options", executable.options},
                      {"ranks", executable.entries.empty() ? 0 : executable.entries[0].split.grid.ranks()},
                      {"entries", std::move(entries)},
                      {"predictions", std::move(predictions)},
                      {"proof", llvm::json::Array(proofs)},
                      {"explain", std::move(explain)}})
               << "\n";
}

static int inspectExecutable(const Options &options, llvm::StringRef bytes) {
  ::comm::exe::Executable executable;
  std::string error;
  if (!::comm::exe::readExecutable(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size(), executable, error)) {
    printError("E301", error, options.input, "compile the model again");
    return kBadModel;
  }
  std::string hash = ::comm::exe::executableHash(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
  std::vector<std::string> problems, proofs = proveEntries(executable, problems);
  if (options.json) {
    printExecutableJson(executable, hash, proofs);
  } else if (options.prove) {
    for (const std::string &line : proofs)
      llvm::outs() << line << "\n";
  } else {
    llvm::outs() << "hash     " << hash << "\n" << ::comm::exe::printExecutable(executable, options.commands);
    llvm::outs() << "\nproof\n";
    for (const std::string &line : proofs)
      llvm::outs() << "  " << line << "\n";
    if (options.verbose)
      llvm::outs() << executable.finalIR << "\n";
  }
  if (!options.prove || problems.empty())
    return kOk;
  for (const std::string &problem : problems)
    printError("E301", problem, options.input, "compile the model again");
  return kBadModel;
}

int commc::runInspect(const Options &options) {
  auto file = llvm::MemoryBuffer::getFile(options.input, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!file) {
    printError("E302", "cannot read '" + options.input + "': " + file.getError().message());
    return kBadModel;
  }
  // An executable says so in its first bytes; everything else is tried as a model.
  if ((*file)->getBuffer().starts_with("COMMX"))
    return inspectExecutable(options, (*file)->getBuffer());
  return inspectModel(options);
}
