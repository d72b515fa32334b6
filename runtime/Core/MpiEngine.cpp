//===- MpiEngine.cpp - this process is one rank of an MPI world -----------===//
// Every process has the whole executable, gets the whole inputs and ends with the whole outputs. What of an output lies
// on other ranks only is brought in after the step, outside of its time.
//===----------------------------------------------------------------------===//
#include "runtime/Core/CommThread.h"
#include "runtime/Core/Engine.h"
#include "runtime/Core/PortTransfer.h"
#include "runtime/Core/Staging.h"
#include "runtime/Transport/Mpi/MpiTransport.h"
#include <algorithm>
#include <cstdlib>

namespace comm::rt {
namespace {
class MpiEngine final : public Engine {
public:
  MpiEngine(const LoadedExecutable &loaded, const EngineOptions &options) : loaded(loaded), options(options) {}

  Status create(const WeightFiles *files, const NativeCode *native) {
    int64_t memoryBefore = residentBytes();
    const exe::Grid &grid = programOf(loaded.exe.entries[0], options.reference).grid;
    if (Status s = mpi::MpiTransport::create({}, transport); !s)
      return s;
    if (grid.ranks() != transport->size()) {
      std::string wanted = std::to_string(grid.ranks());
      return {Code::InvalidArgument, "the executable is for " + wanted + " ranks, MPI started " +
                                         std::to_string(transport->size()) + ": mpirun -n " + wanted + " commrun ..."};
    }
    for (int32_t r = 0; r < transport->size(); ++r)
      everybody.push_back(r);
    // Before anything is loaded: all ranks are here and have the same executable.
    Collective c = newCollective(CollectiveKind::Barrier, "the beginning of the session");
    c.program = std::strtoull(loaded.hash.substr(0, 16).c_str(), nullptr, 16);
    if (Status s = transport->run(c, {options.timeoutMs, 0}); !s)
      return s;
    void *arena = nullptr;
    auto bytes = static_cast<size_t>(arenaBytes(loaded.exe, options.reference));
    if (Status s = transport->allocateArena(bytes, arena); !s)
      return giveUp(s);
    comm = std::make_unique<CommThread>(*transport, CommThreadOptions{options.timeoutMs, 0, 0});
    // mpirun gives every rank its CPUs.
    Placement placement = placeRank(options.pinning, 0, 1, options.computeThreads, allowedCpus());
    if (!placement.cpus.empty())
      cpu = placement.cpus.front();
    RankOptions o{options.reference, options.computeThreads, placement, true};
    o.packedFolder = options.packedFolder;
    o.memoryBefore = memoryBefore;
    PinnedHere pinned(cpu); // weights are packed, and so first touched, where they will be read
    Status s =
        Rank::create(loaded, files, native, o, transport->rank(), static_cast<uint8_t *>(arena), comm.get(), rank);
    for (size_t e = 0; s && e < loaded.exe.entries.size(); ++e)
      ownTicket = std::max(ownTicket, rank->plannedCollectives(e));
    return s ? s : giveUp(s);
  }

  Status run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
             const PartPorts &, RunResult &result) override {
    const exe::Program &program = programOf(loaded.exe.entries[entry], options.reference);
    StagedTensors staged;
    if (Status s = staged.stage(program, inputs, outputs); !s)
      return giveUp(s);
    std::vector<TraceEvent> events(options.trace ? static_cast<size_t>(rank->traceCapacity(entry)) : 0);
    TraceBuffer trace{events.data(), static_cast<int64_t>(events.size()), 0};
    RankReport report;
    RunCounters counters;
    int64_t sentBefore = transport->bytesSent();
    PinnedHere pinned(cpu);
    if (Status s = rank->run(entry, staged.ins, staged.outs, {}, counters, options.trace ? &trace : nullptr); !s)
      return giveUp(s);
    report.set(counters, rank->plannedCollectives(entry));
    report.peakBytes = rank->peakBytes();
    report.bytesSent = transport->bytesSent() - sentBefore;
    report.events = trace.count;
    for (size_t i = 0; i < program.outputs.size(); ++i)
      if (Status s = collect(program.outputs[i], program.grid, static_cast<uint8_t *>(staged.outs[i])); !s)
        return giveUp(s);
    staged.copyBack(program, outputs);
    return gatherReports(report, counters.each, events, result);
  }

  void setOverlap(bool on) override { rank->setOverlap(on); }
  WeightUse weightUse() const override { return rank->weightUse(); }
  int64_t peakBytes() const override { return rank->peakBytes(); }
  bool pinned() const override { return cpu >= 0; }
  int32_t processRank() const override { return transport->rank(); }

private:
  Collective newCollective(CollectiveKind kind, const char *label) const {
    Collective c;
    c.kind = kind;
    c.group = everybody;
    c.dtype = exe::DType::U8;
    c.planId = -1;
    c.label = label;
    return c;
  }

  /// The other ranks must not wait for this one.
  Status giveUp(const Status &why) {
    transport->abort({why.code, "rank " + std::to_string(transport->rank()) + ": " + why.text});
    return why;
  }

  /// Parts of an output that this process does not have, from the rank that would write them.
  Status collect(const exe::Port &port, const exe::Grid &grid, uint8_t *whole) {
    if (PortTransfer(port, grid, transport->rank()).direct())
      return Status::ok();
    for (int32_t r : everybody) {
      PortTransfer from(port, grid, r);
      if (!from.writes())
        continue;
      std::vector<uint8_t> part(static_cast<size_t>(from.localBytes()));
      if (r == transport->rank())
        from.toLocal(whole, part.data());
      Collective c = newCollective(CollectiveKind::Broadcast, "an output");
      c.root = r;
      c.in = c.out = part.data();
      c.count = from.localBytes();
      if (Status s = comm->run(c, ownTicket); !s)
        return s;
      from.toWhole(part.data(), whole);
    }
    return Status::ok();
  }

  template <class T> Status gather(const T *mine, size_t count, std::vector<T> &all) {
    all.resize(count * everybody.size());
    Collective c = newCollective(CollectiveKind::AllGather, "reports of the ranks");
    c.in = mine;
    c.out = all.data();
    c.count = static_cast<int64_t>(count * sizeof(T));
    return c.count > 0 ? comm->run(c, ownTicket) : Status::ok();
  }

  Status gatherReports(const RankReport &mine, const std::vector<CollectiveTimes> &each,
                       const std::vector<TraceEvent> &events, RunResult &result) {
    std::vector<RankReport> reports;
    std::vector<CollectiveTimes> times;
    std::vector<TraceEvent> traces;
    if (Status s = gather(&mine, 1, reports); !s)
      return s;
    if (Status s = gather(each.data(), each.size(), times); !s)
      return s;
    if (Status s = gather(events.data(), events.size(), traces); !s)
      return s;
    for (size_t r = 0; r < reports.size(); ++r) {
      auto of = [&](auto &all, size_t count) {
        auto begin = all.begin() + static_cast<std::ptrdiff_t>(r * count);
        return std::vector(begin, begin + static_cast<std::ptrdiff_t>(count));
      };
      std::vector<TraceEvent> trace = of(traces, events.size());
      trace.resize(std::min(trace.size(), static_cast<size_t>(reports[r].events)));
      addReport(reports[r], of(times, each.size()), std::move(trace), reports.size(), result);
      result.stepNs = std::max(result.stepNs, reports[r].runNs);
    }
    return checkPlanned(result);
  }

  const LoadedExecutable &loaded;
  const EngineOptions options;
  std::vector<int32_t> everybody;
  int64_t ownTicket = 0; ///< behind those of the programs
  std::unique_ptr<mpi::MpiTransport> transport;
  std::unique_ptr<CommThread> comm;
  std::unique_ptr<Rank> rank; ///< after what it borrows
  int cpu = -1;               ///< of the calling thread during a run; -1: any
};
} // namespace

Status createMpiEngine(const LoadedExecutable &loaded, const WeightFiles *files, const NativeCode *native,
                       const EngineOptions &options, std::unique_ptr<Engine> &out) {
  auto engine = std::make_unique<MpiEngine>(loaded, options);
  if (Status s = engine->create(files, native); !s)
    return s;
  out = std::move(engine);
  return Status::ok();
}

} // namespace comm::rt
