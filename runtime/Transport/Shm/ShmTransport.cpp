//===- ShmTransport.cpp - an operation from its check to its end ----------===//
#include "runtime/Transport/Shm/ShmTransport.h"
#include "runtime/Transport/Shm/Futex.h"
#include "runtime/Transport/Shm/ShmOperation.h"
#include <algorithm>
#include <cstring>

namespace comm::rt::shm {

namespace {
void copyLabel(OpNote &note, const char *label) {
  char text[sizeof note.label] = {};
  std::strncpy(text, label ? label : "", sizeof text - 1);
  for (size_t i = 0; i < std::size(note.label); ++i) {
    uint64_t word;
    std::memcpy(&word, text + i * 8, 8);
    note.label[i].store(word, std::memory_order_relaxed);
  }
}

} // namespace

ShmTransport::ShmTransport(Segment &segment, int32_t rank)
    : segment(segment), self(rank), control(segment.control(rank)), signalled(static_cast<size_t>(segment.ranks())),
      expected(signalled.size()), meetings(signalled.size()), port(segment.link()) {}

Status ShmTransport::allocateArena(size_t bytes, void *&out) {
  if (arenaTaken || bytes > segment.arenaBytes())
    return {Code::Internal, "an arena of " + std::to_string(bytes) + " bytes was asked for, " +
                                (arenaTaken ? "a second time" : std::to_string(segment.arenaBytes()) + " are there")};
  arenaTaken = true;
  out = segment.arena(self);
  return Status::ok();
}

/// Where operand and result lie, and how they pass through the slots.
void ShmTransport::place(Op &op) {
  size_t slot = segment.slotBytes();
  if (op.perPeer)
    slot = slot / op.size() / 64 * 64;
  op.chunk = static_cast<int64_t>(slot) / op.width;
  OpHeader &h = op.header;
  static_cast<OpSignature &>(h) = op.signature;
  int64_t offset, most = 0;
  for (size_t m = 0; m < op.size(); ++m)
    if (m != op.me)
      most = std::max(most, op.outgoing(m, offset));
  h.rounds = std::max<int64_t>(1, (most + op.chunk - 1) / op.chunk);
  h.inOffset = op.inBytes ? segment.offsetOf(op.c.in, op.inBytes) : -1;
  h.outOffset = op.outBytes ? segment.offsetOf(op.c.out, op.outBytes) : -1;
  h.inPlace = op.inPlace;
}

const OpHeader &ShmTransport::headerOf(const Op &op, size_t member) const {
  int32_t rank = (*op.members)[member];
  return member == op.me ? op.header : segment.opHeader(self, rank, meetings[static_cast<size_t>(rank)]);
}

/// Writes a header for every peer. The one of two meetings ago has been read: its reader has signalled since.
void ShmTransport::publish(const Op &op) {
  for (size_t m = 0; m < op.size(); ++m) {
    if (m == op.me)
      continue;
    int32_t rank = (*op.members)[m];
    OpHeader &h = segment.opHeader(rank, self, ++meetings[static_cast<size_t>(rank)]);
    h = op.header;
    int64_t offset;
    h.expects = op.incoming(m, offset);
    h.sends = op.outgoing(m, offset);
    if (h.inOffset >= 0)
      h.inOffset += offset * op.width;
  }
}

/// Tells the others that we have read everything; waits for the same when they read our operand in place.
Status ShmTransport::finish(const Op &op, bool waitForReaders) {
  signal(op);
  Marks &mine = readers[op.parity];
  mine.clear();
  for (int32_t rank : *op.members)
    if (rank != self)
      mine.emplace_back(rank, ++expected[static_cast<size_t>(rank)]);
  return waitForReaders ? awaitMarks(op, mine) : Status::ok();
}

Status ShmTransport::execute(Op &op) {
  op.parity = operations++ % 2;
  if (Status s = awaitMarks(op, readers[op.parity]); !s)
    return s;
  op.header.turn = ++turn;
  op.header.readyNs = monotonicNs();
  if (op.header.rounds == 1)
    stage(op, 0);
  publish(op);
  signal(op);
  if (Status s = await(op); !s)
    return s;
  for (size_t m = 0; m < op.size(); ++m)
    if (m != op.me)
      if (Status s = comparePeer(op, m, headerOf(op, m), [&](int32_t r) { return segment.activity(r); }); !s)
        return s;

  // Every member sees the same headers, so all choose the same way.
  op.metNs = 0;
  bool direct = true, inSegment = true;
  int64_t rounds = 1, offset;
  for (size_t m = 0; m < op.size(); ++m) {
    const OpHeader &h = headerOf(op, m);
    op.metNs = std::max(op.metNs, h.readyNs);
    rounds = std::max(rounds, h.rounds);
    // Who overwrites its operand cannot let others read it meanwhile; a broadcast only reads its root's.
    bool overwrites = h.inPlace && op.reducing;
    direct &= h.rounds == 1 || (h.inOffset >= 0 && !overwrites);
    inSegment &= h.inOffset >= 0 && h.outOffset >= 0;
  }
  met = op.metNs;
  if (op.c.kind == CollectiveKind::AllReduce && inSegment && prefersTwoShot(op, rounds, direct))
    return runTwoShot(op);
  int64_t bytes = 0;
  for (size_t m = 0; m < op.size(); ++m)
    if (m != op.me)
      bytes += op.outgoing(m, offset) * op.width;
  sent += bytes;
  port.leave(op.metNs, bytes);
  Status s = direct ? pull(op, 0, true) : runStaged(op, rounds);
  if (s && direct)
    s = finish(op, op.header.rounds > 1);
  // Operands are free again when they have left.
  return s && segment.link().active() ? sleepUntil(port.allLeftNs()) : s;
}

/// Large operands in two halves. On a slow link what counts is the bytes sent and the messages in a row instead.
bool ShmTransport::prefersTwoShot(const Op &op, int64_t rounds, bool direct) const {
  const LinkModel &link = segment.link();
  if (!link.active() || !(direct || rounds == 1))
    return rounds > 1;
  auto others = static_cast<int64_t>(op.size()) - 1;
  int64_t bytes = op.c.count * op.width, part = bytes / (others + 1);
  return 2 * (link.latencyNs + link.timeNs(part * others)) < link.latencyNs + link.timeNs(bytes * others);
}

Status ShmTransport::run(const Collective &c, const WaitBudget &budget) {
  if (segment.aborted())
    return segment.abortStatus();
  OpNote &note = control.note;
  copyLabel(note, c.label);
  note.kind.store(static_cast<uint32_t>(c.kind), std::memory_order_relaxed);
  note.planId.store(c.planId, std::memory_order_relaxed);
  note.active.store(1);
  Op op{c, budget};
  Status s = op.prepare(self, size());
  if (s) {
    place(op);
    op.metNs = met = monotonicNs();
    s = op.size() > 1 ? execute(op) : pull(op, 0, true);
  }
  if (!s) {
    // Nobody will hear from us again; the note stays for the others' messages.
    segment.abort(s.code == Code::InvalidArgument ? Status{s.code, "rank " + std::to_string(self) + ": " + s.text} : s);
    return s;
  }
  note.completed.fetch_add(1, std::memory_order_relaxed);
  note.active.store(0);
  return s;
}

} // namespace comm::rt::shm
