//===- BenchLoops.cpp - fused loops beside hand-written ones --------------===//
// bench_loops [--rounds N] [--threads N] [--only TEXT] [--object FILE]: for every case one block of calls of each side
// in turn, on the same inputs, through the thread team that runs commands. Prints best and median of a call and the
// median over the rounds of by hand / compiled (above 1 the compiled loop is faster). --object keeps the native object
// of the last case for a disassembler.
//===----------------------------------------------------------------------===//
#include "LoopCases.h"
#include "runtime/Core/Step.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>

using namespace comm;
using namespace comm::bench;

namespace {
double seconds(const std::function<void()> &work, int64_t repeat) {
  auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < repeat; ++i)
    work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / double(repeat);
}
double best(std::vector<double> &times) { return *std::min_element(times.begin(), times.end()); }
double median(std::vector<double> &times) {
  std::nth_element(times.begin(), times.begin() + int64_t(times.size() / 2), times.end());
  return times[times.size() / 2];
}

/// False when the two sides do not agree.
bool measure(const LoopCase &one, const CompiledLoop &loop, rt::Team &team, int rounds) {
  LoopBuffers buffers(loop);
  int64_t bytes = 0;
  for (const auto *ports : {&loop.inputs(), &loop.outputs()})
    for (const Port &port : *ports)
      bytes += exe::byteSize(port.dtype, port.shape);
  // As the runtime deals out loops.
  auto share = [&](int64_t iterations, const std::function<rt::Status(int64_t, int64_t)> &body) {
    (void)(bytes <= rt::kShortLoopBytes ? body(0, iterations) : team.run(iterations, body));
  };
  auto compiled = [&] {
    share(loop.iterations(), [&](int64_t begin, int64_t end) {
      loop.run(buffers.compiled(), begin, end);
      return rt::Status::ok();
    });
  };
  auto hand = [&] {
    share(one.handRows, [&](int64_t begin, int64_t end) {
      one.hand(one.shape, buffers.hand(), begin, end);
      return rt::Status::ok();
    });
  };
  compiled();
  hand();
  if (std::string text = buffers.difference(); !text.empty()) {
    std::fprintf(stderr, "%s: %s\n", one.name.c_str(), text.c_str());
    return false;
  }
  int64_t repeat = std::clamp<int64_t>(int64_t(3e-4 / seconds(hand, 3)), 1, 20000);
  std::vector<double> mine, other, ratio;
  for (int round = 0; round <= rounds; ++round) {
    double a = seconds(compiled, repeat), b = seconds(hand, repeat);
    if (round == 0) // warms up
      continue;
    mine.push_back(a);
    other.push_back(b);
    ratio.push_back(b / a);
  }
  std::printf("| %-34s | %d | %8.2f (%8.2f) | %8.2f (%8.2f) | %5.2f |\n", one.name.c_str(), team.size(),
              best(mine) * 1e6, median(mine) * 1e6, best(other) * 1e6, median(other) * 1e6, median(ratio));
  std::fflush(stdout);
  return true;
}
} // namespace

int main(int argc, char **argv) {
  int rounds = 40, threads = 1;
  std::string only, object;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string flag = argv[i];
    if (flag == "--rounds")
      rounds = std::max(1, std::atoi(argv[i + 1]));
    else if (flag == "--threads")
      threads = std::max(1, std::atoi(argv[i + 1]));
    else if (flag == "--only")
      only = argv[i + 1];
    else if (flag == "--object")
      object = argv[i + 1];
    else
      return std::fprintf(stderr, "unknown flag %s\n", argv[i]), 2;
  }
  if (!handLoopsRunHere())
    return std::fprintf(stderr, "this CPU does not run what was built: build on it\n"), 2;
  rt::Placement placement = rt::placeRank(rt::Pinning::Auto, 0, 1, threads, rt::allowedCpus());
  rt::PinnedHere pinned(placement.cpus.empty() ? -1 : placement.cpus[0]);
  rt::Team team(threads, placement);
  std::printf(
      "| loop | threads | compiled, us: best (median) | by hand | by hand / compiled |\n|---|---|---|---|---|\n");
  bool good = true;
  for (const LoopCase &one : loopCases()) {
    if (one.name.find(only) == std::string::npos)
      continue;
    CompiledLoop loop;
    std::string error;
    if (!loop.make(one.text, error)) {
      std::fprintf(stderr, "%s: %s\n", one.name.c_str(), error.c_str());
      good = false;
      continue;
    }
    if (!object.empty())
      std::ofstream(object, std::ios::binary)
          .write(reinterpret_cast<const char *>(loop.objectBytes().data()), std::streamsize(loop.objectBytes().size()));
    good &= measure(one, loop, team, rounds);
  }
  return good ? 0 : 1;
}
