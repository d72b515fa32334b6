//===- MpiTransport.h - collectives over MPI messages -----------*- C++ -*-===//
// For ranks on several machines. One thread per process owns every call of MPI: it posts non-blocking messages, tests
// them and sleeps in between, so that compute keeps the core; MPI by itself would move nothing, or spin.
//
// An operation: every member sends its signature to all others, then its data in pieces; receives are posted when all
// signatures have come and fit. Reductions run in group order piece by piece as they arrive: all_reduce of small
// operands exchanges them whole, of large ones each member reduces its part and sends the result. Messages of a pair
// of ranks keep their order and both issue their common operations in the same order, so fixed tags suffice.
//
// Abort is a message of its own that every rank listens for. A rank that fails does not finalize MPI: when its process
// ends, MPI ends the others.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Transport/Mpi/MpiApi.h"
#include "runtime/Transport/Transport.h"
#include <memory>

namespace comm::rt::mpi {

struct MpiOptions {
  /// Of a message. Below Open MPI's eager limit for TCP (64 KiB): it is sent without asking the receiver first, whose
  /// answer would come when its progress thread looks the next time.
  int64_t chunkBytes = 60 << 10;
  int64_t window = 32;             ///< messages under way per peer and direction
  int64_t oneShotBytes = 32 << 10; ///< largest all_reduce that is exchanged whole; per rank
  /// Between two looks; where more than a chunk is under way, at least half the longest.
  int64_t shortestSleepNs = 20000, longestSleepNs = 200000;
};

class MpiTransport final : public Transport {
public:
  /// Starts MPI; once per process. Every rank of the MPI world calls it.
  static Status create(const MpiOptions &, std::unique_ptr<MpiTransport> &out);
  /// Over these calls instead of the plugin's, as often as they like.
  static Status create(const MpiOptions &, const MpiApi *, std::unique_ptr<MpiTransport> &out);
  /// Meets the others and finalizes MPI. After a failure, or when they do not come in time, it does not.
  ~MpiTransport() override;

  int32_t rank() const override;
  int32_t size() const override;
  Status allocateArena(size_t bytes, void *&out) override;
  Status run(const Collective &, const WaitBudget &) override;
  void abort(const Status &why) override;
  int64_t bytesSent() const override;
  int64_t metNs() const override;
  /// "Open MPI v4.1.4, ...".
  std::string library() const;

private:
  MpiTransport();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

} // namespace comm::rt::mpi
