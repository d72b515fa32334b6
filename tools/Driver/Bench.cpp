//===- Bench.cpp - commc bench: a tuning file of this machine -------------===//
// Measures copies, products, attention and collectives with the runtime's own kernels and transport, each many times in
// one program, and writes rows that the cost model lays over its formulas. A time is that of a program minus that of
// the same program without the repeats, over their number; the two take turns. Runs are short and the best of many
// counts: what disturbs a machine only ever adds, and a run of a millisecond often fits between two disturbances.
// Compute is measured on several ranks at once, since that is how it will run: cores share caches, memory and clock.
// GPUs are not measured: this build drives none.
//===----------------------------------------------------------------------===//
#include "comm/Cost/CostModel.h"
#include "tools/Driver/BenchProbe.h"
#include "tools/Driver/Cost.h"
#include "tools/Driver/Options.h"
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>
#include <unistd.h>

using namespace commc;
using namespace comm::exe;
using Json = nlohmann::ordered_json;

namespace {
/// A model does not find its weights in a core's caches, nor most values where it left them: repeats take turns on as
/// many sets of buffers, and on as many weights as make so many bytes.
constexpr int64_t kSets = 4, kWeightBytes = 48 << 20;

class Bench {
public:
  Bench(std::string folder, bool quick, const std::vector<int64_t> &ranks, CompileBenchKernels compile)
      : folder(std::move(folder)), quick(quick), ranks(ranks), compile(compile) {
    std::string unused;
    auto cores = static_cast<int64_t>(std::thread::hardware_concurrency());
    busy = ranks.empty() ? 1 : std::max<int64_t>(1, std::min(ranks[0], cores));
    comm::cost::loadTopology("cpu", topology, unused);
  }

  bool run() {
    file = {{"format", "commc-tuning"}, {"version", 1}, {"topology", "cpu"}};
    std::cerr << "compute on " << busy << (busy == 1 ? " rank\n" : " ranks at once\n");
    bool ok = memory() && kernels() && products("f32", DType::F32) && products("bf16", DType::BF16) && attention();
    for (int64_t n : ranks)
      ok = ok && collectives(n);
    return ok && (ranks.empty() || asynchronous(ranks[0]));
  }
  const Json &result() const { return file; }
  const std::string &problem() const { return error; }

private:
  using Build = std::function<void(Probe &, int64_t repeats)>;

  /// Best times of programs over `n` ranks whose runs take turns, so that a disturbance meets all of them alike.
  bool bestOf(int64_t n, const std::vector<std::pair<const Build *, int64_t>> &programs, std::vector<double> &best) {
    std::vector<Probe> probes;
    for (auto [build, repeats] : programs) {
      probes.emplace_back(n, folder);
      (*build)(probes.back(), repeats);
      if (!probes.back().start(error))
        return false;
    }
    best.assign(programs.size(), 0);
    for (int round = 0, rounds = quick ? 15 : 50; round <= rounds; ++round)
      for (size_t i = 0; i < probes.size(); ++i) {
        double us = 0;
        // Ranks that have just finished look out for more work for a moment.
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        if (!probes[i].run(us, error))
          return false;
        if (round > 0) // the first warms up
          best[i] = round == 1 ? us : std::min(best[i], us);
      }
    return true;
  }

  /// us of one repeat, -1 when it could not be told: `build` adds that many; their number is chosen so that a run takes
  /// about `targetUs`. False when a probe fails.
  bool perRepeat(int64_t n, double guessUs, const Build &build, double &us) {
    int64_t repeats = repeatsOf(guessUs);
    std::vector<double> best;
    if (!bestOf(n, {{&build, repeats}, {&build, 0}}, best))
      return false;
    // A difference that drowns in the disturbances of the machine is no row.
    us = best[0] > 1.02 * best[1] ? (best[0] - best[1]) / static_cast<double>(repeats) : -1;
    return true;
  }
  int64_t repeatsOf(double guessUs) const {
    double targetUs = quick ? 500 : 1000;
    return std::clamp<int64_t>(static_cast<int64_t>(targetUs / std::max(guessUs, 0.05)), 1, 5000);
  }

  bool memory() {
    double copyRate = 0;
    for (int64_t bytes = 4096; bytes <= (quick ? 16 << 20 : 64 << 20); bytes *= 4) {
      double us = 0;
      int64_t count = bytes / 8; // half is read, half is written
      if (!perRepeat(
              busy, static_cast<double>(bytes) / 2e4,
              [&](Probe &p, int64_t repeats) {
                std::vector<int32_t> x, y;
                for (int64_t i = 0; i < std::min(repeats, kSets); ++i) {
                  x.push_back(p.buffer(DType::F32, {count}));
                  y.push_back(p.buffer(DType::F32, {count}));
                }
                for (int64_t i = 0; i < repeats; ++i)
                  p.command("copy", {x[i % kSets]}, {y[i % kSets]},
                            {{"dims", std::vector<int64_t>{count}},
                             {"in_strides", std::vector<int64_t>{1}},
                             {"out_strides", std::vector<int64_t>{1}}});
              },
              us))
        return false;
      if (us <= 0)
        continue;
      file["memory"].push_back({{"bytes", bytes}, {"us", us}});
      std::cerr << "copy " << bytes << " bytes: " << us << " us\n";
      if (bytes >= 1 << 20)
        copyRate = std::max(copyRate, static_cast<double>(bytes) / us);
      if (bytes == 4096)
        file["device"]["launch_us"] = us;
    }
    if (copyRate > 0) // a copy streams at what counts as 0.8 of the bandwidth
      file["device"]["memory_bytes_per_us"] = copyRate / topology.device.memoryFraction;
    return true;
  }

  /// Loops that the compiler makes: rows of their own, since they read and write more than one buffer.
  bool kernels() {
    std::vector<BenchKernel> list;
    for (const char *kind : {"loop", "norm"})
      for (int64_t rows : {16, 64, 256, 1024})
        if (!quick || rows <= 256)
          list.push_back({kind, rows, 1024});
    std::vector<NativeObject> objects;
    if (!compile(list, objects, error))
      return false;
    for (const BenchKernel &kernel : list) {
      bool norm = kernel.kind == "norm";
      Shape whole = {kernel.rows, kernel.columns};
      int64_t bytes = (norm ? 4 : 3) * byteSize(DType::F32, whole) + (norm ? kernel.columns * 4 : 0);
      double us = 0;
      if (!perRepeat(
              busy, static_cast<double>(bytes) / 2e4,
              [&](Probe &p, int64_t repeats) {
                p.native(objects, {});
                std::vector<std::vector<int32_t>> ins, outs;
                for (int64_t set = 0; set < std::min(repeats, kSets); ++set) {
                  ins.push_back({p.buffer(DType::F32, whole), p.buffer(DType::F32, whole)});
                  if (norm)
                    ins.back().push_back(p.buffer(DType::F32, {kernel.columns}));
                  outs.emplace_back();
                  for (int i = 0; i < (norm ? 2 : 1); ++i)
                    outs.back().push_back(p.buffer(DType::F32, whole));
                }
                for (int64_t i = 0; i < repeats; ++i)
                  p.command("kernel", ins[i % kSets], outs[i % kSets],
                            {{"symbol", kernel.symbol}, {"iterations", kernel.iterations}});
              },
              us))
        return false;
      if (us <= 0)
        continue;
      file["memory"].push_back({{"kind", kernel.kind}, {"bytes", bytes}, {"us", us}});
      std::cerr << kernel.kind << " " << bytes << " bytes: " << us << " us\n";
    }
    return true;
  }

  bool products(const char *name, DType dtype) {
    const int64_t shapes[][2] = {{384, 384}, {1024, 1024}, {2816, 1024}, {1024, 2816}};
    double peak = 0;
    for (const auto &[n, k] : shapes)
      for (int64_t m : {1, 8, 32, 128, 512}) {
        if (quick && (m > 128 || n > 1024))
          continue;
        comm::cost::GemmQuery q;
        q.dtype = name;
        q.m = m;
        q.n = n;
        q.k = k;
        double us = 0;
        if (!perRepeat(
                busy, comm::cost::CostModel(topology).gemmUs(q),
                [&, n = n, k = k](Probe &p, int64_t repeats) {
                  int64_t most = std::max<int64_t>(1, kWeightBytes / byteSize(dtype, {k, n}));
                  std::vector<int32_t> a, b, y;
                  for (int64_t i = 0; i < std::min(repeats + 1, kSets); ++i) {
                    a.push_back(p.buffer(dtype, {m, k}));
                    y.push_back(p.buffer(dtype, {m, n}));
                  }
                  for (int64_t i = 0; i < std::min(repeats + 1, most); ++i)
                    b.push_back(p.weight(dtype, {k, n}));
                  for (int64_t i = 0; i <= repeats; ++i) // one more than asked: a weight needs a reader
                    p.command("matmul", {a[i % kSets], b[i % most]}, {y[i % kSets]});
                },
                us))
          return false;
        if (us <= 0)
          continue;
        double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        peak = std::max(peak, flops / us);
        file["gemm"].push_back({{"dtype", name}, {"m", m}, {"n", n}, {"k", k}, {"us", us}});
        std::cerr << "matmul " << name << " " << m << " x " << n << " x " << k << ": " << us << " us, "
                  << flops / us / 1e3 << " GFLOP/s\n";
      }
    if (peak > 0)
      file["device"]["flops_per_us"][name] = peak;
    return true;
  }

  bool attention() {
    for (auto [fresh, past] : {std::pair<int64_t, int64_t>{128, 0}, {512, 0}, {1, 511}, {1, 2047}}) {
      if (quick && fresh + past > 512)
        continue;
      comm::cost::AttentionQuery q;
      q.newTokens = fresh;
      q.pastTokens = past;
      q.heads = q.kvHeads = 8;
      q.headDim = 64;
      double us = 0;
      if (!perRepeat(
              busy, comm::cost::CostModel(topology).attentionUs(q),
              [&, fresh = fresh, past = past](Probe &p, int64_t repeats) {
                int32_t query = p.buffer(DType::F32, {1, 8, fresh, 64}),
                        keys = p.buffer(DType::F32, {1, 8, fresh + past, 64}),
                        values = p.buffer(DType::F32, {1, 8, fresh + past, 64}),
                        y = p.buffer(DType::F32, {1, 8, fresh, 64});
                for (int64_t i = 0; i < repeats; ++i)
                  p.command("attention", {query, keys, values}, {y},
                            {{"scale", 0.125},
                             {"causal", int64_t(1)},
                             {"causal_offset", past},
                             {"softcap", 0.0},
                             {"has_mask", int64_t(0)},
                             {"has_lengths", int64_t(0)}});
              },
              us))
        return false;
      if (us <= 0)
        continue;
      file["attention"].push_back({{"dtype", "f32"},
                                   {"batch", 1},
                                   {"new_tokens", fresh},
                                   {"past_tokens", past},
                                   {"heads", 8},
                                   {"kv_heads", 8},
                                   {"head_dim", 64},
                                   {"us", us}});
      std::cerr << "attention " << fresh << " new, " << past << " past: " << us << " us\n";
    }
    return true;
  }

  /// One collective of `bytes` in nccl-tests' count, `repeats` times.
  static void addCollective(Probe &p, const std::string &op, int64_t ranks, int64_t bytes, int64_t repeats) {
    int64_t whole = std::max<int64_t>(1, bytes / 4 / ranks) * ranks, part = whole / ranks;
    Shape in = {whole}, out = {whole};
    if (op == "all_gather")
      in = {part}, out = {ranks, part};
    else if (op == "reduce_scatter")
      in = {ranks, part}, out = {part};
    else if (op == "all_to_all")
      in = out = {ranks, part};
    int32_t x = p.buffer(DType::F32, in, true), y = p.buffer(DType::F32, out, true);
    for (int64_t i = 0; i < repeats; ++i)
      p.collective(op, x, y);
  }

  bool collectives(int64_t ranks) {
    for (const char *op : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all"})
      for (int64_t bytes = 256; bytes <= (quick ? 1 << 20 : 16 << 20); bytes *= quick ? 16 : 4) {
        double us = 0;
        if (!perRepeat(
                ranks, 2 + static_cast<double>(bytes) / 4e3,
                [&](Probe &p, int64_t repeats) { addCollective(p, op, ranks, bytes, repeats); }, us))
          return false;
        if (us <= 0)
          continue;
        file["collectives"].push_back(
            {{"op", op}, {"dtype", "f32"}, {"ranks", ranks}, {"bytes", bytes}, {"graph", false}, {"us", us}});
        std::cerr << op << " " << ranks << " ranks, " << bytes << " bytes: " << us << " us\n";
      }
    return true;
  }

  /// One step of compute, a collective, or both beside each other: [start, compute, wait].
  static Build sideBySide(int64_t m, int64_t k, int64_t bytes, bool compute, bool communicate) {
    return [=](Probe &p, int64_t repeats) {
      int32_t a = p.buffer(DType::F32, {m, k}), b = p.weight(DType::F32, {k, k}), y = p.buffer(DType::F32, {m, k});
      int32_t in = p.buffer(DType::F32, {bytes / 4}, true), out = p.buffer(DType::F32, {bytes / 4}, true);
      p.command("matmul", {a, b}, {y});
      for (int64_t i = 0; i < repeats; ++i) {
        if (communicate)
          p.collective("all_reduce", in, out, compute ? i : -1);
        if (compute)
          p.command("matmul", {a, b}, {y});
        if (communicate && compute)
          p.wait(i);
      }
    };
  }

  /// us of a repeat of compute, of a collective, and of both beside each other; all take turns.
  bool together(int64_t n, int64_t m, int64_t k, int64_t bytes, double (&us)[3]) {
    Build builds[] = {sideBySide(m, k, bytes, true, false), sideBySide(m, k, bytes, false, true),
                      sideBySide(m, k, bytes, true, true)};
    comm::cost::GemmQuery q;
    q.m = m;
    q.n = q.k = k;
    int64_t repeats = repeatsOf(comm::cost::CostModel(topology).gemmUs(q));
    std::vector<double> best;
    if (!bestOf(n, {{&builds[0], repeats}, {&builds[1], repeats}, {&builds[2], repeats}, {&builds[0], 0}}, best))
      return false;
    for (int i = 0; i < 3; ++i)
      us[i] = (best[static_cast<size_t>(i)] - best[3]) / static_cast<double>(repeats);
    return true;
  }

  /// What a collective costs the compute that it runs beside: a share of its time, and what handing it over to another
  /// thread and coming back takes whatever its size.
  bool asynchronous(int64_t n) {
    double large[3], small[3];
    if (!together(n, 128, 1024, 1 << 20, large) || !together(n, 32, 384, 256, small))
      return false;
    double share = topology.coreShare;
    if (large[0] > 0 && large[1] > 0 && large[2] > 0) {
      share = std::clamp((large[2] - large[0]) / large[1], 0.0, 1.0);
      file["core_share"] = share;
      std::cerr << "compute " << large[0] << " us, all_reduce " << large[1] << " us, both " << large[2]
                << " us: the collective takes " << share * 100 << " % of its time from compute\n";
    }
    // Compute hides all of a small one: what is left is the handing over, and the share of its time.
    double handOver = small[2] - small[0] - share * std::max(small[1], 0.0);
    if (handOver > 0) {
      file["chunk_overhead_us"] = handOver;
      std::cerr << "start and wait around compute: " << handOver << " us\n";
    } else {
      std::cerr << "start and wait around compute: not told from the noise of " << small[0] << " us of compute\n";
    }
    return true;
  }

  std::string folder;
  bool quick;
  std::vector<int64_t> ranks;
  CompileBenchKernels compile;
  int64_t busy = 1; ///< ranks that compute at once
  comm::cost::Topology topology;
  Json file;
  std::string error;
};

} // namespace

int commc::runBench(int argc, char **argv, CompileBenchKernels compile) {
  std::string output = "tuning.json";
  std::vector<int64_t> ranks;
  bool quick = false;
  CLI::App app("Measure this machine and write a tuning file for the cost model (CPU ranks; GPUs are not measured).\n"
               "Example: commc bench --ranks 2,4 -o tuning.json",
               "commc bench");
  app.add_option("-o,--output", output, "tuning file to write (default tuning.json)");
  app.add_option("--ranks", ranks, "rank counts of the collectives (default: 2 to the number of cores, doubling)")
      ->delimiter(',')
      ->check(CLI::Range(int64_t(2), int64_t(64)));
  app.add_flag("--quick", quick, "fewer sizes and runs");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &e) {
    return app.exit(e);
  } catch (const CLI::ParseError &e) {
    printError("E201", e.what(), "", "commc bench --help");
    return kUsage;
  }
  if (ranks.empty())
    for (int64_t n = 2; n <= std::max<int64_t>(2, static_cast<int64_t>(std::thread::hardware_concurrency())); n *= 2)
      ranks.push_back(n);
  std::error_code failed;
  std::filesystem::path folder =
      std::filesystem::temp_directory_path(failed) / ("commc-bench-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder, failed);
  if (failed) {
    printError("E202", "cannot make a folder for the probes: " + failed.message(), folder.string(), "set TMPDIR");
    return kUsage;
  }
  Bench bench(folder.string(), quick, ranks, compile);
  bool ok = bench.run();
  std::filesystem::remove_all(folder, failed);
  if (!ok) {
    printError("E101", "a probe failed: " + bench.problem(), "", "");
    return kInternal;
  }
  std::ofstream file(output, std::ios::binary);
  file << bench.result().dump(1) << "\n";
  file.close();
  if (!file) {
    printError("E202", "cannot write '" + output + "'", "", "another -o");
    return kUsage;
  }
  return kOk;
}
