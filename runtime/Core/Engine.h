//===- Engine.h - runs the ranks of a session -------------------*- C++ -*-===//
#pragma once
#include "runtime/Core/Counters.h"
#include "runtime/Core/Launcher.h"
#include "runtime/Core/Rank.h"

namespace comm::rt {

struct EngineOptions {
  bool reference = false, threads = false, trace = false;
  bool interpret = false;   ///< kernels by what they are declared to do, not by native code
  std::string packedFolder; ///< as RankOptions::packedFolder
  int computeThreads = 1;
  Pinning pinning = Pinning::Auto;
  int64_t timeoutMs = 60000;
  LinkModel link; ///< emulated between ranks in shared memory
};

struct RunResult {
  int64_t bytesSent = 0;           ///< largest over ranks
  int64_t collectives = INT64_MAX; ///< smallest over ranks
  int64_t planned = 0;
  int64_t waitNs = 0;                ///< largest over ranks
  int64_t computeNs = 0;             ///< largest over ranks: the run less its waits
  int64_t outsideNs = 0;             ///< largest over ranks, when tracing: the run less its commands
  int64_t stepNs = 0;                ///< of the ranks' work alone; 0: what the caller measures
  int64_t peakBytes = 0;             ///< Rank::peakBytes, largest over ranks
  int64_t passedBytes = 0;           ///< copied between the caller's buffers and memory of the ranks
  int64_t partBytes = 0;             ///< over all ranks: copied between whole tensors and their parts
  std::vector<CollectiveTimes> each; ///< mean over ranks
  std::vector<std::vector<TraceEvent>> trace;
};

/// What a rank says after a run, besides the times of its collectives and its trace. Plain data: it crosses processes.
struct RankReport {
  int64_t waitNs = 0, runNs = 0, collectives = 0, planned = 0, bytesSent = 0, partBytes = 0;
  WeightUse weights;
  int64_t events = 0;    ///< of the trace
  int64_t peakBytes = 0; ///< Rank::peakBytes
  void set(const RunCounters &c, int64_t plannedCollectives) {
    waitNs = c.waitNs;
    runNs = c.runNs;
    collectives = c.collectives;
    partBytes = c.partBytes;
    planned = plannedCollectives;
  }
};
/// Joins what one of `ranks` ranks says to the result of the run.
void addReport(const RankReport &, const std::vector<CollectiveTimes> &, std::vector<TraceEvent> trace, size_t ranks,
               RunResult &);
/// Every rank has executed every collective of the plan.
Status checkPlanned(const RunResult &);

class Engine {
public:
  virtual ~Engine() = default;
  /// Whole tensors by port number, `bytes` as the ports say, any alignment; those of `parts` are the part of rank 0 in
  /// partMemory(). One call at a time. After a failure of a rank every later call fails.
  virtual Status run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
                     const PartPorts &parts, RunResult &) = 0;
  /// False: every collective that the program starts is executed at once, for comparison.
  virtual void setOverlap(bool on) = 0;
  virtual WeightUse weightUse() const = 0;
  virtual int64_t peakBytes() const = 0; ///< Rank::peakBytes after loading, largest over ranks
  virtual bool pinned() const = 0;       ///< every compute thread has a CPU of its own
  /// Where the engine itself reads or writes a port; null: it works on the caller's buffers.
  virtual void *portMemory(size_t /*entry*/, size_t /*port*/, bool /*output*/) { return nullptr; }
  /// The same of a state port: one place for all entries that have the state; what lies there stays until a run writes
  /// it.
  void *stateMemory(size_t entry, size_t port, bool output) { return portMemory(entry, port, output); }
  /// Ranks whose parts of a state can stay with them, here or in memory that this process sees; 0: none.
  virtual int64_t partRanks() const { return 0; }
  /// Memory for the parts of one of residentStates(), ResidentState::strideFor() for each rank; null: any of this
  /// process will do. Nothing else may be in use as stateMemory() of that state meanwhile.
  virtual uint8_t *partMemory(const std::string & /*state*/) { return nullptr; }
  /// The rank that this process is; 0 where it hosts all of them.
  virtual int32_t processRank() const { return 0; }
};

/// One rank, in the caller's process and thread. All arguments are borrowed.
Status createSoloEngine(const LoadedExecutable &, const WeightFiles *, const NativeCode *, const EngineOptions &,
                        std::unique_ptr<Engine> &out);

/// Several ranks behind the launcher; inputs and outputs go through memory that all of them share.
Status createGroupEngine(const LoadedExecutable &, const WeightFiles *, const NativeCode *, const EngineOptions &,
                         std::unique_ptr<Engine> &out);
/// This process is one rank of an MPI world; all of them call everything in step. Fails cleanly without MPI.
Status createMpiEngine(const LoadedExecutable &, const WeightFiles *, const NativeCode *, const EngineOptions &,
                       std::unique_ptr<Engine> &out);
/// The factory of the program behind a process rank: loads the executable that the setup names.
Status createProcessRank(const RankEnvironment &, std::unique_ptr<RankMain> &out);

} // namespace comm::rt
