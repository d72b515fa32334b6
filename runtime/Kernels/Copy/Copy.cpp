//===- Copy.cpp - copy and fill -------------------------------------------===//
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Copy/StridedCopy.h"
#include "runtime/Kernels/Support.h"
#include <algorithm>
#include <cmath>
#include <cstring>

using namespace comm;
using namespace comm::rt;

/// Empty when every index of the walk lies in [0, elements).
static std::string rangeProblem(const std::vector<int64_t> &dims, const std::vector<int64_t> &strides, int64_t offset,
                                int64_t elements) {
  int64_t low = offset, high = offset;
  for (size_t d = 0; d < dims.size(); ++d) {
    int64_t reach = 0;
    if (!mulFits(dims[d] - 1, strides[d], reach) || !addFits(reach < 0 ? low : high, reach, reach < 0 ? low : high))
      return "overflow";
  }
  if (low < 0 || high >= elements)
    return "reach elements " + std::to_string(low) + " to " + std::to_string(high) + " of " + std::to_string(elements);
  return {};
}

namespace {
class CopyKernel : public Kernel {
public:
  CopyKernel(StridedCopy copy, int64_t in, int64_t out) : copy(std::move(copy)), parts(this->copy.rows(in, out)) {}
  int64_t iterations() const override { return copy.iterations(); }
  int64_t rows() const override { return parts; }
  bool readsOwnRow(size_t) const override { return true; }
  using Kernel::run;
  Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) override {
    copy.run(ins[0], outs[0], begin, end);
    return Status::ok();
  }

private:
  StridedCopy copy;
  int64_t parts;
};
} // namespace

Status comm::rt::prepareCopy(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(1, 1, 1, {"dims", "in_strides", "out_strides", "in_offset", "out_offset"}); !s)
    return s;
  std::vector<int64_t> dims, inStrides, outStrides;
  int64_t inOffset = 0, outOffset = 0;
  const int64_t zero = 0;
  if (Status s = p.intsAttr("dims", dims); !s)
    return s;
  if (Status s = p.intsAttr("in_strides", inStrides); !s)
    return s;
  if (Status s = p.intsAttr("out_strides", outStrides); !s)
    return s;
  if (Status s = p.intAttr("in_offset", inOffset, &zero); !s)
    return s;
  if (Status s = p.intAttr("out_offset", outOffset, &zero); !s)
    return s;
  if (Status s = p.sameType(p.ins[0], p.outs[0]); !s)
    return s;
  if (inStrides.size() != dims.size() || outStrides.size() != dims.size())
    return p.bad("'dims', 'in_strides' and 'out_strides' differ in length");
  if (dims.size() > maxRank)
    return p.unsupported("more than " + std::to_string(maxRank) + " dimensions");
  bool empty = false;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] < 0)
      return p.bad("negative size in 'dims' " + shapeText(dims));
    empty |= dims[d] == 0;
  }
  if (!empty) {
    for (size_t d = 0; d < dims.size(); ++d)
      if (dims[d] > 1 && outStrides[d] == 0)
        return p.bad("output stride 0 over a dimension of size " + std::to_string(dims[d]) +
                     " writes elements more than once");
    if (std::string why = rangeProblem(dims, inStrides, inOffset, elementsOf(p.ins[0].shape)); !why.empty())
      return p.bad("input strides " + shapeText(inStrides) + " over " + shapeText(dims) + " " + why);
    if (std::string why = rangeProblem(dims, outStrides, outOffset, elementsOf(p.outs[0].shape)); !why.empty())
      return p.bad("output strides " + shapeText(outStrides) + " over " + shapeText(dims) + " " + why);
    // Output strides are non-zero, yet an input of stride 0 repeated without bound is refused by the output's range
    // above only when output indices differ; the product bounds the work in any case.
    int64_t work = 1;
    for (int64_t size : dims)
      if (!mulFits(work, size, work) || work > elementsOf(p.outs[0].shape))
        return p.bad("'dims' " + shapeText(dims) + " holds more elements than the output");
  }
  StridedCopy plan(exe::byteWidth(p.outs[0].dtype), dims, inStrides, outStrides, inOffset, outOffset);
  out = std::make_unique<CopyKernel>(std::move(plan), elementsOf(p.ins[0].shape), elementsOf(p.outs[0].shape));
  return Status::ok();
}

/// Bit pattern of `value` in an integer type; false when it does not fit. For u64 any value is the pattern.
template <typename T> static bool integerBits(int64_t value, uint64_t &bits) {
  if constexpr (sizeof(T) < 8) {
    if (value < int64_t(std::numeric_limits<T>::min()) || value > int64_t(std::numeric_limits<T>::max()))
      return false;
  }
  T typed = T(value);
  std::memcpy(&bits, &typed, sizeof(T));
  return true;
}

static bool fillBits(exe::DType dtype, double real, int64_t integer, bool isInteger, uint64_t &bits) {
  bits = 0;
  if (isFloat(dtype)) {
    double value = isInteger ? double(integer) : real;
    if (dtype == exe::DType::F64) {
      std::memcpy(&bits, &value, 8);
    } else if (dtype == exe::DType::F32) {
      float narrow = float(value);
      std::memcpy(&bits, &narrow, 4);
    } else {
      bits = dtype == exe::DType::BF16 ? toBF16(float(value)) : toF16(float(value));
    }
    return true;
  }
  if (!isInteger) {
    if (!(real >= -9.2233720368547758e18 && real < 9.2233720368547758e18) || real != std::floor(real))
      return false;
    integer = int64_t(real);
  }
  switch (dtype) {
  case exe::DType::I64:
    return integerBits<int64_t>(integer, bits);
  case exe::DType::I32:
    return integerBits<int32_t>(integer, bits);
  case exe::DType::I16:
    return integerBits<int16_t>(integer, bits);
  case exe::DType::I8:
    return integerBits<int8_t>(integer, bits);
  case exe::DType::U64:
    return integerBits<uint64_t>(integer, bits);
  case exe::DType::U32:
    return integerBits<uint32_t>(integer, bits);
  case exe::DType::U16:
    return integerBits<uint16_t>(integer, bits);
  case exe::DType::U8:
    return integerBits<uint8_t>(integer, bits);
  default: // Bool
    bits = uint64_t(integer);
    return integer == 0 || integer == 1;
  }
}

Status comm::rt::prepareFill(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(0, 0, 1, {"value"}); !s)
    return s;
  auto it = p.command.attrs.find("value");
  if (it == p.command.attrs.end())
    return p.bad("attribute 'value' is missing");
  const double *real = std::get_if<double>(&it->second);
  const int64_t *integer = std::get_if<int64_t>(&it->second);
  if (!real && !integer)
    return p.bad("attribute 'value' is not a number");
  exe::DType dtype = p.outs[0].dtype;
  uint64_t bits = 0;
  if (!fillBits(dtype, real ? *real : 0, integer ? *integer : 0, integer != nullptr, bits))
    return p.bad(std::string("the value does not fit ") + exe::dtypeName(dtype));
  int64_t elements = elementsOf(p.outs[0].shape), width = exe::byteWidth(dtype);
  out = makeKernel(1, [=](void *const *, void *const *outs, int64_t, int64_t) {
    void *to = outs[0];
    if (bits == 0)
      std::memset(to, 0, size_t(elements * width));
    else if (width == 1)
      std::memset(to, int(bits), size_t(elements));
    else if (width == 2)
      std::fill_n(static_cast<uint16_t *>(to), elements, uint16_t(bits));
    else if (width == 4)
      std::fill_n(static_cast<uint32_t *>(to), elements, uint32_t(bits));
    else
      std::fill_n(static_cast<uint64_t *>(to), elements, bits);
    return Status::ok();
  });
  return Status::ok();
}
