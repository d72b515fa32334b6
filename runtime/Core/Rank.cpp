//===- Rank.cpp - everything that one rank owns ---------------------------===//
#include "runtime/Core/Rank.h"
#include "runtime/Core/Env.h"
#include <algorithm>
#include <cstdlib>

namespace comm::rt {

const exe::Program &programOf(const exe::Entry &entry, bool reference) {
  return reference ? entry.reference : entry.split;
}

int64_t arenaBytes(const exe::Executable &exe, bool reference) {
  int64_t bytes = 0;
  for (const exe::Entry &e : exe.entries)
    bytes = std::max(bytes, programOf(e, reference).arenaBytes);
  return bytes;
}

bool usesNativeCode(const exe::Executable &exe, bool reference) {
  for (const exe::Entry &e : exe.entries)
    for (const exe::Command &c : programOf(e, reference).commands)
      if (c.op == "kernel")
        return true;
  return false;
}

/// Products that a unit for bf16 may compute.
static bool multipliesBF16(const exe::Program &program) {
  return std::any_of(program.commands.begin(), program.commands.end(), [&](const exe::Command &c) {
    return (c.op == "matmul" || c.op == "attention") &&
           (c.attrs.count("precision") || program.values[c.inputs[0]].dtype == exe::DType::BF16);
  });
}

Status loadNativeCode(const exe::Executable &exe, std::unique_ptr<NativeCode> &out) {
  size_t index = 0;
  if (Status s = chooseNativeObject(exe.objects, index); !s)
    return s;
  return NativeCode::load(exe.objects[index].bytes.data(), exe.objects[index].bytes.size(), out);
}

Rank::Rank(const LoadedExecutable &loaded, const WeightFiles *files, const RankOptions &options)
    : weights(loaded.exe, loaded.data, files), watch(options.memoryBefore),
      packedFiles(options.packedFolder.empty() ? nullptr
                                               : std::make_unique<PackedFiles>(options.packedFolder, loaded.hash)),
      team(std::max(1, options.threads), options.placement) {}
Rank::~Rank() = default;

Status Rank::create(const LoadedExecutable &loaded, const WeightFiles *files, const NativeCode *native,
                    const RankOptions &options, int64_t rank, uint8_t *arena, CommQueue *comm,
                    std::unique_ptr<Rank> &out) {
  out.reset(new Rank(loaded, files, options));
  if (options.sharedPacks >= 0)
    if (Status s = SharedPacks::attach(options.sharedPacks, out->sharedPacks); !s)
      return s;
  out->store = std::make_unique<PackedStore>(out->packedFiles.get(), out->sharedPacks.get(), out->watch);
  out->cache.setStore(out->store.get());
  RankContext context;
  context.rank = rank;
  context.arena = arena;
  context.weights = &out->weights;
  context.cache = &out->cache;
  context.native = native;
  context.team = &out->team;
  context.comm = comm;
  context.ownOutputs = options.ownOutputs;
  if (std::string name = Env::read().microKernel; !name.empty() && !parseMicroKernelChoice(name, context.microKernel))
    return {Code::InvalidArgument, "COMM_MICRO_KERNEL is '" + name +
                                       "'; expected auto, builtin, libxsmm, portable, avx2, avx512, avx512bf16 or amx"};
  // 52 bits of the hash, then split or reference, then the entry: ranks that run different programs must not match.
  uint64_t identity = std::strtoull(loaded.hash.substr(0, 13).c_str(), nullptr, 16) << 12 | uint64_t(options.reference)
                                                                                                << 11;
  for (const exe::Entry &entry : loaded.exe.entries) {
    context.program = identity + out->executors.size();
    // Units for bf16 sum in orders of their own: ranks that computed on different ones must not match either.
    if (multipliesBF16(programOf(entry, options.reference)))
      context.program ^= narrowUnitIdentity(context.microKernel) << 12;
    context.states = statesOf(entry, programOf(entry, options.reference));
    out->executors.emplace_back();
    if (Status s = Executor::prepare(programOf(entry, options.reference), loaded.exe, context, out->executors.back());
        !s)
      return {s.code, "entry '" + entry.name + "': " + s.text};
    out->use.perRank += out->executors.back()->packedBytes();
  }
  loaded.dropPages();
  if (files)
    files->dropPages();
  if (out->sharedPacks)
    if (Status s = out->sharedPacks->wait(options.timeoutMs); !s)
      return s;
  out->use.perRank += out->weights.keptBytes();
  out->use.shared = out->cache.sharedBytes();
  out->use.packed = out->store->counts();
  out->watch.look();
  return Status::ok();
}

Status Rank::run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
                 const PartPorts &parts, RunCounters &counters, TraceBuffer *trace) {
  Status s = executors[entry]->run(inputs, outputs, parts, counters, trace);
  // Memory grows during first runs; a look takes as long as a small kernel.
  if (++runs; (runs & (runs - 1)) == 0)
    watch.look();
  return s;
}

} // namespace comm::rt
