//===- Segment.h - the memory that all ranks of a group share ---*- C++ -*-===//
// One anonymous memory file: no name, no /dev/shm limit, gone with its last process. It holds, in this order: control
// data, a region for inputs and outputs, staging slots, one arena per rank. Untouched pages cost nothing.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Transport/Link.h"
#include "runtime/Transport/Operation.h"
#include <atomic>
#include <memory>

namespace comm::rt::shm {

struct SegmentSizes {
  int32_t ranks = 1;
  size_t arenaBytes = 0;  ///< per rank
  size_t sharedBytes = 0; ///< one for all
  size_t slotBytes = 0;   ///< 0: default
  LinkModel link;         ///< emulated between all ranks
};

/// What a member tells one other member before data moves.
struct alignas(128) OpHeader : OpSignature {
  int64_t rounds = 1;    ///< passes through the staging slots that its operand needs
  int64_t inOffset = -1; ///< of what the reader gets, in the segment; -1: private memory
  int64_t outOffset = -1;
  int64_t readyNs = 0;  ///< when the writer came
  int64_t leftNs = 0;   ///< when the last byte of the second half of a two-shot operation leaves the writer's port
  uint32_t turn = 0;    ///< slot of the first round
  bool inPlace = false; ///< operand and result are the same memory
};

/// What a rank is doing, for messages; written by the rank at any time, read by everybody.
struct OpNote {
  std::atomic<uint32_t> active{0}; ///< 1 inside an operation
  std::atomic<uint32_t> kind{0};
  std::atomic<int64_t> planId{-1}; ///< of the current or the last operation
  std::atomic<uint64_t> completed{0};
  std::atomic<uint64_t> label[8] = {};
};

struct alignas(128) RankControl {
  std::atomic<uint32_t> doorbell{0}; ///< a rank sleeps on its own
  std::atomic<uint32_t> sleeping{0};
  OpNote note;
};

class Segment {
public:
  ~Segment();
  static Status create(const SegmentSizes &, std::unique_ptr<Segment> &out);
  /// `fd` of another process' segment; borrowed for the call.
  static Status attach(int fd, std::unique_ptr<Segment> &out);

  int fd() const { return file; }
  int32_t ranks() const;
  size_t slotBytes() const;
  const LinkModel &link() const;
  size_t arenaBytes() const;
  size_t sharedBytes() const;
  uint8_t *shared() const;
  uint8_t *arena(int32_t rank) const;
  uint8_t *slot(int32_t rank, uint32_t parity) const;
  RankControl &control(int32_t rank) const;
  /// Number of signals from `from` to `to`, wraps.
  std::atomic<uint32_t> &signals(int32_t to, int32_t from) const;
  /// Written by `from` for `to`; `parity` of the number of operations that these two had in common.
  OpHeader &opHeader(int32_t to, int32_t from, uint32_t parity) const;

  /// Offset of memory in the segment, -1 when [p, p + bytes) is not in it.
  int64_t offsetOf(const void *p, int64_t bytes) const;
  uint8_t *at(int64_t offset) const { return base + offset; }

  /// The first failure of the group stands; wakes everybody.
  void abort(const Status &why);
  bool aborted() const;
  Status abortStatus() const;

  /// "all_reduce #7 'layer0/o_proj'", "after all_reduce #6", ...: what `rank` was last seen doing, for sentences like
  /// "rank 2 died <text>".
  std::string activity(int32_t rank) const;

private:
  struct Header;
  Segment() = default;
  Status map(size_t bytes);
  Header &header() const;
  int file = -1;
  uint8_t *base = nullptr;
  size_t size = 0;
};

} // namespace comm::rt::shm
