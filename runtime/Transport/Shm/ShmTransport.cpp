//===- ShmTransport.cpp - collectives over shared memory ------------------===//
#include "runtime/Transport/Shm/ShmTransport.h"
#include "runtime/Transport/Reduce.h"
#include "runtime/Transport/Shm/Futex.h"
#include <algorithm>
#include <cstring>

namespace comm::rt::shm {

/// One operation under way. Members are those who take part: the group, for send and recv the two of them.
struct ShmTransport::Op {
  const Collective &c;
  const WaitBudget &budget;
  const std::vector<int32_t> *members = nullptr;
  size_t me = 0;
  int64_t width = 0;
  bool reducing = false;
  bool perPeer = false; ///< every member gets another part of the operand; else all get the same
  int64_t chunk = 0;    ///< elements of one part that a slot holds
  OpHeader header;      ///< ours
  uint32_t parity = 0;  ///< of our operations

  size_t size() const { return members->size(); }

  /// Elements that `member` gets from us, and where they start in our operand.
  int64_t outgoing(size_t member, int64_t &offset) const {
    offset = 0;
    switch (c.kind) {
    case CollectiveKind::AllReduce:
    case CollectiveKind::AllGather:
      return c.count;
    case CollectiveKind::ReduceScatter:
    case CollectiveKind::AllToAll:
      offset = static_cast<int64_t>(member) * c.count;
      return c.count;
    case CollectiveKind::AllToAllV:
      offset = c.sendDispls[member];
      return c.sendCounts[member];
    case CollectiveKind::Broadcast:
      return static_cast<int32_t>(me) == c.root ? c.count : 0;
    case CollectiveKind::Permute:
      return static_cast<int32_t>(member) == c.peer ? c.count : 0;
    case CollectiveKind::Send:
      return member == me ? 0 : c.count;
    case CollectiveKind::Recv:
    case CollectiveKind::Barrier:
      return 0;
    }
    return 0;
  }

  /// Elements that we get from `member`, and where they go in our result. Reductions: the size of the result.
  int64_t incoming(size_t member, int64_t &offset) const {
    offset = 0;
    switch (c.kind) {
    case CollectiveKind::AllReduce:
    case CollectiveKind::ReduceScatter:
      return c.count;
    case CollectiveKind::AllGather:
    case CollectiveKind::AllToAll:
      offset = static_cast<int64_t>(member) * c.count;
      return c.count;
    case CollectiveKind::AllToAllV:
      offset = c.recvDispls[member];
      return c.recvCounts[member];
    case CollectiveKind::Broadcast:
      return static_cast<int32_t>(member) == c.root ? c.count : 0;
    case CollectiveKind::Permute:
      return static_cast<int32_t>(member) == c.from ? c.count : 0;
    case CollectiveKind::Recv:
      return member == me ? 0 : c.count;
    case CollectiveKind::Send:
    case CollectiveKind::Barrier:
      return 0;
    }
    return 0;
  }
};

namespace {
uint64_t hashGroup(const std::vector<int32_t> &group) {
  uint64_t h = 0xcbf29ce484222325;
  for (int32_t r : group)
    h = (h ^ static_cast<uint64_t>(r)) * 0x100000001b3;
  return h;
}

bool isPair(CollectiveKind k) { return k == CollectiveKind::Send || k == CollectiveKind::Recv; }

void copyLabel(OpNote &note, const char *label) {
  char text[sizeof note.label] = {};
  std::strncpy(text, label ? label : "", sizeof text - 1);
  for (size_t i = 0; i < std::size(note.label); ++i) {
    uint64_t word;
    std::memcpy(&word, text + i * 8, 8);
    note.label[i].store(word, std::memory_order_relaxed);
  }
}

/// Extent of an operand in elements, from its start; -1 on overflow.
int64_t extent(const std::vector<int64_t> &counts, const std::vector<int64_t> &displs) {
  int64_t end = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    int64_t e;
    if (counts[i] < 0 || displs[i] < 0 || __builtin_add_overflow(counts[i], displs[i], &e))
      return -1;
    end = std::max(end, counts[i] ? e : 0);
  }
  return end;
}
} // namespace

ShmTransport::ShmTransport(Segment &segment, int32_t rank)
    : segment(segment), self(rank), control(segment.control(rank)), signalled(static_cast<size_t>(segment.ranks())),
      expected(signalled.size()), meetings(signalled.size()) {}

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

//===--- preparation and checks ---------------------------------------------------------------===//

/// Refuses what no rank may ask for, whatever the others do, and fills `op`.
Status ShmTransport::prepare(Op &op) {
  const Collective &c = op.c;
  auto bad = [&](const std::string &what) {
    return Status{Code::InvalidArgument, std::string(collectiveName(c.kind)) + " #" + std::to_string(c.planId) +
                                             (c.label && *c.label ? " '" + std::string(c.label) + "': " : ": ") + what};
  };
  auto members = static_cast<int64_t>(c.group.size());
  auto found = std::find(c.group.begin(), c.group.end(), self);
  if (found == c.group.end())
    return bad("rank " + std::to_string(self) + " is not in the group");
  for (size_t i = 0; i < c.group.size(); ++i)
    if (c.group[i] < 0 || c.group[i] >= size() ||
        std::find(c.group.begin(), c.group.begin() + i, c.group[i]) != c.group.begin() + static_cast<std::ptrdiff_t>(i))
      return bad("the group names rank " + std::to_string(c.group[i]) + " twice, or there is no such rank");
  auto index = static_cast<int32_t>(found - c.group.begin());
  auto isMember = [&](int32_t i) { return i >= 0 && i < members; };
  op.members = &c.group;
  op.me = static_cast<size_t>(index);
  if (isPair(c.kind)) {
    if (!isMember(c.peer) || c.peer == index)
      return bad("there is no peer " + std::to_string(c.peer));
    int32_t peer = c.group[static_cast<size_t>(c.peer)];
    memberRanks.assign({self, peer});
    if (c.kind == CollectiveKind::Recv)
      std::swap(memberRanks[0], memberRanks[1]); // the sender is member 0
    op.members = &memberRanks;
    op.me = c.kind == CollectiveKind::Send ? 0 : 1;
  }
  if ((c.kind == CollectiveKind::Broadcast && !isMember(c.root)) ||
      (c.kind == CollectiveKind::Permute &&
       ((c.peer != -1 && !isMember(c.peer)) || (c.from != -1 && !isMember(c.from)))))
    return bad("its root or peer is not in the group");
  if (c.kind == CollectiveKind::Permute && (c.peer == index) != (c.from == index))
    return bad("it sends to itself but receives from another, or the reverse");

  op.width = exe::byteWidth(c.dtype);
  op.reducing = c.kind == CollectiveKind::AllReduce || c.kind == CollectiveKind::ReduceScatter;
  bool varying = c.kind == CollectiveKind::AllToAllV;
  op.perPeer = varying || c.kind == CollectiveKind::AllToAll || c.kind == CollectiveKind::ReduceScatter;
  // Extents of both operands; nothing below can overflow then.
  int64_t inCount = c.count, outCount = c.count, bytes;
  if (varying) {
    for (const auto *list : {&c.sendCounts, &c.sendDispls, &c.recvCounts, &c.recvDispls})
      if (list->size() != c.group.size())
        return bad("it needs a count and a displacement for every member");
    if (c.sendCounts[op.me] != c.recvCounts[op.me])
      return bad("it sends another count to itself than it receives");
    inCount = extent(c.sendCounts, c.sendDispls);
    outCount = extent(c.recvCounts, c.recvDispls);
  } else {
    if (op.perPeer && __builtin_mul_overflow(c.count, members, &inCount))
      inCount = -1;
    bool gathers = c.kind == CollectiveKind::AllGather || c.kind == CollectiveKind::AllToAll;
    if (gathers && __builtin_mul_overflow(c.count, members, &outCount))
      outCount = -1;
  }
  int64_t outBytes;
  if (c.count < 0 || inCount < 0 || outCount < 0 || __builtin_mul_overflow(inCount, op.width, &bytes) ||
      __builtin_mul_overflow(outCount, op.width, &outBytes))
    return bad("a count is negative or too large");
  bool reads = c.kind != CollectiveKind::Barrier && c.kind != CollectiveKind::Recv &&
               (c.kind != CollectiveKind::Broadcast || index == c.root) &&
               (c.kind != CollectiveKind::Permute || c.peer != -1);
  bool writes = c.kind != CollectiveKind::Barrier && c.kind != CollectiveKind::Send;
  bytes = reads ? bytes : 0;
  outBytes = writes ? outBytes : 0;
  if ((bytes && !c.in) || (outBytes && !c.out))
    return bad("an operand is missing");
  const auto *in = static_cast<const uint8_t *>(c.in), *out = static_cast<const uint8_t *>(c.out);
  bool same = in == out && (c.kind == CollectiveKind::AllReduce || c.kind == CollectiveKind::Broadcast);
  if (bytes && outBytes && !same && in < out + outBytes && out < in + bytes)
    return bad("its operand and its result overlap");

  size_t slot = segment.slotBytes();
  if (op.perPeer)
    slot = slot / op.size() / 64 * 64;
  op.chunk = static_cast<int64_t>(slot) / op.width;
  OpHeader &h = op.header;
  h.program = c.program;
  h.groupHash = hashGroup(c.group);
  h.planId = c.planId;
  h.count = varying ? 0 : c.count;
  h.members = static_cast<int32_t>(members);
  h.root = c.kind == CollectiveKind::Broadcast ? c.root : 0;
  h.peer = c.peer;
  h.from = c.from;
  h.kind = c.kind;
  h.reduce = c.reduce;
  h.dtype = c.dtype;
  int64_t offset, most = 0;
  for (size_t m = 0; m < op.size(); ++m)
    if (m != op.me)
      most = std::max(most, op.outgoing(m, offset));
  h.rounds = std::max<int64_t>(1, (most + op.chunk - 1) / op.chunk);
  h.inOffset = bytes ? segment.offsetOf(c.in, bytes) : -1;
  h.outOffset = outBytes ? segment.offsetOf(c.out, outBytes) : -1;
  h.inPlace = bytes && outBytes && in == out;
  return Status::ok();
}

std::string ShmTransport::describe(const OpHeader &h, int32_t rank) const {
  std::string text = "rank " + std::to_string(rank) + " is " + segment.activity(rank) + " (";
  if (h.kind == CollectiveKind::AllReduce || h.kind == CollectiveKind::ReduceScatter)
    text += std::string(reduceName(h.reduce)) + " of ";
  if (h.kind != CollectiveKind::Barrier)
    text += (h.kind == CollectiveKind::AllToAllV ? "" : std::to_string(h.count) + " ") + exe::dtypeName(h.dtype) + ", ";
  if (h.kind == CollectiveKind::Broadcast)
    text += "from member " + std::to_string(h.root) + ", ";
  if (h.kind == CollectiveKind::Permute)
    text += "to member " + std::to_string(h.peer) + " and from member " + std::to_string(h.from) + ", ";
  return text + "group of " + std::to_string(h.members) + ")";
}

const OpHeader &ShmTransport::headerOf(const Op &op, size_t member) const {
  int32_t rank = (*op.members)[member];
  return member == op.me ? op.header : segment.opHeader(self, rank, meetings[static_cast<size_t>(rank)]);
}

Status ShmTransport::checkPeer(const Op &op, size_t member) const {
  int32_t rank = (*op.members)[member];
  const OpHeader &mine = op.header, &theirs = headerOf(op, member);
  bool kinds = isPair(mine.kind) ? isPair(theirs.kind) && theirs.kind != mine.kind : theirs.kind == mine.kind;
  bool same = kinds && theirs.planId == mine.planId && theirs.groupHash == mine.groupHash &&
              theirs.dtype == mine.dtype && theirs.count == mine.count && theirs.root == mine.root &&
              (!op.reducing || theirs.reduce == mine.reduce);
  auto me = static_cast<int32_t>(op.me), other = static_cast<int32_t>(member);
  if (same && mine.kind == CollectiveKind::Permute)
    same = (theirs.peer == me) == (mine.from == other) && (theirs.from == me) == (mine.peer == other);
  if (!same)
    return {Code::BadExecutable,
            "the ranks disagree: " + describe(mine, self) + ", " + describe(theirs, rank) +
                (kinds && theirs.groupHash != mine.groupHash ? "; their groups have different members" : "")};
  if (theirs.program != mine.program)
    return {Code::BadExecutable, "ranks " + std::to_string(self) + " and " + std::to_string(rank) +
                                     " run different programs (" + segment.activity(self) + ")"};
  if (mine.kind == CollectiveKind::AllToAllV) {
    auto other = [&](int64_t sends, int32_t from, int64_t expects, int32_t to) {
      return Status{Code::BadExecutable, "the ranks disagree " + segment.activity(self) + ": rank " +
                                             std::to_string(from) + " sends " + std::to_string(sends) +
                                             " elements to rank " + std::to_string(to) + ", which expects " +
                                             std::to_string(expects)};
    };
    if (theirs.sends != op.c.recvCounts[member])
      return other(theirs.sends, rank, op.c.recvCounts[member], self);
    if (theirs.expects != op.c.sendCounts[member])
      return other(op.c.sendCounts[member], self, theirs.expects, rank);
  }
  return Status::ok();
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
void ShmTransport::pull(const Op &op, int64_t round, bool direct) {
  auto *out = static_cast<uint8_t *>(op.c.out);
  int64_t begin = direct ? 0 : round * op.chunk, offset;
  auto length = [&](int64_t count) { return std::max<int64_t>(0, direct ? count : std::min(op.chunk, count - begin)); };
  if (op.reducing) {
    sources.clear();
    for (size_t m = 0; m < op.size(); ++m)
      sources.push_back(sourceOf(op, m, round, direct));
    reduceInOrder(op.c.dtype, op.c.reduce, sources.data(), sources.size(), out + begin * op.width, length(op.c.count));
    return;
  }
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
    if (from != to)
      std::memcpy(to, from, static_cast<size_t>(n * op.width));
  }
  if (op.c.kind == CollectiveKind::Permute && op.c.from == -1 && round == 0)
    std::memset(out, 0, static_cast<size_t>(op.c.count * op.width));
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
    pull(op, round, false);
  }
  return finish(op, false);
}

/// all_reduce in place: reduce one part, then collect the other parts from their owners' results.
Status ShmTransport::runTwoShot(Op &op) {
  auto n = static_cast<int64_t>(op.size());
  int64_t grain = 64 / op.width, grains = (op.c.count + grain - 1) / grain;
  auto begin = [&](int64_t part) { return std::min(op.c.count, (grains / n * part + grains % n * part / n) * grain); };
  auto me = static_cast<int64_t>(op.me);
  auto *out = static_cast<uint8_t *>(op.c.out);
  sources.clear();
  for (size_t m = 0; m < op.size(); ++m)
    sources.push_back(sourceOf(op, m, 0, true) + begin(me) * op.width);
  int64_t mine = begin(me + 1) - begin(me);
  reduceInOrder(op.c.dtype, op.c.reduce, sources.data(), sources.size(), out + begin(me) * op.width, mine);
  signal(op);
  if (Status s = await(op); !s)
    return s;
  for (int64_t i = 1; i < n; ++i) {
    int64_t part = (me + i) % n;
    const OpHeader &theirs = headerOf(op, static_cast<size_t>(part));
    std::memcpy(out + begin(part) * op.width, segment.at(theirs.outOffset) + begin(part) * op.width,
                static_cast<size_t>((begin(part + 1) - begin(part)) * op.width));
  }
  sent += (op.c.count - mine + mine * (n - 1)) * op.width;
  return finish(op, true);
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
  if (op.header.rounds == 1)
    stage(op, 0);
  publish(op);
  signal(op);
  if (Status s = await(op); !s)
    return s;
  for (size_t m = 0; m < op.size(); ++m)
    if (m != op.me)
      if (Status s = checkPeer(op, m); !s)
        return s;

  // Every member sees the same headers, so all choose the same way.
  bool direct = true, inSegment = true;
  int64_t rounds = 1, offset;
  for (size_t m = 0; m < op.size(); ++m) {
    const OpHeader &h = headerOf(op, m);
    rounds = std::max(rounds, h.rounds);
    // Who overwrites its operand cannot let others read it meanwhile; a broadcast only reads its root's.
    bool overwrites = h.inPlace && op.reducing;
    direct &= h.rounds == 1 || (h.inOffset >= 0 && !overwrites);
    inSegment &= h.inOffset >= 0 && h.outOffset >= 0;
  }
  if (op.c.kind == CollectiveKind::AllReduce && rounds > 1 && inSegment)
    return runTwoShot(op);
  for (size_t m = 0; m < op.size(); ++m)
    if (m != op.me)
      sent += op.outgoing(m, offset) * op.width;
  if (!direct)
    return runStaged(op, rounds);
  pull(op, 0, true);
  return finish(op, op.header.rounds > 1);
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
  Status s = prepare(op);
  if (s && op.size() > 1)
    s = execute(op);
  else if (s)
    pull(op, 0, true);
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
