//===- ThreadsTest.cpp - one kernel, several threads, disjoint iterations ===//
#include "TestSupport.h"
#include <atomic>
#include <thread>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
/// Runs `kernel` once on this thread and once on four; both results must have the same bits.
void compare(Kernel &kernel, std::vector<void *> ins, Tensor &y) {
  void *outs[] = {y.data()};
  EXPECT_OK(kernel.run(ins.data(), outs));
  std::vector<char> alone = y.bytes;
  std::fill(y.bytes.begin(), y.bytes.end(), char(0x7f));
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  int64_t n = kernel.iterations();
  ASSERT_GE(n, 4);
  for (int64_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      void *mine[] = {y.data()};
      if (!kernel.run(ins.data(), mine, n * t / 4, n * (t + 1) / 4))
        ++failures;
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(y.bytes, alone);
}
} // namespace

TEST(Threads, MatmulColumnsAndBatches) {
  for (DType type : {DType::F32, DType::BF16, DType::F64})
    for (bool constant : {false, true})
      for (int64_t rows : {1, 33, 345}) {
        Tensor a = Tensor::random(type, {2, rows, 70}, 1), b = Tensor::random(type, {2, 70, 171}, 2),
               y(type, {2, rows, 171});
        b.desc.constant = constant ? b.data() : nullptr;
        std::unique_ptr<Kernel> kernel;
        Status s = Case("matmul", {}).prepare({&a, &b}, {&y}, kernel);
        ASSERT_TRUE(bool(s)) << s.text;
        if (kernel->iterations() >= 4)
          compare(*kernel, {a.data(), b.data()}, y);
      }
}

TEST(Threads, QuantizedColumns) {
  for (int64_t rows : {1, 5, 33})
    for (bool int8 : {false, true}) {
      Tensor x = Tensor::random(DType::F32, {rows, 70}, 1), w = Tensor::random(DType::U8, {171, 3, 16}, 2, 0, 256),
             s = Tensor::random(DType::F32, {171, 3}, 3), y(DType::F32, {rows, 171});
      for (Tensor *t : {&w, &s})
        t->desc.constant = t->data();
      std::unique_ptr<Kernel> kernel;
      Status status = Case("quantized_matmul", {{"bits", int64_t(4)}, {"block", int64_t(32)}, {"int8", int64_t(int8)}})
                          .prepare({&x, &w, &s}, {&y}, kernel);
      ASSERT_TRUE(bool(status)) << status.text;
      compare(*kernel, {x.data(), nullptr, nullptr}, y);
    }
}

TEST(Threads, AttentionHeads) {
  for (int64_t queries : {1, 70}) {
    Tensor q = Tensor::random(DType::F32, {2, 6, queries, 24}, 1), k = Tensor::random(DType::F32, {2, 3, 90, 24}, 2),
           y(DType::F32, q.shape());
    std::unique_ptr<Kernel> kernel;
    Status s = Case("attention", {{"scale", 0.2}, {"causal", int64_t(1)}, {"causal_offset", 90 - queries}})
                   .prepare({&q, &k, &k}, {&y}, kernel);
    ASSERT_TRUE(bool(s)) << s.text;
    compare(*kernel, {q.data(), k.data(), k.data()}, y);
  }
}

// Whoever ends last joins the parts of a long cache, always in the same order.
TEST(Threads, AttentionOverALongCache) {
  Tensor q = Tensor::random(DType::F32, {1, 4, 1, 24}, 1), k = Tensor::random(DType::F32, {1, 1, 4000, 24}, 2),
         y(DType::F32, q.shape());
  std::unique_ptr<Kernel> kernel;
  Status s = Case("attention", {{"scale", 0.2}}).prepare({&q, &k, &k}, {&y}, kernel);
  ASSERT_TRUE(bool(s)) << s.text;
  EXPECT_GE(kernel->iterations(), 4);
  for (int run = 0; run < 20; ++run)
    compare(*kernel, {q.data(), k.data(), k.data()}, y);
}

TEST(Threads, TransposedCopy) {
  Tensor x = Tensor::random(DType::F32, {5, 130, 67}, 1), y(DType::F32, {5, 67, 130});
  std::unique_ptr<Kernel> kernel;
  Status s =
      Case("copy",
           {{"dims", Ints{5, 67, 130}}, {"in_strides", Ints{130 * 67, 1, 67}}, {"out_strides", Ints{130 * 67, 130, 1}}})
          .prepare({&x}, {&y}, kernel);
  ASSERT_TRUE(bool(s)) << s.text;
  compare(*kernel, {x.data()}, y);
}
