//===- Transport.h - what moves bytes between ranks -------------*- C++ -*-===//
// One small interface, one conformance suite (test/runtime/Conformance). Shm/ is the default; others join as folders.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace comm::rt {

/// Outcome inside the runtime; the text is one sentence for the user.
enum class Code {
  Ok = 0,
  Internal,
  InvalidArgument,
  BadExecutable,
  Untrusted,
  Unsupported,
  OutOfMemory,
  DeviceMissing,
  PeerLost,
  Timeout
};
struct [[nodiscard]] Status {
  Code code = Code::Ok;
  std::string text;
  static Status ok() { return {}; }
  explicit operator bool() const { return code == Code::Ok; }
};

enum class CollectiveKind : uint8_t {
  AllReduce,
  ReduceScatter,
  AllGather,
  AllToAll,
  AllToAllV,
  Broadcast,
  Permute,
  Send,
  Recv,
  Barrier
};
enum class ReduceKind : uint8_t { Sum, Max, Min, Prod };
const char *collectiveName(CollectiveKind); // "all_reduce", ...
const char *reduceName(ReduceKind);         // "sum", ...

/// One collective as every member issues it. `group` lists the ranks in order; element counts are per rank. All counts
/// are equal on all members except AllToAllV. Reductions run in group order, in f32 for f16 and bf16, so all members
/// get the same bits; NaNs win in max and min; integers wrap; on Bool, sum and max are "or", prod and min are "and".
///   AllReduce      in[count] -> out[count]
///   ReduceScatter  in[members * count] -> out[count], member i gets block i
///   AllGather      in[count] -> out[members * count]
///   AllToAll       in[members * count] -> out[members * count], block j of i goes to block i of j
///   AllToAllV      sendCounts/recvCounts and displacements in elements, one per member
///   Broadcast      root = index in group; in is read on the root only
///   Permute        peer = index in group that this member sends to (-1: nobody); `from` = index it receives from (-1:
///                  zero fill)
///   Send, Recv     peer = index in group; the other members take no part
///   Barrier        no data
struct Sequel;
struct Collective {
  CollectiveKind kind = CollectiveKind::AllReduce;
  ReduceKind reduce = ReduceKind::Sum;
  exe::DType dtype = exe::DType::F32;
  std::vector<int32_t> group;
  const void *in = nullptr;
  void *out = nullptr; ///< may equal `in` for AllReduce and Broadcast; else disjoint
  int64_t count = 0;
  int32_t root = 0, peer = -1, from = -1;
  std::vector<int64_t> sendCounts, sendDispls, recvCounts, recvDispls;
  uint64_t program = 0; ///< identity of the program; checked against the peers' before data moves
  int64_t planId = 0;   ///< position in the program; checked as well
  const char *label = "";
  /// What the communication thread goes on with when this is done, before compute hears of it; borrowed, may be null.
  const Sequel *sequel = nullptr;
};

/// The seam of fused forms: a step of compute on what a collective brought, then another collective, as one operation
/// with one wait. reduce_scatter, then normalise the own rows, then all_gather.
struct Sequel {
  std::function<Status()> step; ///< on the thread that ran the collective; may be empty
  Collective next;
};

/// How long a collective may wait for peers, and how long of that it may burn a core for a faster answer.
struct WaitBudget {
  int64_t timeoutMs = 60000; ///< 0: for ever
  int64_t spinNs = 0;
};

/// Per-rank endpoint. One thread at a time.
class Transport {
public:
  virtual ~Transport() = default;
  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;
  /// Memory of `bytes` that peers can read in place; the same size on every rank, allocated once before the first run.
  /// Owned by the transport.
  virtual Status allocateArena(size_t bytes, void *&out) = 0;
  /// Blocks until this rank's part is done (its operands are free again) or the deadline passes. After a failure every
  /// later call fails on every rank: the text names the rank and the operation that caused it.
  virtual Status run(const Collective &, const WaitBudget &) = 0;
  /// Tells every rank to stop: their waits return this failure. The first one counts. Any thread.
  virtual void abort(const Status &why) = 0;
  /// Payload bytes that other ranks have read from this one since creation.
  virtual int64_t bytesSent() const = 0;
  /// When the last member came to the last operation, in ns of the monotonic clock: before, ranks waited for each
  /// other; from then on data moved. 0: not known.
  virtual int64_t metNs() const { return 0; }
};

} // namespace comm::rt
