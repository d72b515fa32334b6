//===- Team.cpp - the compute threads of one rank -------------------------===//
// A job is an epoch number; members spin for it briefly and then sleep.
//===----------------------------------------------------------------------===//
#include "runtime/Core/Team.h"
#include "runtime/Transport/Shm/Futex.h"
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace comm::rt {

struct Team::Impl {
  Impl(int threads, const Placement &placement)
      : spinNs(placement.spinNs), cpus(placement.cpus), results(static_cast<size_t>(threads)) {
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
    if (static_cast<size_t>(member) < cpus.size())
      pinThisThread(cpus[static_cast<size_t>(member)]);
    uint64_t seen = 0;
    auto published = [&] { return epoch.load(std::memory_order_acquire) != seen; };
    for (;;) {
      if (!spinUntil(spinNs, published)) {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, published);
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
    auto finished = [&] { return pending.load(std::memory_order_acquire) == 0; };
    if (spinUntil(spinNs, finished))
      return;
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, finished);
  }

  const int64_t spinNs;
  const std::vector<int> cpus;
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

Team::Team(int threads, const Placement &placement)
    : threads(threads), impl(threads > 1 ? std::make_unique<Impl>(threads, placement) : nullptr) {}
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
