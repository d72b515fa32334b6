//===- LinkTest.cpp - links in virtual time -------------------------------===//
#include "runtime/Transport/Link.h"
#include "runtime/Transport/Shm/Futex.h"
#include "runtime/Transport/Shm/ShmTransport.h"
#include <gtest/gtest.h>
#include <thread>

using namespace comm;
using namespace comm::rt;

namespace {
TEST(Link, Spelling) {
  struct Good {
    const char *text;
    double bytesPerSecond;
    int64_t latencyNs;
    const char *printed;
  };
  for (const Good &good :
       {Good{"1Gbit,50us", 125e6, 50000, "1 Gbit/s, 50 us"}, Good{"125MB,0.05ms", 125e6, 50000, "1 Gbit/s, 50 us"},
        Good{"100Mbit", 12.5e6, 0, "100 Mbit/s, 0 ns"}, Good{"inf,20us", 0, 20000, "unlimited, 20 us"},
        Good{"inf", 0, 0, "native"}, Good{"2.5GB,1s", 2.5e9, 1000000000, "20 Gbit/s, 1 s"}}) {
    LinkModel link;
    ASSERT_TRUE(parseLinkModel(good.text, link)) << good.text;
    EXPECT_EQ(link.bytesPerSecond, good.bytesPerSecond) << good.text;
    EXPECT_EQ(link.latencyNs, good.latencyNs) << good.text;
    EXPECT_EQ(linkText(link), good.printed);
  }
  for (const char *bad : {"", "1", "Gbit", "-1Gbit", "1Gbit,", "1Gbit,5", "1Gbit,-5us", "1Gbit,5us,2", "nanGbit",
                          "infGbit", "1e400MB", "0Gbit", "1Gbit,1e30s", " 1Gbit"}) {
    LinkModel link;
    EXPECT_FALSE(parseLinkModel(bad, link)) << bad;
  }
}

// 1 byte per ns, latency 100 ns.
TEST(Link, PortsKeepOrderAndCatchUp) {
  LinkModel link;
  link.bytesPerSecond = 1e9;
  link.latencyNs = 100;
  LinkPort port(link);
  EXPECT_EQ(port.arrive(1000, 50), 1150);
  EXPECT_EQ(port.arrive(1000, 50), 1200); // behind the first
  EXPECT_EQ(port.arrive(1100, 50), 1250); // the latency of one hides in the other
  EXPECT_EQ(port.arrive(5000, 10), 5110); // idle between
  EXPECT_EQ(port.leave(2000, 500), 2500); // the other direction is free
  EXPECT_EQ(port.leave(2100, 500), 3000);
  EXPECT_EQ(port.allLeftNs(), 3000);
}

/// Runs one collective per rank on threads over a link and returns the shortest time from the meeting to the end, in
/// ns.
int64_t shortest(CollectiveKind kind, int32_t ranks, int64_t count, const LinkModel &link, int64_t &sent) {
  std::unique_ptr<shm::Segment> segment;
  Status s = shm::Segment::create({ranks, size_t(1) << 20, 64, 0, link}, segment);
  EXPECT_TRUE(s) << s.text;
  std::vector<int64_t> took(static_cast<size_t>(ranks)), bytes(took.size());
  std::vector<std::thread> threads;
  for (int32_t r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      shm::ShmTransport transport(*segment, r);
      Collective c;
      c.kind = kind;
      c.count = count;
      for (int32_t m = 0; m < ranks; ++m)
        c.group.push_back(m);
      c.in = segment->arena(r);
      c.out = segment->arena(r) + (512 << 10);
      Status status = transport.run(c, {20000, 0});
      EXPECT_TRUE(status) << status.text;
      took[static_cast<size_t>(r)] = monotonicNs() - transport.metNs();
      bytes[static_cast<size_t>(r)] = transport.bytesSent();
    });
  for (std::thread &t : threads)
    t.join();
  sent = bytes[0];
  return *std::min_element(took.begin(), took.end());
}

// No rank has its result before the link has carried what the algorithm sends: a bound that no machine can miss.
TEST(Link, NothingComesEarly) {
  LinkModel link;
  link.bytesPerSecond = 100e6;
  link.latencyNs = 300000;
  for (auto [kind, ranks, count, bytes, messages] : {
           std::make_tuple(CollectiveKind::AllReduce, 2, 256, 1024, 1),       // small: one exchange
           std::make_tuple(CollectiveKind::AllReduce, 2, 65536, 262144, 1),   // large: both send everything
           std::make_tuple(CollectiveKind::AllReduce, 4, 65536, 393216, 2),   // two halves of 3/4 each
           std::make_tuple(CollectiveKind::AllGather, 3, 10000, 80000, 1),    // to two others
           std::make_tuple(CollectiveKind::ReduceScatter, 2, 20000, 80000, 1) // one block
       }) {
    int64_t sent = 0, took = shortest(kind, ranks, count, link, sent);
    EXPECT_EQ(sent, bytes) << collectiveName(kind) << " over " << ranks;
    EXPECT_GE(took, link.timeNs(bytes) + messages * link.latencyNs) << collectiveName(kind) << " over " << ranks;
  }
}
} // namespace
