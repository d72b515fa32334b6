//===- Step.h - a prepared command ------------------------------*- C++ -*-===//
#pragma once
#include "runtime/Core/CommQueue.h"
#include "runtime/Core/NativeObject.h"
#include "runtime/Core/RowChain.h"
#include "runtime/Core/Team.h"
#include "runtime/Core/Trace.h"
#include "runtime/Kernels/Kernel.h"

namespace comm::rt {

enum class StepKind { Kernel, Native, Start, Wait, Collective };

/// A prepared command. Pointers to inputs and outputs of the program are set at the beginning of every run.
struct Step {
  StepKind kind = StepKind::Kernel;
  int32_t command = -1;
  std::vector<void *> operands; ///< inputs, then outputs
  size_t inputs = 0;
  int64_t iterations = 1;
  std::unique_ptr<Kernel> kernel;
  NativeFunction native = nullptr;
  Collective collective;
  std::unique_ptr<Sequel> sequel; ///< of a fused collective
  int64_t ticket = 0;             ///< of Start, Wait, Collective: number of the collective in this program
  int32_t issuer = -1;            ///< of Wait: the command that started it
  int64_t issuedNs = 0;           ///< of Start, during a run

  Status run(int64_t begin, int64_t end) {
    if (kind == StepKind::Kernel)
      return kernel->run(operands.data(), operands.data() + inputs, begin, end);
    native(operands.data(), begin, end);
    return Status::ok();
  }
};

/// The chains among the steps of a program, one step per command.
std::vector<RowChain> findRowChains(const exe::Program &, const exe::Executable &, const std::vector<Step> &,
                                    int64_t threads);
/// Runs the steps of a chain. The trace gets what the calling thread did.
Status runChain(const RowChain &, std::vector<Step> &, Team &, TraceBuffer *);

} // namespace comm::rt
