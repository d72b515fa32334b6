//===- ShmTest.cpp - the segment, refused operations, what is sent --------===//
#include "runtime/Transport/Shm/ShmTransport.h"
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::shm;

namespace {
std::unique_ptr<Segment> makeSegment(int32_t ranks, size_t arenaBytes = 1 << 20) {
  std::unique_ptr<Segment> segment;
  Status s = Segment::create({ranks, arenaBytes, 100, 4096}, segment);
  EXPECT_TRUE(s) << s.text;
  return segment;
}

/// Runs `body` on a thread per rank.
void onRanks(Segment &segment, const std::function<void(ShmTransport &)> &body) {
  std::vector<std::thread> threads;
  for (int32_t r = 0; r < segment.ranks(); ++r)
    threads.emplace_back([&segment, &body, r] {
      ShmTransport transport(segment, r);
      body(transport);
    });
  for (std::thread &t : threads)
    t.join();
}

TEST(Segment, PartsDoNotOverlap) {
  auto segment = makeSegment(3);
  std::memset(segment->shared(), 1, 100);
  for (int32_t r = 0; r < 3; ++r) {
    std::memset(segment->arena(r), 10 + r, segment->arenaBytes());
    for (uint32_t parity : {0u, 1u})
      std::memset(segment->slot(r, parity), 20 + 2 * r + static_cast<int>(parity), segment->slotBytes());
  }
  std::unique_ptr<Segment> other; // as another process sees it
  ASSERT_TRUE(Segment::attach(segment->fd(), other));
  EXPECT_EQ(other->ranks(), 3);
  auto filled = [](const uint8_t *p, size_t bytes, int value) {
    return p[0] == value && std::memcmp(p, p + 1, bytes - 1) == 0;
  };
  EXPECT_TRUE(filled(other->shared(), 100, 1));
  for (int32_t r = 0; r < 3; ++r) {
    EXPECT_TRUE(filled(other->arena(r), other->arenaBytes(), 10 + r));
    EXPECT_TRUE(filled(other->slot(r, 0), other->slotBytes(), 20 + 2 * r));
    EXPECT_TRUE(filled(other->slot(r, 1), other->slotBytes(), 21 + 2 * r));
  }
  EXPECT_FALSE(other->aborted()); // nor over the control data
  EXPECT_EQ(reinterpret_cast<uintptr_t>(other->arena(1)) % 4096, 0u);
}

TEST(Segment, RefusesForeignMemory) {
  int fd = ::memfd_create("test", 0);
  std::unique_ptr<Segment> segment;
  EXPECT_FALSE(Segment::attach(fd, segment)); // empty
  ASSERT_EQ(::ftruncate(fd, 1 << 20), 0);
  EXPECT_FALSE(Segment::attach(fd, segment)); // zeros
  EXPECT_FALSE(Segment::attach(-1, segment));
  ::close(fd);
  EXPECT_EQ(Segment::create({1025, 1, 1, 0}, segment).code, Code::InvalidArgument);
  EXPECT_EQ(Segment::create({2, SIZE_MAX - 5, 1, 0}, segment).code, Code::OutOfMemory);
  EXPECT_EQ(segment, nullptr);
}

TEST(Segment, FirstAbortStands) {
  auto segment = makeSegment(2);
  EXPECT_TRUE(segment->abortStatus());
  segment->abort({Code::PeerLost, "first"});
  segment->abort({Code::Timeout, "second"});
  EXPECT_EQ(segment->abortStatus().code, Code::PeerLost);
  EXPECT_EQ(segment->abortStatus().text, "first");
}

// What no rank may ask for is refused without waiting for anybody, and stops the others.
TEST(ShmTransport, RefusesBadOperations) {
  std::vector<float> a(64), b(64);
  std::vector<std::pair<const char *, std::function<void(Collective &)>>> changes = {
      {"rank 0 is not in the group", [](Collective &c) { c.group = {1}; }},
      {"names rank 7", [](Collective &c) { c.group = {0, 7}; }},
      {"names rank 1 twice", [](Collective &c) { c.group = {0, 1, 1}; }},
      {"count is negative", [](Collective &c) { c.count = -1; }},
      {"too large", [](Collective &c) { c.count = INT64_MAX / 2; }},
      {"operand is missing", [](Collective &c) { c.in = nullptr; }},
      {"operand is missing", [](Collective &c) { c.out = nullptr; }},
      {"overlap", [&](Collective &c) { c.out = a.data() + 2; }},
      {"overlap", [&](Collective &c) { c.kind = CollectiveKind::AllGather, c.out = a.data(); }},
      {"not in the group", [](Collective &c) { c.kind = CollectiveKind::Broadcast, c.root = 2; }},
      {"not in the group", [](Collective &c) { c.kind = CollectiveKind::Permute, c.peer = 2; }},
      {"sends to itself", [](Collective &c) { c.kind = CollectiveKind::Permute, c.peer = 0, c.from = 1; }},
      {"no peer 0", [](Collective &c) { c.kind = CollectiveKind::Send, c.peer = 0; }},
      {"a count and a displacement", [](Collective &c) { c.kind = CollectiveKind::AllToAllV; }},
      {"count to itself",
       [](Collective &c) {
         c.kind = CollectiveKind::AllToAllV;
         c.sendCounts = {1, 1}, c.recvCounts = {2, 1}, c.sendDispls = {0, 1}, c.recvDispls = {0, 2};
       }},
      {"count is negative",
       [](Collective &c) {
         c.kind = CollectiveKind::AllToAllV;
         c.sendCounts = c.recvCounts = {1, INT64_MAX}, c.sendDispls = {0, 1}, c.recvDispls = {0, 2};
       }},
  };
  for (const auto &[text, change] : changes) {
    auto segment = makeSegment(2);
    ShmTransport transport(*segment, 0);
    Collective c;
    c.group = {0, 1};
    c.count = 4;
    c.in = a.data();
    c.out = b.data();
    c.label = "attn";
    change(c);
    Status s = transport.run(c, {0, 0});
    EXPECT_EQ(s.code, Code::InvalidArgument) << text;
    EXPECT_NE(s.text.find(text), std::string::npos) << s.text;
    EXPECT_NE(s.text.find("'attn'"), std::string::npos) << s.text;
    EXPECT_TRUE(segment->aborted());
  }
}

TEST(ShmTransport, ArenaIsTakenOnce) {
  auto segment = makeSegment(2, 4096);
  ShmTransport transport(*segment, 1);
  void *arena = nullptr;
  EXPECT_FALSE(transport.allocateArena(4097, arena));
  EXPECT_TRUE(transport.allocateArena(4096, arena));
  EXPECT_EQ(arena, segment->arena(1));
  EXPECT_FALSE(transport.allocateArena(1, arena));
}

TEST(ShmTransport, TimesOutAndNamesTheMissing) {
  auto segment = makeSegment(3);
  onRanks(*segment, [](ShmTransport &t) {
    if (t.rank() == 2)
      return;
    Collective c;
    c.kind = CollectiveKind::Barrier;
    c.group = {0, 1, 2};
    c.planId = 5;
    Status s = t.run(c, {1000, 0}); // long enough that the other thread has started on a busy machine
    EXPECT_EQ(s.code, Code::Timeout);
    EXPECT_NE(s.text.find("1000 ms in barrier #5 for rank 2 (before its first operation)"), std::string::npos)
        << s.text;
  });
}

// Equal results in all three forms, counted bytes of each.
TEST(ShmTransport, FormsAgreeAndCountBytes) {
  auto segment = makeSegment(4);
  onRanks(*segment, [](ShmTransport &t) {
    void *memory = nullptr;
    ASSERT_TRUE(t.allocateArena(1 << 20, memory));
    const int64_t count = 10007; // ten slots
    std::vector<float> in(count), staged(count);
    for (int64_t i = 0; i < count; ++i)
      in[i] = 1.0f / static_cast<float>(1 + i + t.rank() * 31);
    auto *arena = static_cast<float *>(memory);
    std::copy(in.begin(), in.end(), arena);
    Collective c;
    c.group = {2, 0, 3, 1}; // the order of the sum
    c.count = count;
    c.in = in.data();
    c.out = staged.data();
    ASSERT_TRUE(t.run(c, {60000, 0}));
    EXPECT_EQ(t.bytesSent(), 3 * count * 4);
    c.in = c.out = arena;
    int64_t before = t.bytesSent();
    ASSERT_TRUE(t.run(c, {60000, 0}));
    int64_t twoShot = t.bytesSent() - before; // 2 (n - 1) / n, up to a cache line
    EXPECT_NEAR(static_cast<double>(twoShot), 2 * 0.75 * count * 4, 400);
    EXPECT_EQ(std::memcmp(arena, staged.data(), count * 4), 0);
    std::vector<float> small(64);
    for (int64_t at = 0; at < 128; at += 64) {
      c.in = in.data() + at;
      c.out = small.data();
      c.count = 64;
      ASSERT_TRUE(t.run(c, {60000, 0}));
      EXPECT_EQ(std::memcmp(small.data(), staged.data() + at, 64 * 4), 0);
    }
    EXPECT_EQ(small[1], ((1.0f / (66 + 62) + 1.0f / 66) + 1.0f / (66 + 93)) + 1.0f / (66 + 31));
  });
}
// A long operation of a part of the group overwrites slots that the others may still be reading from.
TEST(ShmTransport, SlotsOfAnotherGroup) {
  auto segment = makeSegment(4);
  onRanks(*segment, [](ShmTransport &t) {
    const int64_t small = 1000, large = 2500; // one round; three rounds
    std::vector<float> in(large), out(4 * large);
    for (int step = 0; step < 200; ++step) {
      std::fill(in.begin(), in.end(), static_cast<float>(step * 4 + t.rank()));
      Collective c;
      c.kind = CollectiveKind::AllGather;
      c.in = in.data();
      c.out = out.data();
      c.group = {0, 1, 2, 3};
      c.count = small;
      c.planId = 2 * step;
      ASSERT_TRUE(t.run(c, {60000, 0}));
      for (int64_t i = 0; i < 4 * small; ++i)
        ASSERT_EQ(out[i], static_cast<float>(step * 4 + i / small));
      c.group = t.rank() < 2 ? std::vector<int32_t>{0, 1} : std::vector<int32_t>{2, 3};
      c.count = large;
      c.planId = 2 * step + 1;
      ASSERT_TRUE(t.run(c, {60000, 0}));
      for (int64_t i = 0; i < 2 * large; ++i)
        ASSERT_EQ(out[i], static_cast<float>(step * 4 + c.group[0] + i / large));
    }
  });
}
} // namespace
