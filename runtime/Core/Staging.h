//===- Staging.h - the caller's tensors, aligned ----------------*- C++ -*-===//
#pragma once
#include "runtime/Transport/Transport.h"

namespace comm::rt {

/// Anonymous zero pages, huge where the system grants them.
class Pages {
public:
  Pages() = default;
  Pages(const Pages &) = delete;
  ~Pages();
  Status allocate(int64_t bytes, const char *what);
  uint8_t *memory = nullptr;

private:
  size_t size = 0;
};

/// Inputs and outputs of one run for ranks in this process: the caller's buffers as they are, unless their alignment is
/// too small for the kernels.
class StagedTensors {
public:
  Status stage(const exe::Program &, const std::vector<const void *> &inputs, const std::vector<void *> &outputs);
  /// Outputs to where the caller wants them.
  void copyBack(const exe::Program &, const std::vector<void *> &outputs) const;
  std::vector<const void *> ins;
  std::vector<void *> outs;

private:
  std::vector<Pages> pages;
};

} // namespace comm::rt
