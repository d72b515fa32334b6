//===- WeightBytes.h - weights as kernels read them -------------*- C++ -*-===//
#pragma once
#include "comm/Executable/Executable.h"

namespace comm::exe {

/// Columns of a panel of packed weights on CPUs with AVX-512; no CPU has wider ones.
constexpr int64_t widestPanel = 32;
/// Bytes of the weights that a rank holds for `program`: right operands of products as panels, their last one filled
/// up, all else as it is stored. With the default on other CPUs at most a panel per product less.
int64_t heldWeightBytes(const Executable &, const Program &, int64_t panelWidth = widestPanel);

} // namespace comm::exe
