//===- RankStore.h - the memory of one rank, by hand (tests) ----*- C++ -*-===//
// Arena, weights, inputs and outputs of one rank, the compute commands on them and the meaning of collectives. No
// threads, no transport, no planning: what ProgramRunner and Interleaver have in common.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include "runtime/Core/NativeObject.h"
#include "runtime/Kernels/Kernel.h"

namespace testing_run {
using Bytes = std::vector<uint8_t>;

/// The native code of an executable for this CPU; null when it has none. An error is one sentence in `error`.
std::unique_ptr<comm::rt::NativeCode> loadNative(const comm::exe::Executable &, std::string &error);

class RankStore {
public:
  /// `directory`: of weight files. All arguments are borrowed.
  RankStore(const comm::exe::Executable &, const comm::exe::Program &, int64_t rank, const std::string &directory,
            const comm::rt::NativeCode *);
  /// Poisons everything and takes the inputs, this rank's parts.
  void reset(const std::vector<Bytes> &inputs);
  uint8_t *pointer(int32_t value);
  int64_t bytes(int32_t value) const;
  /// Runs one compute command; false and a sentence when it cannot. `refused`: it could not even be prepared.
  bool compute(size_t command, std::string &error);
  bool refused = false;
  /// This rank's part of every output.
  std::vector<Bytes> outputs();
  std::string error; ///< of the constructor

private:
  Bytes loadWeight(const comm::exe::Weight &, const std::string &directory);
  const comm::exe::Executable &exe;
  const comm::exe::Program &program;
  int64_t rank;
  const comm::rt::NativeCode *native;
  Bytes arena;
  std::vector<Bytes> weights, ins, outs;
  std::vector<std::unique_ptr<comm::rt::Kernel>> kernels; ///< by command, prepared when first run
};

/// What member `self` of a group gets, one per output. `operands`: all operands of all members, in the order of the
/// group.
bool collectiveResults(const comm::exe::Program &, const comm::exe::Command &,
                       const std::vector<std::vector<const uint8_t *>> &operands, int64_t self,
                       std::vector<Bytes> &outs, std::string &error);

} // namespace testing_run
