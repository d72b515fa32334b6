//===- Compile.cpp - commc model.onnx -------------------------------------===//
// import -> partition -> optimize -> schedule -> lower -> export, with one line per phase on standard error and the
// summary on standard output.
//===----------------------------------------------------------------------===//
#include "comm-c/runtime.h"
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/HeldBytes.h"
#include "comm/Analysis/OverlapGraph.h"
#include "comm/Executable/Executable.h"
#include "comm/Export/Export.h"
#include "comm/IR/CommOps.h"
#include "comm/IR/Precision.h"
#include "comm/Import/Import.h"
#include "comm/Proof/Certificate.h"
#include "comm/Proof/Equality.h"
#include "comm/Solver/PlanLimits.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Lower/Codegen/Codegen.h"
#include "passes/Pipeline.h"
#include "tools/Driver/Buckets.h"
#include "tools/Driver/CompileSummary.h"
#include "tools/Driver/Diagnostics.h"
#include "tools/Driver/Driver.h"
#include "tools/Driver/NpzShapes.h"
#include "tools/Driver/Problems.h"
#include "tools/Driver/Prove.h"
#include "tools/Driver/Siblings.h"
#include "tools/Driver/Version.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <optional>
#include <unistd.h>

using namespace commc;
using namespace mlir;
using namespace mlir::comm;

namespace {
class Compiler {
public:
  explicit Compiler(const Options &options)
      : options(options), context(MLIRContext::Threading::DISABLED), diagnostics(&context, options.verbose > 0) {
    context.loadDialect<CommDialect, func::FuncDialect>();
  }
  int run();

private:
  int import();
  int runPhase(Phase phase, const PipelineOptions &pipeline);
  void limitMemory();
  int lowerWithinLimit();
  int exportFile();
  int prove(::comm::exe::Executable &executable);
  int applyLayouts();
  PipelineOptions pipelineOptions() const;
  int checkPredictions();
  void noteUnused();
  int finish(Phase phase);
  void addReferences();
  void addGrid();
  void progress(Phase phase, const std::string &what);
  std::string outputPath() const;
  bool embedsWeights(const std::string &path) const;
  std::string phaseFacts(Phase phase);
  int writeText(const std::string &path, const std::string &text);

  const Options &options;
  MLIRContext context;
  DiagnosticPrinter diagnostics;
  std::unique_ptr<OnnxModel> model;
  OwningOpRef<ModuleOp> module, unplanned;          ///< the second: as it came to Optimize, where memory is limited
  std::optional<::comm::solver::PlanLimits> limits; ///< where memory is limited
  int64_t planned = 0;                              ///< bytes per rank that Optimize and Schedule plan for; 0: any
  std::chrono::steady_clock::time_point phaseStart = std::chrono::steady_clock::now();
};

std::string Compiler::outputPath() const {
  return options.output.empty() ? llvm::sys::path::stem(options.input).str() + ".commx" : options.output;
}

void Compiler::progress(Phase phase, const std::string &what) {
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - phaseStart).count();
  phaseStart = std::chrono::steady_clock::now();
  if (!options.quiet)
    llvm::errs() << llvm::format("[%d/%d] %-10s%-60s %6.2f s\n", static_cast<int>(phase) + 1,
                                 static_cast<int>(getPhases().size()), getPhaseInfo(phase).flag.str().c_str(),
                                 what.c_str(), seconds);
}

int Compiler::writeText(const std::string &path, const std::string &text) {
  std::error_code error;
  llvm::raw_fd_ostream stream(path, error);
  stream << text;
  stream.close();
  if (!error && !stream.has_error())
    return kOk;
  printError("E204", "cannot write '" + path + "': " + (error ? error : stream.error()).message());
  stream.clear_error();
  return kUsage;
}

/// Prints or dumps the IR where asked. An exit code when this is where to stop, else -1.
int Compiler::finish(Phase phase) {
  progress(phase, phaseFacts(phase));
  const PhaseInfo &info = getPhaseInfo(phase);
  auto text = [&] {
    std::string out;
    llvm::raw_string_ostream stream(out);
    OpPrintingFlags flags;
    flags.elideLargeElementsAttrs(64);
    module->print(stream, flags);
    return out;
  };
  if (!options.dumpIR.empty()) {
    llvm::sys::fs::create_directories(options.dumpIR); // a failure shows when the file is written
    if (int code = writeText(options.dumpIR + "/" + std::to_string(static_cast<int>(phase) + 1) + "-" +
                                 info.flag.str() + ".mlir",
                             text()))
      return code;
  }
  if (options.stopAfter != info.flag)
    return -1;
  if (!options.output.empty())
    return writeText(options.output, text());
  llvm::outs() << text();
  return kOk;
}

int Compiler::import() {
  Problems problems;
  model = OnnxModel::open(options.input, getOpenOptions(options), problems);
  if (!model || !model->check(problems)) {
    printProblems(problems, options.quiet);
    int code = exitCodeOf(problems);
    return code == kOk ? kInternal : code;
  }
  module = ModuleOp::create(NameLoc::get(StringAttr::get(&context, llvm::sys::path::filename(options.input))));
  std::vector<EntrySizes> entries = listEntries(options);
  if (options.shapesFrom.size() > 1) {
    entries.resize(options.shapesFrom.size(), entries[0]);
    for (size_t i = 0; i < entries.size(); ++i)
      entries[i].name = "entry_" + std::to_string(i);
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    ImportOptions import;
    import.dims = entries[i].dims;
    import.inputShapes = options.shapes;
    import.entryName = entries[i].name;
    if (!options.shapesFrom.empty()) {
      std::string path = options.shapesFrom[i], error;
      path.erase(0, path.rfind('@', 0) == 0 ? 1 : 0);
      std::map<std::string, std::vector<int64_t>> shapes;
      if (!readNpzShapes(path, shapes, import.inputValues, error)) {
        printError("E202", error, "--shapes-from", "an .npz with one array per graph input");
        return kUsage;
      }
      import.inputShapes.insert(shapes.begin(), shapes.end());
    }
    Problems found; // warnings of the model are equal in all entries
    if (failed(model->importEntry(*module, import, found))) {
      if (entries.size() > 1)
        for (Problem &problem : found)
          problem.where += (problem.where.empty() ? "entry '" : ", entry '") + import.entryName + "'";
      printProblems(found, options.quiet);
      return exitCodeOf(found) ? exitCodeOf(found) : kInternal;
    }
    if (i == 0)
      problems.insert(problems.end(), found.begin(), found.end());
  }
  printProblems(problems, options.quiet); // warnings
  return kOk;
}

/// One rank needs no reference: it is the unsplit model.
void Compiler::addReferences() {
  int64_t ranks = 1;
  for (const commc::Axis &axis : options.grid)
    ranks *= axis.size;
  if (ranks == 1)
    return;
  OpBuilder builder(&context);
  for (func::FuncOp entry : llvm::to_vector(module->getOps<func::FuncOp>())) {
    builder.setInsertionPointAfter(entry);
    auto reference = cast<func::FuncOp>(builder.clone(*entry));
    reference.setName((entry.getName() + "_reference").str());
    reference->removeAttr(kEntryAttr);
    reference->setAttr("comm.reference", FlatSymbolRefAttr::get(entry));
  }
}

void Compiler::addGrid() {
  OpBuilder builder = OpBuilder::atBlockBegin(module->getBody());
  SmallVector<StringRef> names;
  SmallVector<int64_t> sizes;
  for (const commc::Axis &axis : options.grid) {
    names.push_back(axis.name);
    sizes.push_back(axis.size);
  }
  GridOp::create(builder, module->getLoc(), "grid", builder.getStrArrayAttr(names), sizes);
}

std::string Compiler::phaseFacts(Phase phase) {
  int64_t attention = 0, collectives = 0, fused = 0, kernels = 0, commands = 0;
  module->walk([&](Operation *op) {
    if (auto function = op->getParentOfType<func::FuncOp>(); function && function->hasAttr("comm.reference"))
      return;
    attention += isa<AttentionOp>(op);
    collectives += isa<CollectiveOpInterface>(op);
    fused += isa<AllReduceNormOp>(op);
    kernels += isa<KernelOp>(op);
    commands += isa<CommandOp, LaunchOp>(op);
  });
  std::string grid;
  for (const commc::Axis &axis : options.grid)
    grid += (grid.empty() ? "" : " ") + axis.name + "=" + std::to_string(axis.size);
  switch (phase) {
  case Phase::Import:
    return std::to_string(std::distance(module->getOps<func::FuncOp>().begin(), module->getOps<func::FuncOp>().end())) +
           " entries, " + std::to_string(attention) + " attentions";
  case Phase::Partition:
    return grid + ", " + std::to_string(collectives) + " collectives";
  case Phase::Optimize:
    return std::to_string(collectives) + " collectives, " + std::to_string(fused) + " fused with a norm";
  case Phase::Schedule: {
    int64_t overlapped = 0, judged = 0;
    for (func::FuncOp function : module->getOps<func::FuncOp>())
      if (auto predicted = function->getAttrOfType<DictionaryAttr>(kPredictedAttr)) {
        judged += static_cast<int64_t>(cast<FloatAttr>(predicted.get("judged")).getValueAsDouble());
        overlapped += static_cast<int64_t>(cast<FloatAttr>(predicted.get("overlapped")).getValueAsDouble());
      }
    return std::to_string(overlapped) + " of " + std::to_string(judged) + " collectives overlapped";
  }
  case Phase::Lower:
    return std::to_string(kernels) + " kernels, " + std::to_string(commands) + " commands";
  case Phase::Export:
    return "";
  }
  return "";
}

/// `--layout name=text` on every entry that has the value.
int Compiler::applyLayouts() {
  for (const std::string &layout : options.layouts) {
    auto [name, text] = llvm::StringRef(layout).split('=');
    std::string error;
    bool applied = false;
    for (func::FuncOp function : module->getOps<func::FuncOp>())
      if (function->hasAttr(kEntryAttr))
        applied |= applyUserLayout(function, name, text, error);
    if (!applied) {
      printError("E202", error, "--layout " + layout, "--layout hidden=*,tp");
      return kUsage;
    }
  }
  return kOk;
}

PipelineOptions Compiler::pipelineOptions() const {
  PipelineOptions pipeline;
  pipeline.overlap = llvm::StringSwitch<OverlapMode>(options.overlap)
                         .Case("off", OverlapMode::Off)
                         .Case("safe", OverlapMode::Safe)
                         .Case("max", OverlapMode::Max)
                         .Default(OverlapMode::Auto);
  pipeline.cost = {options.topology, options.link, options.tuning};
  pipeline.disabled.insert(options.disabled.begin(), options.disabled.end());
  pipeline.precision = options.precision;
  pipeline.anyFill = options.fill == "any";
  pipeline.partition.sequenceParallel = options.sequenceParallel;
  pipeline.lower.memoryLimit = options.memoryLimit;
  pipeline.scheduleReserve = planned > 0 ? options.memoryLimit - planned : 0;
  pipeline.weave.plan = options.plan;
  pipeline.weave.cut = options.splitAt;
  pipeline.weave.tile = options.splitTile;
  pipeline.weave.minRows = options.splitMinRows;
  pipeline.weave.chunks = options.matmulChunks;
  pipeline.weave.order = options.matmulOrder;
  return pipeline;
}

/// What predictions are made for is checked before the model is read.
int Compiler::checkPredictions() {
  std::string error;
  if (loadCostModel(pipelineOptions().cost, error))
    return kOk;
  printError("E202", error, "", "--topology=cpu --link=1Gbit,50us");
  return kUsage;
}

/// An option that was asked for and had no effect is said, with the count of what stood in its way.
void Compiler::noteUnused() {
  double judged = 0, overlapped = 0;
  bool narrows = false;
  module->walk([&](Operation *op) { narrows |= !getPrecision(op).empty(); });
  for (func::FuncOp function : module->getOps<func::FuncOp>())
    if (auto predicted = function->getAttrOfType<DictionaryAttr>(kPredictedAttr)) {
      judged += cast<FloatAttr>(predicted.get("judged")).getValueAsDouble();
      overlapped += cast<FloatAttr>(predicted.get("overlapped")).getValueAsDouble();
    }
  auto note = [&](const std::string &option, const std::string &why) {
    explain(*module, "unused", option + " had no effect: " + why);
    if (!options.quiet)
      llvm::errs() << "note: " << option << " had no effect: " << why << "\n";
  };
  if (options.precision != "f32" && !narrows)
    note("--precision=" + options.precision, "no f32 product of a weight may be narrowed, see --explain");
  for (const std::string &line : getExplanations(*module))
    if (llvm::StringRef(line).starts_with("plan") && llvm::StringRef(line).contains("nothing matches it"))
      note("--plan=" + options.plan, "nothing in the model matches it, see --explain");
  auto count = std::to_string(static_cast<int64_t>(judged));
  if (judged == 0) {
    const std::pair<const char *, bool> given[] = {{"--overlap", options.overlapGiven && options.overlap != "off"},
                                                   {"--plan", options.plan != "auto"},
                                                   {"--matmul-order", options.matmulOrder == "ring"},
                                                   {"--topology", !options.topology.empty()},
                                                   {"--link", !options.link.empty()},
                                                   {"--tuning", !options.tuning.empty()}};
    for (auto [option, isGiven] : given)
      if (isGiven)
        note(option, "the program has no collective");
    return;
  }
  if (options.matmulOrder == "ring" && llvm::none_of(getExplanations(*module), [](llvm::StringRef line) {
        return line.starts_with("pipeline") && line.contains(" run in ring order");
      }))
    note("--matmul-order=ring", "no product runs in ring order, see --explain");
  if (overlapped == 0 && options.overlapGiven && options.overlap != "off") {
    note("--overlap=" + options.overlap, "none of " + count + " collectives runs beside compute, see --explain");
  }
}

int Compiler::runPhase(Phase phase, const PipelineOptions &pipeline) {
  PassManager pm(&context);
  if (options.timing) {
    pm.enableTiming();
  }
  buildPhase(phase, pm, pipeline);
  return succeeded(pm.run(*module)) ? kOk : diagnostics.getExitCode();
}

void Compiler::limitMemory() {
  int64_t held = 1;
  for (func::FuncOp function : module->getOps<func::FuncOp>())
    if (function->hasAttr(kEntryAttr) && !function->hasAttr(kReferenceAttr))
      held = std::max(held, getHeldBytes(function).total());
  unplanned = module->clone();
  limits.emplace(options.memoryLimit, held);
  planned = limits->next();
}

/// Where the buffers of a plan do not fit although its bytes do, plans for smaller limits are tried.
int Compiler::lowerWithinLimit() {
  auto planFor = [&](int64_t bytes) -> int {
    module = unplanned->clone();
    planned = bytes;
    for (Phase phase : {Phase::Optimize, Phase::Schedule})
      if (int code = runPhase(phase, pipelineOptions()))
        return code;
    return kOk;
  };
  for (;;) {
    PipelineOptions pipeline = pipelineOptions();
    pipeline.lower.strict = false;
    if (int code = runPhase(Phase::Lower, pipeline))
      return code;
    auto over = (*module)->getAttrOfType<IntegerAttr>(kOverBytesAttr);
    if (!over) {
      (*module)->removeAttr(kLeastBytesAttr);
      return kOk;
    }
    if (planned == 1)
      limits->setLeast((*module)->getAttrOfType<IntegerAttr>(kLeastBytesAttr).getInt());
    int64_t next = limits->next(), missing = over.getInt();
    if (int code = planFor(std::max<int64_t>(next, 1)))
      return code;
    if (next == 0) // the plan that needs least says what is missing
      return runPhase(Phase::Lower, pipelineOptions());
    explain(*module, "memory",
            "buffers needed " + Twine(missing) + " bytes more than the limit leaves: planned again " +
                (next == 1 ? Twine("with as little memory as possible") : "for " + Twine(next) + " bytes"));
  }
}

/// Weights stay where they are when the executable will lie beside or above them; else they are copied into it.
bool Compiler::embedsWeights(const std::string &path) const {
  if (options.weights != "auto")
    return options.weights == "embed";
  auto folder = [](llvm::StringRef file) {
    llvm::SmallString<256> real;
    llvm::StringRef parent = llvm::sys::path::parent_path(file);
    llvm::sys::fs::real_path(parent.empty() ? "." : parent, real);
    return real.str().str();
  };
  std::string model = folder(options.input), output = folder(path);
  return output.empty() || (model != output && !llvm::StringRef(model).starts_with(output + "/"));
}

int Compiler::exportFile() {
  (*module)->removeAttr(kEmbedsWeightsAttr);
  std::string path = outputPath();
  std::vector<KernelSource> kernels;
  for (KernelOp kernel : module->getOps<KernelOp>())
    kernels.push_back({kernel.getSymName().str(), &kernel.getBody().front()});
  auto objects = compileKernels(kernels, {});
  if (failed(objects))
    return diagnostics.getExitCode();
  ExportOptions exportOptions;
  exportOptions.compilerVersion = getVersionText();
  exportOptions.options = options.commandLine;
  exportOptions.modelName = llvm::sys::path::filename(options.input).str();
  exportOptions.weights = embedsWeights(path) ? WeightStorage::Embed : WeightStorage::Reference;
  auto directory = [](const std::string &file) {
    std::string parent = llvm::sys::path::parent_path(file).str();
    return parent.empty() ? std::string(".") : parent;
  };
  exportOptions.modelDir = directory(options.input);
  exportOptions.outputDir = directory(path);
  auto exported = exportExecutable(*module, std::move(*objects), exportOptions);
  if (failed(exported))
    return diagnostics.getExitCode();
  ::comm::exe::Executable &executable = *exported;
  std::string error;
  if (std::vector<std::string> problems = ::comm::exe::validate(executable); !problems.empty()) {
    printError("E101", "internal: the executable is not sound: " + problems.front());
    return kInternal;
  }
  if (int code = prove(executable))
    return code;
  std::vector<uint8_t> bytes;
  if (!::comm::exe::writeExecutable(executable, bytes, error)) {
    printError("E101", "internal: the executable is not sound: " + error);
    return kInternal;
  }
  // A half-written file must not look like a result: write beside it, then rename.
  std::string temporary = path + ".tmp" + std::to_string(::getpid());
  if (int code = writeText(temporary, std::string(bytes.begin(), bytes.end()))) {
    llvm::sys::fs::remove(temporary);
    return code;
  }
  if (std::error_code failure = llvm::sys::fs::rename(temporary, path)) {
    llvm::sys::fs::remove(temporary);
    printError("E204", "cannot write '" + path + "': " + failure.message());
    return kUsage;
  }
  // This user made it, so this user's commrun runs its native code.
  if (comm_trust_executable(::comm::exe::executableHash(bytes.data(), bytes.size()).c_str()) != COMM_OK &&
      !options.quiet)
    llvm::errs() << "warning: " << comm_last_error() << "; commrun will ask for --trust-native\n";
  progress(Phase::Export, path);
  printCompileSummary(options, executable, path, bytes.size());
  return kOk;
}

/// Nothing leaves the compiler whose schedule is not proved, or that is known to give something else than the unsplit
/// model. That outputs are equal may be beyond the rules: then the certificate does not say so.
int Compiler::prove(::comm::exe::Executable &executable) {
  std::vector<std::string> problems = ::comm::proof::certifyAll(executable);
  for (const std::string &problem : problems)
    printError("E102", "internal: the plan is wrong: " + problem);
  if (!problems.empty())
    return kInternal;
  bool hasFailed = false;
  for (::comm::exe::Entry &entry : executable.entries) {
    ::comm::proof::EqualityResult equal = ::comm::proof::certifyEqual(executable, entry);
    if (equal.verdict == ::comm::proof::Equality::Wrong)
      printError("E103", "internal: the plan of entry '" + entry.name +
                             "' does not give what the unsplit model gives: " + equal.reason);
    else if (equal.isOther && !options.quiet)
      llvm::errs() << "warning: entry '" << entry.name << "' is not shown to equal the unsplit model: " << equal.reason
                   << "\n";
    hasFailed |= equal.verdict == ::comm::proof::Equality::Wrong;
  }
  if (hasFailed)
    return kInternal;
  for (const std::string &line : proveEntries(executable, problems))
    executable.explain.push_back("proof  " + line);
  return kOk;
}

int Compiler::run() {
  if (int code = checkPredictions())
    return code;
  if (int code = import())
    return code;
  addGrid();
  for (const PhaseInfo &info : getPhases()) {
    if (info.phase == Phase::Export)
      return exportFile();
    if (info.phase == Phase::Partition) {
      addReferences();
      if (int code = applyLayouts())
        return code;
    }
    if (info.phase == Phase::Optimize && embedsWeights(outputPath()))
      (*module)->setAttr(kEmbedsWeightsAttr, UnitAttr::get(&context));
    if (info.phase == Phase::Optimize && options.memoryLimit > 0)
      limitMemory();
    if (int code = info.phase == Phase::Lower && limits ? lowerWithinLimit() : runPhase(info.phase, pipelineOptions()))
      return code;
    if (info.phase == Phase::Import && !padEntries(options, *model, *module, pipelineOptions()))
      return diagnostics.getExitCode();
    if (info.phase == Phase::Schedule)
      noteUnused();
    if (int code = finish(info.phase); code >= 0)
      return code;
  }
  return kOk;
}
} // namespace

int commc::runCompile(const Options &options) {
  Compiler compiler(options);
  return compiler.run();
}
