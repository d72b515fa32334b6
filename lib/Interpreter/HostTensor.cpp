//===- HostTensor.cpp - tensors on the host -------------------------------===//
#include "Internal.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/Hashing.h"
#include <cmath>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::detail;

int64_t comm::detail::toField(double x) {
  if (std::isfinite(x) && x == std::floor(x) && std::fabs(x) < 9e18)
    return toField(static_cast<int64_t>(x));
  uint64_t bits;
  static_assert(sizeof(bits) == sizeof(x));
  std::memcpy(&bits, &x, sizeof(bits));
  return static_cast<int64_t>((bits * 0x9E3779B97F4A7C15ull >> 33) % kPrime);
}

double comm::detail::roundTo(Type type, double x) {
  if (type.isF64())
    return x;
  if (type.isF32())
    return static_cast<float>(x);
  APFloat value(x);
  bool lost;
  value.convert(cast<FloatType>(type).getFloatSemantics(), APFloat::rmNearestTiesToEven, &lost);
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
  return value.convertToDouble();
}

int64_t comm::detail::wrapTo(Type type, int64_t x) {
  unsigned width = type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
  if (width == 1)
    return x & 1;
  return width >= 64 ? x : static_cast<int64_t>(static_cast<uint64_t>(x) << (64 - width)) >> (64 - width);
}

SmallVector<int64_t> comm::detail::stridesOf(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (int64_t i = static_cast<int64_t>(shape.size()) - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

void comm::detail::forEachIndex(ArrayRef<int64_t> shape, function_ref<void(ArrayRef<int64_t>)> body) {
  if (llvm::is_contained(shape, 0))
    return;
  SmallVector<int64_t> index(shape.size(), 0);
  while (true) {
    body(index);
    int64_t dim = static_cast<int64_t>(shape.size()) - 1;
    while (dim >= 0 && ++index[dim] == shape[dim])
      index[dim--] = 0;
    if (dim < 0)
      return;
  }
}

HostTensor HostTensor::zeros(RankedTensorType type) {
  HostTensor out{type, {}, {}};
  if (out.isFloat())
    out.floats.assign(out.size(), 0.0);
  else
    out.ints.assign(out.size(), 0);
  return out;
}

HostTensor HostTensor::fromAttr(DenseElementsAttr attr) {
  HostTensor out = zeros(cast<RankedTensorType>(attr.getType()));
  int64_t i = 0;
  if (out.isFloat()) {
    for (APFloat value : attr.getValues<APFloat>()) {
      bool lost;
      value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
      out.floats[i++] = value.convertToDouble();
    }
  } else {
    bool isBool = out.type.getElementType().isInteger(1);
    for (const APInt &value : attr.getValues<APInt>())
      out.ints[i++] = isBool ? value.getBoolValue() : value.getSExtValue();
  }
  return out;
}

DenseElementsAttr HostTensor::toAttr() const {
  Type element = type.getElementType();
  if (auto floatType = dyn_cast<FloatType>(element)) {
    SmallVector<APFloat> values;
    values.reserve(floats.size());
    for (double x : floats) {
      APFloat value(x);
      bool lost;
      value.convert(floatType.getFloatSemantics(), APFloat::rmNearestTiesToEven, &lost);
      values.push_back(value);
    }
    return DenseElementsAttr::get(type, values);
  }
  unsigned width = element.isIndex() ? 64 : element.getIntOrFloatBitWidth();
  SmallVector<APInt> values;
  values.reserve(ints.size());
  for (int64_t x : ints)
    values.push_back(APInt(width, static_cast<uint64_t>(x), /*isSigned=*/true, /*implicitTrunc=*/true));
  return DenseElementsAttr::get(type, values);
}

bool HostTensor::operator==(const HostTensor &other) const {
  if (type != other.type || ints != other.ints || floats.size() != other.floats.size())
    return false;
  for (size_t i = 0; i < floats.size(); ++i)
    if (floats[i] != other.floats[i] && !(std::isnan(floats[i]) && std::isnan(other.floats[i])))
      return false;
  return true;
}
