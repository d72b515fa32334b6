//===- Shard.cpp - shard_copy, pack_shards, unpack_shards, rank_mask ------===//
#include "runtime/Kernels/Shard/Shards.h"
#include <algorithm>
#include <cstring>

using namespace comm;
using namespace comm::rt;

namespace {
/// The whole tensor seen around the split dimension, in bytes per element of that dimension.
struct Blocks {
  int64_t outer = 1, inner = 1; ///< inner: bytes of everything after `dim`
  int64_t whole = 0, local = 0; ///< sizes of `dim`
};

struct ShardCommand {
  int64_t dim = 0;
  Shards shards;
  Blocks blocks;
};

/// Reads dim, axes, grain for the tensor that is whole along `dim`; `own` is an attribute that only this command has.
Status readShardCommand(const Preparation &p, const TensorDesc &whole, ShardCommand &out, const char *own = "grain") {
  if (Status s = p.check(1, 1, 1, {"dim", "axes", "grain", own}); !s)
    return s;
  if (Status s = p.sameType(p.ins[0], p.outs[0]); !s)
    return s;
  if (Status s = p.intAttr("dim", out.dim); !s)
    return s;
  if (out.dim < 0 || out.dim >= int64_t(whole.shape.size()))
    return p.bad("'dim' " + std::to_string(out.dim) + " is outside rank " + std::to_string(whole.shape.size()));
  if (Status s = readShards(p, whole.shape[out.dim], out.shards); !s)
    return s;
  out.blocks.outer = elementsOf(whole.shape, 0, out.dim);
  out.blocks.inner = elementsOf(whole.shape, out.dim + 1, whole.shape.size()) * exe::byteWidth(whole.dtype);
  out.blocks.whole = whole.shape[out.dim];
  out.blocks.local = out.shards.local;
  return Status::ok();
}

/// One shard out of the whole tensor, zero-filled to its local size.
void takeShard(const Blocks &b, const exe::ShardRange &range, const char *whole, char *shard) {
  for (int64_t o = 0; o < b.outer; ++o) {
    std::memcpy(shard, whole + (o * b.whole + range.start) * b.inner, size_t(range.count * b.inner));
    std::memset(shard + range.count * b.inner, 0, size_t((b.local - range.count) * b.inner));
    shard += b.local * b.inner;
  }
}
} // namespace

/// A grid beyond this is not believed.
static constexpr int64_t maxRanks = 1 << 20;
/// Nor a dimension beyond this: leaves room for rounding up to whole shards.
static constexpr int64_t maxSize = int64_t(1) << 60;

Status comm::rt::readShards(const Preparation &p, int64_t size, Shards &out) {
  std::vector<std::string> axes;
  const int64_t one = 1;
  exe::Split split;
  if (Status s = p.axesAttr(split.axes); !s)
    return s;
  if (Status s = p.intAttr("grain", split.grain, &one); !s)
    return s;
  if (split.grain < 1)
    return p.bad("'grain' is " + std::to_string(split.grain) + ", expected at least 1");
  if (size > maxSize)
    return p.bad("size " + std::to_string(size) + " is too large to split");
  if (size % split.grain != 0)
    return p.bad("size " + std::to_string(size) + " is not a multiple of the grain " + std::to_string(split.grain));
  const exe::Grid &grid = *p.context.grid;
  int64_t members = grid.shards(split.axes);
  out.self = grid.coordinate(p.context.rank, split.axes);
  if (members < 1 || out.self < 0 || out.self >= members || grid.ranks() > maxRanks)
    return p.bad("the grid cannot be split over these axes");
  out.ranges.assign(size_t(members), {});
  // Any rank with coordinate i tells shard i; walking all ranks finds one for each.
  for (int64_t rank = 0; rank < grid.ranks() && size > 0; ++rank)
    out.ranges[size_t(grid.coordinate(rank, split.axes))] = exe::shardRange(size, split, grid, rank);
  out.local = out.ranges[0].local;
  for (const exe::ShardRange &range : out.ranges)
    if (range.start < 0 || range.count < 0 || range.count > out.local || range.start + range.count > size ||
        range.local != out.local)
      return p.bad("the shards of size " + std::to_string(size) + " are inconsistent");
  return Status::ok();
}

Status comm::rt::prepareShardCopy(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (p.ins.empty())
    return p.check(1, 1, 1, {});
  ShardCommand c;
  int64_t shift = 0;
  const int64_t zero = 0;
  if (Status s = readShardCommand(p, p.ins[0], c, "shift"); !s)
    return s;
  if (Status s = p.intAttr("shift", shift, &zero); !s)
    return s;
  exe::Shape expected = p.ins[0].shape;
  expected[c.dim] = c.shards.local;
  if (Status s = p.sameShape(p.outs[0].shape, expected, "output"); !s)
    return s;
  auto members = int64_t(c.shards.ranges.size());
  exe::ShardRange range = c.shards.ranges[size_t((c.shards.self + shift % members + members) % members)];
  out = makeKernel(1, [b = c.blocks, range](void *const *ins, void *const *outs, int64_t, int64_t) {
    takeShard(b, range, static_cast<const char *>(ins[0]), static_cast<char *>(outs[0]));
    return Status::ok();
  });
  return Status::ok();
}

Status comm::rt::preparePackShards(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (p.ins.empty())
    return p.check(1, 1, 1, {});
  ShardCommand c;
  if (Status s = readShardCommand(p, p.ins[0], c); !s)
    return s;
  exe::Shape expected = p.ins[0].shape;
  expected[c.dim] = c.shards.local;
  expected.insert(expected.begin(), int64_t(c.shards.ranges.size()));
  if (Status s = p.sameShape(p.outs[0].shape, expected, "output"); !s)
    return s;
  int64_t members = int64_t(c.shards.ranges.size());
  out = makeKernel(members, [b = c.blocks, ranges = c.shards.ranges](void *const *ins, void *const *outs, int64_t begin,
                                                                     int64_t end) {
    int64_t bytes = b.outer * b.local * b.inner;
    for (int64_t i = begin; i < end; ++i)
      takeShard(b, ranges[size_t(i)], static_cast<const char *>(ins[0]), static_cast<char *>(outs[0]) + i * bytes);
    return Status::ok();
  });
  return Status::ok();
}

Status comm::rt::prepareUnpackShards(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (p.outs.empty())
    return p.check(1, 1, 1, {});
  ShardCommand c;
  bool rotated = false;
  if (Status s = readShardCommand(p, p.outs[0], c, "rotated"); !s)
    return s;
  if (Status s = p.boolAttr("rotated", rotated, false); !s)
    return s;
  exe::Shape expected = p.outs[0].shape;
  expected[c.dim] = c.shards.local;
  expected.insert(expected.begin(), int64_t(c.shards.ranges.size()));
  if (Status s = p.sameShape(p.ins[0].shape, expected, "input"); !s)
    return s;
  // Of replicated blocks the first is taken; together the shards must give every element.
  int64_t covered = 0;
  for (exe::ShardRange &range : c.shards.ranges) {
    if (range.start < covered)
      range.count = 0;
    else if (range.count > 0 && range.start > covered)
      return p.bad("the shards leave a hole at " + std::to_string(covered));
    covered = std::max(covered, range.start + range.count);
  }
  if (covered != c.blocks.whole)
    return p.bad("the shards end at " + std::to_string(covered) + " of " + std::to_string(c.blocks.whole));
  // Block i becomes shard i, or shard self + i.
  if (rotated)
    std::rotate(c.shards.ranges.begin(), c.shards.ranges.begin() + c.shards.self, c.shards.ranges.end());
  int64_t members = int64_t(c.shards.ranges.size());
  out = makeKernel(members, [b = c.blocks, ranges = c.shards.ranges](void *const *ins, void *const *outs, int64_t begin,
                                                                     int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const exe::ShardRange &range = ranges[size_t(i)];
      const char *from = static_cast<const char *>(ins[0]) + i * b.outer * b.local * b.inner;
      char *to = static_cast<char *>(outs[0]) + range.start * b.inner;
      for (int64_t o = 0; range.count > 0 && o < b.outer; ++o)
        std::memcpy(to + o * b.whole * b.inner, from + o * b.local * b.inner, size_t(range.count * b.inner));
    }
    return Status::ok();
  });
  return Status::ok();
}

Status comm::rt::prepareRankMask(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(1, 1, 1, {"axes"}); !s)
    return s;
  if (Status s = p.sameType(p.ins[0], p.outs[0]); !s)
    return s;
  if (Status s = p.sameShape(p.outs[0].shape, p.ins[0].shape, "output"); !s)
    return s;
  std::vector<std::string> axes;
  if (Status s = p.axesAttr(axes); !s)
    return s;
  bool keep = p.context.grid->coordinate(p.context.rank, axes) == 0;
  size_t bytes = size_t(elementsOf(p.ins[0].shape) * exe::byteWidth(p.ins[0].dtype));
  out = makeKernel(1, [keep, bytes](void *const *ins, void *const *outs, int64_t, int64_t) {
    if (keep)
      std::memcpy(outs[0], ins[0], bytes);
    else
      std::memset(outs[0], 0, bytes);
    return Status::ok();
  });
  return Status::ok();
}
