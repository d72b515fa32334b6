//===- Options.h - the command line of commrun ------------------*- C++ -*-===//
#pragma once
#include "GenerateOptions.h"
#include "comm-c/runtime.h"
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace commrun {

/// Accepted difference: |got - expected| <= atol + rtol * max|expected| over the tensor. Unset: by element type
/// (Compare.h).
struct Tolerance {
  std::optional<double> rtol, atol;
};

/// One call of the program: an archive, single arrays, or both.
struct CallFiles {
  std::string npz;                                         ///< may be empty
  std::vector<std::pair<std::string, std::string>> arrays; ///< name, .npy file
};

struct ExpectFile {
  std::string path;
  Tolerance tolerance;
};

struct Options {
  std::string executable;
  std::vector<CallFiles> calls;
  std::vector<ExpectFile> expect;
  std::optional<Tolerance> verify;
  std::optional<GenerateOptions> generate; ///< set: text instead of calls
  std::string saveOutputs, trace, entry, link, packedCache = "beside";
  bool chain = true, bench = false, json = false, trustNative = false, threadsAsRanks = false, quiet = false,
       mpi = false;
  comm_native_code native = COMM_NATIVE_TRUSTED;
  comm_pinning pinning = COMM_PIN_AUTO;
  comm_state_mode keepState = COMM_STATE_NONE; ///< of timed runs
  int verbose = 0;
  uint64_t seed = 0;
  int iterations = 50, threads = 1;
  double warmupMs = 200, timeoutS = 60;
};

/// Fills `options` and returns -1, or prints (help, version, a usage error) and returns the exit code.
int parseOptions(int argc, char **argv, Options &options);

} // namespace commrun
