//===- Sharding.h - factors, rules and layouts as data ----------*- C++ -*-===//
// A model op is known to partitioning by its ShardingRule only. See docs/architecture.md and passes/Partition.
//===----------------------------------------------------------------------===//
#ifndef COMM_IR_SHARDING_H
#define COMM_IR_SHARDING_H
#include "llvm/ADT/SmallVector.h"
#include <cstdint>

namespace mlir {
class Operation;
namespace comm {

/// Parallel: may be split. Reduction: may be split, results become partial sums. Whole: must not be split.
enum class FactorKind { Parallel, Reduction, Whole };
struct Factor {
  int64_t size = 1;
  FactorKind kind = FactorKind::Parallel;
};
/// The factors that make up one dimension, major first; their sizes multiply to the dimension's.
using DimFactors = llvm::SmallVector<unsigned, 2>;
struct ShardingRule {
  llvm::SmallVector<Factor> factors;
  llvm::SmallVector<llvm::SmallVector<DimFactors>> operands, results; ///< [value][dimension]
  /// P in -> P out is legal when exactly these operands are partial (true) and the others are not. One entry per
  /// operand. Empty: never.
  llvm::SmallVector<bool> linearIn;
  /// Each operand on its own may be partial, all others not (bilinear ops such as matmul), instead of exactly
  /// `linearIn`.
  bool linearInAny = false;
};

/// Rule of any op of form `global`: comm ops through their interface, upstream ops through a switch. False: the op has
/// none, all its dimensions are Whole.
bool getShardingRule(Operation *op, ShardingRule &rule);

/// Local size of a dimension of `size` in blocks of `grain` over `shards` ranks (see #comm.layout).
int64_t getLocalSize(int64_t size, int64_t grain, int64_t shards);

/// What shard `shard` of `shards` holds of a dimension: [start, start + count), then zero fill up to `local`.
struct ShardBlock {
  int64_t start = 0, count = 0, local = 0;
  bool operator==(const ShardBlock &other) const {
    return count == other.count && local == other.local && (count == 0 || start == other.start);
  }
};
ShardBlock getShardBlock(int64_t size, int64_t grain, int64_t shards, int64_t shard);
/// True when there are fewer blocks than shards and every block lies on several of them.
bool hasReplicatedBlocks(int64_t size, int64_t grain, int64_t shards);

} // namespace comm
} // namespace mlir
#endif
