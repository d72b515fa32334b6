//===- Memory.h - how much memory there can be ------------------*- C++ -*-===//
#pragma once
#include "runtime/Transport/Transport.h"

namespace comm::rt {

/// The most that this process can ever get: physical memory and swap, or the limit of its control group when that is
/// smaller. 0 when unknown.
int64_t memoryLimit();
/// OutOfMemory, with the sizes, when `bytes` (for `what`) is above memoryLimit(). Shared memory is granted without
/// being there; touching it would kill the ranks.
Status requireMemory(int64_t bytes, const std::string &what, int64_t limit = memoryLimit());

} // namespace comm::rt
