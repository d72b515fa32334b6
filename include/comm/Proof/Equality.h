//===- Equality.h - the split program equals the unsplit model --*- C++ -*-===//
// A checker that knows nothing of the passes. It runs both programs of an entry on names instead of numbers: the
// reference gives every value a term over whole tensors, the split program must give on every rank the same terms, as
// far as the rank's layout holds them. Equal means: equal formulas over the reals; rounding and its order are not part
// of it. Plain C++, for the compiler and the runtime.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"

namespace comm::proof {

enum class Equality {
  Proved,    ///< every output of every rank is what the reference gives
  NotProved, ///< an operation has no rule, or an undeclared kernel is used; nothing is known to be wrong
  Wrong      ///< every operation has a rule, and an output is another formula than the reference's
};

struct EqualityResult {
  Equality verdict = Equality::NotProved;
  std::string reason;     ///< one sentence when not proved: output, rank, first operation that fails, what was expected
  int64_t operations = 0; ///< operations of one rank's split program that were followed
  bool isOther = false;   ///< not proved although every operation has a rule: another formula, not known to differ
};

/// Time linear in commands times ranks. Any executable that readExecutable accepts; never crashes. `data`: the data
/// section where it was not copied. `pointSteps`: for telling another formula from a wrong one; a million take about a
/// quarter of a second.
EqualityResult proveEqual(const exe::Executable &, const exe::Entry &, exe::DataView data = {},
                          int64_t pointSteps = 4000000);
/// The same for programs that differ by rank: one per rank of the grid of entry.split, each with its ports; all of a
/// sound schedule (Schedule.h).
EqualityResult proveEqual(const exe::Executable &, const exe::Entry &, const std::vector<const exe::Program *> &ranks,
                          int64_t pointSteps = 4000000);

/// "proved (123 operations)" or the verdict and its reason.
std::string equalityText(const EqualityResult &);

} // namespace comm::proof
