//===- KernelEvaluator.h - computes what a kernel's declaration says ------===//
// Element by element, in double and int64: slow, obvious, and without anything of the code generator.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"

namespace comm::proof {

/// Elements of a tensor: floats as doubles, everything else as sign-extended integers (u8, ... zero-extended).
struct Numbers {
  exe::DType dtype = exe::DType::F32;
  exe::Shape shape;
  std::vector<double> floats;
  std::vector<int64_t> ints;
};
bool isFloat(exe::DType);

/// Results of a sound kernel; false and a sentence when a step has no meaning here.
bool evaluate(const exe::Kernel &, const std::vector<Numbers> &inputs, std::vector<Numbers> &outputs, std::string &why);

} // namespace comm::proof
