//===- EqualityMachine.h - runs programs on views (private) -----*- C++ -*-===//
#pragma once
#include "EqualityRules.h"
#include <deque>

namespace comm::proof {

/// Runs one program per rank on views: a command of each rank in turn, a collective when all its members are there.
class Machine {
public:
  Machine(const exe::Executable &exe, const std::vector<const exe::Program *> &programs, Constants &constants,
          Terms &terms, bool isReference)
      : state(exe, programs, constants, terms), terms(terms), isReference(isReference), ranks(programs.size()) {}
  void run();
  /// Command at which a rank waits for ever; -1: it came to its end.
  int64_t stuckAt(int64_t rank) const;

  State state;
  int64_t operations = 0; ///< of the rank that has most

private:
  /// A collective that a rank has issued.
  struct Call {
    const exe::Command *command;
    std::vector<SharedView> operands, results;
    bool isDone = false;
  };
  struct Rank {
    size_t next = 0;
    int64_t operations = 0;
    std::deque<std::shared_ptr<Call>> queue;        ///< not begun
    std::map<int64_t, std::shared_ptr<Call>> calls; ///< by token
    std::shared_ptr<Call> blocks;                   ///< the synchronous one under way
  };
  Rank &at(int64_t rank) { return ranks[static_cast<size_t>(rank)]; }
  bool step(int64_t rank);
  void compute(int64_t rank, const exe::Command &);
  void issue(int64_t rank, const exe::Command &);
  void meet(int64_t rank);
  void finish(int64_t rank, const Call &);
  std::vector<int32_t> groupOf(int64_t rank, const Call &) const;
  SharedView unknown(int64_t rank, int32_t value, const NoRule &why);

  Terms &terms;
  bool isReference;
  std::vector<Rank> ranks;
};

/// "command 12 all_reduce ('proj')"
std::string named(const exe::Command &, size_t number);

} // namespace comm::proof
