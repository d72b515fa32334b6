//===- Schedule.h - are the final command lists safe? -----------*- C++ -*-===//
// A checker of what the passes made that shares no code with them: it takes the command lists of all ranks and shows
// that collectives match, that nobody waits for ever even with no buffering, that every read sees the bytes it was
// planned for, and that memory stays within the plan. Linear in the number of commands but for the maps of bytes.
// docs/proof.md says what is shown and what is assumed.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"

namespace comm::proof {

/// What a finding is about.
enum class Rule : uint8_t {
  Form,      ///< a command that means nothing: operands, attributes, sizes
  Token,     ///< a token is started and waited for exactly once
  Match,     ///< every member of a group issues the same collective, once
  Deadlock,  ///< somebody waits for ever
  Race,      ///< touched while a collective is in flight
  Unwritten, ///< read before it was written
  Reuse,     ///< the bytes have been given to another buffer
  Lost,      ///< overwritten before anything read it
  Memory     ///< outside of its part of the arena, or more than planned
};
const char *ruleName(Rule);

/// One sentence that names the ranks, the commands and what is missing.
struct Finding {
  Rule rule = Rule::Form;
  int64_t rank = 0; ///< lowest rank concerned
  std::string text;
};

/// What was counted on the way, for one line of text.
struct Facts {
  int64_t ranks = 0, commands = 0, collectives = 0, started = 0;
  int64_t edges = 0;     ///< of the graph that has no cycle
  int64_t accesses = 0;  ///< reads and writes whose order was shown
  int64_t peakBytes = 0; ///< most bytes of the arena that are alive at one time
};

/// Programs of all ranks of their common grid; ranks with the same program point to the same one. At most 20 findings;
/// none: shown. `order`, when not null, gets a topological order of the vertices of rank 0: command i is i, the n-th
/// collective is commands + n.
std::vector<Finding> checkSchedule(const std::vector<const exe::Program *> &ranks, Facts &facts,
                                   std::vector<int64_t> *order = nullptr);
/// The same program on every rank, as every executable has it.
std::vector<Finding> checkSchedule(const exe::Program &program, Facts &facts, std::vector<int64_t> *order = nullptr);

/// "2 ranks: 12 collectives match, no deadlock (80 edges), no race (140 accesses), 3.1 MiB of 4.0 MiB alive at most"
std::string factsText(const Facts &facts, int64_t arenaBytes);

} // namespace comm::proof
