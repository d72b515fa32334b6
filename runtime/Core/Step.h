//===- Step.h - a prepared command ------------------------------*- C++ -*-===//
#pragma once
#include "runtime/Core/ColumnChain.h"
#include "runtime/Core/CommQueue.h"
#include "runtime/Core/NativeObject.h"
#include "runtime/Core/Team.h"
#include "runtime/Core/Trace.h"
#include "runtime/Kernels/Kernel.h"

namespace comm::rt {

/// A loop over so few bytes of operands is done before another thread has heard of it (about 1 us).
constexpr int64_t kShortLoopBytes = 32 << 10;

enum class StepKind { Kernel, Native, Start, Wait, Collective };

/// A prepared command. Pointers to inputs and outputs of the program are set at the beginning of every run.
struct Step {
  StepKind kind = StepKind::Kernel;
  int32_t command = -1;
  std::vector<void *> operands; ///< inputs, then outputs
  size_t inputs = 0;
  int64_t iterations = 1;
  bool isShort = false; ///< a loop that the calling thread runs alone
  std::unique_ptr<Kernel> kernel;
  NativeFunction native = nullptr;
  NativeColumns nativeColumns = nullptr; ///< null: it cannot be cut by columns
  int64_t columns = 0, rows = 0;         ///< of nativeColumns
  Collective collective;
  std::unique_ptr<Sequel> sequel; ///< of a fused collective
  int64_t ticket = 0;             ///< of Start, Wait, Collective: number of the collective in this program
  int32_t issuer = -1;            ///< of Wait: the command that started it
  int64_t issuedNs = 0;           ///< of Start, during a run
  bool idle = false;              ///< what it would do in this run is done

  Status run(Team &team) {
    return isShort ? run(0, iterations)
                   : team.run(iterations, [this](int64_t begin, int64_t end) { return run(begin, end); });
  }
  Status run(int64_t begin, int64_t end) {
    if (kind == StepKind::Kernel)
      return kernel->run(operands.data(), operands.data() + inputs, begin, end);
    native(operands.data(), begin, end);
    return Status::ok();
  }
  /// Of a native step with columns: columns [begin, end) of all rows.
  void runColumns(int64_t begin, int64_t end) { nativeColumns(operands.data(), 0, rows, begin, end); }
};

/// The chains among the steps of a program, one step per command.
class StepChains {
public:
  void find(const exe::Program &, const exe::Executable &, std::vector<Step> &, int64_t threads);
  /// If a chain begins at step `first`, runs it and sets `next` to the step behind it; the trace gets what the calling
  /// thread did. False: there is none.
  bool run(size_t first, std::vector<Step> &, Team &, TraceBuffer *, size_t &next, Status &) const;
  /// Trace events of all chains.
  int64_t events() const;

private:
  static Status runRows(const RowChain &, std::vector<Step> &, Team &, TraceBuffer *);
  static Status runColumns(const ColumnChain &, std::vector<Step> &, Team &, TraceBuffer *);
  std::map<size_t, RowChain> byRows; ///< by their first step
  std::map<size_t, ColumnChain> byColumns;
};

} // namespace comm::rt
