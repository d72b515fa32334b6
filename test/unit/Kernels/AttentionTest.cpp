//===- AttentionTest.cpp - attention against a softmax in double ----------===//
#include "TestSupport.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include <limits>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
constexpr double minusInfinity = -std::numeric_limits<double>::infinity();

struct Attention {
  DType type = DType::F32;
  int64_t batches = 1, heads = 2, kvHeads = 2, queries = 4, keys = 4, depth = 8, valueDepth = 8;
  double scale = 0.3, softcap = 0;
  bool causal = false;
  int64_t offset = 0;
  MicroKernelChoice micro = MicroKernelChoice::Auto;
  Tensor *mask = nullptr, *lengths = nullptr;
  bool narrow = false; ///< f32 with precision bf16
};

std::vector<double> reference(const Attention &a, const Tensor &q, const Tensor &k, const Tensor &v) {
  std::vector<double> Q = q.values(), K = k.values(), V = v.values(), out;
  for (int64_t b = 0; b < a.batches; ++b)
    for (int64_t h = 0; h < a.heads; ++h)
      for (int64_t i = 0; i < a.queries; ++i) {
        int64_t kv = b * a.kvHeads + h * a.kvHeads / a.heads;
        std::vector<double> scores(size_t(a.keys), 0.0);
        double best = minusInfinity, sum = 0;
        for (int64_t j = 0; j < a.keys; ++j) {
          double s = 0;
          for (int64_t d = 0; d < a.depth; ++d)
            s += Q[size_t(((b * a.heads + h) * a.queries + i) * a.depth + d)] *
                 K[size_t((kv * a.keys + j) * a.depth + d)];
          s *= a.scale;
          if (a.softcap > 0)
            s = a.softcap * std::tanh(s / a.softcap);
          if (a.mask) {
            const exe::Shape &m = a.mask->shape();
            int64_t at = ((b % m[0] * m[1] + h % m[1]) * m[2] + i % m[2]) * m[3] + j % m[3];
            double value = a.mask->get(at);
            s = a.mask->desc.dtype == DType::Bool ? (value != 0 ? s : minusInfinity) : s + value;
          }
          if ((a.causal && j > i + a.offset) || (a.lengths && j >= a.lengths->get(b)))
            s = minusInfinity;
          scores[size_t(j)] = s;
          best = std::max(best, s);
        }
        for (double &s : scores) {
          s = best == minusInfinity ? 0 : std::exp(s - best);
          sum += s;
        }
        for (int64_t d = 0; d < a.valueDepth; ++d) {
          double total = 0;
          for (int64_t j = 0; j < a.keys; ++j)
            total += scores[size_t(j)] * V[size_t((kv * a.keys + j) * a.valueDepth + d)];
          out.push_back(sum == 0 ? 0 : total / sum);
        }
      }
  return out;
}

Case makeCase(const Attention &a) {
  Case c("attention", {{"scale", a.scale},
                       {"softcap", a.softcap},
                       {"causal", int64_t(a.causal)},
                       {"causal_offset", a.offset},
                       {"has_mask", int64_t(a.mask != nullptr)},
                       {"has_lengths", int64_t(a.lengths != nullptr)}});
  if (a.narrow)
    c.command.attrs["precision"] = std::string("bf16");
  c.micro = a.micro;
  return c;
}

void check(const Attention &a, const std::string &what) {
  Tensor q = Tensor::random(a.type, {a.batches, a.heads, a.queries, a.depth}, 1, -2, 2);
  Tensor k = Tensor::random(a.type, {a.batches, a.kvHeads, a.keys, a.depth}, 2, -2, 2);
  Tensor v = Tensor::random(a.type, {a.batches, a.kvHeads, a.keys, a.valueDepth}, 3, -2, 2);
  Tensor y = Tensor::random(a.type, {a.batches, a.heads, a.queries, a.valueDepth}, 4, 5, 6);
  for (Tensor *t : {&q, &k, &v}) // numbers of bf16: what remains is the rounding of the weights
    for (int64_t i = 0; a.narrow && i < t->size(); ++i)
      t->set(i, fromBF16(toBF16(float(t->get(i)))));
  std::vector<Tensor *> ins = {&q, &k, &v};
  if (a.mask)
    ins.push_back(a.mask);
  if (a.lengths)
    ins.push_back(a.lengths);
  EXPECT_OK(makeCase(a).run(ins, {&y}, 2));
  double tolerance = a.narrow ? 2e-2 : a.type == DType::F32 ? 4e-6 : a.type == DType::F16 ? 2e-3 : 2e-2;
  expectNear(y.values(), reference(a, q, k, v), tolerance, what);
}

} // namespace

TEST(Attention, RoundedToBF16) {
  Tensor lengths(DType::I64, {2});
  lengths.set(0, 300);
  lengths.set(1, 41);
  Tensor mask = Tensor::random(DType::F32, {1, 1, 130, 300}, 8, -3, 1);
  for (MicroKernelChoice micro : choices())
    for (int mode = 0; mode < 5; ++mode)
      for (int64_t depth : {20, 64}) {
        Attention a;
        a.micro = micro, a.narrow = mode < 4, a.type = a.narrow ? DType::F32 : DType::BF16;
        a.batches = 2, a.heads = 4, a.kvHeads = 2, a.queries = 130, a.keys = 300;
        a.depth = depth, a.valueDepth = depth + 5, a.scale = 0.25; // a power of two rounds nothing
        a.causal = mode != 1, a.offset = 170;
        a.lengths = mode == 2 ? &lengths : nullptr;
        a.mask = mode == 3 ? &mask : nullptr;
        check(a, "micro " + std::to_string(int(micro)) + " mode " + std::to_string(mode));
      }
}

TEST(Attention, OddSizesAndGroupedHeads) {
  for (MicroKernelChoice micro : choices())
    for (DType type : {DType::F32, DType::BF16, DType::F16})
      for (auto heads : {std::pair<int64_t, int64_t>{2, 2}, {6, 2}, {4, 1}, {5, 3}, {2, 4}})
        for (int64_t queries : {1, 3, 29})
          for (int64_t keys : {1, 31, 70})
            for (int64_t depth : {5, 32}) {
              Attention a;
              a.type = type, a.micro = micro;
              a.batches = 2, a.heads = heads.first, a.kvHeads = heads.second;
              a.queries = queries, a.keys = keys, a.depth = depth, a.valueDepth = depth + 3;
              check(a, "heads " + std::to_string(a.heads) + "/" + std::to_string(a.kvHeads) + " S " +
                           std::to_string(queries) + " T " + std::to_string(keys) + " D " + std::to_string(depth) +
                           " micro " + std::to_string(int(micro)));
            }
}

TEST(Attention, CausalOverSeveralTiles) {
  for (MicroKernelChoice micro : choices())
    for (int64_t offset : {int64_t(0), int64_t(300), int64_t(-5), int64_t(7), INT64_MAX, INT64_MIN})
      for (int64_t queries : {1, 2, 130}) {
        Attention a;
        a.micro = micro;
        a.causal = true, a.offset = offset;
        a.heads = 2, a.kvHeads = 1, a.queries = queries, a.keys = 530, a.depth = a.valueDepth = 16;
        if (offset == INT64_MAX || offset == INT64_MIN) { // the reference must not overflow either
          Attention bounded = a;
          bounded.offset = offset > 0 ? 10000 : -10000;
          Tensor q = Tensor::random(a.type, {1, 2, queries, 16}, 1), k = Tensor::random(a.type, {1, 1, 530, 16}, 2),
                 y(a.type, q.shape());
          EXPECT_OK(makeCase(a).run({&q, &k, &k}, {&y}));
          expectNear(y.values(), reference(bounded, q, k, k), 4e-6);
          continue;
        }
        check(a, "offset " + std::to_string(offset) + " S " + std::to_string(queries));
      }
}

TEST(Attention, MasksOfEveryBroadcast) {
  for (DType type : {DType::F32, DType::BF16})
    for (bool boolean : {true, false})
      for (int64_t queries : {1, 9})
        for (int bits = 0; bits < 16; ++bits) {
          Attention a;
          a.type = type;
          a.batches = 2, a.heads = 3, a.kvHeads = 3, a.queries = queries, a.keys = 41, a.causal = bits & 1;
          exe::Shape shape = {bits & 1 ? 2 : 1, bits & 2 ? 3 : 1, bits & 4 ? queries : 1, bits & 8 ? 41 : 1};
          Tensor mask = boolean ? Tensor::random(DType::Bool, shape, 5, 0, 2) : Tensor::random(type, shape, 5, -3, 3);
          a.mask = &mask;
          check(a, "mask " + std::to_string(bits));
        }
}

TEST(Attention, RowsWithNothingToAttendToAreZeros) {
  for (MicroKernelChoice micro : choices())
    for (int64_t queries : {1, 20}) {
      Attention a;
      a.micro = micro;
      a.queries = queries, a.keys = 300;
      Tensor mask = Tensor::random(DType::F32, {1, 1, queries, 300}, 5, -1, 1);
      for (int64_t j = 0; j < 300; ++j)
        mask.set((queries / 2) * 300 + j, minusInfinity); // one row sees nothing
      for (int64_t i = 0; i < queries; ++i)
        for (int64_t j = 0; j < 260; ++j)
          mask.set(i * 300 + j, minusInfinity); // and nobody sees the first tile
      a.mask = &mask;
      check(a, "masked row");
      a.mask = nullptr;
      Tensor lengths = Tensor::of(DType::I64, {1}, {0});
      a.lengths = &lengths;
      check(a, "length 0");
      lengths.set(0, -7);
      check(a, "negative length");
      a.lengths = nullptr;
      a.keys = 0;
      check(a, "no keys");
    }
}

TEST(Attention, LengthsHideWhateverLiesBeyond) {
  for (int64_t queries : {1, 17}) {
    Attention a;
    a.batches = 3, a.heads = 4, a.kvHeads = 2, a.queries = queries, a.keys = 90;
    Tensor lengths = Tensor::of(DType::I64, {3}, {1, 57, 1000});
    a.lengths = &lengths;
    check(a, "lengths");
    // Not even NaNs in the part that does not exist reach the result.
    Tensor q = Tensor::random(DType::F32, {3, 4, queries, 8}, 1), k = Tensor::random(DType::F32, {3, 2, 90, 8}, 2),
           y(DType::F32, q.shape());
    std::vector<double> expected = reference(a, q, k, k);
    for (int64_t head = 0; head < 2; ++head)
      for (int64_t i = 57 * 8; i < 90 * 8; ++i)
        k.set((2 + head) * 90 * 8 + i, std::nan(""));
    EXPECT_OK(makeCase(a).run({&q, &k, &k, &lengths}, {&y}));
    expectNear(y.values(), expected, 4e-6);
  }
}

// One new token or two on few heads: the cache is read in parts.
TEST(Attention, LongCachesInParts) {
  for (MicroKernelChoice micro : choices())
    for (DType type : {DType::F32, DType::BF16})
      for (auto heads : {std::pair<int64_t, int64_t>{4, 1}, {3, 2}, {2, 2}})
        for (int64_t queries : {1, 2})
          for (int64_t keys : {1023, 1024, 1700})
            for (int mode = 0; mode < 4; ++mode) {
              Attention a;
              a.micro = micro, a.type = type, a.batches = 2, a.heads = heads.first, a.kvHeads = heads.second;
              a.queries = queries, a.keys = keys, a.depth = 8, a.valueDepth = 11, a.scale = 1.5;
              a.causal = mode == 1, a.offset = 700;
              // Whole parts without a key, and parts without a visible one.
              Tensor lengths = Tensor::of(DType::I64, {2}, {3, 900});
              a.lengths = mode == 2 ? &lengths : nullptr;
              Tensor mask(DType::Bool, {2, 1, 1, keys});
              for (int64_t i = 0; i < 2 * keys; ++i)
                mask.set(i, i % keys > 600 && i % 3 == 0 && i < keys); // the second entry sees nothing
              a.mask = mode == 3 ? &mask : nullptr;
              check(a, "mode " + std::to_string(mode) + " T " + std::to_string(keys) + " heads " +
                           std::to_string(a.heads) + "/" + std::to_string(a.kvHeads));
            }
}

TEST(Attention, SoftcapLargeScoresAndNaN) {
  Attention a;
  a.queries = 5, a.keys = 300, a.softcap = 2.5;
  check(a, "softcap");
  a.softcap = 0, a.scale = 60; // one key dominates
  check(a, "large scores");
  a.scale = 0;
  check(a, "zero scale: the mean");
  Tensor q(DType::F32, {1, 2, 5, 8}), k = Tensor::random(DType::F32, {1, 2, 300, 8}, 2), y(DType::F32, q.shape());
  q.set(3, std::nan(""));
  EXPECT_OK(makeCase(a).run({&q, &k, &k}, {&y}));
  EXPECT_TRUE(std::isnan(y.get(0))) << "a NaN query is not an empty row";
  EXPECT_FALSE(std::isnan(y.get(8)));
  // The same where the keys are read in parts.
  Tensor one(DType::F32, {1, 2, 1, 8}), cache = Tensor::random(DType::F32, {1, 1, 2000, 8}, 2),
                                        z(DType::F32, one.shape());
  one.set(3, std::nan(""));
  a.queries = 1, a.keys = 2000, a.kvHeads = 1;
  EXPECT_OK(makeCase(a).run({&one, &cache, &cache}, {&z}));
  EXPECT_TRUE(std::isnan(z.get(0)));
  EXPECT_FALSE(std::isnan(z.get(8)));
}

TEST(Attention, EmptyDimensions) {
  for (int which = 0; which < 5; ++which) {
    Attention a;
    (which == 0 ? a.batches : which == 1 ? a.queries : which == 2 ? a.valueDepth : which == 3 ? a.depth : a.keys) = 0;
    check(a, "empty " + std::to_string(which));
  }
  Attention a;
  a.heads = a.kvHeads = 0;
  check(a, "no heads");
}

TEST(Attention, Refuses) {
  Tensor q(DType::F32, {1, 2, 3, 4}), k(DType::F32, {1, 2, 5, 4}), y(DType::F32, {1, 2, 3, 4}),
      flat(DType::F32, {2, 3, 4});
  Tensor mask(DType::F32, {1, 1, 3, 5}), badMask(DType::F32, {1, 1, 2, 5}), intMask(DType::I32, {1, 1, 3, 5}),
      lengths(DType::I64, {1});
  Tensor noHeads(DType::F32, {1, 0, 5, 4}), doubles(DType::F64, {1, 2, 3, 4}), shortLengths(DType::I32, {1});
  auto status = [&](std::vector<Tensor *> ins, Tensor &out, exe::Attrs more = {}) {
    exe::Attrs attrs = {{"scale", 1.0}, {"has_mask", int64_t(0)}, {"has_lengths", int64_t(0)}};
    for (auto &entry : more)
      attrs[entry.first] = entry.second;
    return Case("attention", attrs).run(ins, {&out});
  };
  exe::Attrs masked = {{"has_mask", int64_t(1)}}, withLengths = {{"has_lengths", int64_t(1)}};
  EXPECT_OK(status({&q, &k, &k}, y));
  EXPECT_OK(status({&q, &k, &k, &mask}, y, masked));
  EXPECT_REFUSED(status({&q, &k, &k, &mask}, y), Code::BadExecutable, "3 inputs");
  EXPECT_REFUSED(status({&q, &k, &k}, y, masked), Code::BadExecutable, "4 inputs");
  EXPECT_REFUSED(status({&q, &k, &k, &badMask}, y, masked), Code::BadExecutable, "mask has shape");
  EXPECT_REFUSED(status({&q, &k, &k, &intMask}, y, masked), Code::BadExecutable, "mask has type");
  EXPECT_REFUSED(status({&q, &k, &k, &flat}, y, masked), Code::BadExecutable, "mask has rank");
  EXPECT_REFUSED(status({&q, &k, &k, &shortLengths}, y, withLengths), Code::BadExecutable, "lengths have type");
  EXPECT_REFUSED(status({&flat, &k, &k}, y), Code::BadExecutable, "rank 4");
  EXPECT_REFUSED(status({&q, &q, &k}, y), Code::BadExecutable, "v has shape");
  EXPECT_REFUSED(status({&q, &k, &k}, k), Code::BadExecutable, "output has shape");
  EXPECT_REFUSED(status({&q, &noHeads, &noHeads}, y), Code::BadExecutable, "no kv heads");
  EXPECT_REFUSED(status({&doubles, &doubles, &doubles}, doubles), Code::Unsupported, "f64");
  EXPECT_REFUSED(status({&q, &k, &k}, y, {{"scale", std::nan("")}}), Code::BadExecutable, "finite");
  EXPECT_REFUSED(status({&q, &k, &k}, y, {{"softcap", -1.0}}), Code::BadExecutable, "softcap");
  EXPECT_REFUSED(status({&q, &k, &k}, y, {{"causal", int64_t(3)}}), Code::BadExecutable, "'causal'");
}
