//===- Reduce.cpp - reduction of several arrays in a fixed order ----------===//
// Blocks of a few KiB stay in the first cache while all members are added to them; the result of a block is written
// last, which is why it may overwrite an operand.
//===----------------------------------------------------------------------===//
#include "runtime/Transport/Reduce.h"
#include "runtime/Kernels/Convert.h"
#include <algorithm>
#include <type_traits>

namespace comm::rt {
namespace {
constexpr int64_t blockElements = 1024;

// Integers are added and multiplied without a sign, so that overflow wraps.
struct SumOp {
  template <class T> T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    else
      return a + b;
  }
};
struct ProdOp {
  template <class T> T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    else
      return a * b;
  }
};
// A NaN on either side stays: no comparison with one is true.
struct MaxOp {
  template <class T> T operator()(T a, T b) const { return a > b || a != a ? a : b; }
};
struct MinOp {
  template <class T> T operator()(T a, T b) const { return a < b || a != a ? a : b; }
};

template <class Type, class Op> void reduce(const void *const *ins, size_t members, void *out, int64_t count, Op op) {
  using Stored = typename Type::Stored;
  typename Type::Wide acc[blockElements];
  for (int64_t begin = 0; begin < count; begin += blockElements) {
    int64_t n = std::min(blockElements, count - begin);
    const Stored *a = static_cast<const Stored *>(ins[0]) + begin;
    for (int64_t i = 0; i < n; ++i)
      acc[i] = Type::widen(a[i]);
    for (size_t m = 1; m < members; ++m) {
      const Stored *b = static_cast<const Stored *>(ins[m]) + begin;
      for (int64_t i = 0; i < n; ++i)
        acc[i] = op(acc[i], Type::widen(b[i]));
    }
    Stored *o = static_cast<Stored *>(out) + begin;
    for (int64_t i = 0; i < n; ++i)
      o[i] = Type::narrow(acc[i]);
  }
}

template <class Type>
void reduceType(ReduceKind kind, const void *const *ins, size_t members, void *out, int64_t count) {
  switch (kind) {
  case ReduceKind::Sum:
    return reduce<Type>(ins, members, out, count, SumOp());
  case ReduceKind::Max:
    return reduce<Type>(ins, members, out, count, MaxOp());
  case ReduceKind::Min:
    return reduce<Type>(ins, members, out, count, MinOp());
  case ReduceKind::Prod:
    return reduce<Type>(ins, members, out, count, ProdOp());
  }
}
} // namespace

void reduceInOrder(exe::DType dtype, ReduceKind kind, const void *const *ins, size_t members, void *out,
                   int64_t count) {
  switch (dtype) {
  case exe::DType::F32:
    return reduceType<PlainElement<float>>(kind, ins, members, out, count);
  case exe::DType::F16:
    return reduceType<F16Element>(kind, ins, members, out, count);
  case exe::DType::BF16:
    return reduceType<BF16Element>(kind, ins, members, out, count);
  case exe::DType::F64:
    return reduceType<PlainElement<double>>(kind, ins, members, out, count);
  case exe::DType::I64:
    return reduceType<PlainElement<int64_t>>(kind, ins, members, out, count);
  case exe::DType::I32:
    return reduceType<PlainElement<int32_t>>(kind, ins, members, out, count);
  case exe::DType::I16:
    return reduceType<PlainElement<int16_t>>(kind, ins, members, out, count);
  case exe::DType::I8:
    return reduceType<PlainElement<int8_t>>(kind, ins, members, out, count);
  case exe::DType::U64:
    return reduceType<PlainElement<uint64_t>>(kind, ins, members, out, count);
  case exe::DType::U32:
    return reduceType<PlainElement<uint32_t>>(kind, ins, members, out, count);
  case exe::DType::U16:
    return reduceType<PlainElement<uint16_t>>(kind, ins, members, out, count);
  case exe::DType::U8:
    return reduceType<PlainElement<uint8_t>>(kind, ins, members, out, count);
  case exe::DType::Bool: { // 0 and 1: "or" is the larger, "and" the smaller one
    bool any = kind == ReduceKind::Sum || kind == ReduceKind::Max;
    return reduceType<PlainElement<uint8_t>>(any ? ReduceKind::Max : ReduceKind::Min, ins, members, out, count);
  }
  }
}

} // namespace comm::rt
