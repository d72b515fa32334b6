//===- Rank.h - everything that one rank owns -------------------*- C++ -*-===//
#pragma once
#include "runtime/Core/Executor.h"
#include "runtime/Core/LoadedExecutable.h"

namespace comm::rt {

struct RankOptions {
  bool reference = false; ///< the unsplit programs
  int threads = 1;
  Placement placement;
  bool ownOutputs = false; ///< outputs are not memory that all ranks share: each keeps all that it has
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
  Status run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs, RunCounters &,
             TraceBuffer *);
  void setOverlap(bool on) {
    for (auto &e : executors)
      e->setOverlap(on);
  }
  int64_t plannedCollectives(size_t entry) const { return executors[entry]->plannedCollectives(); }
  int64_t traceCapacity(size_t entry) const { return executors[entry]->traceCapacity(); }
  int64_t weightBytes() const { return bytes; }

private:
  Rank(const LoadedExecutable &loaded, const WeightFiles *files, int threads, const Placement &placement)
      : weights(loaded.exe, loaded.data, files), team(threads, placement) {}
  WeightStore weights;
  PackCache cache;
  Team team;
  std::vector<std::unique_ptr<Executor>> executors;
  int64_t bytes = 0;
};

} // namespace comm::rt
