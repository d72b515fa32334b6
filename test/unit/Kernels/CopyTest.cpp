//===- CopyTest.cpp - copy and fill ---------------------------------------===//
#include "TestSupport.h"

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
/// Element by element, as the contract says.
void reference(const Ints &dims, const Ints &is, const Ints &os, int64_t io, int64_t oo, const Tensor &x, Tensor &y) {
  int64_t total = 1;
  for (int64_t d : dims)
    total *= d;
  for (int64_t i = 0; i < total; ++i) {
    int64_t rest = i, in = io, out = oo;
    for (size_t d = dims.size(); d-- > 0; rest /= dims[d]) {
      in += rest % dims[d] * is[d];
      out += rest % dims[d] * os[d];
    }
    y.set(out, x.get(in));
  }
}

Ints rowMajor(const Ints &dims) {
  Ints strides(dims.size(), 1);
  for (size_t d = dims.size(); d-- > 1;)
    strides[d - 1] = strides[d] * dims[d];
  return strides;
}

void check(DType type, Ints dims, Ints is, Ints os, int64_t io, int64_t oo, int64_t inSize, int64_t outSize,
           int64_t pieces = 1) {
  Tensor x = Tensor::count(type, {inSize}), y(type, {outSize}), expected(type, {outSize});
  Case copy("copy", {{"dims", dims}, {"in_strides", is}, {"out_strides", os}, {"in_offset", io}, {"out_offset", oo}});
  EXPECT_OK(copy.run({&x}, {&y}, pieces));
  reference(dims, is, os, io, oo, x, expected);
  EXPECT_EQ(y.bytes, expected.bytes) << shapeText(dims) << shapeText(is) << shapeText(os);
}
} // namespace

TEST(Copy, EveryPermutationOfEveryWidth) {
  for (DType type : {DType::F32, DType::BF16, DType::F64, DType::I8})
    for (Ints dims : {Ints{3, 5, 7, 2}, Ints{1, 64, 3, 65}, Ints{16, 1, 130, 4}, Ints{2, 67, 1, 33}}) {
      Ints order = {0, 1, 2, 3}, strides = rowMajor(dims);
      do {
        Ints outDims, inStrides;
        for (int64_t d : order) {
          outDims.push_back(dims[d]);
          inStrides.push_back(strides[d]);
        }
        int64_t n = elementsOf(dims);
        check(type, outDims, inStrides, rowMajor(outDims), 0, 0, n, n, 3);
      } while (std::next_permutation(order.begin(), order.end()));
    }
}

TEST(Copy, SlicesReversesAndBroadcasts) {
  check(DType::F32, {4, 6}, {10, 1}, {6, 1}, 13, 0, 60, 24);         // a window
  check(DType::F32, {4, 6}, {6, 1}, {10, 1}, 0, 3, 24, 60);          // into a window
  check(DType::I64, {5, 3}, {-3, 1}, {3, 1}, 12, 0, 15, 15);         // rows reversed
  check(DType::I8, {5, 3}, {3, -1}, {3, 1}, 2, 0, 15, 15);           // columns reversed
  check(DType::F32, {7, 9}, {0, 1}, {9, 1}, 0, 0, 9, 63, 2);         // rows broadcast
  check(DType::F32, {7, 9}, {1, 0}, {9, 1}, 0, 0, 7, 63);            // columns broadcast
  check(DType::F32, {3, 7, 9}, {0, 0, 0}, {63, 9, 1}, 2, 0, 4, 189); // a scalar
  check(DType::BF16, {8, 5}, {2, 16}, {5, 1}, 1, 0, 80, 40);         // strided transpose
  check(DType::F32, {6, 2}, {2, 1}, {4, 2}, 0, 0, 12, 24);           // strided output
  check(DType::F32, {5}, {1}, {-1}, 0, 4, 5, 5);                     // reversed output
  check(DType::F64, {}, {}, {}, 3, 1, 4, 2);                         // one element
}

TEST(Copy, NothingToDo) {
  Tensor x(DType::F32, {0, 4}), y(DType::F32, {4, 0});
  Case copy("copy", {{"dims", Ints{4, 0}}, {"in_strides", Ints{1, 4}}, {"out_strides", Ints{0, 1}}});
  EXPECT_OK(copy.run({&x}, {&y}));
}

TEST(Copy, RefusesWhatWouldLeaveTheOperands) {
  Tensor x(DType::F32, {4, 4}), y(DType::F32, {4, 4}), z(DType::I32, {4, 4});
  auto status = [&](Ints dims, Ints is, Ints os, int64_t io = 0, int64_t oo = 0) {
    return Case("copy",
                {{"dims", dims}, {"in_strides", is}, {"out_strides", os}, {"in_offset", io}, {"out_offset", oo}})
        .run({&x}, {&y});
  };
  constexpr int64_t big = INT64_MAX;
  EXPECT_REFUSED(status({4, 5}, {4, 1}, {4, 1}), Code::BadExecutable, "input strides");
  EXPECT_REFUSED(status({4, 4}, {4, 1}, {5, 1}), Code::BadExecutable, "output strides");
  EXPECT_REFUSED(status({4, 4}, {4, 1}, {4, 1}, 1), Code::BadExecutable, "input strides");
  EXPECT_REFUSED(status({4, 4}, {4, 1}, {4, 1}, 0, -1), Code::BadExecutable, "output strides");
  EXPECT_REFUSED(status({4, 4}, {-4, 1}, {4, 1}), Code::BadExecutable, "input strides");
  EXPECT_REFUSED(status({4, 4}, {big, 1}, {4, 1}), Code::BadExecutable, "overflow");
  EXPECT_REFUSED(status({3, 3}, {big / 2, big / 2}, {4, 1}, big / 2), Code::BadExecutable, "overflow");
  EXPECT_REFUSED(status({big, big}, {0, 0}, {1, 1}), Code::BadExecutable, "output strides");
  EXPECT_REFUSED(status({-1, 4}, {4, 1}, {4, 1}), Code::BadExecutable, "negative size");
  EXPECT_REFUSED(status({4, 4}, {4, 1}, {0, 1}), Code::BadExecutable, "more than once");
  EXPECT_REFUSED(status({4, 4}, {4, 1}, {4}), Code::BadExecutable, "differ in length");
  EXPECT_REFUSED(status({1}, {1}, {1}, 16), Code::BadExecutable, "input strides");
  EXPECT_REFUSED(status(Ints(40, 1), Ints(40, 1), Ints(40, 1)), Code::Unsupported, "dimensions");
  EXPECT_REFUSED(status({4, 4, 4}, {0, 4, 1}, {1, 1, 1}), Code::BadExecutable, "more elements than the output");
  Case plain("copy", {{"dims", Ints{1}}, {"in_strides", Ints{1}}, {"out_strides", Ints{1}}});
  EXPECT_REFUSED(plain.run({&x}, {&z}), Code::BadExecutable, "differ in type");
  EXPECT_REFUSED(plain.run({&x, &x}, {&y}), Code::BadExecutable, "inputs");
  EXPECT_REFUSED(plain.run({&x}, {}), Code::BadExecutable, "output");
  EXPECT_REFUSED(Case("copy", {}).run({&x}, {&y}), Code::BadExecutable, "missing");
  EXPECT_REFUSED(
      Case("copy", {{"dims", std::string("x")}, {"in_strides", Ints{1}}, {"out_strides", Ints{1}}}).run({&x}, {&y}),
      Code::BadExecutable, "not a list");
  EXPECT_REFUSED(
      Case("copy", {{"dims", Ints{1}}, {"in_strides", Ints{1}}, {"out_strides", Ints{1}}, {"wrap", int64_t(1)}})
          .run({&x}, {&y}),
      Code::Unsupported, "'wrap'");
  EXPECT_REFUSED(Case("no_such_op", {}).run({&x}, {&y}), Code::Unsupported, "no such operation");
}

TEST(Copy, RefusesShapesThatOverflow) {
  Tensor x(DType::F32, {1}), y(DType::F32, {1});
  Case copy("copy", {{"dims", Ints{1}}, {"in_strides", Ints{1}}, {"out_strides", Ints{1}}});
  for (exe::Shape shape :
       {exe::Shape{INT64_MAX, 2}, exe::Shape{0, INT64_MAX, INT64_MAX}, exe::Shape{int64_t(1) << 61}}) {
    x.desc.shape = shape;
    std::unique_ptr<Kernel> kernel;
    EXPECT_REFUSED(copy.prepare({&x}, {&y}, kernel), Code::BadExecutable, "too large");
    EXPECT_EQ(kernel, nullptr);
  }
  x.desc.shape = {-1};
  std::unique_ptr<Kernel> kernel;
  EXPECT_REFUSED(copy.prepare({&x}, {&y}, kernel), Code::BadExecutable, "negative dimension");
  x.desc.shape = exe::Shape(33, 1);
  EXPECT_REFUSED(copy.prepare({&x}, {&y}, kernel), Code::BadExecutable, "rank 33");
}

TEST(Fill, EveryType) {
  for (int t = 0; t <= int(DType::Bool); ++t) {
    Tensor y(DType(t), {3, 5});
    EXPECT_OK(Case("fill", {{"value", int64_t(1)}}).run({}, {&y}));
    EXPECT_EQ(y.values(), std::vector<double>(15, 1.0)) << t;
    EXPECT_OK(Case("fill", {{"value", 0.0}}).run({}, {&y}));
    EXPECT_EQ(y.values(), std::vector<double>(15, 0.0)) << t;
  }
  Tensor y(DType::F32, {2}), none(DType::F32, {0}), i(DType::I16, {2});
  EXPECT_OK(Case("fill", {{"value", -std::numeric_limits<double>::infinity()}}).run({}, {&y}));
  EXPECT_EQ(y.get(1), -std::numeric_limits<double>::infinity());
  EXPECT_OK(Case("fill", {{"value", int64_t(7)}}).run({}, {&none}));
  EXPECT_OK(Case("fill", {{"value", int64_t(-32768)}}).run({}, {&i}));
  EXPECT_EQ(i.get(1), -32768);
}

TEST(Fill, RefusesValuesThatDoNotFit) {
  Tensor i8(DType::I8, {1}), u64(DType::U64, {1}), boolean(DType::Bool, {1}), i64(DType::I64, {1});
  EXPECT_REFUSED(Case("fill", {{"value", int64_t(128)}}).run({}, {&i8}), Code::BadExecutable, "does not fit i8");
  EXPECT_OK(Case("fill", {{"value", int64_t(-1)}}).run({}, {&u64}));
  EXPECT_EQ(u64.as<uint64_t>()[0], ~uint64_t(0));
  EXPECT_REFUSED(Case("fill", {{"value", int64_t(2)}}).run({}, {&boolean}), Code::BadExecutable, "does not fit bool");
  EXPECT_REFUSED(Case("fill", {{"value", 0.5}}).run({}, {&i64}), Code::BadExecutable, "does not fit");
  EXPECT_REFUSED(Case("fill", {{"value", 1e30}}).run({}, {&i64}), Code::BadExecutable, "does not fit");
  EXPECT_REFUSED(Case("fill", {{"value", std::nan("")}}).run({}, {&i64}), Code::BadExecutable, "does not fit");
  EXPECT_REFUSED(Case("fill", {{"value", std::string("1")}}).run({}, {&i64}), Code::BadExecutable, "not a number");
}
