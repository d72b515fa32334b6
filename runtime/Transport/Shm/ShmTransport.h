//===- ShmTransport.h - collectives over shared memory ----------*- C++ -*-===//
// How an operation runs. Every member publishes a header, then signals all others and waits for their signals; headers
// are compared before anything else. Data is always pulled: a member reads its peers' memory and writes only its own.
//   small    the operand was copied to a staging slot before the signal: one exchange of signals, no wait at the end
//   direct   the operand lies in the segment: peers read it in place; all wait until their readers are done
//   staged   large private memory: passes through the slots
// all_reduce in direct form: each member reduces its own part over all operands in group order, then collects the
// others' parts. In all forms an element is reduced in group order, hence equal bits everywhere.
//
// An emulated link (Link.h) holds each step back until the bytes would be there; the thread sleeps meanwhile.
//
// Signals are counted per pair of ranks, so operations of different groups never mix. Slots are double: what an
// operation left there is overwritten two operations later, after the signal "done" of all of its readers.
//
// Bodies: ShmTransport.cpp (an operation from its check to its end), Signals.cpp (waiting for peers and for the link),
// MoveData.cpp (the forms above).
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Transport/Shm/Segment.h"

namespace comm::rt::shm {

class ShmTransport final : public Transport {
public:
  /// `segment` is borrowed. One transport per rank.
  ShmTransport(Segment &segment, int32_t rank);
  int32_t rank() const override { return self; }
  int32_t size() const override { return segment.ranks(); }
  Status allocateArena(size_t bytes, void *&out) override;
  Status run(const Collective &, const WaitBudget &) override;
  void abort(const Status &why) override { segment.abort(why); }
  int64_t bytesSent() const override { return sent; }
  int64_t metNs() const override { return met; }

private:
  struct Op;
  void place(Op &);
  Status execute(Op &);
  void publish(const Op &);
  Status runStaged(Op &, int64_t rounds);
  Status runTwoShot(Op &);
  void stage(const Op &, int64_t round);
  Status pull(const Op &, int64_t round, bool direct);
  Status pullReduced(const Op &, int64_t round, bool direct, uint8_t *out, int64_t count);
  Status collectPart(const Op &, size_t member);
  bool prefersTwoShot(const Op &, int64_t rounds, bool direct) const;
  const uint8_t *sourceOf(const Op &, size_t member, int64_t round, bool direct) const;
  Status finish(const Op &, bool waitForReaders);

  Status sleepUntil(int64_t ns);
  Status arrive(const Op &, int64_t readyNs, int64_t elements, int64_t senders);
  int64_t pieceOf(const Op &, int64_t elements) const;

  const OpHeader &headerOf(const Op &, size_t member) const;
  void signal(const Op &);
  /// Waits for one more signal of every peer.
  Status await(const Op &);
  /// Waits until every rank of the list has sent that many signals.
  using Marks = std::vector<std::pair<int32_t, uint32_t>>;
  Status awaitMarks(const Op &, const Marks &);

  Segment &segment;
  const int32_t self;
  RankControl &control;
  /// Per rank: signals sent to it and consumed from it, operations in common.
  std::vector<uint32_t> signalled, expected, meetings;
  Marks readers[2];                  ///< who must be done with the slots of this and the previous operation
  uint32_t operations = 0, turn = 0; ///< parities of `readers` and of the slots
  Marks marks;                       ///< scratch, as the next one
  std::vector<const void *> sources;
  int64_t sent = 0, met = 0;
  LinkPort port;
  bool arenaTaken = false;
};

} // namespace comm::rt::shm
