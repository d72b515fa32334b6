//===- SoloEngine.cpp - one rank in the caller's process ------------------===//
#include "runtime/Core/Engine.h"
#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace comm::rt {
namespace {
constexpr size_t alignment = 64;

/// Anonymous zero pages, huge where the system grants them.
class Pages {
public:
  ~Pages() {
    if (memory)
      ::munmap(memory, size);
  }
  Status allocate(int64_t bytes, const char *what) {
    size = (static_cast<size_t>(bytes) + 4096) / 4096 * 4096;
    void *p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
      return {Code::OutOfMemory,
              std::string("no memory for ") + what + " (" + std::to_string(bytes) + " bytes): " + std::strerror(errno)};
    memory = static_cast<uint8_t *>(p);
    (void)::madvise(memory, size, MADV_HUGEPAGE);
    return Status::ok();
  }
  uint8_t *memory = nullptr;
  size_t size = 0;
};

bool aligned(const void *p) { return reinterpret_cast<uintptr_t>(p) % alignment == 0; }

class SoloEngine final : public Engine {
public:
  SoloEngine(const LoadedExecutable &loaded, const EngineOptions &options) : loaded(loaded), options(options) {}

  Status create(const WeightFiles *files, const NativeCode *native) {
    if (Status s = arena.allocate(arenaBytes(loaded.exe, options.reference), "the arena"); !s)
      return s;
    return Rank::create(loaded, files, native, {options.reference, options.computeThreads}, 0, arena.memory, nullptr,
                        rank);
  }

  Status run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
             RunResult &result) override {
    const exe::Program &program = programOf(loaded.exe.entries[entry], options.reference);
    // The caller's buffers are used as they are unless their alignment is too small for the kernels.
    std::vector<Pages> staged(inputs.size() + outputs.size());
    std::vector<const void *> ins = inputs;
    std::vector<void *> outs = outputs;
    for (size_t i = 0; i < ins.size(); ++i)
      if (!aligned(ins[i])) {
        int64_t bytes = exe::byteSize(program.inputs[i].dtype, program.inputs[i].shape);
        if (Status s = staged[i].allocate(bytes, "an input"); !s)
          return s;
        std::memcpy(staged[i].memory, ins[i], static_cast<size_t>(bytes));
        ins[i] = staged[i].memory;
      }
    for (size_t i = 0; i < outs.size(); ++i)
      if (!aligned(outs[i])) {
        Pages &pages = staged[ins.size() + i];
        if (Status s = pages.allocate(exe::byteSize(program.outputs[i].dtype, program.outputs[i].shape), "an output");
            !s)
          return s;
        outs[i] = pages.memory;
      }
    std::vector<TraceEvent> events(options.trace ? static_cast<size_t>(rank->traceCapacity(entry)) : 0);
    TraceBuffer trace{events.data(), static_cast<int64_t>(events.size()), 0};
    RunCounters counters;
    if (Status s = rank->run(entry, ins, outs, counters, options.trace ? &trace : nullptr); !s)
      return s;
    for (size_t i = 0; i < outs.size(); ++i)
      if (outs[i] != outputs[i])
        std::memcpy(outputs[i], outs[i],
                    static_cast<size_t>(exe::byteSize(program.outputs[i].dtype, program.outputs[i].shape)));
    result.collectives = counters.collectives;
    result.planned = rank->plannedCollectives(entry);
    result.waitNs = counters.waitNs;
    result.computeNs = counters.runNs - counters.waitNs;
    result.each = std::move(counters.each);
    events.resize(static_cast<size_t>(trace.count));
    result.trace.push_back(std::move(events));
    return Status::ok();
  }

  void setOverlap(bool on) override { rank->setOverlap(on); }
  int64_t weightBytes() const override { return rank->weightBytes(); }

private:
  const LoadedExecutable &loaded;
  const EngineOptions options;
  Pages arena;
  std::unique_ptr<Rank> rank;
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
