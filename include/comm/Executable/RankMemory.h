//===- RankMemory.h - what one rank holds in memory -------------*- C++ -*-===//
// The compiler predicts with this and keeps its limit by it; the runtime packs by the same sizes.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include <algorithm>
#include <set>
#include <tuple>

namespace comm::exe {

/// Columns of a panel of packed weights on CPUs with AVX-512; no CPU has wider ones.
constexpr int64_t widestPanel = 32;
/// Rows of k that CPUs with AMX sum at a time in products of bf16; no CPU sums more.
constexpr int64_t deepestPairs = 32;
/// Columns of a panel of a quantised weight, on every CPU.
constexpr int64_t quantizedPanel = 16;

/// Bytes of `matrices` right operands [depth, n] as panels of `width` columns, the last one filled up. -1: they do not
/// fit an int64.
int64_t panelBytes(int64_t matrices, int64_t depth, int64_t n, int64_t width, int64_t elementBytes);
/// Bytes of one block of k of a panel of integers: the numbers, then a scale (and, with zero points, an offset) per
/// column in f32.
int64_t quantizedBlockBytes(int64_t bits, int64_t block, bool zeros);

/// An input of a command as far as memory is concerned.
struct WeightInput {
  const Weight *weight = nullptr; ///< null: it is no weight
  int64_t number = -1;            ///< equal for equal weights
  int64_t offset = 0;             ///< bytes in it
  DType dtype = DType::F32;
  Shape shape;
};

/// True when every rank of `grid` can read its part where it lies in its file; else the part is copied.
bool isReadInPlace(const Weight &, const Grid &grid);

/// The weights of one rank, as its commands read them, collected in the order in which the runtime prepares these.
class HeldWeights {
public:
  void add(const Command &, const std::vector<WeightInput> &inputs, const Grid &);
  /// Read as it is stored, by a command or as an output.
  void addStored(const WeightInput &, const Grid &);

  int64_t packed = 0; ///< as panels; those of products with equal right operands once
  int64_t copied = 0; ///< as stored, in memory of the rank
  int64_t mapped = 0; ///< as stored, in the mapped file: pages that ranks share and the system may take back
  int64_t most = 0;   ///< packed and copied while loading, with the copy of what is just being packed

private:
  bool pack(const Command &, const std::vector<WeightInput> &inputs, size_t first, size_t last, int64_t bytes,
            std::vector<int64_t> form, const Grid &);
  bool packsMatrices(const Command &, const std::vector<WeightInput> &inputs, size_t right, bool transposed,
                     const Grid &);
  bool packsIntegers(const Command &, const std::vector<WeightInput> &inputs, const Grid &);
  std::set<std::tuple<std::string, std::vector<int64_t>, std::string>> panels; ///< command, operands and form, grid
  std::set<std::pair<int64_t, std::string>> stored;                            ///< number, grid
};

/// Bytes of one rank while programs run; see docs/memory.md.
struct RankMemory {
  int64_t packed = 0, copied = 0, mapped = 0; ///< as in HeldWeights
  int64_t arena = 0;                          ///< largest of the programs
  int64_t ports = 0;                          ///< its parts of inputs and outputs; largest of the programs
  int64_t loading = 0;                        ///< HeldWeights::most
  int64_t weights() const { return packed + copied + mapped; }
  /// What no file backs while programs run, and all the time where packed weights are read from the cache.
  int64_t held() const { return packed + copied + arena + ports; }
  /// What no file backs, when it is most.
  int64_t peak() const { return std::max(loading, held()); }
};
RankMemory rankMemory(const Executable &, const std::vector<const Program *> &);

/// What the runtime itself takes beside RankMemory::peak in a process with one rank, roughly: its tables, stacks and
/// queues, ends of huge pages, staging for collectives, what the rank sees of its peers' arenas, and the scratch memory
/// of kernels on `threads` threads. Code is not counted.
int64_t runtimeBytes(const Executable &, const std::vector<const Program *> &, int64_t threads = 1);

} // namespace comm::exe
