//===- ProgramRunner.h - runs a program on all ranks in lockstep (tests) --===//
// No threads, no transport: collectives are done by hand. Started ones run at the start or at the wait, so that a
// buffer which is reused too early shows.
//===----------------------------------------------------------------------===//
#pragma once
#include "RankStore.h"

namespace testing_run {

struct RunOptions {
  bool collectivesAtWait = true;
  std::string directory; ///< of weight files
};

/// inputs[rank][port] -> outputs[rank][port]; an error is one sentence in `error`.
std::vector<std::vector<Bytes>> run(const comm::exe::Executable &exe, const comm::exe::Program &program,
                                    const std::vector<std::vector<Bytes>> &inputs, const RunOptions &options,
                                    std::string &error);
} // namespace testing_run
