//===- SoloEngine.cpp - one rank in the caller's process ------------------===//
#include "runtime/Core/Engine.h"
#include "runtime/Core/Staging.h"

namespace comm::rt {
namespace {
class SoloEngine final : public Engine {
public:
  SoloEngine(const LoadedExecutable &loaded, const EngineOptions &options) : loaded(loaded), options(options) {}

  Status create(const WeightFiles *files, const NativeCode *native) {
    int64_t memoryBefore = residentBytes();
    if (Status s = arena.allocate(arenaBytes(loaded.exe, options.reference), "the arena"); !s)
      return s;
    Placement placement = placeRank(options.pinning, 0, 1, options.computeThreads, allowedCpus());
    if (!placement.cpus.empty())
      cpu = placement.cpus.front();
    RankOptions o{options.reference, options.computeThreads, placement};
    o.packedFolder = options.packedFolder;
    o.memoryBefore = memoryBefore;
    PinnedHere pinned(cpu); // weights are packed, and so first touched, where they will be read
    return Rank::create(loaded, files, native, o, 0, arena.memory, nullptr, rank);
  }

  Status run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
             const PartPorts &parts, RunResult &result) override {
    const exe::Program &program = programOf(loaded.exe.entries[entry], options.reference);
    StagedTensors staged;
    if (Status s = staged.stage(program, inputs, outputs); !s)
      return s;
    std::vector<TraceEvent> events(options.trace ? static_cast<size_t>(rank->traceCapacity(entry)) : 0);
    TraceBuffer trace{events.data(), static_cast<int64_t>(events.size()), 0};
    RunCounters counters;
    PinnedHere pinned(cpu);
    if (Status s = rank->run(entry, staged.ins, staged.outs, parts, counters, options.trace ? &trace : nullptr); !s)
      return s;
    staged.copyBack(program, outputs);
    RankReport report;
    report.set(counters, rank->plannedCollectives(entry));
    report.peakBytes = rank->peakBytes();
    events.resize(static_cast<size_t>(trace.count));
    addReport(report, counters.each, std::move(events), 1, result);
    return Status::ok();
  }

  void setOverlap(bool on) override { rank->setOverlap(on); }
  WeightUse weightUse() const override { return rank->weightUse(); }
  int64_t peakBytes() const override { return rank->peakBytes(); }
  bool pinned() const override { return cpu >= 0; }
  int64_t partRanks() const override { return 1; }

private:
  const LoadedExecutable &loaded;
  const EngineOptions options;
  Pages arena;
  std::unique_ptr<Rank> rank;
  int cpu = -1; ///< of the calling thread during a run; -1: any
};
} // namespace

Status createSoloEngine(const LoadedExecutable &loaded, const WeightFiles *files, const NativeCode *native,
                        const EngineOptions &options, std::unique_ptr<Engine> &out) {
  auto engine = std::make_unique<SoloEngine>(loaded, options);
  if (Status s = engine->create(files, native); !s)
    return s;
  out = std::move(engine);
  return Status::ok();
}

} // namespace comm::rt
