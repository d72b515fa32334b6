//===- MpiFakeTest.cpp - the MPI transport over an MPI that is made up -----===//
// Ranks are threads, messages pass through queues in memory: the whole transport runs where there is no MPI, under
// sanitizers, and with errors that a real one gives only on a bad day. Large messages end when they are received, not
// when they are sent, and ends are told in a mixed order.
//===----------------------------------------------------------------------===//
#include "runtime/Transport/Mpi/MpiTransport.h"
#include "test/runtime/Conformance/Cases.h"
#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <tuple>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::mpi;
using namespace comm::rt::test;

namespace {
struct FakeNode {
  std::vector<uint64_t> ended;
  std::minstd_rand random{1};
};

/// One world at a time; a rank is the thread that called init.
struct FakeWorld {
  struct Message {
    FakeNode *owner;
    std::vector<uint8_t> copy; ///< small ones
    const void *data;
    size_t bytes;
    uint64_t token;
  };
  struct Receive {
    FakeNode *owner;
    void *data;
    size_t bytes;
    uint64_t token;
  };
  using Key = std::tuple<int, int, int>; ///< from (-1: anybody), to, tag

  void match(int from, int to, int tag) {
    auto &messages = sent[{from, to, tag}];
    auto *receives = &received[{from, to, tag}];
    if (receives->empty())
      receives = &received[{-1, to, tag}];
    if (messages.empty() || receives->empty())
      return;
    Message m = std::move(messages.front());
    Receive r = receives->front();
    messages.pop_front();
    receives->pop_front();
    std::memcpy(r.data, m.data ? m.data : m.copy.data(), std::min(m.bytes, r.bytes));
    r.owner->ended.push_back(r.token);
    if (m.data)
      m.owner->ended.push_back(m.token);
  }

  std::mutex mutex;
  int ranks = 0, next = 0, finalized = 0;
  std::map<Key, std::deque<Message>> sent;
  std::map<Key, std::deque<Receive>> received;
  std::deque<FakeNode> nodes;
  int failingSends = 0; ///< that many of the last rank fail
};
FakeWorld *world = nullptr;
thread_local int self = -1;

int fakeInit(int *rank, int *ranks) {
  std::lock_guard<std::mutex> lock(world->mutex);
  self = *rank = world->next++;
  *ranks = world->ranks;
  return 0;
}
FakeNode &node() { return world->nodes[static_cast<size_t>(self)]; }
int fakeFinalize() {
  std::lock_guard<std::mutex> lock(world->mutex);
  ++world->finalized;
  return 0;
}
int fakeSend(const void *data, size_t bytes, int peer, int tag, uint64_t token) {
  std::lock_guard<std::mutex> lock(world->mutex);
  if (world->failingSends > 0 && self == world->ranks - 1 && world->failingSends--)
    return 17;
  bool small = bytes <= 600;
  const auto *p = static_cast<const uint8_t *>(data);
  world->sent[{self, peer, tag}].push_back({&node(),
                                            small ? std::vector<uint8_t>(p, p + bytes) : std::vector<uint8_t>(),
                                            small ? nullptr : data, bytes, token});
  if (small)
    node().ended.push_back(token);
  world->match(self, peer, tag);
  return 0;
}
int fakeReceive(void *data, size_t bytes, int peer, int tag, uint64_t token) {
  std::lock_guard<std::mutex> lock(world->mutex);
  world->received[{peer, self, tag}].push_back({&node(), data, bytes, token});
  for (int from = 0; from < world->ranks; ++from)
    if (peer < 0 || peer == from)
      world->match(from, self, tag);
  return 0;
}
int fakeTest(uint64_t *tokens, int capacity, int *finished) {
  std::lock_guard<std::mutex> lock(world->mutex);
  auto &ended = node().ended;
  std::shuffle(ended.begin(), ended.end(), node().random);
  *finished = std::min(capacity, static_cast<int>(ended.size()));
  std::copy_n(ended.end() - *finished, *finished, tokens);
  ended.resize(ended.size() - static_cast<size_t>(*finished));
  return 0;
}
int fakeCancel(uint64_t token) {
  std::lock_guard<std::mutex> lock(world->mutex);
  for (auto &[key, list] : world->received)
    list.erase(
        std::remove_if(list.begin(), list.end(), [&](const auto &r) { return r.owner == &node() && r.token == token; }),
        list.end());
  return 0;
}
const char *fakeLibrary() { return "Fake MPI v0, of a test"; }
void fakeErrorText(int error, char *text, size_t bytes) { std::snprintf(text, bytes, "fake error %d", error); }
const MpiApi fake{apiVersion, fakeInit,   fakeFinalize, fakeSend,     fakeReceive,
                  fakeTest,   fakeCancel, fakeLibrary,  fakeErrorText};

class FakeMpi : public testing::Test {
protected:
  /// Runs `body` on a transport per rank.
  void onRanks(int ranks, const std::function<void(MpiTransport &)> &body) {
    FakeWorld own;
    own.ranks = ranks;
    own.nodes.resize(static_cast<size_t>(ranks));
    own.failingSends = failingSends;
    world = &own;
    std::vector<std::thread> threads;
    for (int r = 0; r < ranks; ++r)
      threads.emplace_back([&] {
        MpiOptions options;
        options.chunkBytes = 4000;
        options.window = 3;
        options.oneShotBytes = 8000;
        std::unique_ptr<MpiTransport> transport;
        Status s = MpiTransport::create(options, &fake, transport);
        EXPECT_TRUE(s) << s.text;
        body(*transport);
      });
    for (std::thread &t : threads)
      t.join();
    finalized = own.finalized;
  }
  static Collective allReduce(int ranks, const float &in, float &out, int64_t planId) {
    Collective c;
    for (int32_t r = 0; r < ranks; ++r)
      c.group.push_back(r);
    c.in = &in;
    c.out = &out;
    c.count = 1;
    c.planId = planId;
    c.label = "o_proj";
    return c;
  }
  int failingSends = 0, finalized = 0;
};

TEST_F(FakeMpi, Conformance) {
  for (int ranks : {1, 2, 3, 4}) {
    onRanks(ranks, [&](MpiTransport &transport) {
      std::vector<uint8_t> arena(arenaFor(8 * 20100));
      CaseRunner runner(transport, arena.data(), arena.size());
      std::vector<int32_t> group;
      for (int32_t r = 0; r < ranks; ++r)
        group.push_back(r);
      int64_t plan = 0;
      for (auto [type, count, placement] : {std::make_tuple(exe::DType::F32, 0, Placement::Arena),
                                            std::make_tuple(exe::DType::BF16, 1, Placement::InPlace),
                                            std::make_tuple(exe::DType::I64, 1021, Placement::Private),
                                            std::make_tuple(exe::DType::F32, 20011, Placement::Arena),
                                            std::make_tuple(exe::DType::F16, 20011, Placement::InPlace),
                                            std::make_tuple(exe::DType::U8, 9001, Placement::MixedBoth)})
        for (Case c : allKinds(type, count, placement, group, false)) {
          c.planId = plan++;
          ASSERT_EQ(runner.run(c, {60000, 0}), "");
        }
      EXPECT_EQ(transport.library(), "Fake MPI v0");
    });
    EXPECT_EQ(finalized, ranks); // all met at the end
  }
}

// One stays away: the others name it and what it did last, in time; nobody finalizes, which would block.
TEST_F(FakeMpi, AbsentRank) {
  onRanks(3, [&](MpiTransport &transport) {
    float in = 1, out = 0;
    ASSERT_TRUE(transport.run(allReduce(3, in, out, 6), {20000, 0}));
    EXPECT_EQ(out, 3);
    if (transport.rank() == 2)
      return;
    Status s = transport.run(allReduce(3, in, out, 7), {300, 0});
    // The one who is away says goodbye meanwhile, which is another operation.
    EXPECT_FALSE(s);
    EXPECT_NE(s.text.find("rank 2"), std::string::npos) << s.text;
    EXPECT_NE(s.text.find("all_reduce #7 'o_proj'"), std::string::npos) << s.text;
    EXPECT_FALSE(transport.run(allReduce(3, in, out, 8), {300, 0}));
  });
  EXPECT_EQ(finalized, 0);
}

TEST_F(FakeMpi, Deadline) {
  std::atomic<int> done{0};
  onRanks(2, [&](MpiTransport &transport) {
    float in = 1, out = 0;
    ASSERT_TRUE(transport.run(allReduce(2, in, out, 6), {20000, 0}));
    if (transport.rank() == 0) {
      Status s = transport.run(allReduce(2, in, out, 7), {200, 0});
      EXPECT_EQ(s.code, Code::Timeout);
      EXPECT_EQ(s.text, "rank 0 waited 200 ms in all_reduce #7 'o_proj' for rank 1 (after all_reduce #6 'o_proj')");
      ++done;
    }
    while (!done) // busy elsewhere
      std::this_thread::yield();
    if (transport.rank() == 1) { // the news is there when it comes back
      Status s = transport.run(allReduce(2, in, out, 7), {20000, 0});
      EXPECT_EQ(s.code, Code::Timeout);
      EXPECT_EQ(s.text.rfind("rank 0 waited 200 ms", 0), 0u) << s.text;
    }
  });
  EXPECT_EQ(finalized, 0);
}

// A rank gives up: the wait of the other ends with its words.
TEST_F(FakeMpi, Abort) {
  onRanks(2, [&](MpiTransport &transport) {
    float in = 1, out = 7;
    if (transport.rank() == 1)
      return transport.abort({Code::InvalidArgument, "rank 1: index 7 is out of range"});
    Status s = transport.run(allReduce(2, in, out, 0), {20000, 0});
    EXPECT_EQ(s.code, Code::InvalidArgument);
    EXPECT_EQ(s.text, "rank 1: index 7 is out of range");
    EXPECT_EQ(out, 7);
  });
  EXPECT_EQ(finalized, 0);
}

TEST_F(FakeMpi, BadOperation) {
  onRanks(2, [&](MpiTransport &transport) {
    float in = 1, out = 7;
    Collective c = allReduce(2, in, out, 0);
    if (transport.rank() == 1)
      c.count = -1;
    Status s = transport.run(c, {20000, 0});
    EXPECT_EQ(s.code, Code::InvalidArgument);
    EXPECT_NE(s.text.find("a count is negative"), std::string::npos) << s.text;
    EXPECT_EQ(out, 7);
  });
}

TEST_F(FakeMpi, ErrorsOfMpi) {
  failingSends = 1;
  onRanks(2, [&](MpiTransport &transport) {
    float in = 1, out = 7;
    Status s = transport.run(allReduce(2, in, out, 0), {20000, 0});
    EXPECT_EQ(s.code, Code::PeerLost);
    EXPECT_EQ(s.text, "rank 1: MPI cannot send: fake error 17");
  });
}

// A plugin that is not there, and one that is none.
TEST(MpiPlugin, CannotBeLoaded) {
  for (auto [path, text] : {std::make_pair("/nowhere/libcommc_mpi.so", "no MPI plugin at /nowhere/libcommc_mpi.so"),
                            std::make_pair("/proc/self/exe", "cannot be loaded")}) {
    ::setenv("COMM_MPI_PLUGIN", path, 1);
    std::unique_ptr<MpiTransport> transport;
    Status s = MpiTransport::create({}, transport);
    EXPECT_EQ(s.code, Code::DeviceMissing);
    EXPECT_NE(s.text.find(text), std::string::npos) << s.text;
    ::unsetenv("COMM_MPI_PLUGIN");
  }
}
} // namespace
