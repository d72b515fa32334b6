//===- Shards.h - all shards of a dimension, as this rank's group sees them ===//
#pragma once
#include "runtime/Kernels/Support.h"

namespace comm::rt {

struct Shards {
  std::vector<exe::ShardRange> ranges; ///< by shard number; never empty
  int64_t local = 0;                   ///< local size, equal for all
  int64_t self = 0;                    ///< this rank's shard number
};
/// Reads `axes` and `grain` and splits a dimension of `size`.
Status readShards(const Preparation &, int64_t size, Shards &out);

} // namespace comm::rt
