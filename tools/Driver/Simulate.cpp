//===- Simulate.cpp - commc simulate --------------------------------------===//
#include "comm/Simulator/Simulator.h"
#include "tools/Driver/Driver.h"
#include "tools/Driver/SimulateOptions.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

using namespace commc;
namespace exe = ::comm::exe;
namespace sim = ::comm::sim;
namespace cost = ::comm::cost;

namespace {
/// One entry on the machine.
struct Run {
  std::string entry, fingerprint;
  exe::Program program;
  sim::SimResult result;
  sim::MemoryUse memory;
};

/// Rows of the table: collectives of one kind, size and place.
struct Row {
  std::string op;
  int64_t bytes = 0;
  sim::GroupPlace place;
  int64_t count = 0, started = 0;
  double moved = 0, hidden = 0, exposed = 0, late = 0;
};
} // namespace

static int fail(ExitCode code, const char *number, const std::string &what, const std::string &where,
                const std::string &hint) {
  printError(number, what, where, hint);
  return code;
}

static int loadMachine(const SimulateOptions &options, cost::Topology &topology) {
  std::string error;
  if (!cost::loadTopology(options.topology, topology, error))
    return fail(kBadModel, "E304", error, "", "commc simulate --topology=h100_sxm");
  if (options.ranksPerNode > 0)
    topology.ranksPerNode = options.ranksPerNode;
  if (!options.link.empty()) {
    cost::Link link;
    if (!cost::parseLink(options.link, link))
      return fail(kUsage, "E201", "--link " + options.link + " is no rate and latency", "", "--link=1Gbit,50us");
    // Every rank behind the link, whatever joins them otherwise.
    cost::Topology linked;
    if (!cost::loadTopology(options.topology + "@" + options.link, linked, error))
      return fail(kUsage, "E201", "--link needs a built-in topology: " + error, "",
                  "put the link into the topology file");
    topology = linked;
  }
  return kOk;
}

static int simulateEntry(const exe::Executable &executable, const exe::Entry &entry, const cost::Topology &topology,
                         const SimulateOptions &options, Run &run) {
  std::string error;
  run.entry = entry.name;
  run.program = entry.split;
  run.memory = sim::memoryUse(executable, run.program);
  if (options.ranks > 0 && !sim::replicate(run.program, options.ranks, error))
    return fail(kUsage, "E201", error, "entry '" + entry.name + "'", "compile the model with --dp for so many ranks");
  auto costs = sim::ModelCosts::create(run.program, executable.kernels, topology, options.tuning, error);
  if (!costs)
    return fail(kBadModel, "E304", error, options.tuning, "write it anew with commc bench");
  run.fingerprint = costs->fingerprint();
  sim::SimOptions sim;
  sim.ranksPerNode = topology.ranksPerNode;
  sim.slowRanks = options.slowRanks;
  sim.jitter = options.jitter;
  sim.seed = options.seed;
  sim.events = !options.trace.empty();
  if (!sim::simulate(run.program, *costs, sim, run.result, error))
    return fail(options.slowRanks.empty() ? kBadModel : kUsage, options.slowRanks.empty() ? "E301" : "E201", error,
                "entry '" + entry.name + "'", "commc simulate --help");
  return kOk;
}

static std::vector<Row> rowsOf(const Run &run) {
  std::vector<Row> rows;
  for (const sim::CollectiveTime &t : run.result.critical().collectives) {
    const exe::Command &c = run.program.commands[static_cast<size_t>(t.command)];
    const exe::Value &in = run.program.values[static_cast<size_t>(c.inputs[0])],
                     &out = run.program.values[static_cast<size_t>(c.outputs[0])];
    int64_t bytes = std::max(exe::byteSize(in.dtype, in.shape), exe::byteSize(out.dtype, out.shape));
    auto same = [&](const Row &r) {
      return r.op == exe::collectiveOf(c) && r.bytes == bytes && !(r.place < t.place) && !(t.place < r.place);
    };
    auto it = std::find_if(rows.begin(), rows.end(), same);
    if (it == rows.end())
      it = rows.insert(rows.end(), {exe::collectiveOf(c), bytes, t.place});
    ++it->count;
    it->started += c.op == "start";
    it->moved += t.movedUs;
    it->hidden += t.hiddenUs;
    it->exposed += t.exposedUs;
    it->late += t.lateUs;
  }
  return rows;
}

static double share(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

static void print(const Run &run, const cost::Topology &topology, const SimulateOptions &options) {
  const sim::SimResult &r = run.result;
  const sim::RankClass &rank = r.critical();
  int64_t nodes = topology.nodes(r.ranks);
  llvm::raw_ostream &os = llvm::outs();
  os << "entry    " << run.entry << "  " << r.ranks << " ranks on " << topology.name << ", " << nodes
     << (nodes == 1 ? " node" : " nodes");
  if (r.classes.size() > 1)
    os << ", " << r.classes.size() << " kinds of ranks; figures of rank " << rank.first;
  os << "\n"
     << llvm::format(
            "step     %.3f ms  compute %.3f  communication %.3f  hidden %.3f (%.0f%%)  exposed %.3f  late %.3f\n",
            r.stepUs / 1e3, rank.computeUs / 1e3, rank.movedUs / 1e3, rank.hiddenUs / 1e3,
            share(rank.hiddenUs, rank.movedUs), rank.exposedUs / 1e3, rank.lateUs / 1e3);
  auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / 1048576; };
  os << llvm::format(
      "memory   %.1f MiB per rank: weights %.1f, arena %.1f (in use at most %.1f), inputs and outputs %.1f\n",
      mib(run.memory.total()), mib(run.memory.weights), mib(run.memory.arena), mib(run.memory.live),
      mib(run.memory.ports));
  if (options.quiet || rank.collectives.empty())
    return;
  os << "  collective            bytes  ranks nodes  count started       us each     hidden    exposed       late\n";
  for (const Row &row : rowsOf(run)) {
    double n = static_cast<double>(row.count);
    os << llvm::format("  %-16s %10lld  %5lld %5lld  %5lld   %5lld  %12.2f %10.2f %10.2f %10.2f\n", row.op.c_str(),
                       static_cast<long long>(row.bytes), static_cast<long long>(row.place.members),
                       static_cast<long long>(row.place.nodes), static_cast<long long>(row.count),
                       static_cast<long long>(row.started), row.moved / n, row.hidden / n, row.exposed / n,
                       row.late / n);
  }
}

static llvm::json::Value toJson(const Run &run, const cost::Topology &topology) {
  const sim::SimResult &r = run.result;
  const sim::RankClass &rank = r.critical();
  llvm::json::Array collectives;
  for (const sim::CollectiveTime &t : rank.collectives) {
    const exe::Command &c = run.program.commands[static_cast<size_t>(t.command)];
    collectives.push_back(llvm::json::Object{{"command", t.command},
                                             {"op", exe::collectiveOf(c)},
                                             {"label", c.label},
                                             {"started", c.op == "start"},
                                             {"ranks", t.place.members},
                                             {"nodes", t.place.nodes},
                                             {"begin_us", t.beginUs},
                                             {"communication_us", t.movedUs},
                                             {"hidden_us", t.hiddenUs},
                                             {"exposed_us", t.exposedUs},
                                             {"late_us", t.lateUs}});
  }
  return llvm::json::Object{{"entry", run.entry},
                            {"topology", topology.name},
                            {"cost_tables", run.fingerprint},
                            {"ranks", r.ranks},
                            {"nodes", topology.nodes(r.ranks)},
                            {"rank_kinds", static_cast<int64_t>(r.classes.size())},
                            {"figures_of_rank", rank.first},
                            {"step_us", r.stepUs},
                            {"compute_us", rank.computeUs},
                            {"communication_us", rank.movedUs},
                            {"hidden_us", rank.hiddenUs},
                            {"exposed_us", rank.exposedUs},
                            {"late_us", rank.lateUs},
                            {"memory_bytes", run.memory.total()},
                            {"weight_bytes", run.memory.weights},
                            {"arena_bytes", run.memory.arena},
                            {"arena_live_bytes", run.memory.live},
                            {"port_bytes", run.memory.ports},
                            {"collectives", std::move(collectives)}};
}

static int writeTrace(const Run &run, const exe::Executable &executable, const std::string &path) {
  std::error_code code;
  llvm::raw_fd_ostream file(path, code);
  if (!code) {
    file << sim::simulatedTrace(run.program, executable.modelName + " " + run.entry + " (simulated)", run.result);
    file.close();
    code = file.error();
  }
  if (!code)
    return kOk;
  file.clear_error();
  return fail(kUsage, "E202", "cannot write '" + path + "': " + code.message(), "",
              "--trace=t.json in a folder that exists");
}

int commc::runSimulate(int argc, char **argv) {
  SimulateOptions options;
  if (int code = parseSimulateOptions(argc, argv, options); code >= 0)
    return code;
  if (!options.study.empty())
    return runStudy(options);
  auto file = llvm::MemoryBuffer::getFile(options.input, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!file)
    return fail(kBadModel, "E302", "cannot read '" + options.input + "': " + file.getError().message(), "", "");
  exe::Executable executable;
  exe::DataView data; // weights are not touched
  std::string error;
  if (!exe::readExecutable(reinterpret_cast<const uint8_t *>((*file)->getBufferStart()), (*file)->getBufferSize(),
                           executable, error, &data))
    return fail(kBadModel, "E301", error, options.input, "compile the model again");
  cost::Topology topology;
  if (int code = loadMachine(options, topology))
    return code;
  std::vector<Run> runs;
  for (const exe::Entry &entry : executable.entries)
    if (options.entry.empty() || options.entry == entry.name) {
      runs.emplace_back();
      if (int code = simulateEntry(executable, entry, topology, options, runs.back()))
        return code;
    }
  if (runs.empty())
    return fail(kUsage, "E201", "the executable has no entry '" + options.entry + "'", options.input,
                "commc inspect " + options.input);
  llvm::json::Array list;
  bool fits = true;
  for (const Run &run : runs) {
    if (options.json)
      list.push_back(toJson(run, topology));
    else
      print(run, topology, options);
    fits &= topology.device.memoryBytes <= 0 || run.memory.total() <= topology.device.memoryBytes;
  }
  if (options.json)
    llvm::outs() << llvm::formatv("{0:2}", llvm::json::Value(llvm::json::Object{{"model", executable.modelName},
                                                                                {"entries", std::move(list)}}))
                 << "\n";
  if (!options.trace.empty())
    if (int code = writeTrace(runs.front(), executable, options.trace))
      return code;
  if (!fits)
    return fail(kDoesNotFit, "E501",
                "a rank needs more than the " + std::to_string(topology.device.memoryBytes) + " bytes of its device '" +
                    topology.device.name + "'",
                options.input, "more tensor-parallel ranks, a shorter sequence, or a larger device");
  return kOk;
}
