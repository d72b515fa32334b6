//===- SharedRun.h - what a session and its ranks share ---------*- C++ -*-===//
// One region of memory, visible to the caller and to all ranks (an anonymous memory file for processes, plain pages for
// threads):
//
//   SharedHeader | SharedRank x ranks | trace events of each rank | inputs, whole | outputs, whole
//
// The caller raises `epoch` to start a run; each rank runs it and sets its own `done` to the same number. Both are
// futex words.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Core/Engine.h"
#include <atomic>

namespace comm::rt {

struct SharedHeader {
  int32_t ranks, reference, trace, computeThreads;
  int64_t timeoutMs;
  char hash[72];                 ///< of the executable that every rank must have loaded
  std::atomic<uint32_t> epoch;   ///< number of the run that was started last; 0: none
  std::atomic<uint32_t> arrived; ///< raised by a rank whenever it sets its `done`; the caller sleeps on it
  std::atomic<uint32_t> stop;
  int64_t entry; ///< of the run
};

/// One rank's report; written by that rank alone.
struct alignas(64) SharedRank {
  std::atomic<uint32_t> prepared; ///< 1 when its Rank exists or could not be made
  std::atomic<uint32_t> done;     ///< last run that it finished or failed
  std::atomic<uint64_t> progress; ///< raised at every command
  std::atomic<int32_t> command;   ///< that it is in
  int32_t code;                   ///< of rt::Code
  char text[1536];
  int64_t waitNs, collectives, planned, bytesSent, weightBytes, traceCount;
};

/// Offsets in the region; a function of the executable and the options, so caller and ranks agree.
struct SharedLayout {
  SharedLayout(const exe::Executable &, const EngineOptions &);
  size_t header = 0, ranks = 0, trace = 0, traceStride = 0, total = 0;
  int64_t traceCapacity = 0;
  std::vector<std::vector<size_t>> inputs, outputs; ///< by entry and port
};

/// The region itself.
class SharedRun {
public:
  ~SharedRun();
  SharedRun(const exe::Executable &exe, const EngineOptions &options) : layout(exe, options) {}
  /// Zeroed pages that children of a fork share.
  Status create();
  SharedHeader &header() const { return *reinterpret_cast<SharedHeader *>(memory); }
  SharedRank &rank(int64_t r) const { return reinterpret_cast<SharedRank *>(memory + layout.ranks)[r]; }
  TraceEvent *trace(int64_t r) const {
    return reinterpret_cast<TraceEvent *>(memory + layout.trace + layout.traceStride * static_cast<size_t>(r));
  }
  uint8_t *at(size_t offset) const { return memory + offset; }

  const SharedLayout layout;

private:
  uint8_t *memory = nullptr;
};

/// Sleeps until `word` differs from `seen`, at most `timeoutMs`. Works across processes.
void waitForChange(const std::atomic<uint32_t> &word, uint32_t seen, int64_t timeoutMs);
void wakeAll(std::atomic<uint32_t> &word);

/// The life of a rank: prepares, reports, then runs whatever is started until told to stop. `native` and `files` may be
/// null.
void serveRank(const LoadedExecutable &, const WeightFiles *files, const NativeCode *native, const EngineOptions &,
               SharedRun &, int64_t rank, Transport &, CommQueue &);

} // namespace comm::rt
