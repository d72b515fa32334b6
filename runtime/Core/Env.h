//===- Env.h - every environment variable of the runtime --------*- C++ -*-===//
#pragma once
#include <cstdint>
#include <string>

namespace comm::rt {

/// Read when it is needed; ignored in programs that run with raised privileges.
struct Env {
  /// COMM_RANK_PROGRAM: path of the program that runs a rank as a process. Empty: commc-rank beside the library.
  std::string rankProgram;
  /// COMM_SPIN_US: microseconds that a wait for another rank burns a core before it sleeps. -1: chosen from the number
  /// of cores and ranks.
  int64_t spinUs = -1;
  /// COMM_MICRO_KERNEL: which matrix micro-kernel computes, by the names of parseMicroKernelChoice; for tests and
  /// comparisons. Empty: auto. The same on all ranks.
  std::string microKernel;

  /// COMM_FILL=nan: floating-point inputs smaller than their entry are filled up with NaN instead of zeros, which shows
  /// whether anything is made of the fill. For tests of what `commc --fill=any` compiled.
  bool poisonFill = false;

  static Env read();
};

} // namespace comm::rt
