//===- BenchLink.cpp - is an emulated link what it says? ------------------===//
// bench-link [RATE,LATENCY ...]: two ranks as threads. For each link: one-way time of 8 bytes, rate of 4 MiB messages,
// an all_reduce of 2 MiB, each beside what the link would take, and the share of a core that the ranks needed.
//===----------------------------------------------------------------------===//
#include "runtime/Core/CommThread.h"
#include "runtime/Transport/Shm/Futex.h"
#include "runtime/Transport/Shm/ShmTransport.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

using namespace comm;
using namespace comm::rt;

namespace {
int64_t threadCpuNs() {
  timespec t;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * int64_t(1000000000) + t.tv_nsec;
}

struct Measured {
  double bestUs = 0, medianUs = 0, cpuShare = 0;
};

/// `rounds` collectives in a row on both ranks; times of one.
Measured measure(const LinkModel &link, CollectiveKind kind, int64_t bytes, int rounds) {
  std::unique_ptr<shm::Segment> segment;
  if (Status s = shm::Segment::create({2, static_cast<size_t>(2 * bytes + 128), 64, 0, link}, segment); !s) {
    std::fprintf(stderr, "%s\n", s.text.c_str());
    std::exit(1);
  }
  std::vector<double> us;
  double share[2] = {};
  auto rank = [&](int32_t r) {
    shm::ShmTransport transport(*segment, r);
    Collective c;
    c.kind = kind;
    c.group = {0, 1};
    c.count = bytes / 4;
    c.peer = c.from = 1 - r;
    c.in = segment->arena(r);
    c.out = segment->arena(r) + (bytes + 63) / 64 * 64;
    int64_t begin = monotonicNs(), cpu = threadCpuNs();
    for (int i = 0; i < rounds; ++i) {
      int64_t start = monotonicNs();
      if (Status s = transport.run(c, {20000, 0}); !s) {
        std::fprintf(stderr, "%s\n", s.text.c_str());
        std::exit(1);
      }
      if (r == 0)
        us.push_back(static_cast<double>(monotonicNs() - start) / 1e3);
    }
    share[r] = static_cast<double>(threadCpuNs() - cpu) / static_cast<double>(monotonicNs() - begin);
  };
  std::thread other(rank, 1);
  rank(0);
  other.join();
  std::sort(us.begin(), us.end());
  return {us.front(), us[us.size() / 2], std::max(share[0], share[1])};
}

void report(const char *what, const Measured &m, double modelUs) {
  std::printf("  %-22s model %10.1f us   best %10.1f (%+.1f%%)   median %10.1f (%+.1f%%)   core %.1f%%\n", what,
              modelUs, m.bestUs, 100 * (m.bestUs / modelUs - 1), m.medianUs, 100 * (m.medianUs / modelUs - 1),
              100 * m.cpuShare);
}
} // namespace

int main(int argc, char **argv) {
  std::vector<std::string> links(argv + 1, argv + argc);
  if (links.empty())
    links = {"100Mbit,200us", "1Gbit,50us", "10Gbit,20us"};
  for (const std::string &text : links) {
    LinkModel link;
    if (!parseLinkModel(text, link) || !link.active()) {
      std::fprintf(stderr, "'%s' is not a rate and a latency, for example 1Gbit,50us\n", text.c_str());
      return 2;
    }
    std::printf("link %s\n", linkText(link).c_str());
    auto model = [&](int64_t bytes) { return static_cast<double>(link.timeNs(bytes) + link.latencyNs) / 1e3; };
    report("8 bytes one way", measure(link, CollectiveKind::Permute, 8, 400), model(8));
    report("4 MiB one way", measure(link, CollectiveKind::Permute, 4 << 20, 10), model(4 << 20));
    report("all_reduce of 2 MiB", measure(link, CollectiveKind::AllReduce, 2 << 20, 10), model(2 << 20));
  }
  return 0;
}
