//===- ColumnsTest.cpp - products by ranges of columns --------------------===//
// Whatever hears of a range of columns finds it final, and all ranges together are what a run computes, bit for bit.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"
#include <cstring>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
/// `ins` but the first are weights.
void check(Case product, std::vector<Tensor *> ins, int64_t rows, int64_t n, const std::string &what) {
  SCOPED_TRACE(what);
  for (size_t i = 1; i < ins.size(); ++i)
    ins[i]->desc.constant = ins[i]->data();
  DType type = ins[0]->desc.dtype;
  Tensor expected(type, {rows, n}), y(type, {rows, n});
  std::memset(y.data(), 0xff, y.bytes.size());
  std::unique_ptr<Kernel> kernel;
  ASSERT_TRUE(bool(product.prepare(ins, {&expected}, kernel)));
  std::vector<void *> in = {ins[0]->data()}, whole = {expected.data()}, out = {y.data()};
  in.resize(ins.size(), nullptr);
  ASSERT_TRUE(bool(kernel->run(in.data(), whole.data())));
  ASSERT_EQ(kernel->columns(), n);
  int64_t step = kernel->columnStep(), width = exe::byteWidth(type), middle = (n + step - 1) / step / 3 * step;
  for (auto [begin, end] : {std::pair{middle, n}, std::pair<int64_t, int64_t>{0, middle}}) {
    if (begin == end)
      continue;
    int64_t told = begin;
    auto done = [&](int64_t first, int64_t last) {
      EXPECT_EQ(first, told);
      EXPECT_LT(first, last);
      told = last;
      for (int64_t row = 0; row < rows; ++row)
        ASSERT_EQ(0, std::memcmp(y.bytes.data() + (row * n + first) * width,
                                 expected.bytes.data() + (row * n + first) * width, size_t((last - first) * width)))
            << "row " << row << " of columns " << first << " to " << last;
    };
    ASSERT_TRUE(bool(kernel->runColumns(in.data(), out.data(), begin, end, done)));
    EXPECT_EQ(told, end);
  }
}
} // namespace

TEST(Columns, OfDenseProducts) {
  for (MicroKernelChoice micro : choices())
    for (const char *precision : {"", "bf16", "f16"})
      for (DType type : {DType::F32, DType::BF16})
        for (auto [n, k] : {std::pair<int64_t, int64_t>{1, 3}, {100, 70}, {384, 64}, {1500, 600}})
          for (int64_t m : {1, 2, 15, 150}) {
            if (type == DType::BF16 && *precision)
              continue;
            Case product("matmul", {});
            if (*precision)
              product.command.attrs["precision"] = std::string(precision);
            product.micro = micro;
            Tensor a = Tensor::random(type, {m, k}, 1), b = Tensor::random(type, {k, n}, 2);
            check(product, {&a, &b}, m, n,
                  std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + " " + precision + " " +
                      exe::dtypeName(type) + " micro " + std::to_string(int(micro)));
            if (testing::Test::HasFatalFailure())
              return;
          }
}

TEST(Columns, OfQuantisedProducts) {
  for (MicroKernelChoice micro : choices())
    for (int64_t int8 : {0, 1})
      for (int64_t m : {1, 3, 40}) {
        Case product("quantized_matmul", {{"bits", int64_t(4)}, {"block", int64_t(32)}, {"int8", int8}});
        product.micro = micro;
        Tensor x = Tensor::random(DType::F32, {m, 128}, 1), w = Tensor::random(DType::U8, {200, 4, 16}, 2, 0, 255),
               scales = Tensor::random(DType::F32, {200, 4}, 3, 0.5, 1);
        check(product, {&x, &w, &scales}, m, 200, std::to_string(m) + " rows, int8 " + std::to_string(int8));
      }
}

TEST(Columns, NotOfWhatIsSharedOutOtherwise) {
  std::unique_ptr<Kernel> kernel;
  auto columns = [&](exe::Shape a, exe::Shape b, exe::Shape y, bool weight, exe::Attrs attrs = {}) {
    Tensor left(DType::F32, std::move(a)), right(DType::F32, std::move(b)), out(DType::F32, std::move(y));
    right.desc.constant = weight ? right.data() : nullptr;
    EXPECT_OK(Case("matmul", std::move(attrs)).prepare({&left, &right}, {&out}, kernel));
    return kernel->columns();
  };
  EXPECT_EQ(columns({8, 16}, {16, 64}, {8, 64}, true), 64);
  EXPECT_EQ(columns({8, 16}, {16, 64}, {8, 64}, false), 0);         // packed in every run
  EXPECT_EQ(columns({1024, 16}, {16, 64}, {1024, 64}, true), 0);    // dealt out by rows
  EXPECT_EQ(columns({2, 8, 16}, {2, 16, 64}, {2, 8, 64}, true), 0); // a batch
  EXPECT_EQ(columns({16, 8}, {16, 64}, {8, 64}, true, {{"transpose_a", int64_t(1)}}), 0);
}
