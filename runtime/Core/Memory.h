//===- Memory.h - how much memory there can be ------------------*- C++ -*-===//
#pragma once
#include "runtime/Transport/Transport.h"
#include <algorithm>

namespace comm::rt {

/// The most that this process can ever get: physical memory and swap, or the limit of its control group when that is
/// smaller. 0 when unknown.
int64_t memoryLimit();
/// OutOfMemory, with the sizes, when `bytes` (for `what`) is above memoryLimit(). Shared memory is granted without
/// being there; touching it would kill the ranks.
Status requireMemory(int64_t bytes, const std::string &what, int64_t limit = memoryLimit());

/// Memory that this process has in use and that no file backs: what it allocated and touched, and shared memory that it
/// touched. Pages of mapped files are not in it: ranks share them and the system may take them back. 0 when unknown.
int64_t residentBytes();

/// The most that residentBytes() has risen to, where it was looked at. One thread at a time.
class MemoryWatch {
public:
  /// From what there is `before`; negative: look() does nothing, as where other ranks share the process.
  explicit MemoryWatch(int64_t before) : before(before) {}
  void look() {
    if (before >= 0)
      most = std::max(most, residentBytes() - before);
  }
  /// Bytes above `before`; 0 when nothing is known.
  int64_t peak() const { return most; }

private:
  int64_t before, most = 0;
};

} // namespace comm::rt
