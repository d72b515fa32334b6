//===- TestSupport.h - tensors as doubles, commands in one line -----------===//
#pragma once
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Kernel.h"
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"
#include "runtime/Kernels/Support.h"
#include <cmath>
#include <gtest/gtest.h>
#include <random>

namespace comm::rt::test {

/// A tensor in exactly as many bytes as it needs, so that sanitizers see every step outside.
class Tensor {
public:
  Tensor(exe::DType dtype, exe::Shape dims) {
    desc.dtype = dtype;
    desc.shape = std::move(dims);
    bytes.resize(size_t(elementsOf(desc.shape) * exe::byteWidth(dtype)));
  }
  static Tensor of(exe::DType dtype, exe::Shape dims, const std::vector<double> &values) {
    Tensor t(dtype, std::move(dims));
    for (size_t i = 0; i < values.size(); ++i)
      t.set(int64_t(i), values[i]);
    return t;
  }
  static Tensor random(exe::DType dtype, exe::Shape dims, uint32_t seed, double low = -1, double high = 1) {
    Tensor t(dtype, std::move(dims));
    std::mt19937 engine(seed);
    std::uniform_real_distribution<double> real(low, high);
    for (int64_t i = 0; i < t.size(); ++i)
      t.set(i, isFloat(dtype) ? real(engine) : std::floor(real(engine)));
    return t;
  }
  /// 0, 1, 2, ... : every element different.
  static Tensor count(exe::DType dtype, exe::Shape dims) {
    Tensor t(dtype, std::move(dims));
    for (int64_t i = 0; i < t.size(); ++i)
      t.set(i, double(i % 100));
    return t;
  }

  int64_t size() const { return elementsOf(desc.shape); }
  const exe::Shape &shape() const { return desc.shape; }
  void *data() { return bytes.data(); }
  template <typename T> T *as() { return reinterpret_cast<T *>(bytes.data()); }
  template <typename T> const T *as() const { return reinterpret_cast<const T *>(bytes.data()); }

  double get(int64_t i) const {
    switch (desc.dtype) {
    case exe::DType::F32:
      return as<float>()[i];
    case exe::DType::F16:
      return fromF16(as<uint16_t>()[i]);
    case exe::DType::BF16:
      return fromBF16(as<uint16_t>()[i]);
    case exe::DType::F64:
      return as<double>()[i];
    case exe::DType::I64:
      return double(as<int64_t>()[i]);
    case exe::DType::I32:
      return as<int32_t>()[i];
    case exe::DType::I16:
      return as<int16_t>()[i];
    case exe::DType::I8:
      return as<int8_t>()[i];
    case exe::DType::U64:
      return double(as<uint64_t>()[i]);
    case exe::DType::U32:
      return as<uint32_t>()[i];
    case exe::DType::U16:
      return as<uint16_t>()[i];
    default:
      return as<uint8_t>()[i];
    }
  }
  void set(int64_t i, double v) {
    switch (desc.dtype) {
    case exe::DType::F32:
      as<float>()[i] = float(v);
      break;
    case exe::DType::F16:
      as<uint16_t>()[i] = toF16(float(v));
      break;
    case exe::DType::BF16:
      as<uint16_t>()[i] = toBF16(float(v));
      break;
    case exe::DType::F64:
      as<double>()[i] = v;
      break;
    case exe::DType::I64:
      as<int64_t>()[i] = int64_t(v);
      break;
    case exe::DType::I32:
      as<int32_t>()[i] = int32_t(v);
      break;
    case exe::DType::I16:
      as<int16_t>()[i] = int16_t(v);
      break;
    case exe::DType::I8:
      as<int8_t>()[i] = int8_t(v);
      break;
    case exe::DType::U64:
      as<uint64_t>()[i] = uint64_t(v);
      break;
    case exe::DType::U32:
      as<uint32_t>()[i] = uint32_t(v);
      break;
    case exe::DType::U16:
      as<uint16_t>()[i] = uint16_t(v);
      break;
    default:
      as<uint8_t>()[i] = uint8_t(v);
      break;
    }
  }
  std::vector<double> values() const {
    std::vector<double> out(size_t(size()), 0.0);
    for (int64_t i = 0; i < size(); ++i)
      out[size_t(i)] = get(i);
    return out;
  }

  TensorDesc desc;
  std::vector<char> bytes;
};

inline exe::Grid oneRank() { return exe::Grid{}; }

struct Case {
  exe::Command command;
  exe::Grid grid;
  int64_t rank = 0;
  MicroKernelChoice micro = MicroKernelChoice::Auto;
  PackCache *cache = nullptr;

  Case(const char *op, exe::Attrs attrs) {
    command.op = op;
    command.label = "node";
    command.attrs = std::move(attrs);
  }
  Status prepare(const std::vector<Tensor *> &ins, const std::vector<Tensor *> &outs,
                 std::unique_ptr<Kernel> &kernel) const {
    std::vector<TensorDesc> inDescs, outDescs;
    for (Tensor *t : ins)
      inDescs.push_back(t->desc);
    for (Tensor *t : outs)
      outDescs.push_back(t->desc);
    PrepareContext context;
    context.grid = &grid;
    context.rank = rank;
    context.microKernel = micro;
    context.cache = cache;
    return prepareKernel(command, inDescs, outDescs, context, kernel);
  }
  /// Prepares and runs; `pieces` runs the iterations in that many separate calls.
  Status run(const std::vector<Tensor *> &ins, const std::vector<Tensor *> &outs, int64_t pieces = 1) const {
    std::unique_ptr<Kernel> kernel;
    if (Status s = prepare(ins, outs, kernel); !s)
      return s;
    std::vector<void *> in, out;
    for (size_t i = 0; i < ins.size(); ++i)
      in.push_back(kernel->readsInput(i) ? ins[i]->data() : nullptr);
    for (Tensor *t : outs)
      out.push_back(t->data());
    int64_t n = kernel->iterations();
    for (int64_t p = 0; p < pieces; ++p)
      if (Status s = kernel->run(in.data(), out.data(), n * p / pieces, n * (p + 1) / pieces); !s)
        return s;
    return Status::ok();
  }
};

#define EXPECT_OK(EXPRESSION)                                                                                          \
  do {                                                                                                                 \
    Status status_ = (EXPRESSION);                                                                                     \
    EXPECT_TRUE(bool(status_)) << status_.text;                                                                        \
  } while (false)

/// A refusal with the code and a part of its sentence; the sentence names op and label.
#define EXPECT_REFUSED(EXPRESSION, CODE, PART)                                                                         \
  do {                                                                                                                 \
    Status status_ = (EXPRESSION);                                                                                     \
    EXPECT_EQ(int(status_.code), int(CODE)) << status_.text;                                                           \
    EXPECT_NE(status_.text.find(PART), std::string::npos) << status_.text;                                             \
    EXPECT_NE(status_.text.find("'node'"), std::string::npos) << status_.text;                                         \
  } while (false)

inline void expectNear(const std::vector<double> &got, const std::vector<double> &expected, double tolerance,
                       const std::string &what = {}) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_LE(std::fabs(got[i] - expected[i]), tolerance)
        << what << " element " << i << ": " << got[i] << " expected " << expected[i];
}

/// The micro-kernels that run on this machine.
inline std::vector<MicroKernelChoice> choices() {
  std::vector<MicroKernelChoice> all = {MicroKernelChoice::Builtin, MicroKernelChoice::Portable};
  const MicroKernel *kernel = nullptr;
  const NarrowKernel *narrow = nullptr;
  for (MicroKernelChoice choice : {MicroKernelChoice::Libxsmm, MicroKernelChoice::Avx2, MicroKernelChoice::Avx512,
                                   MicroKernelChoice::Avx512BF16, MicroKernelChoice::Amx})
    if (chooseMicroKernel(choice, kernel) && chooseNarrowKernel(choice, narrow))
      all.push_back(choice);
  return all;
}

using Ints = std::vector<int64_t>;
using Names = std::vector<std::string>;

} // namespace comm::rt::test
