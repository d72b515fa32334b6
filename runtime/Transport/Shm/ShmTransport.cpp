//===- ShmTransport.cpp - collectives over shared memory ------------------===//
#include "runtime/Transport/Shm/ShmTransport.h"
#include "runtime/Transport/Reduce.h"
#include "runtime/Transport/Shm/Futex.h"
#include <algorithm>
#include <cstring>
#include <sys/prctl.h>

namespace comm::rt::shm {

/// One operation under way.
struct ShmTransport::Op : Operation {
  using Operation::Operation;
  int64_t chunk = 0;   ///< elements of one part that a slot holds
  OpHeader header;     ///< ours
  uint32_t parity = 0; ///< of our operations
  int64_t metNs = 0;   ///< when the last member came
};

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

//===--- signals ------------------------------------------------------------------------------===//

void ShmTransport::signal(const Op &op) {
  for (int32_t rank : *op.members) {
    if (rank == self)
      continue;
    auto r = static_cast<size_t>(rank);
    // Sequentially consistent on both sides: either the sleeper sees the signal or we see the sleeper.
    segment.signals(rank, self).store(++signalled[r]);
    RankControl &peer = segment.control(rank);
    if (peer.sleeping.load()) {
      peer.doorbell.fetch_add(1);
      futexWake(peer.doorbell);
    }
  }
}

Status ShmTransport::await(const Op &op) {
  marks.clear();
  for (int32_t rank : *op.members)
    if (rank != self)
      marks.emplace_back(rank, ++expected[static_cast<size_t>(rank)]);
  return awaitMarks(op, marks);
}

Status ShmTransport::awaitMarks(const Op &op, const Marks &list) {
  auto late = [&](const std::pair<int32_t, uint32_t> &mark) {
    return static_cast<int32_t>(segment.signals(self, mark.first).load() - mark.second) < 0;
  };
  auto over = [&] { return segment.aborted() || std::none_of(list.begin(), list.end(), late); };
  bool done = spinUntil(op.budget.spinNs, over);
  if (!done) {
    int64_t deadline = deadlineAfter(op.budget.timeoutMs);
    control.sleeping.store(1);
    for (;;) {
      uint32_t seen = control.doorbell.load();
      done = over();
      if (done || (deadline != INT64_MAX && monotonicNs() >= deadline))
        break;
      futexWait(control.doorbell, seen, deadline);
    }
    control.sleeping.store(0);
  }
  if (segment.aborted())
    return segment.abortStatus();
  if (done)
    return Status::ok();
  std::string who;
  for (const auto &mark : list)
    if (late(mark))
      who +=
          (who.empty() ? "rank " : ", rank ") + std::to_string(mark.first) + " (" + segment.activity(mark.first) + ")";
  return {Code::Timeout, "rank " + std::to_string(self) + " waited " + std::to_string(op.budget.timeoutMs) + " ms " +
                             segment.activity(self) + " for " + who};
}

//===--- the emulated link ----------------------------------------------------------------------===//

/// Sleeps until `ns`, or until the group is aborted. The time stands still for nobody, so waking late does not add up.
Status ShmTransport::sleepUntil(int64_t ns) {
  // By default the system may be 50 us late.
  static thread_local bool fine = ::prctl(PR_SET_TIMERSLACK, 1000) == 0;
  (void)fine;
  constexpr int64_t wakeUpNs = 6000; // what it takes to get a core again; the rest is spun
  for (int64_t left = ns - monotonicNs(); left > 0; left = ns - monotonicNs()) {
    uint32_t seen = control.doorbell.load(); // an abort rings it
    if (segment.aborted())
      return segment.abortStatus();
    if (left > wakeUpNs)
      futexWait(control.doorbell, seen, ns - wakeUpNs);
    else
      spinPause();
  }
  return Status::ok();
}

/// Waits until `elements` that peers had ready at `readyNs` have come, from each of `senders` of them.
Status ShmTransport::arrive(const Op &op, int64_t readyNs, int64_t elements, int64_t senders) {
  if (!segment.link().active() || elements <= 0)
    return Status::ok();
  return sleepUntil(port.arrive(readyNs, elements * senders * op.width));
}

/// Elements handled at once: all of them, unless a link delivers them bit by bit.
int64_t ShmTransport::pieceOf(const Op &op, int64_t elements) const {
  if (!segment.link().active())
    return std::max<int64_t>(1, elements);
  return std::max<int64_t>(1, segment.link().chunkBytes / op.width);
}

//===--- preparation and checks ---------------------------------------------------------------===//

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

//===--- moving data --------------------------------------------------------------------------===//

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
