//===- BufferPlan.h - where buffers lie, as plain data ----------*- C++ -*-===//
// build, check(), solve, verify(). Times are command numbers, both ends included.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace comm::plan {

struct BufferRequest {
  int64_t bytes = 0;
  int64_t first = 0, last = 0; ///< first and last command that needs it
  bool shared = false;         ///< operand or result of a collective: lies in the shared part
};

struct BufferPlan {
  std::vector<int64_t> offsets; ///< bytes, one per request
  int64_t arenaBytes = 0;
  int64_t sharedBytes = 0; ///< shared buffers lie in [0, sharedBytes)
  int64_t lowerBound = 0;  ///< most bytes live at one command: no plan is smaller
};

inline constexpr int64_t kBufferAlignment = 64;

/// One sentence when a request is malformed or the sum of sizes overflows; else empty.
std::string check(const std::vector<BufferRequest> &requests);
/// Greedy best fit: shared buffers first, then the others around them; the best of several orders. Deterministic; needs
/// check() to be empty.
BufferPlan planBuffers(const std::vector<BufferRequest> &requests);
/// Checks a plan against its requests, whoever made it: alignment, bounds, no bytes shared by two buffers alive at
/// once. Empty when sound.
std::string verify(const std::vector<BufferRequest> &requests, const BufferPlan &plan);

} // namespace comm::plan
