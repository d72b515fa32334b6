//===- Npz.h - numpy's files ------------------------------------*- C++ -*-===//
// .npy versions 1 to 3, little-endian, C or Fortran order; .npz archives of them. Untrusted input: lengths and shapes
// must agree exactly before memory is taken. numpy has no bfloat16: such tensors are written as f32, and two-byte void
// arrays are read as bf16.
//===----------------------------------------------------------------------===//
#pragma once
#include "Tensor.h"

namespace commrun {

/// Reads an archive, keys without ".npy". Throws Failure.
TensorMap readNpz(const std::string &path);
std::shared_ptr<const Tensor> readNpy(const std::string &path);
/// Writes beside the target and renames: the file is whole or not there. Equal tensors give equal bytes. Throws
/// Failure.
void writeNpz(const std::string &path, const TensorMap &);

/// The same for bytes in memory; `what` names them in messages.
std::shared_ptr<const Tensor> parseNpy(const uint8_t *bytes, size_t size, const std::string &what);
std::vector<uint8_t> formatNpy(const Tensor &);

} // namespace commrun
