//===- Engine.h - runs the ranks of a session -------------------*- C++ -*-===//
#pragma once
#include "runtime/Core/Counters.h"
#include "runtime/Core/Launcher.h"
#include "runtime/Core/Rank.h"

namespace comm::rt {

struct EngineOptions {
  bool reference = false, threads = false, trace = false;
  int computeThreads = 1;
  int64_t timeoutMs = 60000;
  LinkModel link; ///< emulated between ranks in shared memory
};

struct RunResult {
  int64_t bytesSent = 0;   ///< largest over ranks
  int64_t collectives = 0; ///< smallest over ranks
  int64_t planned = 0;
  int64_t waitNs = 0;                ///< largest over ranks
  int64_t computeNs = 0;             ///< largest over ranks: the run less its waits
  int64_t stepNs = 0;                ///< of the ranks' work alone; 0: what the caller measures
  std::vector<CollectiveTimes> each; ///< mean over ranks
  std::vector<std::vector<TraceEvent>> trace;
};

class Engine {
public:
  virtual ~Engine() = default;
  /// Whole tensors by port number, `bytes` as the ports say, any alignment. One call at a time. After a failure of a
  /// rank every later call fails.
  virtual Status run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
                     RunResult &) = 0;
  /// False: every collective that the program starts is executed at once, for comparison.
  virtual void setOverlap(bool on) = 0;
  virtual int64_t weightBytes() const = 0; ///< largest over ranks
};

/// One rank, in the caller's process and thread. All arguments are borrowed.
Status createSoloEngine(const LoadedExecutable &, const WeightFiles *, const NativeCode *, const EngineOptions &,
                        std::unique_ptr<Engine> &out);

/// Several ranks behind the launcher; inputs and outputs go through memory that all of them share.
Status createGroupEngine(const LoadedExecutable &, const WeightFiles *, const NativeCode *, const EngineOptions &,
                         std::unique_ptr<Engine> &out);
/// The factory of the program behind a process rank: loads the executable that the setup names.
Status createProcessRank(const RankEnvironment &, std::unique_ptr<RankMain> &out);

} // namespace comm::rt
