//===- Requests.h - what the test asks of its ranks -------------*- C++ -*-===//
// A request is words: a name and numbers. The answer of a rank is "" or a complaint, or what the request says.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Core/Launcher.h"

namespace comm::rt::test {

/// Data cases. Each takes the sizes of a grid: "types 2 2".
///   types     every kind, reduction and type at small sizes
///   sizes     every kind at larger sizes and all placements
///   axes      groups along each axis of the grid, in turn, small and large
///   hash      a few collectives; answers the hash of the results
///   count     answers the number of collectives that ran
///   huge      2^31 + 1 bytes by broadcast
/// Failures. Rank and step are numbers.
///   steps N stop-rank stop-step how   N small collectives; the rank ends itself before that step: 9 SIGKILL, 19
///                                     SIGSTOP, 0 a refusal, 1 an endless loop
///   mismatch which                    rank 1 issues something else
RankMainFactory conformanceRank();

} // namespace comm::rt::test
