//===- Convert.cpp - arrays of f16 and bf16 -------------------------------===//
#include "runtime/Kernels/Convert.h"

using namespace comm;

void rt::convertToF32(exe::DType type, const void *in, float *out, int64_t count) {
  const uint16_t *half = static_cast<const uint16_t *>(in);
  if (count == 0)
    return; // `in` may be null
  if (type == exe::DType::F32)
    std::memcpy(out, in, size_t(count) * 4);
  else if (type == exe::DType::BF16)
    for (int64_t i = 0; i < count; ++i)
      out[i] = fromBF16(half[i]);
  else
    for (int64_t i = 0; i < count; ++i)
      out[i] = fromF16(half[i]);
}

void rt::convertFromF32(exe::DType type, const float *in, void *out, int64_t count) {
  uint16_t *half = static_cast<uint16_t *>(out);
  if (type == exe::DType::F32)
    std::memcpy(out, in, size_t(count) * 4);
  else if (type == exe::DType::BF16)
    for (int64_t i = 0; i < count; ++i)
      half[i] = toBF16(in[i]);
  else
    for (int64_t i = 0; i < count; ++i)
      half[i] = toF16(in[i]);
}
