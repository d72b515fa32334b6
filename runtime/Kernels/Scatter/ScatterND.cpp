//===- ScatterND.cpp - updates by index tuples ----------------------------===//
// Tuple after tuple, so that repeated ones meet in one order on every rank. Half types are joined in f32.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Support.h"
#include <algorithm>
#include <cmath>
#include <cstring>

using namespace comm;
using namespace comm::rt;

namespace {
enum class Join { Set, Sum, Prod, Max, Min };

bool parseJoin(const std::string &text, Join &out) {
  constexpr const char *names[] = {"set", "sum", "prod", "max", "min"};
  for (int i = 0; i < 5; ++i)
    if (text == names[i]) {
      out = Join(i);
      return true;
    }
  return false;
}

template <class T> T joined(Join join, T there, T update) {
  switch (join) {
  case Join::Sum:
    return T(there + update);
  case Join::Prod:
    return T(there * update);
  case Join::Max: // NaN wins
    return there > update || there != there ? there : update;
  case Join::Min:
    return there < update || there != there ? there : update;
  case Join::Set:
    break;
  }
  return update;
}

struct F16Element {
  static float get(uint16_t x) { return fromF16(x); }
  static uint16_t put(float x) { return toF16(x); }
};
struct BF16Element {
  static float get(uint16_t x) { return fromBF16(x); }
  static uint16_t put(float x) { return toBF16(x); }
};

template <class T> void joinRow(Join join, void *to, const void *from, int64_t count) {
  T *y = static_cast<T *>(to);
  const T *u = static_cast<const T *>(from);
  for (int64_t i = 0; i < count; ++i)
    y[i] = joined(join, y[i], u[i]);
}
template <class Half> void joinHalves(Join join, void *to, const void *from, int64_t count) {
  auto *y = static_cast<uint16_t *>(to);
  const auto *u = static_cast<const uint16_t *>(from);
  for (int64_t i = 0; i < count; ++i)
    y[i] = Half::put(joined(join, Half::get(y[i]), Half::get(u[i])));
}

using RowFunction = void (*)(Join, void *, const void *, int64_t);
/// Sums and products of integers wrap: they are computed without sign.
RowFunction rowFunction(exe::DType type, Join join) {
  bool wraps = join == Join::Sum || join == Join::Prod;
  switch (type) {
  case exe::DType::F32:
    return joinRow<float>;
  case exe::DType::F64:
    return joinRow<double>;
  case exe::DType::F16:
    return joinHalves<F16Element>;
  case exe::DType::BF16:
    return joinHalves<BF16Element>;
  case exe::DType::I64:
    return wraps ? joinRow<uint64_t> : joinRow<int64_t>;
  case exe::DType::I32:
    return wraps ? joinRow<uint32_t> : joinRow<int32_t>;
  case exe::DType::I16:
    return wraps ? joinRow<uint16_t> : joinRow<int16_t>;
  case exe::DType::I8:
    return wraps ? joinRow<uint8_t> : joinRow<int8_t>;
  case exe::DType::U64:
    return joinRow<uint64_t>;
  case exe::DType::U32:
    return joinRow<uint32_t>;
  case exe::DType::U16:
    return joinRow<uint16_t>;
  case exe::DType::U8:
    return joinRow<uint8_t>;
  case exe::DType::Bool:
    return nullptr;
  }
  return nullptr;
}
} // namespace

Status comm::rt::prepareScatterND(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(3, 3, 1, {"kind"}); !s)
    return s;
  const TensorDesc &data = p.ins[0], &indices = p.ins[1], &updates = p.ins[2];
  auto kind = p.command.attrs.find("kind");
  const auto *text = kind == p.command.attrs.end() ? nullptr : std::get_if<std::string>(&kind->second);
  Join join = Join::Set;
  if (!text || !parseJoin(*text, join))
    return p.bad("'kind' is not set, sum, prod, max or min");
  if (indices.dtype != exe::DType::I32 && indices.dtype != exe::DType::I64)
    return p.bad(std::string("indices have type ") + exe::dtypeName(indices.dtype) + ", expected i32 or i64");
  for (const TensorDesc *other : {&updates, &p.outs[0]})
    if (Status s = p.sameType(data, *other); !s)
      return s;
  if (Status s = p.sameShape(p.outs[0].shape, data.shape, "output"); !s)
    return s;
  int64_t depth = indices.shape.empty() ? 0 : indices.shape.back(), rank = int64_t(data.shape.size());
  if (depth < 1 || depth > rank)
    return p.bad("the last dimension of the indices is " + std::to_string(depth) + ", expected 1 to " +
                 std::to_string(rank));
  exe::Shape expected(indices.shape.begin(), indices.shape.end() - 1);
  expected.insert(expected.end(), data.shape.begin() + depth, data.shape.end());
  if (Status s = p.sameShape(updates.shape, expected, "updates"); !s)
    return s;
  RowFunction row = rowFunction(data.dtype, join);
  if (join != Join::Set && !row)
    return p.unsupported("booleans can only be set");
  exe::Shape sizes(data.shape.begin(), data.shape.begin() + depth);
  int64_t tuples = elementsOf(indices.shape) / depth, slice = elementsOf(data.shape, size_t(depth), data.shape.size());
  int64_t width = exe::byteWidth(data.dtype), bytes = elementsOf(data.shape) * width;
  bool wide = indices.dtype == exe::DType::I64;
  out = makeKernel(1, [=, prefix = p.prefix()](void *const *ins, void *const *outs, int64_t, int64_t) {
    char *to = static_cast<char *>(outs[0]);
    const char *from = static_cast<const char *>(ins[2]);
    std::memcpy(to, ins[0], size_t(bytes));
    for (int64_t i = 0; i < tuples; ++i) {
      int64_t offset = 0;
      for (int64_t d = 0; d < depth; ++d) {
        int64_t given = wide ? static_cast<const int64_t *>(ins[1])[i * depth + d]
                             : static_cast<const int32_t *>(ins[1])[i * depth + d];
        int64_t size = sizes[size_t(d)], index = given < 0 ? given + size : given;
        if (index < 0 || index >= size)
          return Status{Code::InvalidArgument, prefix + "index " + std::to_string(given) + " is outside [-" +
                                                   std::to_string(size) + ", " + std::to_string(size) + ")"};
        offset = offset * size + index;
      }
      if (join == Join::Set)
        std::memcpy(to + offset * slice * width, from + i * slice * width, size_t(slice * width));
      else
        row(join, to + offset * slice * width, from + i * slice * width, slice);
    }
    return Status::ok();
  });
  return Status::ok();
}
