//===- Launcher.h - N ranks as processes or threads -------------*- C++ -*-===//
// The host (the caller of comm-c) starts a group of ranks, sends all of them the same requests and collects their
// replies. All share one memory segment: the transport's control area and arenas, and a region for big inputs and
// outputs. A rank is a process that executes the helper program `commc-rank` (fork without exec is unsafe in a host
// that has threads), found beside this library, or a thread of the host.
//
// A rank that dies, fails or does not answer fails the call and ends the group: the others get the news through the
// transport and return at once. Ranks die with the host.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Transport/Link.h"
#include "runtime/Transport/Transport.h"
#include <functional>
#include <memory>

namespace comm::rt {

/// What a rank finds when it starts. Everything is borrowed and lives as long as its RankMain.
struct RankEnvironment {
  int32_t rank = 0, ranks = 1;
  Transport *transport = nullptr; ///< allocateArena gives this rank's part of RankGroupOptions::arenaBytes
  uint8_t *shared = nullptr;      ///< RankGroupOptions::sharedBytes, page aligned, the same memory on the host
  size_t sharedBytes = 0;
  std::string setup;    ///< RankGroupOptions::setup
  std::vector<int> fds; ///< RankGroupOptions::fds
  /// Recommended budgets of spinning for this machine and number of ranks, for CommThreadOptions.
  int64_t threadSpinNs = 0, callerSpinNs = 0;
};

/// The work of one rank; made, used and destroyed on the rank's own thread.
class RankMain {
public:
  virtual ~RankMain() = default;
  virtual Status handle(const std::string &request, std::string &reply) = 0;
};
using RankMainFactory = std::function<Status(const RankEnvironment &, std::unique_ptr<RankMain> &out)>;

enum class RanksAs { Processes, Threads };

struct RankGroupOptions {
  RanksAs as = RanksAs::Processes;
  int32_t ranks = 1;
  size_t arenaBytes = 0;     ///< per rank, for Transport::allocateArena
  size_t sharedBytes = 0;    ///< one region for all
  std::string setup;         ///< handed to every rank's factory, any size
  std::vector<int> fds;      ///< handed to every rank's factory; borrowed during start() for processes, else longer
  int64_t timeoutMs = 60000; ///< how long a rank may be late or silent, see call(); 0: for ever
  std::string program;       ///< of a process rank; empty: look for commc-rank
  size_t slotBytes = 0;      ///< staging memory of the transport, 0: default
  LinkModel link;            ///< emulated between the ranks
};

class RankGroup {
public:
  /// Starts the ranks and runs their factories: in threads mode `factory`, in processes the one that their program
  /// gives to runRank. Fails when one of them fails, with its text.
  static Status start(const RankGroupOptions &, const RankMainFactory &factory, std::unique_ptr<RankGroup> &out);
  /// Ends all ranks (two seconds' grace, then SIGKILL) and waits for them.
  ~RankGroup();

  /// Sends `request` to every rank and waits for all replies, by rank. A rank that died is named with its signal and
  /// the operation it was in (PeerLost); one that answers more than timeoutMs after the first, or is stopped for that
  /// long, is a Timeout. The first cause wins. After a failure of a rank all later calls fail with the same status;
  /// when all ranks refuse with InvalidArgument the group goes on.
  Status call(const std::string &request, std::vector<std::string> &replies);

  uint8_t *shared() const; ///< RankGroupOptions::sharedBytes
  int32_t ranks() const;
  int64_t processId(int32_t rank) const; ///< -1 for threads; for tests and messages

private:
  RankGroup();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// main() of the program behind a process rank; returns the exit status. The program must have no threads yet.
int runRank(int argc, char **argv, const RankMainFactory &factory);

} // namespace comm::rt
