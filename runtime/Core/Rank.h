//===- Rank.h - everything that one rank owns -------------------*- C++ -*-===//
#pragma once
#include "runtime/Core/Executor.h"
#include "runtime/Core/LoadedExecutable.h"
#include "runtime/Core/PackedStore.h"
#include <algorithm>

namespace comm::rt {

struct RankOptions {
  bool reference = false; ///< the unsplit programs
  int threads = 1;
  Placement placement;
  bool ownOutputs = false;  ///< outputs are not memory that all ranks share: each keeps all that it has
  std::string packedFolder; ///< of packed weights; empty: they are not kept on disk
  int sharedPacks = -1;     ///< memory file for weights that ranks share; borrowed
  int64_t timeoutMs = 60000;
  int64_t memoryBefore = -1; ///< residentBytes() that are not this rank's; negative: it shares its process with others
};

/// Bytes of weights.
struct WeightUse {
  int64_t perRank = 0; ///< that runs read, as they read it; largest over ranks
  int64_t shared = 0;  ///< of those, packed and in memory that ranks share; largest over ranks
  PackedCounts packed; ///< over all ranks of the session that this process knows
  void add(const WeightUse &rank) {
    perRank = std::max(perRank, rank.perRank);
    shared = std::max(shared, rank.shared);
    packed.packed += rank.packed.packed;
    packed.read += rank.packed.read;
    packed.kept += rank.packed.kept;
  }
};

/// The program of an entry that a session runs.
const exe::Program &programOf(const exe::Entry &, bool reference);
/// Largest arena of all entries.
int64_t arenaBytes(const exe::Executable &, bool reference);
/// True when a program calls native code.
bool usesNativeCode(const exe::Executable &, bool reference);

/// The native code for this CPU; the caller has made sure that it is trusted.
Status loadNativeCode(const exe::Executable &, std::unique_ptr<NativeCode> &out);

class Rank {
public:
  ~Rank();
  /// Loads and packs this rank's weights and prepares all entries. `loaded`, `files`, `arena` and `comm` are borrowed;
  /// `native` may be null when no program calls native code, `comm` when the session has one rank.
  static Status create(const LoadedExecutable &loaded, const WeightFiles *files, const NativeCode *native,
                       const RankOptions &, int64_t rank, uint8_t *arena, CommQueue *comm, std::unique_ptr<Rank> &out);
  /// As Executor::run.
  Status run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
             const PartPorts &parts, RunCounters &, TraceBuffer *);
  void setOverlap(bool on) {
    for (auto &e : executors)
      e->setOverlap(on);
  }
  int64_t plannedCollectives(size_t entry) const { return executors[entry]->plannedCollectives(); }
  int64_t traceCapacity(size_t entry) const { return executors[entry]->traceCapacity(); }
  const WeightUse &weightUse() const { return use; }
  /// Bytes of memory, as MemoryWatch, so far.
  int64_t peakBytes() const { return watch.peak(); }

private:
  Rank(const LoadedExecutable &loaded, const WeightFiles *files, const RankOptions &);
  WeightStore weights;
  MemoryWatch watch;
  std::unique_ptr<PackedFiles> packedFiles;
  std::unique_ptr<SharedPacks> sharedPacks;
  std::unique_ptr<PackedStore> store;
  PackCache cache;
  Team team;
  std::vector<std::unique_ptr<Executor>> executors;
  WeightUse use;
  uint64_t runs = 0;
};

} // namespace comm::rt
