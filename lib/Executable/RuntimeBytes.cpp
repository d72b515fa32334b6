//===- RuntimeBytes.cpp - what the runtime takes beside a model -----------===//
// Estimates, good to a few megabytes: what they are added to has hundreds.
//===----------------------------------------------------------------------===//
#include "comm/Executable/RankMemory.h"

namespace comm::exe {
namespace {
constexpr int64_t tableBytes = 1536 << 10;  // of a process that has loaded a small executable
constexpr int64_t commandBytes = 2 << 10;   // of a prepared command
constexpr int64_t threadBytes = 64 << 10;   // touched of a stack, and its allocator's
constexpr int64_t hugePageTail = 1 << 20;   // half of the last one of a chunk of packed weights
constexpr int64_t chunkBytes = 64 << 20;    // of packed weights
constexpr int64_t stagingBytes = 128 << 10; // per rank, which everybody reads
// As the kernels have them.
constexpr int64_t blockRows = 168, narrowRows = 256, blockDepth = 512, narrowDepth = 1536;
constexpr int64_t packedAtOnce = 4 << 20, expertRowBytes = 1 << 20, expertColumns = 8 * widestPanel;
constexpr int64_t queryTile = 64, keyTile = 256;

/// Of one thread, by what it is for; kernels share it.
struct Scratch {
  int64_t left = 0, right = 0, result = 0, scores = 0;
  int64_t total() const { return left + right + result + scores; }
};

class ScratchOf {
public:
  ScratchOf(const Program &program, int64_t threads) : program(program), threads(std::max<int64_t>(threads, 1)) {}

  void add(const Command &c) {
    if (c.inputs.size() < 2 || c.outputs.empty() || input(c, 0).shape.empty() || output(c).shape.empty())
      return;
    if (c.op == "matmul")
      addMatmul(c);
    else if (c.op == "quantized_matmul")
      addQuantized(c);
    else if (c.op == "expert_matmul")
      addExperts(c);
    else if (c.op == "attention")
      addAttention(c);
  }
  Scratch most;

private:
  const Value &input(const Command &c, size_t i) const { return program.values[static_cast<size_t>(c.inputs[i])]; }
  const Value &output(const Command &c) const { return program.values[static_cast<size_t>(c.outputs[0])]; }
  static void raise(int64_t &most, int64_t bytes) { most = std::max(most, bytes); }
  /// Rows of a result that is cut by its last dimension.
  static int64_t rowsOf(const Shape &shape) {
    return shape.back() > 0 ? std::max<int64_t>(numElements(shape), 0) / shape.back() : 0;
  }

  void addMatmul(const Command &c) {
    const Value &a = input(c, 0), &b = input(c, 1), &y = output(c);
    if (a.shape.size() < 2 || b.shape.size() < 2)
      return;
    int64_t n = y.shape.back(), m = b.storage == Storage::Weight ? rowsOf(y.shape) : y.shape[y.shape.size() - 2];
    auto flag = c.attrs.find("transpose_a");
    const int64_t *turned = flag == c.attrs.end() ? nullptr : std::get_if<int64_t>(&flag->second);
    int64_t k = a.shape[a.shape.size() - (turned && *turned ? 2 : 1)];
    bool narrow = c.attrs.count("precision") || a.dtype == DType::BF16;
    raise(most.left, narrow ? std::min(m, narrowRows) * std::min(k, narrowDepth) * 2
                            : std::min(m, blockRows) * std::min(k, blockDepth) * 4);
    if (b.storage != Storage::Weight)
      raise(most.right, std::min(packedAtOnce, n * k / threads * byteWidth(b.dtype)));
    if (y.dtype != DType::F32)
      raise(most.result, std::min(m, blockRows) * (n / threads) * 4);
  }

  void addQuantized(const Command &c) {
    int64_t m = rowsOf(output(c).shape), k = input(c, 0).shape.back();
    raise(most.left, std::min(m, blockRows) * std::min(k, blockDepth) * 4);
    raise(most.scores, std::max(c.attrs.count("int8") ? m * k : 0, std::min(k, blockDepth) * widestPanel * 4));
    if (output(c).dtype != DType::F32)
      raise(most.result, std::min(m, blockRows) * (output(c).shape.back() / threads) * 4);
  }

  void addExperts(const Command &c) {
    int64_t rows = rowsOf(output(c).shape), k = input(c, 0).shape.back();
    raise(most.left, std::min(expertRowBytes, rows * k * 4));
    raise(most.result, std::min(rows, blockRows) * expertColumns * 4);
    raise(most.scores, rows * 16);
  }

  void addAttention(const Command &c) {
    const Shape &k = input(c, 1).shape;
    if (c.inputs.size() < 3 || k.size() != 4 || input(c, 2).shape.size() != 4)
      return;
    int64_t wide = k[3] + input(c, 2).shape[3];
    raise(most.right, k[2] * wide * 4);
    raise(most.scores, queryTile * (wide + keyTile) * 4);
  }

  const Program &program;
  const int64_t threads;
};
} // namespace

int64_t runtimeBytes(const Executable &exe, const std::vector<const Program *> &programs, int64_t threads) {
  int64_t bytes = tableBytes + threads * threadBytes, commands = 0, peers = 0, staging = 0, scratch = 0;
  for (const Program *program : programs) {
    ScratchOf own(*program, threads);
    for (const Command &c : program->commands)
      own.add(c);
    scratch = std::max(scratch, own.most.total());
    commands += static_cast<int64_t>(program->commands.size());
    int64_t ranks = program->grid.ranks();
    if (ranks > 1) {
      peers = std::max(peers, (ranks - 1) * program->commBytes);
      staging = std::max(staging, ranks * stagingBytes);
    }
  }
  int64_t packed = rankMemory(exe, programs).packed;
  return bytes + commands * commandBytes + (packed + chunkBytes - 1) / chunkBytes * hugePageTail + peers + staging +
         threads * scratch;
}

} // namespace comm::exe
