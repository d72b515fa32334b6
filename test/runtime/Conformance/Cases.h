//===- Cases.h - collectives with known answers -----------------*- C++ -*-===//
// Small integers: every sum is exact in every type and order, and a chunk in the wrong place shows as a wrong number.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Core/Launcher.h"

namespace comm::rt::test {

/// Sanitizers take ten times as long: fewer ranks and shorter arrays then.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
constexpr bool sanitized = __has_feature(thread_sanitizer) || __has_feature(address_sanitizer);
#else
constexpr bool sanitized = false;
#endif

/// Where operand and result lie. The mixed ones: every other member in place (in the arena where that is not allowed),
/// the rest with a private result only, or with both private.
enum class Placement { Arena, Private, InPlace, MixedResult, MixedBoth };
/// One collective of one dtype and size; the same on all members.
struct Case {
  CollectiveKind kind = CollectiveKind::AllReduce;
  ReduceKind reduce = ReduceKind::Sum;
  exe::DType dtype = exe::DType::F32;
  int64_t count = 1;
  Placement placement = Placement::Arena;
  std::vector<int32_t> group;
  int64_t planId = 0;
  int32_t variant = 0; ///< root, shift, ... of the kinds that have one
};

/// Runs cases on one rank and compares results, guards around them and operands with what must be there.
class CaseRunner {
public:
  CaseRunner(Transport &transport, uint8_t *arena, size_t arenaBytes)
      : transport(transport), arena(arena), arenaBytes(arenaBytes) {}
  /// "" when all is right.
  std::string run(const Case &, const WaitBudget &);
  /// Over the bits of all results so far: equal runs give equal values.
  uint64_t resultHash() const { return hash; }
  int64_t collectives() const { return done; }

private:
  uint8_t *place(std::vector<uint8_t> &own, size_t bytes, size_t slot, Placement);
  Transport &transport;
  uint8_t *arena;
  size_t arenaBytes;
  uint64_t hash = 0xcbf29ce484222325;
  int64_t done = 0;
};

/// Bytes of arena that CaseRunner needs for operands and results of `elements` elements of eight bytes.
inline size_t arenaFor(int64_t elements) { return static_cast<size_t>(elements) * 16 + 4096; }

std::string describe(const Case &);
/// Every kind (and reduction, where `reductions`) for one dtype, size and placement.
std::vector<Case> allKinds(exe::DType, int64_t count, Placement, const std::vector<int32_t> &group, bool reductions);

} // namespace comm::rt::test
