//===- Reduce.h - reduction of several arrays in a fixed order --*- C++ -*-===//
#pragma once
#include "runtime/Transport/Transport.h"

namespace comm::rt {

/// out[i] = ins[0][i] op ins[1][i] op ..., from left to right: the same bits whoever computes which part. f16 and bf16
/// are accumulated in f32 and rounded once. `out` may equal one of `ins`. members >= 1.
void reduceInOrder(exe::DType, ReduceKind, const void *const *ins, size_t members, void *out, int64_t count);

} // namespace comm::rt
