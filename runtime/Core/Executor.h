//===- Executor.h - one program on one rank ---------------------*- C++ -*-===//
// prepare: once, at load; everything an executable may have got wrong shows there. run: a straight line over prepared
// steps.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Core/CommQueue.h"
#include "runtime/Core/NativeObject.h"
#include "runtime/Core/Ports.h"
#include "runtime/Core/StateUse.h"
#include "runtime/Core/Team.h"
#include "runtime/Core/Trace.h"
#include "runtime/Core/Weights.h"
#include "runtime/Kernels/Kernel.h"
#include <memory>

namespace comm::rt {

/// What a rank's programs share. Borrowed for the life of the executor.
struct RankContext {
  int64_t rank = 0;
  uint64_t program = 0; ///< identity of executable and entry, for the check between ranks
  uint8_t *arena = nullptr;
  WeightStore *weights = nullptr;
  PackCache *cache = nullptr;
  const NativeCode *native = nullptr; ///< null: no native code
  MicroKernelChoice microKernel = MicroKernelChoice::Auto;
  Team *team = nullptr;
  CommQueue *comm = nullptr; ///< null: every group must be one rank
  bool ownOutputs = false;   ///< see RankOptions
  std::vector<StateUse> states;
};

class Executor {
public:
  ~Executor();
  /// Checks and prepares every command. `program` is borrowed and validated.
  static Status prepare(const exe::Program &, const exe::Executable &, const RankContext &,
                        std::unique_ptr<Executor> &out);

  /// One run. `inputs` and `outputs` are whole tensors by port number, aligned to their elements, visible to all ranks;
  /// every rank writes its own share of the outputs, so they are complete when all ranks are done. Ports of `parts` are
  /// this rank's part. `trace` may be null. A step that executed another number of collectives than planned fails.
  Status run(const std::vector<const void *> &inputs, const std::vector<void *> &outputs, const PartPorts &parts,
             RunCounters &, TraceBuffer *trace);

  /// False: a start executes its collective and its wait does nothing.
  void setOverlap(bool on);
  int64_t plannedCollectives() const;
  int64_t packedBytes() const;
  /// Most events that one run records.
  int64_t traceCapacity() const;

private:
  Executor();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

} // namespace comm::rt
