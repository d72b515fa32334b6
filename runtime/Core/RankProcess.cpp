//===- RankProcess.cpp - child processes that run ranks -------------------===//
#include "runtime/Core/RankProcess.h"
#include "runtime/Core/Env.h"
#include "runtime/Transport/Shm/Futex.h"
#include <algorithm>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <future>
#include <mutex>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <thread>

extern char **environ; // POSIX: declared by the program

namespace comm::rt {
namespace {
/// The program or shared library that contains this function.
std::string thisModule() {
  std::string path;
  Dl_info info;
  char resolved[PATH_MAX];
  if (::dladdr(reinterpret_cast<const void *>(&rankProtocol), &info) && info.dli_fname &&
      std::strstr(info.dli_fname, ".so") && ::realpath(info.dli_fname, resolved))
    return resolved;
  ssize_t n = ::readlink("/proc/self/exe", resolved, sizeof resolved - 1); // linked into the program
  return n > 0 ? std::string(resolved, static_cast<size_t>(n)) : "";
}

/// "was ended by signal 9 (Killed)".
std::string endText(int status) {
  if (WIFSIGNALED(status))
    return "was ended by signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
  return "ended with exit status " + std::to_string(WEXITSTATUS(status));
}

int openPidFd(pid_t pid) {
#ifdef SYS_pidfd_open
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); // close-on-exec by definition
#else
  return -1;
#endif
}
} // namespace

const char *rankProtocol() { return "1-" COMM_VERSION; }

Status findRankProgram(const std::string &wanted, std::string &out) {
  std::vector<std::string> candidates;
  if (std::string fromEnv = Env::read().rankProgram; !wanted.empty())
    candidates = {wanted};
  else if (!fromEnv.empty())
    candidates = {fromEnv};
  else {
    std::string module = thisModule(), folder = module.substr(0, module.rfind('/') + 1);
    for (const char *place : {"commc-rank", "../bin/commc-rank", "../libexec/commc/commc-rank"})
      candidates.push_back(folder + place);
  }
  std::string tried;
  for (const std::string &c : candidates) {
    if (::access(c.c_str(), X_OK) == 0) {
      out = c;
      return Status::ok();
    }
    tried += (tried.empty() ? "" : ", ") + c;
  }
  return {Code::DeviceMissing, "cannot start ranks as processes: no program at " + tried +
                                   "; set COMM_RANK_PROGRAM to commc-rank, or run the ranks as threads"};
}

struct RankProcesses::Impl {
  struct Child {
    pid_t pid = -1;
    FileDescriptor pidFd;
    bool alive = false;
  };

  Status spawn(const SpawnRequest &request);
  void watch();
  void reap();
  void wake() {
    uint64_t one = 1;
    (void)!::write(event.get(), &one, sizeof one);
  }

  Ended ended;
  FileDescriptor event;
  std::vector<Child> children;
  std::atomic<bool> expected{false};
  std::atomic<int64_t> killAtNs{INT64_MAX};
  std::thread thread;
  std::mutex mutex; ///< of what follows
  std::condition_variable changed;
  size_t aliveCount = 0;
};

Status RankProcesses::Impl::spawn(const SpawnRequest &request) {
  auto failure = [](const std::string &what, int error) {
    return Status{Code::Internal, "cannot start " + what + ": " + std::strerror(error)};
  };
  // Sources out of the way of the numbers that they get in the child.
  std::vector<FileDescriptor> sources;
  int first = firstExtraFd + static_cast<int>(request.fds.size());
  auto lift = [&](int fd) {
    sources.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, first));
    return sources.back().get();
  };
  std::vector<int> shared = {lift(request.memory)};
  for (int fd : request.fds)
    shared.push_back(lift(fd));
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  ::sigemptyset(&none);
  ::sigfillset(&defaults);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  Status status;
  for (size_t r = 0; r < request.controls.size() && status; ++r) {
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, lift(request.controls[r]), controlFd);
    for (size_t i = 0; i < shared.size(); ++i)
      ::posix_spawn_file_actions_adddup2(&actions, shared[i], memoryFd + static_cast<int>(i));
    std::vector<std::string> words = {"commc-rank", rankProtocol(), std::to_string(r),
                                      std::to_string(request.fds.size()), std::to_string(::getpid())};
    std::vector<char *> argv;
    for (std::string &w : words)
      argv.push_back(&w[0]);
    argv.push_back(nullptr);
    Child &child = children[r];
    int error = sources.back().get() < 0
                    ? EMFILE
                    : ::posix_spawn(&child.pid, request.program.c_str(), &actions, &attributes, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error) {
      status = failure("rank " + std::to_string(r) + " (" + request.program + ")", error);
      break;
    }
    child.pidFd.reset(openPidFd(child.pid));
    child.alive = true;
  }
  ::posix_spawnattr_destroy(&attributes);
  return status;
}

/// Collects ended children. Somebody else in the host may have done so: then waitpid has no such child.
void RankProcesses::Impl::reap() {
  for (size_t r = 0; r < children.size(); ++r) {
    Child &child = children[r];
    int status = 0;
    if (!child.alive)
      continue;
    pid_t got = ::waitpid(child.pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
      continue;
    if (!expected)
      ended(static_cast<int32_t>(r), got > 0 ? endText(status) : "ended");
    std::lock_guard<std::mutex> lock(mutex);
    child.alive = false;
    child.pidFd.reset();
    --aliveCount;
    changed.notify_all();
  }
}

void RankProcesses::Impl::watch() {
  for (;;) {
    reap();
    std::vector<pollfd> fds = {{event.get(), POLLIN, 0}};
    bool anyAlive = false;
    int timeout = -1;
    int64_t killAt = killAtNs, now = monotonicNs();
    for (Child &child : children) {
      if (!child.alive)
        continue;
      anyAlive = true;
      if (now >= killAt)
        ::kill(child.pid, SIGKILL); // ours and not yet collected: the number cannot mean somebody else
      if (child.pidFd.get() >= 0)
        fds.push_back({child.pidFd.get(), POLLIN, 0});
      else
        timeout = 20; // a kernel without pidfd
    }
    if (!anyAlive)
      return;
    if (killAt != INT64_MAX)
      timeout = now >= killAt ? 20 : static_cast<int>(std::min<int64_t>((killAt - now) / 1000000 + 1, 1000));
    ::poll(fds.data(), fds.size(), timeout);
    uint64_t count;
    if (fds[0].revents)
      (void)!::read(event.get(), &count, sizeof count);
  }
}

RankProcesses::RankProcesses() : impl(std::make_unique<Impl>()) {}

Status RankProcesses::start(const SpawnRequest &request, Ended ended, std::unique_ptr<RankProcesses> &out) {
  std::unique_ptr<RankProcesses> result(new RankProcesses);
  Impl &impl = *result->impl;
  impl.ended = std::move(ended);
  impl.event.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (impl.event.get() < 0)
    return {Code::Internal, std::string("cannot watch the ranks: ") + std::strerror(errno)};
  impl.children.resize(request.controls.size());
  std::promise<Status> spawned;
  impl.thread = std::thread([&impl, &request, &spawned] {
    Status s = impl.spawn(request);
    if (!s) {
      impl.expected = true;
      impl.killAtNs = 0;
    }
    for (const Impl::Child &child : impl.children)
      impl.aliveCount += child.alive;
    spawned.set_value(s); // `request` is gone from here on
    impl.watch();
  });
  Status s = spawned.get_future().get();
  if (s)
    out = std::move(result);
  return s;
}

RankProcesses::~RankProcesses() {
  stop(0);
  if (impl->thread.joinable())
    impl->thread.join();
}

void RankProcesses::expectEnd() { impl->expected = true; }

void RankProcesses::stop(int64_t graceMs) {
  impl->expected = true;
  impl->killAtNs = monotonicNs() + graceMs * 1000000;
  impl->wake();
  std::unique_lock<std::mutex> lock(impl->mutex);
  impl->changed.wait(lock, [&] { return impl->aliveCount == 0; });
}

int64_t RankProcesses::processId(int32_t rank) const { return impl->children[static_cast<size_t>(rank)].pid; }

bool RankProcesses::isStopped(int32_t rank) const {
  std::ifstream file("/proc/" + std::to_string(processId(rank)) + "/stat");
  std::string text;
  std::getline(file, text);
  size_t at = text.rfind(") "); // the name before it may contain anything
  return at != std::string::npos && text.size() > at + 2 && text[at + 2] == 'T';
}

} // namespace comm::rt
