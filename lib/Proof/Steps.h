//===- Steps.h - a program as the checks see it (private) -------*- C++ -*-===//
#pragma once
#include "Pattern.h"
#include "comm/Proof/Schedule.h"
#include <map>

namespace comm::proof {

/// Collects findings; at most `limit`.
class Findings {
public:
  static constexpr size_t limit = 20;
  void add(Rule rule, int64_t rank, std::string text) {
    if (list.size() < limit)
      list.push_back({rule, rank, std::move(text)});
  }
  bool full() const { return list.size() >= limit; }
  std::vector<Finding> list;
};

/// 'name' made printable and short: what an executable says is not to be trusted.
std::string quoted(const std::string &);
/// "command 12 'matmul' of 'layer.0/q_proj'"
std::string commandText(const exe::Program &, int64_t command);
std::string rankList(const std::vector<int32_t> &);

/// One collective of a program.
struct Call {
  int32_t issue = -1; ///< the command
  int32_t wait = -1;  ///< the command that waits for it; -1: `issue` itself
  int64_t token = -1, planId = 0;
  std::string kind;
  std::vector<std::string> axes;
  /// "all_reduce #5 of 'o_proj' (command 12)"
  std::string text(const exe::Program &) const;
  /// All that members must agree on: "all_reduce f32 [4, 8] at 0 -> f32 [4, 8] at 128, axes tp, reduce sum".
  std::string signature(const exe::Program &) const;
};

/// Bytes that a command reads or writes. Of the arena, `index` is the buffer that they belong to.
struct Access {
  int32_t value = -1;
  exe::Storage storage = exe::Storage::Arena;
  int64_t index = 0, begin = 0, end = 0;
};

enum class StepKind : uint8_t { Compute, Start, Wait, Collective };
struct Step {
  StepKind kind = StepKind::Compute;
  int32_t call = -1; ///< in Steps::calls
};

struct Steps {
  const exe::Program *program = nullptr;
  std::vector<Step> steps; ///< one per command
  std::vector<Call> calls; ///< in the order of issue
  Access access(int32_t value) const;
};

/// Reads a program; Form, Token and Memory findings for what cannot be understood. False when the other checks would
/// make no sense.
bool readSteps(const exe::Program &, int64_t rank, const std::string &who, Steps &, Findings &);

/// Collectives of all ranks belong together: `instance[rank][n]` is the meeting that the n-th collective of a rank
/// takes part in, numbered from 0.
struct Meetings {
  std::vector<std::vector<int32_t>> instance;
  int32_t count = 0;
};
void matchCalls(const std::vector<const Steps *> &ranks, Meetings &, Findings &);
/// All ranks run the same program.
void matchAlike(const Steps &, Findings &);

void checkOrder(const std::vector<const Steps *> &ranks, const Meetings &, Findings &, int64_t &edges,
                std::vector<int64_t> *order);

/// All ranks run the same program: an edge of its graph that goes backwards in `position` (by vertex: commands, then
/// collectives), as one sentence; empty when all go forwards.
std::string edgeAgainst(const Steps &, const std::vector<int64_t> &position, int64_t &edges);
void countCommands(const Steps &, int64_t ranks, Facts &);

/// Races, lifetimes and initialisation on one rank; `who` is "rank 3" or "every rank".
void checkMemory(const Steps &, int64_t rank, const std::string &who, Findings &, int64_t &accesses,
                 int64_t &peakBytes);

} // namespace comm::proof
