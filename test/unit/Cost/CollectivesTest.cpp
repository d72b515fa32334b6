//===- CollectivesTest.cpp - closed forms, the library's model, conventions ===//
#include "comm/Cost/CostModel.h"
#include "lib/Cost/Prior.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace comm::cost;

namespace {

Topology load(const std::string &name) {
  Topology t;
  std::string error;
  EXPECT_TRUE(loadTopology(name, t, error)) << error;
  return t;
}

CollectiveQuery query(const std::string &op, int64_t ranks, int64_t bytes, const std::string &algorithm = "") {
  CollectiveQuery q;
  q.op = op;
  q.ranks = ranks;
  q.bytes = bytes;
  q.algorithm = algorithm;
  return q;
}

// a = 1 ms, B = 37.5 MB/s, 32 KiB: the vectors of the closed forms, in ms.
TEST(ClosedForms, MatchTheirVectors) {
  Topology t = load("cpu@37.5MB,1ms");
  const struct {
    int64_t ranks;
    double star, ring, oneShot;
  } vectors[] = {{8, 14.23, 15.53, 7.12}, {4, 7.24, 7.31, 3.62}, {2, 3.75, 2.87, 1.87}};
  for (const auto &v : vectors) {
    auto ms = [&](const char *algorithm) {
      return closedFormUs(t, query("all_reduce", v.ranks, 32768, algorithm)) / 1e3;
    };
    EXPECT_NEAR(ms("star"), v.star, 0.006);
    EXPECT_NEAR(ms("ring"), v.ring, 0.006);
    EXPECT_NEAR(ms("one_shot"), v.oneShot, 0.006);
  }
}

// Star beats ring exactly below a*B * n(n-2)/(n-1)^2.
TEST(ClosedForms, StarAgainstRingThreshold) {
  Topology t = load("cpu@37.5MB,1ms");
  for (int64_t n : {3, 4, 8}) {
    double threshold = 37500.0 * static_cast<double>(n * (n - 2)) / static_cast<double>((n - 1) * (n - 1));
    for (double factor : {0.97, 1.03}) {
      int64_t bytes = static_cast<int64_t>(threshold * factor);
      double star = closedFormUs(t, query("all_reduce", n, bytes, "star"));
      double ring = closedFormUs(t, query("all_reduce", n, bytes, "ring"));
      EXPECT_EQ(star < ring, factor < 1) << n;
    }
  }
}

// The chosen algorithm is the least of all, by brute force.
TEST(ClosedForms, BestIsTheLeast) {
  for (const char *name : {"cpu", "1gbe", "10gbe"})
    for (int64_t n = 2; n <= 16; ++n)
      for (int64_t bytes = 64; bytes <= 1 << 28; bytes *= 4) {
        Topology t = load(name);
        double least = 1e300;
        for (const char *algorithm : {"one_shot", "two_shot", "ring", "tree", "star"})
          least = std::min(least, closedFormUs(t, query("all_reduce", n, bytes, algorithm)));
        EXPECT_DOUBLE_EQ(closedFormUs(t, query("all_reduce", n, bytes)), least);
      }
}

// Simulated message by message: a ring of n ranks that forwards pieces of equal size.
TEST(ClosedForms, RingMatchesSteps) {
  Topology t = load("cpu@1Gbit,50us");
  for (int64_t n : {2, 3, 5, 8}) {
    double bytes = 1 << 20, clock = 0;
    for (int64_t step = 0; step < 2 * (n - 1); ++step)
      clock += 50 + bytes / static_cast<double>(n) / 125;
    EXPECT_NEAR(closedFormUs(t, query("all_reduce", n, 1 << 20, "ring")), clock, 1e-6 * clock);
  }
}

TEST(ClosedForms, NodesPayForTheSlowLink) {
  Topology flat = load("cpu"), nodes = load("cpu:2@1Gbit,50us");
  for (const char *op : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"}) {
    double inside = closedFormUs(nodes, query(op, 2, 1 << 20));
    EXPECT_DOUBLE_EQ(inside, closedFormUs(flat, query(op, 2, 1 << 20)));
    double across = closedFormUs(nodes, query(op, 4, 1 << 20));
    EXPECT_GT(across, (1 << 20) / 8 / 125.0) << op; // at least an eighth of the buffer crosses at 125 bytes per us
  }
}

// Published sweep of eight H200: the tuner's structure stays within its known error.
TEST(Nccl, PriorIsNearTheAnchors) {
  const struct {
    const char *system, *op;
    int64_t bytes;
    double us;
  } anchors[] = {
      {"h200_sxm", "all_reduce", 4096, 16.0},      {"h200_sxm", "all_reduce", 1 << 20, 26.1},
      {"h200_sxm", "all_reduce", 256 << 20, 1053}, {"h200_sxm", "all_gather", 1 << 20, 17.0},
      {"h200_sxm", "all_gather", 256 << 20, 726},  {"h200_sxm", "reduce_scatter", 256 << 20, 716},
      {"h200_sxm", "all_to_all", 256 << 20, 771},  {"a100_sxm", "all_reduce", 256 << 20, 2182},
      {"b200_sxm", "all_reduce", 256 << 20, 715},  {"a100_sxm", "all_gather", 256 << 20, 1217},
  };
  for (const auto &a : anchors) {
    double us = ncclUs(load(a.system), query(a.op, 8, a.bytes));
    EXPECT_GT(us, a.us * 0.6) << a.system << " " << a.op << " " << a.bytes;
    EXPECT_LT(us, a.us * 1.5) << a.system << " " << a.op << " " << a.bytes;
  }
}

TEST(Nccl, MultimemFollowsItsFit) {
  Topology t = load("h100_sxm");
  EXPECT_NEAR(multimemUs(t, query("all_reduce", 8, 16 << 20)), 74.8, 2);
  EXPECT_NEAR(multimemUs(t, query("all_reduce", 8, 512 << 20)), 1956.6, 25);
  EXPECT_NEAR(multimemUs(t, query("reduce_scatter", 8, 16 << 20)), 59.1, 2);
  EXPECT_NEAR(multimemUs(t, query("all_gather", 8, 16 << 20)), 55.2, 2);
}

TEST(Nccl, MoreNodesTakeLonger) {
  Topology t = load("h100_sxm");
  for (const char *op : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all"}) {
    double one = ncclUs(t, query(op, 8, 64 << 20)), two = ncclUs(t, query(op, 16, 64 << 20));
    double many = ncclUs(t, query(op, 1024, 64 << 20));
    EXPECT_GT(two, one) << op;
    EXPECT_TRUE(std::isfinite(many) && many > one) << op;
  }
}

// Units: whole buffer, per-rank input, bus rate; there and back for every op and rank count.
TEST(Conventions, RoundTrip) {
  for (const char *op : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"})
    for (int64_t n = 2; n <= 16; ++n) {
      EXPECT_EQ(inputBytes(op, n, wholeBytes(op, n, 4096)), 4096);
      CollectiveQuery q = query(op, n, 1 << 20);
      EXPECT_NEAR(usAtBusRate(q, busBytesPerUs(q, 123.0)), 123.0, 1e-9);
    }
  // 2 GiB/s algorithm rate of an all_reduce on 4 ranks is 3 GiB/s on the bus.
  EXPECT_DOUBLE_EQ(busBytesPerUs(query("all_reduce", 4, 2000), 1), 3000);
  EXPECT_EQ(wholeBytes("all_gather", 4, 100), 400);
  EXPECT_EQ(wholeBytes("reduce_scatter", 4, 400), 400);
}

// Launches from the host and captured graphs are different things.
TEST(Conventions, GraphIsFaster) {
  CostModel model(load("h200_sxm"));
  CollectiveQuery q = query("all_reduce", 2, 4096);
  q.library = "vllm";
  q.dtype = "bf16";
  double eager = model.collectiveUs(q);
  q.graph = true;
  EXPECT_GT(eager, 2 * model.collectiveUs(q));
}

TEST(Model, NothingIsNegativeOrUndefined) {
  for (const std::string &name : topologyNames()) {
    CostModel model(load(name));
    for (const char *op :
         {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "permute", "send", "no_such_op"})
      for (int64_t ranks : {0, 1, 2, 3, 8, 9, 64, 1000})
        for (int64_t bytes : {int64_t(-5), int64_t(0), int64_t(1), int64_t(1) << 20, int64_t(1) << 45}) {
          double us = model.collectiveUs(query(op, ranks, bytes));
          EXPECT_TRUE(std::isfinite(us) && us >= 0) << name << " " << op << " " << ranks << " " << bytes << " " << us;
          EXPECT_TRUE(ranks < 2 || bytes <= 0 || us > 0) << name << " " << op;
        }
  }
}

TEST(Model, MoreBytesNeverTakeMuchLess) {
  for (const std::string &name : topologyNames()) {
    CostModel model(load(name));
    for (const char *op : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send"})
      for (int64_t ranks : {2, 4, 8, 16}) {
        double before = 0;
        for (int64_t bytes = 1024; bytes <= int64_t(1) << 32; bytes *= 2) {
          double us = model.collectiveUs(query(op, ranks, bytes));
          EXPECT_GE(us, 0.8 * before) << name << " " << op << " " << ranks << " " << bytes;
          before = us;
        }
      }
  }
}

} // namespace
