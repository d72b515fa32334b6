//===- Launcher.cpp - N ranks as processes or threads ---------------------===//
#include "runtime/Core/Launcher.h"
#include "runtime/Core/RankProcess.h"
#include "runtime/Core/RankServer.h"
#include "runtime/Transport/Shm/Futex.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

namespace comm::rt {
namespace {
constexpr int64_t noTime = INT64_MAX;
constexpr int64_t graceMs = 2000;      ///< for ranks to end by themselves
constexpr int64_t failGraceMs = 200;   ///< the same after a failure
constexpr int64_t lookEveryMs = 20;    ///< how often a call looks after ranks that are silent while something is wrong
constexpr int64_t lookSlowlyMs = 1000; ///< and while nothing is
} // namespace

struct RankGroup::Impl {
  ~Impl();
  Status start(const RankGroupOptions &, const RankMainFactory &);
  Status call(const std::string &frame, std::vector<std::string> &replies);

  RankGroupOptions options;
  int64_t spinNs = 0; ///< for the answers behind the first one
  std::unique_ptr<shm::Segment> segment;
  std::vector<Channel> channels;
  std::unique_ptr<RankProcesses> processes; ///< or threads
  std::vector<std::thread> threads;
  Status failure; ///< of the group, for ever

private:
  struct Call;
  /// `quiet`: nothing happened in that time.
  Status moveMessages(Call &, int64_t waitMs, bool &quiet);
  Status takeReply(Call &, size_t rank, const std::string &body);
  Status lookAfter(Call &);
  Status finish(Call &);
  Status fail(const Status &why);
};

/// One request to all ranks under way.
struct RankGroup::Impl::Call {
  std::vector<std::string> &replies;
  std::vector<bool> answered;
  size_t missing;
  int64_t firstAnswerNs = noTime;
  Status refusal; ///< InvalidArgument of the lowest rank that gave it
  size_t refusals = 0, refusingRank = 0;
  // Of the last look: ranks seen stopped, and how far a rank was inside an operation.
  std::vector<int64_t> stoppedSinceNs;
  std::vector<uint64_t> insideAt;
};

Status RankGroup::Impl::start(const RankGroupOptions &o, const RankMainFactory &factory) {
  options = o;
  auto ranks = static_cast<size_t>(std::max(0, o.ranks));
  spinNs = spinNsFor(o.ranks);
  if (Status s = shm::Segment::create({o.ranks, o.arenaBytes, o.sharedBytes, o.slotBytes, o.link}, segment); !s)
    return s;
  SpawnRequest spawn;
  if (o.as == RanksAs::Processes)
    if (Status s = findRankProgram(o.program, spawn.program); !s)
      return s;
  std::vector<FileDescriptor> theirs;
  for (size_t r = 0; r < ranks; ++r) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      return {Code::Internal, std::string("cannot connect the ranks: ") + std::strerror(errno)};
    channels.emplace_back(FileDescriptor(pair[0]));
    theirs.emplace_back(pair[1]);
    spawn.controls.push_back(pair[1]);
  }
  if (o.as == RanksAs::Processes) {
    spawn.memory = segment->fd();
    spawn.fds = o.fds;
    auto ended = [this](int32_t rank, const std::string &how) {
      segment->abort({Code::PeerLost, "rank " + std::to_string(rank) + " " + how + " " + segment->activity(rank)});
    };
    if (Status s = RankProcesses::start(spawn, ended, processes); !s)
      return s;
    theirs.clear();
  } else
    for (size_t r = 0; r < ranks; ++r)
      threads.emplace_back([this, r, factory, control = std::move(theirs[r])] {
        serveRank(static_cast<int32_t>(r), control.get(), *segment, options.fds, factory);
      });
  std::vector<std::string> replies;
  return call(requestFrame(RequestKind::Setup, o.setup), replies);
}

RankGroup::Impl::~Impl() {
  if (processes)
    processes->expectEnd();
  if (!failure && segment)
    segment->abort(failure); // threads may be in a wait
  for (Channel &c : channels)
    c.close();
  if (processes)
    processes->stop(failure ? graceMs : 0);
  for (std::thread &t : threads)
    t.join();
}

/// The end of the group. The first cause stands: the transport's, when a rank or the watcher was quicker.
Status RankGroup::Impl::fail(const Status &why) {
  segment->abort(why);
  failure = segment->abortStatus();
  if (processes) { // those that wait have heard of it and end by themselves
    for (Channel &c : channels)
      c.close();
    processes->stop(failGraceMs);
  }
  return failure;
}

Status RankGroup::Impl::call(const std::string &frame, std::vector<std::string> &replies) {
  if (!failure)
    return failure;
  replies.assign(channels.size(), "");
  Call call{replies, std::vector<bool>(channels.size()), channels.size()};
  call.stoppedSinceNs.assign(channels.size(), noTime);
  call.insideAt.assign(channels.size(), UINT64_MAX);
  for (Channel &c : channels)
    c.send(frame);
  while (call.missing > 0) {
    bool hurry = call.refusals > 0 || (options.timeoutMs > 0 && options.timeoutMs < 2 * lookSlowlyMs) ||
                 call.firstAnswerNs != noTime;
    bool quiet = false;
    if (Status s = moveMessages(call, hurry ? lookEveryMs : lookSlowlyMs, quiet); !s)
      return fail(s);
    if (segment->aborted() && processes) // threads have to answer first
      return fail(segment->abortStatus());
    if (quiet)
      if (Status s = lookAfter(call); !s)
        return fail(s);
  }
  return finish(call);
}

Status RankGroup::Impl::moveMessages(Call &call, int64_t waitMs, bool &quiet) {
  std::vector<pollfd> fds;
  for (size_t r = 0; r < channels.size(); ++r) // a negative number is passed over
    fds.push_back({call.answered[r] ? -1 : channels[r].descriptor(),
                   static_cast<short>(POLLIN | (channels[r].sending() ? POLLOUT : 0)), 0});
  // A rank that has answered leaves its core, and the others are not far.
  int ready = 0;
  if (call.firstAnswerNs != noTime && monotonicNs() - call.firstAnswerNs < spinNs)
    spinUntil(spinNs, [&] { return (ready = ::poll(fds.data(), fds.size(), 0)) != 0; });
  // The first poll of a call sends the request at once: sockets are writable.
  if (ready == 0)
    ready = ::poll(fds.data(), fds.size(), static_cast<int>(waitMs));
  quiet = ready == 0;
  if (ready < 0 && errno != EINTR)
    return {Code::Internal, std::string("cannot hear the ranks: ") + std::strerror(errno)};
  for (size_t r = 0; ready > 0 && r < channels.size(); ++r) {
    if (fds[r].fd < 0 || !fds[r].revents)
      continue;
    bool open = channels[r].progress();
    std::string body;
    if (channels[r].receive(body)) {
      if (Status s = takeReply(call, r, body); !s)
        return s;
    } else if (!open) {
      // The rank is gone; the watcher knows more in a moment.
      for (int64_t end = monotonicNs() + 1000000000; processes && !segment->aborted() && monotonicNs() < end;)
        ::usleep(500);
      return {Code::PeerLost, "rank " + std::to_string(r) + " left " + segment->activity(static_cast<int32_t>(r))};
    }
  }
  return Status::ok();
}

Status RankGroup::Impl::takeReply(Call &call, size_t rank, const std::string &body) {
  Status status;
  if (!parseReply(body, status, call.replies[rank]))
    return {Code::Internal, "the answer of rank " + std::to_string(rank) + " is malformed"};
  call.answered[rank] = true;
  --call.missing;
  if (call.firstAnswerNs == noTime)
    call.firstAnswerNs = monotonicNs();
  if (status)
    return status;
  if (status.code != Code::InvalidArgument || segment->aborted())
    return {status.code, "rank " + std::to_string(rank) + ": " + status.text};
  if (call.refusals++ == 0 || rank < call.refusingRank) {
    call.refusal = std::move(status);
    call.refusingRank = rank;
  }
  return Status::ok();
}

/// Looks for ranks that will not answer: stopped ones, ones that are late, ones that wait for a rank that has refused.
Status RankGroup::Impl::lookAfter(Call &call) {
  int64_t now = monotonicNs(), limit = options.timeoutMs > 0 ? options.timeoutMs * 1000000 : noTime;
  auto name = [&](size_t r) {
    return "rank " + std::to_string(r) + " (" + segment->activity(static_cast<int32_t>(r)) + ")";
  };
  for (size_t r = 0; r < channels.size(); ++r) {
    if (call.answered[r])
      continue;
    auto rank = static_cast<int32_t>(r);
    if (call.firstAnswerNs != noTime && now - call.firstAnswerNs > limit)
      return {Code::Timeout, name(r) + " did not answer within " + std::to_string(options.timeoutMs) +
                                 " ms of the first rank that did"};
    if (!processes || !processes->isStopped(rank))
      call.stoppedSinceNs[r] = noTime;
    else if (call.stoppedSinceNs[r] == noTime)
      call.stoppedSinceNs[r] = now;
    else if (now - call.stoppedSinceNs[r] > limit)
      return {Code::Timeout, name(r) + " has been stopped for " + std::to_string(options.timeoutMs) + " ms"};
    if (call.refusals == 0)
      continue;
    const shm::OpNote &note = segment->control(rank).note;
    uint64_t inside = note.active ? note.completed.load() : UINT64_MAX;
    if (inside != UINT64_MAX && inside == call.insideAt[r]) // twice at the same place: it waits for one that left
      return {call.refusal.code, "rank " + std::to_string(call.refusingRank) + ": " + call.refusal.text};
    call.insideAt[r] = inside;
  }
  return Status::ok();
}

Status RankGroup::Impl::finish(Call &call) {
  if (call.refusals == 0)
    return Status::ok();
  // All ranks refused at the same place: nothing is under way and the next request finds them in step.
  bool inStep = call.refusals == channels.size() && !segment->aborted();
  for (size_t r = 0; r < channels.size(); ++r)
    inStep &= segment->control(static_cast<int32_t>(r)).note.completed == segment->control(0).note.completed;
  if (inStep)
    return call.refusal;
  return fail({call.refusal.code, "rank " + std::to_string(call.refusingRank) + ": " + call.refusal.text});
}

RankGroup::RankGroup() : impl(std::make_unique<Impl>()) {}
RankGroup::~RankGroup() = default;

Status RankGroup::start(const RankGroupOptions &options, const RankMainFactory &factory,
                        std::unique_ptr<RankGroup> &out) {
  std::unique_ptr<RankGroup> group(new RankGroup);
  Status s = group->impl->start(options, factory);
  if (s)
    out = std::move(group);
  return s;
}

Status RankGroup::call(const std::string &request, std::vector<std::string> &replies) {
  return impl->call(requestFrame(RequestKind::Call, request), replies);
}
uint8_t *RankGroup::shared() const { return impl->segment->shared(); }
int32_t RankGroup::ranks() const { return impl->segment->ranks(); }
int64_t RankGroup::processId(int32_t rank) const { return impl->processes ? impl->processes->processId(rank) : -1; }

} // namespace comm::rt
