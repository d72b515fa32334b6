//===- CommThreadTest.cpp - order, counters and failures of the queue -----===//
#include "runtime/Core/CommThread.h"
#include <atomic>
#include <gtest/gtest.h>
#include <thread>

using namespace comm;
using namespace comm::rt;

namespace {
/// Records what it is asked to run; can hold operations back and fail one.
class FakeTransport final : public Transport {
public:
  int32_t rank() const override { return 3; }
  int32_t size() const override { return 4; }
  Status allocateArena(size_t, void *&) override { return {Code::Unsupported, ""}; }
  Status run(const Collective &c, const WaitBudget &budget) override {
    while (held && !aborted)
      std::this_thread::yield();
    if (aborted)
      return {Code::PeerLost, "aborted"};
    seen.push_back(c.planId);
    threads.push_back(std::this_thread::get_id());
    lastTimeoutMs = budget.timeoutMs;
    if (c.planId == failAt)
      return {Code::Timeout, "rank 2 did not come"};
    return Status::ok();
  }
  void abort(const Status &why) override {
    abortText = why.text;
    aborted = true;
  }
  int64_t bytesSent() const override { return 0; }

  std::vector<int64_t> seen;
  std::vector<std::thread::id> threads;
  std::atomic<bool> held{false}, aborted{false};
  int64_t failAt = -1, lastTimeoutMs = 0;
  std::string abortText;
};

std::vector<Collective> plan(int64_t count) {
  std::vector<Collective> all(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    all[static_cast<size_t>(i)].planId = i;
  return all;
}

TEST(CommThread, RunsInTheOrderOfStart) {
  FakeTransport transport;
  CommThread queue(transport, {1234, 0, 0});
  auto ops = plan(1000); // more than the queue holds at once
  for (size_t round = 0; round < 3; ++round) {
    for (size_t i = 0; i < ops.size(); ++i)
      ASSERT_TRUE(queue.start(ops[i], static_cast<int64_t>(i)));
    for (size_t i = ops.size(); i-- > 0;) // in any order
      ASSERT_TRUE(queue.wait(static_cast<int64_t>(i)));
  }
  ASSERT_EQ(transport.seen.size(), 3000u);
  for (size_t i = 0; i < transport.seen.size(); ++i)
    ASSERT_EQ(transport.seen[i], static_cast<int64_t>(i % 1000));
  EXPECT_EQ(queue.executed(), 3000);
  EXPECT_EQ(transport.lastTimeoutMs, 1234);
  EXPECT_NE(transport.threads[0], std::this_thread::get_id());
  CollectiveSpan first = queue.span(0), second = queue.span(1);
  EXPECT_LE(first.beginNs, first.endNs);
  EXPECT_LE(first.endNs, second.beginNs);
}

// With an empty queue the caller does it, else the thread in turn.
TEST(CommThread, SynchronousOperations) {
  FakeTransport transport;
  CommThread queue(transport, {});
  auto ops = plan(3);
  ASSERT_TRUE(queue.run(ops[0], 0));
  EXPECT_EQ(transport.threads.back(), std::this_thread::get_id());
  transport.held = true;
  ASSERT_TRUE(queue.start(ops[1], 1));
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    transport.held = false;
  });
  ASSERT_TRUE(queue.run(ops[2], 2));
  release.join();
  EXPECT_NE(transport.threads.back(), std::this_thread::get_id());
  EXPECT_EQ(transport.seen, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_GE(queue.waitedNs(), 10000000);
  ASSERT_TRUE(queue.wait(1));
  EXPECT_EQ(queue.executed(), 3);
}

// A fused form: collective, step of compute, collective; one ticket, one failure.
TEST(CommThread, Sequel) {
  for (bool fails : {false, true}) {
    FakeTransport transport;
    CommThread queue(transport, {});
    auto ops = plan(3);
    std::vector<int64_t> seenByStep;
    Sequel second{{}, ops[2]};
    Sequel first{[&]() -> Status {
                   seenByStep = transport.seen;
                   return fails ? Status{Code::InvalidArgument, "no"} : Status::ok();
                 },
                 ops[1]};
    first.next.sequel = &second;
    ops[0].sequel = &first;
    ASSERT_TRUE(queue.start(ops[0], 0));
    EXPECT_EQ(queue.wait(0).code, fails ? Code::InvalidArgument : Code::Ok);
    EXPECT_EQ(seenByStep, (std::vector<int64_t>{0}));
    EXPECT_EQ(transport.seen, fails ? (std::vector<int64_t>{0}) : (std::vector<int64_t>{0, 1, 2}));
    EXPECT_EQ(queue.executed(), fails ? 0 : 1);
  }
}

// The failed one and all later ones fail alike; earlier ones do not, and nothing more is run.
TEST(CommThread, FailureStays) {
  for (bool synchronous : {false, true}) {
    FakeTransport transport;
    transport.failAt = 2;
    CommThread queue(transport, {});
    auto ops = plan(5);
    std::vector<Status> results;
    if (synchronous)
      for (size_t i = 0; i < 5; ++i)
        results.push_back(queue.run(ops[i], static_cast<int64_t>(i)));
    else {
      for (size_t i = 0; i < 5; ++i)
        ASSERT_TRUE(queue.start(ops[i], static_cast<int64_t>(i)));
      EXPECT_EQ(queue.drain().code, Code::Timeout);
      for (size_t i = 0; i < 5; ++i)
        results.push_back(queue.wait(static_cast<int64_t>(i)));
    }
    for (size_t i = 0; i < 5; ++i)
      EXPECT_EQ(results[i].code, i < 2 ? Code::Ok : Code::Timeout);
    EXPECT_EQ(results[4].text, "rank 2 did not come");
    EXPECT_EQ(transport.seen.size(), 3u);
    EXPECT_EQ(queue.executed(), 2);
  }
}

TEST(CommThread, UnknownTickets) {
  FakeTransport transport;
  CommThread queue(transport, {});
  EXPECT_EQ(queue.wait(0).code, Code::InvalidArgument);
  EXPECT_EQ(queue.wait(-1).code, Code::InvalidArgument);
  Collective c;
  EXPECT_EQ(queue.start(c, -1).code, Code::InvalidArgument);
  EXPECT_EQ(queue.run(c, -1).code, Code::InvalidArgument);
}

// Ending with work in the queue does not hang: the peers are told.
TEST(CommThread, EndsWithWorkLeft) {
  FakeTransport transport;
  transport.held = true;
  auto ops = plan(2);
  {
    CommThread queue(transport, {});
    ASSERT_TRUE(queue.start(ops[0], 0));
    ASSERT_TRUE(queue.start(ops[1], 1));
  }
  EXPECT_TRUE(transport.aborted);
  EXPECT_EQ(transport.abortText, "rank 3 ended while it had collectives to run");
  EXPECT_TRUE(transport.seen.empty());
}
} // namespace
