//===- MoveData.cpp - staging, pulling and reducing an operation's data ----===//
#include "runtime/Transport/Reduce.h"
#include "runtime/Transport/Shm/Futex.h"
#include "runtime/Transport/Shm/ShmOperation.h"
#include <algorithm>
#include <cstring>

namespace comm::rt::shm {

/// Copies our part of this round to our slot.
void ShmTransport::stage(const Op &op, int64_t round) {
  uint8_t *slot = segment.slot(self, turn);
  const auto *in = static_cast<const uint8_t *>(op.c.in);
  auto put = [&](size_t member, uint8_t *to) {
    int64_t offset, count = op.outgoing(member, offset), begin = round * op.chunk;
    if (begin < count)
      std::memcpy(to, in + (offset + begin) * op.width,
                  static_cast<size_t>(std::min(op.chunk, count - begin) * op.width));
  };
  if (op.perPeer) {
    for (size_t m = 0; m < op.size(); ++m)
      if (m != op.me)
        put(m, slot + static_cast<int64_t>(m) * op.chunk * op.width);
    return;
  }
  for (size_t m = 0; m < op.size(); ++m) // all readers get the same bytes
    if (int64_t offset; m != op.me && op.outgoing(m, offset) > 0)
      return put(m, slot);
}

/// Where the data of `member` for us begins in this round.
const uint8_t *ShmTransport::sourceOf(const Op &op, size_t member, int64_t round, bool direct) const {
  int64_t skipped = round * op.chunk * op.width;
  if (member == op.me) {
    int64_t offset;
    op.outgoing(op.me, offset);
    return static_cast<const uint8_t *>(op.c.in) + offset * op.width + skipped;
  }
  const OpHeader &theirs = headerOf(op, member);
  if (direct && theirs.rounds > 1)
    return segment.at(theirs.inOffset);
  return segment.slot((*op.members)[member], theirs.turn + static_cast<uint32_t>(round)) +
         (op.perPeer ? static_cast<int64_t>(op.me) * op.chunk * op.width : 0);
}

/// Brings in everything (direct) or what this round holds.
Status ShmTransport::pull(const Op &op, int64_t round, bool direct) {
  auto *out = static_cast<uint8_t *>(op.c.out);
  int64_t begin = direct ? 0 : round * op.chunk, offset;
  auto length = [&](int64_t count) { return std::max<int64_t>(0, direct ? count : std::min(op.chunk, count - begin)); };
  if (op.reducing)
    return pullReduced(op, round, direct, out + begin * op.width, length(op.c.count));
  // A broadcast's root has one port for all its readers.
  int64_t shares = op.c.kind == CollectiveKind::Broadcast ? static_cast<int64_t>(op.size()) - 1 : 1;
  // Starting behind ourselves spreads the readers over the members.
  for (size_t i = 0; i < op.size(); ++i) {
    size_t m = (op.me + i) % op.size();
    int64_t count = op.incoming(m, offset);
    // Our own part is not in a slot: it is copied once, whatever the rounds of the others.
    int64_t skip = m == op.me ? 0 : begin, n = m != op.me ? length(count) : round == 0 ? count : 0;
    if (n == 0)
      continue;
    const uint8_t *from = sourceOf(op, m, round, direct);
    uint8_t *to = out + (offset + skip) * op.width;
    int64_t piece = m == op.me ? n : pieceOf(op, n);
    for (int64_t done = 0; done < n; done += piece) {
      int64_t now = std::min(piece, n - done);
      if (m != op.me)
        if (Status s = arrive(op, op.metNs, now, shares); !s)
          return s;
      if (from != to)
        std::memcpy(to + done * op.width, from + done * op.width, static_cast<size_t>(now * op.width));
    }
  }
  if (op.c.kind == CollectiveKind::Permute && op.c.from == -1 && round == 0)
    std::memset(out, 0, static_cast<size_t>(op.c.count * op.width));
  return Status::ok();
}

Status ShmTransport::pullReduced(const Op &op, int64_t round, bool direct, uint8_t *out, int64_t count) {
  auto others = static_cast<int64_t>(op.size()) - 1;
  int64_t piece = pieceOf(op, count);
  for (int64_t done = 0; done < count; done += piece) {
    int64_t now = std::min(piece, count - done);
    if (Status s = arrive(op, op.metNs, now, others); !s)
      return s;
    sources.clear();
    for (size_t m = 0; m < op.size(); ++m)
      sources.push_back(sourceOf(op, m, round, direct) + done * op.width);
    reduceInOrder(op.c.dtype, op.c.reduce, sources.data(), sources.size(), out + done * op.width, now);
  }
  return Status::ok();
}

Status ShmTransport::runStaged(Op &op, int64_t rounds) {
  for (int64_t round = 0; round < rounds; ++round) {
    if (round == 1) // the other slot served the operation before
      if (Status s = awaitMarks(op, readers[1 - op.parity]); !s)
        return s;
    if (round > 0)
      ++turn;
    if (round > 0 || op.header.rounds > 1)
      stage(op, round);
    signal(op);
    if (Status s = await(op); !s)
      return s;
    if (Status s = pull(op, round, false); !s)
      return s;
  }
  return finish(op, false);
}

/// all_reduce in place: reduce one part, then collect the other parts from their owners' results.
Status ShmTransport::runTwoShot(Op &op) {
  auto n = static_cast<int64_t>(op.size());
  auto *out = static_cast<uint8_t *>(op.c.out);
  int64_t mine = op.partBegin(op.me), count = op.partBegin(op.me + 1) - mine;
  bool linked = segment.link().active();
  port.leave(op.metNs, (op.c.count - count) * op.width);
  for (int64_t done = 0, piece = pieceOf(op, count); done < count; done += piece) {
    int64_t now = std::min(piece, count - done);
    if (Status s = arrive(op, op.metNs, now, n - 1); !s)
      return s;
    sources.clear();
    for (size_t m = 0; m < op.size(); ++m)
      sources.push_back(sourceOf(op, m, 0, true) + (mine + done) * op.width);
    reduceInOrder(op.c.dtype, op.c.reduce, sources.data(), sources.size(), out + (mine + done) * op.width, now);
    if (linked)
      port.leave(monotonicNs(), now * (n - 1) * op.width);
  }
  for (size_t m = 0; m < op.size(); ++m) // the header was read before our next signal
    if (int32_t rank = op.rankOf(m); m != op.me)
      segment.opHeader(rank, self, meetings[static_cast<size_t>(rank)]).leftNs = port.allLeftNs();
  signal(op);
  if (Status s = await(op); !s)
    return s;
  for (int64_t i = 1; i < n; ++i)
    if (Status s = collectPart(op, (op.me + static_cast<size_t>(i)) % op.size()); !s)
      return s;
  sent += (op.c.count - count + count * (n - 1)) * op.width;
  return finish(op, true);
}

/// The second half of a two-shot operation: the result of one member. It left that member's port in pieces, the last
/// of them at the time that its header says.
Status ShmTransport::collectPart(const Op &op, size_t member) {
  auto *out = static_cast<uint8_t *>(op.c.out);
  const OpHeader &theirs = headerOf(op, member);
  const LinkModel &link = segment.link();
  int64_t begin = op.partBegin(member), end = op.partBegin(member + 1), piece = pieceOf(op, end - begin);
  for (int64_t at = begin; at < end; at += piece) {
    int64_t next = std::min(end, at + piece);
    if (link.active()) {
      int64_t behind = link.timeNs((end - next) * (static_cast<int64_t>(op.size()) - 1) * op.width);
      int64_t here = port.arrive(op.metNs, (next - at) * op.width);
      if (Status s = sleepUntil(std::max(here, theirs.leftNs + link.latencyNs - behind)); !s)
        return s;
    }
    std::memcpy(out + at * op.width, segment.at(theirs.outOffset) + at * op.width,
                static_cast<size_t>((next - at) * op.width));
  }
  return Status::ok();
}

} // namespace comm::rt::shm
