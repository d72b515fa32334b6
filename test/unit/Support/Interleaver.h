//===- Interleaver.h - runs programs in any legal order (tests) -*- C++ -*-===//
// Each rank has a compute queue and a communication queue. Any rank may go on whenever it can; a collective begins when
// it is in front of the queues of all its members and then takes as long as it likes: its operands are read at its
// beginning or just before its first member is done, its results are garbage meanwhile, its members are done one by
// one. Whatever a schedule leaves unordered happens in both orders sooner or later.
//===----------------------------------------------------------------------===//
#pragma once
#include "RankStore.h"
#include <deque>
#include <map>
#include <random>

namespace testing_run {

class Interleaver {
public:
  /// One program per rank; all arguments are borrowed. `error` says why it cannot run.
  Interleaver(const comm::exe::Executable &, const std::vector<const comm::exe::Program *> &ranks,
              const comm::rt::NativeCode *);
  /// One run in an order drawn from `random`. False and a sentence when it fails or nobody can go on.
  bool run(const std::vector<std::vector<Bytes>> &inputs, std::mt19937_64 &random,
           std::vector<std::vector<Bytes>> &outputs);
  std::string error;
  bool refused = false; ///< it failed because a command could not be prepared

private:
  struct Rank {
    const comm::exe::Program *program = nullptr;
    std::unique_ptr<RankStore> store;
    size_t next = 0;          ///< command
    std::deque<size_t> queue; ///< commands that issued collectives, not done
    std::map<int64_t, size_t> tokens;
    std::vector<char> done;  ///< by command: its collective is done
    std::vector<char> begun; ///< by command: its collective has begun
  };
  struct Meeting {
    std::vector<int32_t> members;
    std::vector<size_t> commands;             ///< of the members
    std::vector<std::vector<Bytes>> operands; ///< of the members, read
    std::vector<char> finished;
  };
  struct Action {
    enum Kind { Step, Begin, Read, Finish } kind;
    size_t rank;    ///< of Step and Begin; member of the others
    size_t meeting; ///< of Read and Finish
  };
  bool canStep(const Rank &) const;
  bool canBegin(size_t rank) const;
  void addActions(std::vector<Action> &) const;
  bool step(Rank &);
  void begin(size_t rank, std::mt19937_64 &);
  void read(Meeting &, size_t member);
  bool finish(Meeting &, size_t member);
  std::vector<int32_t> groupOf(size_t rank, size_t command) const;

  std::vector<Rank> ranks;
  std::vector<Meeting> meetings;
};

/// Inputs of this rank's parts: floats are small integers, integers 0 or 1, so that ids exist in any vocabulary. Equal
/// on all ranks for what is replicated.
std::vector<std::vector<Bytes>> smallInputs(const comm::exe::Program &, uint64_t seed);

} // namespace testing_run
