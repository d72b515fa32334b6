//===- TopK.cpp - positions of the largest elements of a row --------------===//
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Support.h"
#include <algorithm>
#include <numeric>

using namespace comm;
using namespace comm::rt;

namespace {
template <class T> T valueOf(T x) { return x; }
struct F16Bits {
  uint16_t bits;
};
struct BF16Bits {
  uint16_t bits;
};
inline float valueOf(F16Bits x) { return fromF16(x.bits); }
inline float valueOf(BF16Bits x) { return fromBF16(x.bits); }

/// x stands before y among the largest; NaN before every number.
template <class V> bool larger(V x, V y) { return x != x ? y == y : x > y; }

template <class T> void selectRow(const void *row, int64_t n, int64_t k, bool largest, int64_t *out, int64_t *order) {
  const T *x = static_cast<const T *>(row);
  std::iota(order, order + n, int64_t(0));
  auto before = [&](int64_t a, int64_t b) {
    auto p = valueOf(x[a]), q = valueOf(x[b]);
    if (largest ? larger(p, q) : larger(q, p))
      return true;
    return !(largest ? larger(q, p) : larger(p, q)) && a < b;
  };
  std::partial_sort(order, order + k, order + n, before);
  std::copy(order, order + k, out);
}

using SelectFunction = void (*)(const void *, int64_t, int64_t, bool, int64_t *, int64_t *);
SelectFunction selectFunction(exe::DType type) {
  switch (type) {
  case exe::DType::F32:
    return selectRow<float>;
  case exe::DType::F64:
    return selectRow<double>;
  case exe::DType::F16:
    return selectRow<F16Bits>;
  case exe::DType::BF16:
    return selectRow<BF16Bits>;
  case exe::DType::I64:
    return selectRow<int64_t>;
  case exe::DType::I32:
    return selectRow<int32_t>;
  case exe::DType::I16:
    return selectRow<int16_t>;
  case exe::DType::I8:
    return selectRow<int8_t>;
  case exe::DType::U64:
    return selectRow<uint64_t>;
  case exe::DType::U32:
    return selectRow<uint32_t>;
  case exe::DType::U16:
    return selectRow<uint16_t>;
  case exe::DType::U8:
  case exe::DType::Bool:
    return selectRow<uint8_t>;
  }
  return nullptr;
}
} // namespace

Status comm::rt::prepareTopK(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(1, 1, 1, {"largest"}); !s)
    return s;
  const TensorDesc &x = p.ins[0], &y = p.outs[0];
  bool largest = true;
  if (Status s = p.boolAttr("largest", largest, true); !s)
    return s;
  if (x.shape.empty() || y.shape.empty() || y.shape.back() > x.shape.back())
    return p.bad("output " + shapeText(y.shape) + " takes more than the rows of " + shapeText(x.shape) + " have");
  exe::Shape expected = x.shape;
  expected.back() = y.shape.back();
  if (Status s = p.sameShape(y.shape, expected, "output"); !s)
    return s;
  SelectFunction select = selectFunction(x.dtype);
  if (y.dtype != exe::DType::I64 || !select)
    return p.bad("positions have type " + std::string(exe::dtypeName(y.dtype)) + ", expected i64");
  int64_t n = x.shape.back(), k = y.shape.back(), width = exe::byteWidth(x.dtype);
  int64_t rows = elementsOf(x.shape, 0, x.shape.size() - 1);
  out = makeKernel(n && k ? rows : 0, [=](void *const *ins, void *const *outs, int64_t begin, int64_t end) {
    auto *order = static_cast<int64_t *>(scratch(ScratchSlot::Scores, n * int64_t(sizeof(int64_t))));
    if (!order)
      return Status{Code::OutOfMemory, "no memory to sort a row"};
    for (int64_t row = begin; row < end; ++row)
      select(static_cast<const char *>(ins[0]) + row * n * width, n, k, largest,
             static_cast<int64_t *>(outs[0]) + row * k, order);
    return Status::ok();
  });
  return Status::ok();
}
