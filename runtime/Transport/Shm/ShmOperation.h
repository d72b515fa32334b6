//===- ShmOperation.h - an operation over shared memory ---------*- C++ -*-===//
#pragma once
#include "runtime/Transport/Shm/ShmTransport.h"

namespace comm::rt::shm {

/// One operation under way.
struct ShmTransport::Op : Operation {
  using Operation::Operation;
  int64_t chunk = 0;   ///< elements of one part that a slot holds
  OpHeader header;     ///< ours
  uint32_t parity = 0; ///< of our operations
  int64_t metNs = 0;   ///< when the last member came
};

} // namespace comm::rt::shm
