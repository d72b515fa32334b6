//===- ExpertMatmul.h - every row times the matrix that it chose -*- C++ -*-===//
#pragma once
#include "runtime/Kernels/Support.h"

namespace comm::rt {
Status prepareExpertMatmul(const Preparation &, std::unique_ptr<Kernel> &);
} // namespace comm::rt
