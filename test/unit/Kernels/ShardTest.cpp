//===- ShardTest.cpp - shard_copy, pack_shards, unpack_shards, rank_mask --===//
#include "TestSupport.h"

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
exe::Grid twoAxes() {
  exe::Grid grid;
  grid.axes = {{"dp", 2}, {"tp", 3}};
  return grid;
}

/// Element (outer, i, inner) of a tensor split along `dim`.
double at(const Tensor &t, int64_t dim, int64_t outer, int64_t i, int64_t inner) {
  int64_t innerSize = elementsOf(t.shape(), size_t(dim) + 1, t.shape().size());
  return t.get((outer * t.shape()[size_t(dim)] + i) * innerSize + inner);
}
} // namespace

TEST(Shard, CopyPackUnpackAgreeWithShardRange) {
  exe::Grid grid = twoAxes();
  struct Axes {
    Names names;
  };
  for (Names axes : {Names{"tp"}, Names{"dp"}, Names{"dp", "tp"}, Names{"tp", "dp"}, Names{}})
    for (int64_t grain : {1, 2})
      for (int64_t size : {0, 2, 6, 8, 10, 12, 24})
        for (int64_t dim : {0, 1, 2})
          for (DType type : {DType::F32, DType::I8}) {
            exe::Shape whole = {2, 3, 5};
            whole[size_t(dim)] = size;
            Tensor x = Tensor::random(type, whole, 1, 1, 100);
            exe::Attrs attrs = {{"dim", dim}, {"axes", axes}, {"grain", grain}};
            int64_t members = grid.shards(axes), local = 0;
            std::vector<Tensor> shards(size_t(members), Tensor(type, {0}));
            for (int64_t rank = 0; rank < grid.ranks(); ++rank) {
              exe::ShardRange range;
              if (size > 0)
                range = exe::shardRange(size, {axes, grain}, grid, rank);
              local = range.local;
              exe::Shape part = whole;
              part[size_t(dim)] = range.local;
              Tensor y = Tensor::random(type, part, 9, 1, 100);
              Case shard("shard_copy", attrs);
              shard.grid = grid;
              shard.rank = rank;
              EXPECT_OK(shard.run({&x}, {&y}));
              for (int64_t o = 0; o < elementsOf(whole, 0, size_t(dim)); ++o)
                for (int64_t i = 0; i < range.local; ++i)
                  for (int64_t n = 0; n < elementsOf(whole, size_t(dim) + 1, 3); ++n)
                    ASSERT_EQ(at(y, dim, o, i, n), i < range.count ? at(x, dim, o, range.start + i, n) : 0);
              shards[size_t(grid.coordinate(rank, axes))] = y;
            }
            exe::Shape packedShape = whole;
            packedShape[size_t(dim)] = local;
            packedShape.insert(packedShape.begin(), members);
            Tensor packed = Tensor::random(type, packedShape, 5, 1, 100), back = Tensor::random(type, whole, 6, 1, 100);
            std::vector<char> expected;
            for (Tensor &shard : shards)
              expected.insert(expected.end(), shard.bytes.begin(), shard.bytes.end());
            Case pack("pack_shards", attrs), unpack("unpack_shards", attrs);
            pack.grid = unpack.grid = grid;
            pack.rank = unpack.rank = 4;
            EXPECT_OK(pack.run({&x}, {&packed}, 2));
            EXPECT_EQ(packed.bytes, expected);
            EXPECT_OK(unpack.run({&packed}, {&back}, 2));
            EXPECT_EQ(back.bytes, x.bytes) << size << " over " << members << " grain " << grain;
          }
}

TEST(Shard, UnpackTakesTheFirstOfReplicatedBlocks) {
  // 2 blocks on 6 ranks: shards 0..2 hold block 0, shards 3..5 block 1. Later copies are poisoned.
  exe::Grid grid = twoAxes();
  Tensor packed = Tensor::of(DType::F32, {6, 1}, {10, -1, -1, 11, -1, -1}), whole(DType::F32, {2});
  Case unpack("unpack_shards", {{"dim", int64_t(0)}, {"axes", Names{"dp", "tp"}}, {"grain", int64_t(1)}});
  unpack.grid = grid;
  EXPECT_OK(unpack.run({&packed}, {&whole}));
  EXPECT_EQ(whole.values(), (std::vector<double>{10, 11}));
}

// What rank r gets after i steps of a ring is shard r + i; rotated, the blocks come into their places again.
TEST(Shard, ShiftsAndRotatesRoundTheRing) {
  exe::Grid grid = twoAxes();
  for (Names axes : {Names{"tp"}, Names{"dp", "tp"}, Names{"tp", "dp"}})
    for (int64_t size : {2, 6, 7, 12})
      for (int64_t rank = 0; rank < grid.ranks(); ++rank) {
        Tensor x = Tensor::random(DType::F32, {2, size, 3}, 1, 1, 100);
        int64_t members = grid.shards(axes), local = exe::shardRange(size, {axes, 1}, grid, rank).local;
        Tensor packed(DType::F32, {members, 2, local, 3}), back = Tensor::random(DType::F32, {2, size, 3}, 6, 1, 100);
        for (int64_t i = 0; i < members; ++i) {
          Tensor y(DType::F32, {2, local, 3});
          int64_t shift = i % 2 ? i - 3 * members : i; // either sign
          Case shard("shard_copy", {{"dim", int64_t(1)}, {"axes", axes}, {"shift", shift}});
          shard.grid = grid;
          shard.rank = rank;
          EXPECT_OK(shard.run({&x}, {&y}));
          std::copy(y.bytes.begin(), y.bytes.end(), packed.bytes.begin() + i * int64_t(y.bytes.size()));
        }
        Case unpack("unpack_shards", {{"dim", int64_t(1)}, {"axes", axes}, {"rotated", int64_t(1)}});
        unpack.grid = grid;
        unpack.rank = rank;
        EXPECT_OK(unpack.run({&packed}, {&back}, 2));
        EXPECT_EQ(back.bytes, x.bytes) << size << " over " << members << " on rank " << rank;
      }
}

TEST(Shard, RankMask) {
  exe::Grid grid = twoAxes();
  for (int64_t rank = 0; rank < 6; ++rank) {
    Tensor x = Tensor::random(DType::BF16, {3, 4}, 1, 1, 2), y = Tensor::random(DType::BF16, {3, 4}, 2, 1, 2);
    Case mask("rank_mask", {{"axes", Names{"tp"}}});
    mask.grid = grid;
    mask.rank = rank;
    EXPECT_OK(mask.run({&x}, {&y}));
    EXPECT_EQ(y.values(), rank % 3 == 0 ? x.values() : std::vector<double>(12, 0.0));
  }
}

TEST(Shard, RefusesHostileAttributes) {
  Tensor x(DType::F32, {6, 4}), half(DType::F32, {2, 4}), packed(DType::F32, {3, 2, 4});
  auto status = [&](const char *op, exe::Attrs attrs, Tensor &in, Tensor &out, int64_t rank = 0) {
    Case c(op, std::move(attrs));
    c.grid = twoAxes();
    c.rank = rank;
    return c.run({&in}, {&out});
  };
  Names tp = {"tp"};
  int64_t zero = 0;
  EXPECT_OK(status("shard_copy", {{"dim", zero}, {"axes", tp}}, x, half));
  EXPECT_REFUSED(status("shard_copy", {{"dim", int64_t(2)}, {"axes", tp}}, x, half), Code::BadExecutable, "'dim' 2");
  EXPECT_REFUSED(status("shard_copy", {{"dim", int64_t(-1)}, {"axes", tp}}, x, half), Code::BadExecutable, "'dim' -1");
  EXPECT_REFUSED(status("shard_copy", {{"dim", zero}, {"axes", Names{"xx"}}}, x, half), Code::BadExecutable,
                 "no axis 'xx'");
  EXPECT_REFUSED(status("shard_copy", {{"dim", zero}, {"axes", Names{"tp", "tp"}}}, x, half), Code::BadExecutable,
                 "twice");
  EXPECT_REFUSED(status("shard_copy", {{"dim", zero}, {"axes", tp}, {"grain", zero}}, x, half), Code::BadExecutable,
                 "'grain'");
  EXPECT_REFUSED(status("shard_copy", {{"dim", zero}, {"axes", tp}, {"grain", int64_t(4)}}, x, half),
                 Code::BadExecutable, "multiple of the grain");
  EXPECT_REFUSED(status("shard_copy", {{"dim", zero}, {"axes", tp}}, x, x), Code::BadExecutable, "output has shape");
  EXPECT_OK(status("shard_copy", {{"dim", zero}, {"axes", tp}, {"shift", INT64_MAX}}, x, half, 5));
  EXPECT_OK(status("shard_copy", {{"dim", zero}, {"axes", tp}, {"shift", INT64_MIN}}, x, half));
  EXPECT_REFUSED(status("shard_copy", {{"dim", zero}, {"axes", tp}, {"rotated", zero}}, x, half), Code::Unsupported,
                 "rotated");
  EXPECT_REFUSED(status("unpack_shards", {{"dim", zero}, {"axes", tp}, {"rotated", int64_t(2)}}, packed, x),
                 Code::BadExecutable, "'rotated'");
  EXPECT_REFUSED(status("shard_copy", {{"dim", zero}}, x, half), Code::BadExecutable, "'axes' is missing");
  EXPECT_REFUSED(status("shard_copy", {{"dim", zero}, {"axes", tp}}, x, half, 6), Code::BadExecutable, "rank 6");
  EXPECT_REFUSED(status("pack_shards", {{"dim", zero}, {"axes", tp}}, x, half), Code::BadExecutable,
                 "output has shape");
  EXPECT_OK(status("pack_shards", {{"dim", zero}, {"axes", tp}}, x, packed));
  EXPECT_REFUSED(status("unpack_shards", {{"dim", zero}, {"axes", tp}}, half, x), Code::BadExecutable,
                 "input has shape");
  EXPECT_REFUSED(status("rank_mask", {{"axes", tp}}, x, half), Code::BadExecutable, "output has shape");
  EXPECT_REFUSED(Case("shard_copy", {}).run({}, {}), Code::BadExecutable, "inputs");
  EXPECT_REFUSED(Case("unpack_shards", {}).run({}, {}), Code::BadExecutable, "inputs");
}
