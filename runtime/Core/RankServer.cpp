//===- RankServer.cpp - the loop of a rank, and its program ---------------===//
#include "runtime/Core/RankServer.h"
#include "runtime/Core/Env.h"
#include "runtime/Core/RankProcess.h"
#include "runtime/Transport/Shm/Futex.h"
#include "runtime/Transport/Shm/ShmTransport.h"
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace comm::rt {
namespace {
/// A rank has up to two threads that wait for others.
void chooseSpins(RankEnvironment &env) {
  env.callerSpinNs = spinNsFor(env.ranks);
  env.threadSpinNs = spinNsFor(2 * env.ranks);
}

/// Until the next request has come, or for a while: calls in a loop follow each other closely.
void awaitRequest(int control, int64_t spinNs) {
  char first;
  spinUntil(spinNs, [&] { return ::recv(control, &first, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN; });
}
} // namespace

int64_t spinNsFor(int64_t waiting) {
  constexpr int64_t spinNs = 50000; // a futex wake-up takes about 5 us, a badly predicted sleep 50
  cpu_set_t set;
  int cores = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  int64_t fromEnv = Env::read().spinUs;
  return fromEnv >= 0 ? fromEnv * 1000 : waiting <= cores ? spinNs : 0;
}

void serveRank(int32_t rank, int control, shm::Segment &segment, const std::vector<int> &fds,
               const RankMainFactory &factory) {
  shm::ShmTransport transport(segment, rank);
  RankEnvironment env;
  env.rank = rank;
  env.ranks = segment.ranks();
  env.transport = &transport;
  env.shared = segment.shared();
  env.sharedBytes = segment.sharedBytes();
  env.fds = fds;
  chooseSpins(env);
  // Between calls the cores of the ranks are free, but for one that the host needs when there are no more.
  int64_t idleSpinNs = spinNsFor(env.ranks + (rank == 0 ? 1 : 0));
  std::unique_ptr<RankMain> main;
  for (std::string body, payload; awaitRequest(control, main ? idleSpinNs : 0), readFrame(control, body);) {
    RequestKind kind;
    Status status;
    std::string reply;
    if (!parseRequest(body, kind, payload))
      status = {Code::Internal, "a request of the host is malformed"};
    else if (kind == RequestKind::Setup) {
      env.setup = std::move(payload);
      status = factory(env, main);
    } else if (!main)
      status = {Code::Internal, "a request came before the setup"};
    else
      status = main->handle(payload, reply);
    if (!writeAll(control, replyFrame(status, reply)))
      return;
  }
}

int runRank(int argc, char **argv, const RankMainFactory &factory) {
  if (argc != 5 || std::strcmp(argv[1], rankProtocol()) != 0) {
    std::fprintf(stderr, "%s: %s\n", argc > 0 ? argv[0] : "commc-rank",
                 argc == 5 ? "belongs to another version of the runtime"
                           : "is started by the runtime, once per rank; use commrun");
    return 2;
  }
  // Rank, number of extra descriptors, host.
  long numbers[3];
  for (int i = 0; i < 3; ++i) {
    char *end = nullptr;
    numbers[i] = std::strtol(argv[i + 2], &end, 10);
    if (end == argv[i + 2] || *end || numbers[i] < 0 || numbers[i] > (1 << 30))
      return 2;
  }
  // Ranks end with the host, and only with the host: an interrupt at the terminal is the host's to handle.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != numbers[2])
    return 2;
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGBUS, [](int) { ::_exit(3); }); // a mapped file was cut short; the host names the rank
  int extras = static_cast<int>(numbers[1]);
#ifdef SYS_close_range
  ::syscall(SYS_close_range, static_cast<unsigned>(firstExtraFd + extras), ~0u, 0); // what the host left open
#endif
  std::unique_ptr<shm::Segment> segment;
  Status status = shm::Segment::attach(memoryFd, segment);
  if (status && numbers[0] >= segment->ranks())
    status = {Code::Internal, "there is no such rank"};
  if (!status) {
    (void)writeAll(controlFd, replyFrame(status, ""));
    return 1;
  }
  std::vector<int> fds;
  for (int i = 0; i < extras; ++i)
    fds.push_back(firstExtraFd + i);
  serveRank(static_cast<int32_t>(numbers[0]), controlFd, *segment, fds, factory);
  return segment->aborted() ? 1 : 0;
}

} // namespace comm::rt
