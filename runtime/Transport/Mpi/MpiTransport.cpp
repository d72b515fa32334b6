//===- MpiTransport.cpp - collectives over MPI messages -------------------===//
#include "runtime/Transport/Mpi/MpiTransport.h"
#include "runtime/Transport/Mpi/Exchange.h"
#include "runtime/Transport/Shm/Futex.h"
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <thread>

namespace comm::rt::mpi {
namespace {
constexpr int64_t goodbyeMs = 60000;       ///< how long the end of a session waits for the others
constexpr int64_t tellNs = 300000000;      ///< how long a failed rank tries to tell the others
constexpr int64_t longestIdleNs = 5000000; ///< between two looks while no operation is under way

/// What a message belongs to; exchanges use the rest of the token.
enum Kind : uint64_t { ofExchange = 0, ofHeaderIn, ofHeaderOut, ofAbortIn, ofAbortOut };
uint64_t tokenOf(Kind kind, size_t index) { return kind << 60 | index; }
Kind kindOf(uint64_t token) { return static_cast<Kind>(token >> 60); }

struct WireHeader {
  OpSignature signature;
  char label[64] = "";
};
struct WireAbort {
  int32_t code = 0;
  char text[1020] = "";
};

std::string nameOf(const WireHeader &h) {
  std::string label(h.label, ::strnlen(h.label, sizeof h.label));
  return std::string(collectiveName(h.signature.kind)) + " #" + std::to_string(h.signature.planId) +
         (label.empty() ? "" : " '" + label + "'");
}

/// One operation under way. After a failure it stays in memory: MPI may still know its buffers.
struct Running {
  Running(const Collective &c, const WaitBudget &budget) : op(c, budget) {}
  Operation op;
  std::unique_ptr<Exchange> exchange;
  std::vector<WireHeader> in, out; ///< by member
  std::vector<bool> here;          ///< whose header has come
  size_t missing = 0, unsent = 0;  ///< headers
};

void sleepNs(int64_t ns) {
  timespec t{ns / 1000000000, ns % 1000000000};
  ::nanosleep(&t, nullptr);
}
} // namespace

struct MpiTransport::Impl {
  explicit Impl(const MpiOptions &options) : options(options) {}

  Status check(int error, const char *what) {
    if (error == 0)
      return Status::ok();
    char text[256];
    api->errorText(error, text, sizeof text);
    return {Code::PeerLost, "rank " + std::to_string(rank) + ": MPI cannot " + what + ": " + text};
  }

  //===--- the thread that owns MPI -----------------------------------------===//
  void loop(std::promise<Status> &started) {
    ::prctl(PR_SET_TIMERSLACK, 1000);
    Status s = check(api->init(&rank, &ranks), "start");
    lastSeen.resize(static_cast<size_t>(std::max(ranks, 1)));
    if (s)
      s = check(api->receive(&abortIn, sizeof abortIn, -1, abortTag, tokenOf(ofAbortIn, 0)), "listen");
    started.set_value(s);
    if (!s)
      return;
    for (int64_t idleNs = options.shortestSleepNs;;) {
      Running *todo;
      {
        std::unique_lock<std::mutex> lock(mutex);
        if (!job && !stop && failure)
          wake.wait_for(lock, std::chrono::nanoseconds(idleNs), [&] { return job || stop || !failure; });
        todo = job;
        if (!todo && (stop || !failure))
          break;
      }
      if (!todo) { // pieces of messages that ended here may still have to leave, and somebody may give up
        size_t ended;
        if (Status idle = pump(nullptr, ended); !idle)
          fail(idle);
        idleNs = std::min(idleNs * 2, longestIdleNs);
        continue;
      }
      idleNs = options.shortestSleepNs;
      Status result = execute(*todo);
      if (!result) {
        fail(result);
        result = failed();
      }
      std::lock_guard<std::mutex> lock(mutex);
      job = nullptr;
      outcome = result;
      ready.notify_one();
      if (!failure)
        break;
    }
    end();
  }

  void end() {
    if (failed()) {
      Collective c;
      c.kind = CollectiveKind::Barrier;
      for (int32_t r = 0; r < ranks; ++r)
        c.group.push_back(r);
      c.planId = -1;
      c.label = "the end of the session";
      WaitBudget budget{std::clamp<int64_t>(patienceMs, 1, goodbyeMs), 0};
      auto last = std::make_unique<Running>(c, budget);
      Status s = last->op.prepare(rank, ranks);
      if (s)
        s = execute(*last);
      if (s)
        s = check(api->cancel(tokenOf(ofAbortIn, 0)), "stop listening");
      if (s)
        s = check(api->finalize(), "end");
      if (s)
        return;
      fail(s);
      graves.push_back(std::move(last));
    }
    tellOthers();
  }

  /// Takes what has ended. `running` may be null.
  Status pump(Running *running, size_t &ended) {
    tokens.resize(std::max<size_t>(tokens.size(), 256));
    int count = 0;
    ended = 0;
    if (Status s = check(api->test(tokens.data(), static_cast<int>(tokens.size()), &count), "move messages"); !s)
      return s;
    if (count == static_cast<int>(tokens.size()))
      tokens.resize(tokens.size() * 2);
    for (int i = 0; i < count; ++i) {
      uint64_t token = tokens[static_cast<size_t>(i)];
      if (kindOf(token) == ofAbortIn)
        return {static_cast<Code>(abortIn.code),
                std::string(abortIn.text, ::strnlen(abortIn.text, sizeof abortIn.text))};
      if (!running || kindOf(token) == ofAbortOut)
        continue;
      ++ended;
      if (kindOf(token) == ofHeaderOut)
        --running->unsent;
      else if (kindOf(token) == ofExchange)
        running->exchange->end(token);
      else {
        auto member = static_cast<size_t>(token & 0xffffffff);
        running->here[member] = true;
        --running->missing;
        lastSeen[static_cast<size_t>(running->op.rankOf(member))] = nameOf(running->in[member]);
      }
    }
    return Status::ok();
  }

  Status sendHeaders(Running &r) {
    const Operation &op = r.op;
    r.in.resize(op.size());
    r.out.resize(op.size());
    r.here.resize(op.size());
    r.missing = r.unsent = op.size() - 1;
    int64_t offset;
    for (size_t m = 0; m < op.size(); ++m) {
      if (m == op.me)
        continue;
      WireHeader &h = r.out[m];
      h.signature = op.signature;
      h.signature.expects = op.incoming(m, offset);
      h.signature.sends = op.outgoing(m, offset);
      std::strncpy(h.label, op.c.label ? op.c.label : "", sizeof h.label - 1);
      int32_t peer = op.rankOf(m);
      if (Status s = check(api->receive(&r.in[m], sizeof r.in[m], peer, headerTag, tokenOf(ofHeaderIn, m)), "receive");
          !s)
        return s;
      if (Status s = check(api->send(&h, sizeof h, peer, headerTag, tokenOf(ofHeaderOut, m)), "send"); !s)
        return s;
    }
    return Status::ok();
  }

  Status postAll(Running &r) {
    for (Exchange::Post p; r.exchange->next(p);) {
      int error = p.sends ? api->send(p.data, p.bytes, p.peer, p.tag, p.token)
                          : api->receive(p.data, p.bytes, p.peer, p.tag, p.token);
      if (Status s = check(error, p.sends ? "send" : "receive"); !s)
        return s;
    }
    return Status::ok();
  }

  Status execute(Running &r) {
    r.exchange =
        std::make_unique<Exchange>(r.op, ExchangeOptions{options.chunkBytes, options.window, options.oneShotBytes});
    if (Status s = sendHeaders(r); !s)
      return s;
    bool begun = false;
    int64_t last = monotonicNs(), spinEnd = last + r.op.budget.spinNs;
    // Looking often gains little where the wire is busy for long, and takes the core from compute.
    bool isLong = r.op.c.count * r.op.width > options.chunkBytes;
    int64_t shortest = isLong ? std::max(options.shortestSleepNs, options.longestSleepNs / 2) : options.shortestSleepNs;
    for (;;) {
      if (r.missing == 0 && !begun) {
        for (size_t m = 0; m < r.op.size(); ++m)
          if (m != r.op.me)
            if (Status s = comparePeer(r.op, m, r.in[m].signature, [&](int32_t k) { return activity(r, k); }); !s)
              return s;
        met = last = monotonicNs();
        r.exchange->begin();
        begun = true;
      }
      if (Status s = postAll(r); !s)
        return s;
      if (begun && r.unsent == 0 && r.exchange->finished())
        return Status::ok();
      size_t ended;
      if (Status s = pump(&r, ended); !s)
        return s;
      if (Status s = failed(); !s)
        return s;
      int64_t now = monotonicNs(), waited = now - last;
      if (ended > 0) {
        last = now;
        continue;
      }
      if (r.op.budget.timeoutMs > 0 && waited > r.op.budget.timeoutMs * 1000000)
        return late(r);
      // The longer nothing has come, the longer nothing will; a message that is late by its share costs no more.
      if (now > spinEnd && waited > options.shortestSleepNs / 4)
        sleepNs(std::clamp(waited / 4, shortest, std::max(shortest, options.longestSleepNs)));
    }
  }

  std::string activity(const Running &r, int32_t k) const {
    if (k == rank)
      return "in " + operationName(r.op.c);
    for (size_t m = 0; m < r.op.size(); ++m)
      if (r.op.rankOf(m) == k && r.here[m])
        return "in " + nameOf(r.in[m]);
    const std::string &seen = lastSeen[static_cast<size_t>(k)];
    return seen.empty() ? "before its first operation" : "after " + seen;
  }

  Status late(const Running &r) const {
    std::vector<int32_t> who;
    for (size_t m = 0; m < r.op.size() && r.missing > 0; ++m)
      if (m != r.op.me && !r.here[m])
        who.push_back(r.op.rankOf(m));
    std::string text;
    for (int32_t k : who.empty() ? r.exchange->pendingPeers() : who)
      text += (text.empty() ? "rank " : ", rank ") + std::to_string(k) + " (" + activity(r, k) + ")";
    return {Code::Timeout, "rank " + std::to_string(rank) + " waited " + std::to_string(r.op.budget.timeoutMs) +
                               " ms in " + operationName(r.op.c) + " for " + text};
  }

  //===--- failures ---------------------------------------------------------===//
  /// The first failure stands.
  void fail(const Status &why) {
    std::lock_guard<std::mutex> lock(mutex);
    if (failure)
      failure = why;
  }
  Status failed() {
    std::lock_guard<std::mutex> lock(mutex);
    return failure;
  }

  void tellOthers() {
    Status why = failed();
    abortOut.code = static_cast<int32_t>(why.code);
    std::snprintf(abortOut.text, sizeof abortOut.text, "%s", why.text.c_str());
    for (int32_t k = 0; k < ranks; ++k)
      if (k != rank)
        (void)api->send(&abortOut, sizeof abortOut, k, abortTag, tokenOf(ofAbortOut, static_cast<size_t>(k)));
    int count = 0;
    for (int64_t until = monotonicNs() + tellNs; monotonicNs() < until; sleepNs(options.shortestSleepNs))
      if (api->test(tokens.data(), static_cast<int>(tokens.size()), &count) != 0)
        return;
  }

  /// MPI was not finalized and may still know buffers of ours.
  static void keepForEver(std::unique_ptr<Impl> impl) {
    static std::mutex one;
    static auto *kept = new std::vector<std::unique_ptr<Impl>>;
    std::lock_guard<std::mutex> lock(one);
    kept->push_back(std::move(impl));
  }

  const MpiOptions options;
  const MpiApi *api = nullptr;
  int rank = 0, ranks = 1;
  std::thread thread;
  // Of the thread alone.
  std::vector<uint64_t> tokens = std::vector<uint64_t>(256);
  std::vector<std::string> lastSeen; ///< by rank: its last operation that we took part in
  WireAbort abortIn, abortOut;
  int64_t met = 0;
  // Handed over.
  std::mutex mutex;
  std::condition_variable wake, ready;
  Running *job = nullptr;
  bool stop = false;
  int64_t patienceMs = goodbyeMs; ///< of the last operation
  Status outcome, failure;
  // Of the callers.
  std::deque<std::unique_ptr<Running>> graves;
  int64_t sent = 0;
  void *arena = nullptr;
  size_t arenaBytes = 0;
};

MpiTransport::MpiTransport() = default;

Status MpiTransport::create(const MpiOptions &options, std::unique_ptr<MpiTransport> &out) {
  const char *error = nullptr;
  static std::atomic<bool> taken{false};
  const MpiApi *api = loadMpi(error);
  if (!api)
    return {Code::DeviceMissing, error};
  if (taken.exchange(true))
    return {Code::Unsupported, "MPI can be started once: a process has one session over MPI in its life"};
  return create(options, api, out);
}

Status MpiTransport::create(const MpiOptions &options, const MpiApi *api, std::unique_ptr<MpiTransport> &out) {
  std::unique_ptr<MpiTransport> transport(new MpiTransport);
  transport->impl = std::make_unique<Impl>(options);
  transport->impl->api = api;
  std::promise<Status> started;
  transport->impl->thread = std::thread([impl = transport->impl.get(), &started] { impl->loop(started); });
  Status s = started.get_future().get();
  if (s)
    out = std::move(transport);
  else {
    transport->impl->thread.join();
    transport->impl.reset();
  }
  return s;
}

MpiTransport::~MpiTransport() {
  if (!impl)
    return;
  {
    std::lock_guard<std::mutex> lock(impl->mutex);
    impl->stop = true;
    impl->wake.notify_one();
  }
  impl->thread.join();
  if (!impl->failure)
    Impl::keepForEver(std::move(impl));
  else if (impl->arena)
    ::munmap(impl->arena, impl->arenaBytes);
}

int32_t MpiTransport::rank() const { return impl->rank; }
int32_t MpiTransport::size() const { return impl->ranks; }
int64_t MpiTransport::bytesSent() const { return impl->sent; }
int64_t MpiTransport::metNs() const { return impl->met; }
std::string MpiTransport::library() const {
  std::string text = impl->api->library();
  return text.substr(0, text.find_first_of("\n,"));
}

Status MpiTransport::allocateArena(size_t bytes, void *&out) {
  if (impl->arena)
    return {Code::Internal, "an arena was asked for a second time"};
  impl->arenaBytes = (bytes + 4096) / 4096 * 4096;
  void *p = ::mmap(nullptr, impl->arenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return {Code::OutOfMemory,
            "no memory for the arena (" + std::to_string(bytes) + " bytes): " + std::strerror(errno)};
  (void)::madvise(p, impl->arenaBytes, MADV_HUGEPAGE);
  out = impl->arena = p;
  return Status::ok();
}

Status MpiTransport::run(const Collective &c, const WaitBudget &budget) {
  auto running = std::make_unique<Running>(c, budget);
  Status s = running->op.prepare(impl->rank, impl->ranks);
  if (!s) {
    abort({s.code, "rank " + std::to_string(impl->rank) + ": " + s.text});
    return s;
  }
  {
    std::unique_lock<std::mutex> lock(impl->mutex);
    if (!impl->failure)
      return impl->failure;
    impl->job = running.get();
    impl->patienceMs = budget.timeoutMs > 0 ? budget.timeoutMs : goodbyeMs;
    impl->wake.notify_one();
    impl->ready.wait(lock, [&] { return impl->job == nullptr; });
    s = impl->outcome;
  }
  if (s)
    impl->sent += running->exchange->bytesSent();
  else
    impl->graves.push_back(std::move(running));
  return s;
}

void MpiTransport::abort(const Status &why) {
  impl->fail(why);
  impl->wake.notify_one();
}

} // namespace comm::rt::mpi
