//===- TileKernel.h - runs what a native function is declared to do -*- C++ -*-===//
// The portable way: a kernel's steps are interpreted on tiles that stay in the cache. Used where native code is not
// trusted or not made for this CPU, and as the reference in tests of native code.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Kernels/Kernel.h"

namespace comm::rt {

/// `declared` is a checked declaration (exe::validate). BadExecutable: the operands are not those that it declares;
/// Unsupported: a step that the interpreter does not know. `where` begins the sentences.
Status prepareTileKernel(const exe::Kernel &declared, const std::vector<TensorDesc> &ins,
                         const std::vector<TensorDesc> &outs, const std::string &where, std::unique_ptr<Kernel> &out);

} // namespace comm::rt
