//===- RankProcess.h - child processes that run ranks -----------*- C++ -*-===//
#pragma once
#include "runtime/Core/Control.h"
#include <functional>
#include <memory>
#include <vector>

namespace comm::rt {

struct SpawnRequest {
  std::string program;
  std::vector<int> controls; ///< per rank: its end of the control socket
  int memory = -1;           ///< the segment
  std::vector<int> fds;      ///< for every rank
};

/// What the program of a rank finds: standard input, output, error, then these.
enum RankFd : int { controlFd = 3, memoryFd = 4, firstExtraFd = 5 };
/// Part of the command line; a program of another build is refused.
const char *rankProtocol();

/// Starts the processes and watches them from a thread of its own, which is also their parent in the eyes of the
/// kernel: it lives as long as they may, so that the signal "parent has died" means the host.
class RankProcesses {
public:
  /// Called on the watching thread when a rank ends before stop(); `how` completes "rank 2 ".
  using Ended = std::function<void(int32_t rank, const std::string &how)>;
  static Status start(const SpawnRequest &, Ended, std::unique_ptr<RankProcesses> &out);
  /// Calls stop(0).
  ~RankProcesses();
  /// Ends of ranks are expected from now on.
  void expectEnd();
  /// Kills what is alive after `graceMs` and returns when all are gone.
  void stop(int64_t graceMs);
  int64_t processId(int32_t rank) const;
  /// SIGSTOP or a terminal's stop; "T" in /proc.
  bool isStopped(int32_t rank) const;

private:
  RankProcesses();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// `wanted`, else COMM_RANK_PROGRAM, else commc-rank in the folder of this library or program, or in ../bin or
/// ../libexec/commc from there.
Status findRankProgram(const std::string &wanted, std::string &out);

} // namespace comm::rt
