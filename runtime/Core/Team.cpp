//===- Team.cpp - the compute threads of one rank -------------------------===//
// A job is an epoch number; members spin for it briefly and then sleep. Spinning is left out when the machine has fewer
// cores than the process has threads: it would take the core from the one that is waited for.
//===----------------------------------------------------------------------===//
#include "runtime/Core/Team.h"
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace comm::rt {

struct Team::Impl {
  explicit Impl(int threads)
      : spins(std::thread::hardware_concurrency() >= static_cast<unsigned>(threads) ? 2000 : 0),
        results(static_cast<size_t>(threads)) {
    for (int i = 1; i < threads; ++i)
      members.emplace_back([this, i] { work(i); });
  }
  ~Impl() {
    publish(true);
    for (std::thread &t : members)
      t.join();
  }

  void publish(bool stop) {
    std::lock_guard<std::mutex> lock(mutex);
    stopping = stop;
    pending.store(static_cast<int>(members.size()), std::memory_order_relaxed);
    epoch.fetch_add(1, std::memory_order_release);
    wake.notify_all();
  }

  void share(int member) {
    int64_t n = static_cast<int64_t>(results.size()), begin = iterations * member / n,
            end = iterations * (member + 1) / n;
    results[static_cast<size_t>(member)] = begin < end ? (*body)(begin, end) : Status::ok();
  }

  void work(int member) {
    uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < spins && epoch.load(std::memory_order_acquire) == seen; ++i)
        pause();
      if (epoch.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return epoch.load(std::memory_order_acquire) != seen; });
      }
      ++seen;
      if (stopping)
        return;
      share(member);
      if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard<std::mutex> lock(mutex);
        done.notify_one();
      }
    }
  }

  void join() {
    for (int i = 0; i < spins && pending.load(std::memory_order_acquire) != 0; ++i)
      pause();
    if (pending.load(std::memory_order_acquire) == 0)
      return;
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [&] { return pending.load(std::memory_order_acquire) == 0; });
  }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  const int spins;
  std::vector<Status> results;
  const std::function<Status(int64_t, int64_t)> *body = nullptr;
  int64_t iterations = 0;
  bool stopping = false;
  std::atomic<uint64_t> epoch{0};
  std::atomic<int> pending{0};
  std::mutex mutex;
  std::condition_variable wake, done;
  std::vector<std::thread> members;
};

Team::Team(int threads) : threads(threads), impl(threads > 1 ? std::make_unique<Impl>(threads) : nullptr) {}
Team::~Team() = default;

Status Team::run(int64_t iterations, const std::function<Status(int64_t, int64_t)> &body) {
  if (iterations <= 0)
    return Status::ok();
  if (!impl || iterations == 1)
    return body(0, iterations);
  impl->body = &body;
  impl->iterations = iterations;
  impl->publish(false);
  impl->share(0);
  impl->join();
  for (Status &s : impl->results)
    if (!s)
      return std::move(s);
  return Status::ok();
}

} // namespace comm::rt
