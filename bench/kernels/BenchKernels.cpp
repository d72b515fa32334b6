//===- BenchKernels.cpp - time of matmul and attention on one thread ------===//
// bench_kernels [rounds [narrow]]: best and median of interleaved rounds for every micro-kernel of this machine, beside
// the speed of one tile in the first cache level, which bounds them. Other processes disturb: compare within one table
// only.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Kernel.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

using namespace comm;
using namespace comm::rt;

namespace {
double seconds(const std::function<void()> &work, int repeat) {
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeat; ++i)
    work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeat;
}

struct Operand {
  TensorDesc desc;
  std::vector<char> bytes;
  Operand(exe::DType type, exe::Shape shape) {
    desc.dtype = type;
    desc.shape = std::move(shape);
    bytes.assign(size_t(exe::numElements(desc.shape) * exe::byteWidth(type)), 0);
    if (type == exe::DType::F32)
      for (size_t i = 0; i < bytes.size() / 4; ++i)
        reinterpret_cast<float *>(bytes.data())[i] = float(i % 17) / 17;
  }
};

struct Contender {
  std::string name;
  std::unique_ptr<Kernel> kernel;
  std::vector<double> times;
};

/// One row of the table: every contender in turn, `rounds` times.
void compare(const char *title, const exe::Command &command, std::vector<Operand> &ins, Operand &out, double flops,
             int rounds) {
  static const exe::Grid grid;
  std::vector<Contender> contenders;
  bool narrow = ins[0].desc.dtype == exe::DType::BF16 || command.attrs.count("precision");
  std::vector<MicroKernelChoice> choices = {MicroKernelChoice::Builtin, MicroKernelChoice::Libxsmm,
                                            MicroKernelChoice::Portable};
  if (narrow && command.op == "matmul")
    choices = {MicroKernelChoice::Avx512, MicroKernelChoice::Avx512BF16, MicroKernelChoice::Amx};
  for (MicroKernelChoice choice : choices) {
    const char *names[] = {"auto", "builtin", "libxsmm", "portable", "avx2", "avx512", "avx512bf16", "amx"};
    std::vector<TensorDesc> descs;
    for (Operand &in : ins)
      descs.push_back(in.desc);
    PrepareContext context;
    context.grid = &grid;
    context.microKernel = choice;
    Contender c{names[int(choice)], nullptr, {}};
    Status status = prepareKernel(command, descs, {out.desc}, context, c.kernel);
    if (status)
      contenders.push_back(std::move(c));
    else
      std::fprintf(stderr, "%s\n", status.text.c_str());
  }
  std::vector<void *> inPointers;
  for (Operand &in : ins)
    inPointers.push_back(in.bytes.data());
  void *outPointer = out.bytes.data();
  int repeat = int(std::clamp(2e8 / flops, 1.0, 2000.0));
  for (int round = 0; round <= rounds; ++round)
    for (Contender &c : contenders) {
      double t = seconds([&] { (void)c.kernel->run(inPointers.data(), &outPointer); }, repeat);
      if (round > 0) // the first one warms up
        c.times.push_back(t);
    }
  std::printf("%-34s", title);
  for (Contender &c : contenders) {
    std::sort(c.times.begin(), c.times.end());
    double best = c.times.front(), median = c.times[c.times.size() / 2];
    std::printf("  %s %9.1f us %6.1f (%5.1f) GFLOP/s", c.name.c_str(), best * 1e6, flops / best * 1e-9,
                flops / median * 1e-9);
  }
  std::printf("\n");
  std::fflush(stdout);
}

void matmul(exe::DType type, int64_t m, int64_t n, int64_t k, bool constant, int rounds,
            const std::string &precision = "") {
  std::vector<Operand> ins;
  ins.emplace_back(type, exe::Shape{m, k});
  ins.emplace_back(type, exe::Shape{k, n});
  Operand out(type, {m, n});
  if (constant)
    ins[1].desc.constant = ins[1].bytes.data();
  exe::Command command;
  command.op = "matmul";
  if (!precision.empty())
    command.attrs["precision"] = precision;
  std::string title = std::string("matmul ") + exe::dtypeName(type) + " " + std::to_string(m) + "x" +
                      std::to_string(n) + "x" + std::to_string(k) + (constant ? " weight" : "") +
                      (precision.empty() ? "" : " in " + precision);
  compare(title.c_str(), command, ins, out, 2.0 * double(m) * double(n) * double(k), rounds);
}

void attention(exe::DType type, int64_t heads, int64_t kvHeads, int64_t queries, int64_t keys, bool causal,
               int rounds) {
  constexpr int64_t depth = 64;
  std::vector<Operand> ins;
  ins.emplace_back(type, exe::Shape{1, heads, queries, depth});
  ins.emplace_back(type, exe::Shape{1, kvHeads, keys, depth});
  ins.emplace_back(type, exe::Shape{1, kvHeads, keys, depth});
  Operand out(type, {1, heads, queries, depth});
  exe::Command command;
  command.op = "attention";
  command.attrs = {{"scale", 0.125},
                   {"causal", int64_t(causal)},
                   {"causal_offset", keys - queries},
                   {"has_mask", int64_t(0)},
                   {"has_lengths", int64_t(0)}};
  std::string title = std::string("attention ") + exe::dtypeName(type) + " " + std::to_string(heads) + "/" +
                      std::to_string(kvHeads) + " heads " + std::to_string(queries) + "x" + std::to_string(keys) +
                      (causal ? " causal" : "");
  double pairs = causal ? double(queries) * double(keys - queries) + double(queries) * double(queries + 1) / 2
                        : double(queries) * double(keys);
  compare(title.c_str(), command, ins, out, 4.0 * double(heads) * double(depth) * pairs, rounds);
}

/// Upper bound: one full tile whose operands stay in the first cache level.
void tileInCache(const MicroKernel &micro) {
  constexpr int64_t k = 128;
  int64_t rows = std::min<int64_t>(micro.maxRows, 14);
  std::vector<float> a(size_t(rows * (k + 16)), 1.0f), b(size_t(k * micro.width), 1.0f), c(size_t(rows * micro.width));
  double best = 1e9;
  for (int round = 0; round < 50; ++round)
    best = std::min(
        best,
        seconds(
            [&] { micro.tile[0](rows, k, a.data(), k + 16, b.data(), micro.width, c.data(), micro.width, false, {}); },
            500));
  std::printf("one tile in the first cache level, %s: %.1f GFLOP/s\n", micro.name,
              2.0 * double(rows * micro.width * k) / best * 1e-9);
}
struct Size {
  int64_t m, n, k;
};

void narrowProducts(int rounds) {
  using exe::DType;
  for (Size s : {Size{1, 1024, 1024}, Size{8, 1024, 1024}, Size{128, 1024, 1024}, Size{512, 1024, 1024},
                 Size{512, 2816, 1024}, Size{512, 1024, 2816}, Size{1, 4096, 4096}})
    matmul(DType::BF16, s.m, s.n, s.k, true, rounds);
  for (Size s : {Size{1, 1024, 1024}, Size{128, 1024, 1024}, Size{512, 1024, 1024}, Size{512, 1024, 2816}}) {
    matmul(DType::F32, s.m, s.n, s.k, true, rounds, "bf16");
    matmul(DType::F32, s.m, s.n, s.k, true, rounds, "f16");
  }
}
} // namespace

int main(int argc, char **argv) {
  int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 10;
  bool narrowOnly = argc > 2 && std::string(argv[2]) == "narrow";
  using exe::DType;
  for (const MicroKernel *micro : availableMicroKernels())
    tileInCache(*micro);
  if (narrowOnly)
    return narrowProducts(rounds), 0;
  for (Size s : {Size{8, 384, 384}, Size{128, 384, 384}, Size{128, 1024, 1024}, Size{512, 1024, 1024},
                 Size{128, 2816, 1024}, Size{32, 4096, 4096}, Size{1, 1024, 1024}, Size{1, 2816, 1024}})
    matmul(DType::F32, s.m, s.n, s.k, true, rounds);
  matmul(DType::F32, 128, 1024, 1024, false, rounds);
  matmul(DType::F32, 1, 1024, 1024, false, rounds);
  narrowProducts(rounds);
  attention(DType::F32, 12, 12, 128, 128, false, rounds);
  attention(DType::F32, 16, 16, 128, 128, true, rounds);
  attention(DType::F32, 16, 16, 512, 512, true, rounds);
  attention(DType::F32, 16, 16, 1, 512, true, rounds);
  attention(DType::F32, 16, 4, 1, 512, true, rounds);
  attention(DType::F32, 16, 4, 1, 2048, true, rounds);
  return 0;
}
