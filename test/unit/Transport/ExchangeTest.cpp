//===- ExchangeTest.cpp - the messages of an operation, without MPI -------===//
// All ranks in one thread over a network of queues that ends messages in random order: order and sums must not depend
// on it. Every placement and piece size is small, so that rings wrap and results meet operands.
//===----------------------------------------------------------------------===//
#include "runtime/Transport/Mpi/Exchange.h"
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <numeric>
#include <random>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::mpi;

namespace {
/// One rank: its operands and what it has posted.
struct Node {
  std::vector<float> in, out;
  Collective c;
  WaitBudget budget;
  std::unique_ptr<Operation> op;
  std::unique_ptr<Exchange> exchange;
};

class Network {
public:
  explicit Network(uint64_t seed) : random(seed) {}

  void run(std::vector<Node> &nodes) {
    for (Node &n : nodes)
      post(n);
    for (Node &n : nodes) { // signatures have been compared
      n.exchange->begin();
      post(n);
    }
    for (;;) {
      // Messages whose both ends are posted, the first of each pair and tag.
      std::vector<Key> possible;
      for (auto &[key, sends] : sent)
        if (!sends.empty() && !received[key].empty())
          possible.push_back(key);
      if (possible.empty())
        return;
      Key key = possible[random() % possible.size()];
      End from = sent[key].front(), to = received[key].front();
      sent[key].pop_front();
      received[key].pop_front();
      ASSERT_EQ(from.post.bytes, to.post.bytes);
      std::memcpy(to.post.data, from.post.data, from.post.bytes);
      ++messages;
      // Either end may hear of it first.
      if (random() % 2)
        std::swap(from, to);
      from.node->exchange->end(from.post.token);
      to.node->exchange->end(to.post.token);
      post(*from.node);
      post(*to.node);
    }
  }
  int64_t messages = 0;

private:
  struct End {
    Node *node;
    Exchange::Post post;
  };
  using Key = std::tuple<int32_t, int32_t, int>; ///< from, to, tag

  void post(Node &n) {
    int32_t self = n.op->rankOf(n.op->me);
    for (Exchange::Post p; n.exchange->next(p);)
      (p.sends ? sent[{self, p.peer, p.tag}] : received[{p.peer, self, p.tag}]).push_back({&n, p});
  }
  std::mt19937_64 random;
  std::map<Key, std::deque<End>> sent, received;
};

float valueOf(size_t rank, int64_t i) { return static_cast<float>((static_cast<int64_t>(rank) * 7 + i * 3) % 11 - 5); }

/// Every element once per rank order: sums are exact, so any order gives the same; positions are what can go wrong.
void check(CollectiveKind kind, size_t ranks, int64_t count, bool inPlace, const ExchangeOptions &options,
           uint64_t seed, int64_t *sentBytes = nullptr) {
  SCOPED_TRACE(std::string(collectiveName(kind)) + " of " + std::to_string(count) + " over " + std::to_string(ranks) +
               (inPlace ? ", in place" : "") + ", pieces of " + std::to_string(options.chunkBytes));
  bool gathers = kind == CollectiveKind::AllGather || kind == CollectiveKind::AllToAll;
  bool blocks = kind == CollectiveKind::ReduceScatter || kind == CollectiveKind::AllToAll;
  auto n = static_cast<int64_t>(ranks);
  std::vector<Node> nodes(ranks);
  for (size_t r = 0; r < ranks; ++r) {
    Node &node = nodes[r];
    node.in.resize(static_cast<size_t>(blocks ? n * count : count));
    for (size_t i = 0; i < node.in.size(); ++i)
      node.in[i] = valueOf(r, static_cast<int64_t>(i));
    node.out.assign(static_cast<size_t>(gathers ? n * count : count), 99);
    node.c.kind = kind;
    node.c.count = count;
    node.c.group.resize(ranks);
    std::iota(node.c.group.begin(), node.c.group.end(), 0);
    node.c.in = node.in.data();
    node.c.out = inPlace ? node.in.data() : node.out.data();
    node.c.peer = static_cast<int32_t>((r + 1) % ranks);
    node.c.from = static_cast<int32_t>((r + ranks - 1) % ranks);
    node.c.root = static_cast<int32_t>(ranks) - 1;
    node.op = std::make_unique<Operation>(node.c, node.budget);
    Status s = node.op->prepare(static_cast<int32_t>(r), static_cast<int32_t>(ranks));
    ASSERT_TRUE(s) << s.text;
    node.exchange = std::make_unique<Exchange>(*node.op, options);
  }
  Network network(seed);
  network.run(nodes);
  for (size_t r = 0; r < ranks; ++r) {
    const Node &node = nodes[r];
    ASSERT_TRUE(node.exchange->finished()) << "rank " << r;
    EXPECT_TRUE(node.exchange->pendingPeers().empty());
    const std::vector<float> &got = inPlace ? node.in : node.out;
    for (int64_t i = 0; i < static_cast<int64_t>(got.size()); ++i) {
      float expected = 0;
      if (kind == CollectiveKind::AllReduce || kind == CollectiveKind::ReduceScatter)
        for (size_t m = 0; m < ranks; ++m)
          expected += valueOf(m, kind == CollectiveKind::AllReduce ? i : static_cast<int64_t>(r) * count + i);
      else if (kind == CollectiveKind::AllGather)
        expected = valueOf(static_cast<size_t>(i / count), i % count);
      else if (kind == CollectiveKind::AllToAll)
        expected = valueOf(static_cast<size_t>(i / count), static_cast<int64_t>(r) * count + i % count);
      else if (kind == CollectiveKind::Broadcast)
        expected = valueOf(ranks - 1, i);
      else
        expected = valueOf(static_cast<size_t>(node.c.from), i);
      ASSERT_EQ(got[static_cast<size_t>(i)], expected) << "rank " << r << ", element " << i;
    }
  }
  if (sentBytes)
    *sentBytes = nodes[0].exchange->bytesSent();
}

TEST(Exchange, EveryKindInAnyOrder) {
  uint64_t seed = 1;
  for (CollectiveKind kind : {CollectiveKind::AllReduce, CollectiveKind::ReduceScatter, CollectiveKind::AllGather,
                              CollectiveKind::AllToAll, CollectiveKind::Broadcast, CollectiveKind::Permute})
    for (size_t ranks : {2, 3, 5})
      for (int64_t count : {1, 7, 64, 333})
        for (bool inPlace : {false, true})
          for (int64_t chunk : {4, 40, 1 << 20}) {
            if (inPlace && kind != CollectiveKind::AllReduce && kind != CollectiveKind::Broadcast)
              continue;
            check(kind, ranks, count, inPlace, {chunk, 2, 256}, ++seed); // 64 elements are exchanged whole
          }
}

TEST(Exchange, NothingToDo) {
  for (CollectiveKind kind : {CollectiveKind::AllReduce, CollectiveKind::AllGather, CollectiveKind::Permute})
    check(kind, 3, 0, false, {}, 1);
}

// What is sent: small operands to everybody, of large ones every element once there and once back.
TEST(Exchange, BytesSent) {
  int64_t bytes = 0;
  check(CollectiveKind::AllReduce, 4, 64, false, {64, 4, 256}, 1, &bytes);
  EXPECT_EQ(bytes, 3 * 64 * 4);
  check(CollectiveKind::AllReduce, 4, 640, false, {64, 4, 256}, 1, &bytes);
  EXPECT_EQ(bytes, 2 * 3 * 640);
  check(CollectiveKind::AllGather, 4, 64, false, {64, 4, 256}, 1, &bytes);
  EXPECT_EQ(bytes, 3 * 64 * 4);
}

// No receive before the signatures have been compared, no more messages under way than the window.
TEST(Exchange, BeginAndWindow) {
  std::vector<float> in(100, 1), out(100, 7);
  Collective c;
  c.count = 100;
  c.group = {0, 1};
  c.in = in.data();
  c.out = out.data();
  WaitBudget budget;
  Operation op(c, budget);
  ASSERT_TRUE(op.prepare(0, 2));
  Exchange exchange(op, {20, 3, 1 << 20});
  int sends = 0, receives = 0;
  auto postAll = [&] {
    for (Exchange::Post p; exchange.next(p);)
      ++(p.sends ? sends : receives);
  };
  postAll();
  EXPECT_EQ(sends, 3);
  EXPECT_EQ(receives, 0);
  EXPECT_FALSE(exchange.finished());
  exchange.begin();
  postAll();
  EXPECT_EQ(sends, 3);
  EXPECT_EQ(receives, 3);
  EXPECT_EQ(exchange.pendingPeers(), (std::vector<int32_t>{1}));
  EXPECT_EQ(out, std::vector<float>(100, 7));
}
} // namespace
