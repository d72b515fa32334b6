//===- Indices.h - operands that choose ------------------------*- C++ -*-===//
#pragma once
#include "runtime/Kernels/Support.h"

namespace comm::rt {

/// Reads element i of an i32 or i64 tensor.
class Indices {
public:
  Indices(const void *data, bool wide) : data(data), wide(wide) {}
  int64_t operator[](int64_t i) const {
    return wide ? static_cast<const int64_t *>(data)[i] : int64_t(static_cast<const int32_t *>(data)[i]);
  }

private:
  const void *data;
  bool wide;
};

inline Status checkIndices(const Preparation &p, const TensorDesc &indices) {
  if (indices.dtype == exe::DType::I32 || indices.dtype == exe::DType::I64)
    return Status::ok();
  return p.bad(std::string("indices have type ") + exe::dtypeName(indices.dtype) + ", expected i32 or i64");
}

} // namespace comm::rt
