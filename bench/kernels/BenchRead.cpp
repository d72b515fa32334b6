//===- BenchRead.cpp - how fast memory can be read ------------------------===//
// The bound of a decode step, which reads every weight once: BYTES are read and summed by THREADS threads, in a line
// protocol so that it can take turns with other programs: for each number N on standard input, N times in seconds.
//===----------------------------------------------------------------------===//
#include "runtime/Core/Team.h"
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

namespace {
/// Sums of 512 bytes at a time, which a compiler keeps in registers; the line two pages ahead is asked for meanwhile.
uint64_t sumOf(const uint64_t *data, int64_t count) {
  constexpr int64_t lanes = 64;
  uint64_t lane[lanes] = {}, total = 0;
  for (int64_t i = 0; i + lanes <= count; i += lanes) {
    for (int64_t l = 0; l < lanes; l += 8)
      __builtin_prefetch(data + i + l + 1024);
    for (int64_t l = 0; l < lanes; ++l)
      lane[l] += data[i + l];
  }
  for (uint64_t part : lane)
    total += part;
  return total;
}
} // namespace

int main(int argc, char **argv) {
  int64_t bytes = argc == 3 ? std::atoll(argv[1]) : 0, threads = argc == 3 ? std::atoll(argv[2]) : 0;
  if (bytes < 1 << 20 || threads < 1) {
    std::fprintf(stderr, "usage: bench_read BYTES THREADS, of 1 MiB or more\n");
    return 2;
  }
  constexpr int64_t chunk = 1 << 20;
  int64_t chunks = bytes / chunk;
  auto *data =
      static_cast<uint64_t *>(std::aligned_alloc(2 << 20, static_cast<size_t>((bytes / (2 << 20) + 1) * (2 << 20))));
  if (!data)
    return 1;
  madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  comm::rt::Team team(static_cast<int>(threads));
  team.run(chunks, [&](int64_t begin, int64_t end) { // by the thread that reads it
    std::memset(data + begin * chunk / 8, 1, static_cast<size_t>((end - begin) * chunk));
    return comm::rt::Status::ok();
  });
  uint64_t check = 0;
  for (int n = 0; std::scanf("%d", &n) == 1;) {
    for (int i = 0; i < n; ++i) {
      auto start = std::chrono::steady_clock::now();
      std::atomic<uint64_t> total{0};
      team.run(chunks, [&](int64_t begin, int64_t end) {
        total += sumOf(data + begin * chunk / 8, (end - begin) * chunk / 8);
        return comm::rt::Status::ok();
      });
      std::printf("%.9f%c", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
                  i + 1 < n ? ' ' : '\n');
      check += total;
    }
    std::fflush(stdout);
  }
  return check == 0;
}
