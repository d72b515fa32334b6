//===- Operation.cpp - a collective that has been checked -----------------===//
#include "runtime/Transport/Operation.h"
#include <algorithm>

namespace comm::rt {
namespace {
uint64_t hashGroup(const std::vector<int32_t> &group) {
  uint64_t h = 0xcbf29ce484222325;
  for (int32_t r : group)
    h = (h ^ static_cast<uint64_t>(r)) * 0x100000001b3;
  return h;
}

bool isPair(CollectiveKind k) { return k == CollectiveKind::Send || k == CollectiveKind::Recv; }

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
/// What a rank asks for: "rank 1 is in all_reduce #3 'label' (sum of 4 f32, group of 2)".
std::string describe(const OpSignature &h, int32_t rank, const Activity &activity) {
  std::string text = "rank " + std::to_string(rank) + " is " + activity(rank) + " (";
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
} // namespace

std::string operationName(const Collective &c) {
  return std::string(collectiveName(c.kind)) + " #" + std::to_string(c.planId) +
         (c.label && *c.label ? " '" + std::string(c.label) + "'" : "");
}

int64_t Operation::outgoing(size_t member, int64_t &offset) const {
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

int64_t Operation::incoming(size_t member, int64_t &offset) const {
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

int64_t Operation::partBegin(size_t member) const {
  auto n = static_cast<int64_t>(size()), part = static_cast<int64_t>(member);
  int64_t grain = 64 / width, grains = (c.count + grain - 1) / grain;
  return std::min(c.count, (grains / n * part + grains % n * part / n) * grain);
}

Status Operation::prepare(int32_t self, int32_t ranks) {
  auto bad = [&](const std::string &what) { return Status{Code::InvalidArgument, operationName(c) + ": " + what}; };
  auto count = static_cast<int64_t>(c.group.size());
  auto found = std::find(c.group.begin(), c.group.end(), self);
  if (found == c.group.end())
    return bad("rank " + std::to_string(self) + " is not in the group");
  for (size_t i = 0; i < c.group.size(); ++i)
    if (c.group[i] < 0 || c.group[i] >= ranks ||
        std::find(c.group.begin(), c.group.begin() + i, c.group[i]) != c.group.begin() + static_cast<std::ptrdiff_t>(i))
      return bad("the group names rank " + std::to_string(c.group[i]) + " twice, or there is no such rank");
  auto index = static_cast<int32_t>(found - c.group.begin());
  auto isMember = [&](int32_t i) { return i >= 0 && i < count; };
  members = &c.group;
  me = static_cast<size_t>(index);
  if (isPair(c.kind)) {
    if (!isMember(c.peer) || c.peer == index)
      return bad("there is no peer " + std::to_string(c.peer));
    int32_t peer = c.group[static_cast<size_t>(c.peer)];
    pair.assign({self, peer});
    if (c.kind == CollectiveKind::Recv)
      std::swap(pair[0], pair[1]); // the sender is member 0
    members = &pair;
    me = c.kind == CollectiveKind::Send ? 0 : 1;
  }
  if ((c.kind == CollectiveKind::Broadcast && !isMember(c.root)) ||
      (c.kind == CollectiveKind::Permute &&
       ((c.peer != -1 && !isMember(c.peer)) || (c.from != -1 && !isMember(c.from)))))
    return bad("its root or peer is not in the group");
  if (c.kind == CollectiveKind::Permute && (c.peer == index) != (c.from == index))
    return bad("it sends to itself but receives from another, or the reverse");

  width = exe::byteWidth(c.dtype);
  reducing = c.kind == CollectiveKind::AllReduce || c.kind == CollectiveKind::ReduceScatter;
  bool varying = c.kind == CollectiveKind::AllToAllV;
  perPeer = varying || c.kind == CollectiveKind::AllToAll || c.kind == CollectiveKind::ReduceScatter;
  // Extents of both operands; nothing below can overflow then.
  int64_t inCount = c.count, outCount = c.count, bytes;
  if (varying) {
    for (const auto *list : {&c.sendCounts, &c.sendDispls, &c.recvCounts, &c.recvDispls})
      if (list->size() != c.group.size())
        return bad("it needs a count and a displacement for every member");
    if (c.sendCounts[me] != c.recvCounts[me])
      return bad("it sends another count to itself than it receives");
    inCount = extent(c.sendCounts, c.sendDispls);
    outCount = extent(c.recvCounts, c.recvDispls);
  } else {
    if (perPeer && __builtin_mul_overflow(c.count, count, &inCount))
      inCount = -1;
    bool gathers = c.kind == CollectiveKind::AllGather || c.kind == CollectiveKind::AllToAll;
    if (gathers && __builtin_mul_overflow(c.count, count, &outCount))
      outCount = -1;
  }
  int64_t resultBytes;
  if (c.count < 0 || inCount < 0 || outCount < 0 || __builtin_mul_overflow(inCount, width, &bytes) ||
      __builtin_mul_overflow(outCount, width, &resultBytes))
    return bad("a count is negative or too large");
  bool reads = c.kind != CollectiveKind::Barrier && c.kind != CollectiveKind::Recv &&
               (c.kind != CollectiveKind::Broadcast || index == c.root) &&
               (c.kind != CollectiveKind::Permute || c.peer != -1);
  bool writes = c.kind != CollectiveKind::Barrier && c.kind != CollectiveKind::Send;
  bytes = reads ? bytes : 0;
  resultBytes = writes ? resultBytes : 0;
  if ((bytes && !c.in) || (resultBytes && !c.out))
    return bad("an operand is missing");
  const auto *in = static_cast<const uint8_t *>(c.in), *out = static_cast<const uint8_t *>(c.out);
  bool same = in == out && (c.kind == CollectiveKind::AllReduce || c.kind == CollectiveKind::Broadcast);
  if (bytes && resultBytes && !same && in < out + resultBytes && out < in + bytes)
    return bad("its operand and its result overlap");

  inBytes = bytes;
  outBytes = resultBytes;
  inPlace = bytes && resultBytes && in == out;
  signature.program = c.program;
  signature.groupHash = hashGroup(c.group);
  signature.planId = c.planId;
  signature.count = varying ? 0 : c.count;
  signature.members = static_cast<int32_t>(count);
  signature.root = c.kind == CollectiveKind::Broadcast ? c.root : 0;
  signature.peer = c.peer;
  signature.from = c.from;
  signature.kind = c.kind;
  signature.reduce = c.reduce;
  signature.dtype = c.dtype;
  return Status::ok();
}

Status comparePeer(const Operation &op, size_t member, const OpSignature &theirs, const Activity &activity) {
  int32_t rank = op.rankOf(member), self = op.rankOf(op.me);
  const OpSignature &mine = op.signature;
  bool kinds = isPair(mine.kind) ? isPair(theirs.kind) && theirs.kind != mine.kind : theirs.kind == mine.kind;
  bool same = kinds && theirs.planId == mine.planId && theirs.groupHash == mine.groupHash &&
              theirs.dtype == mine.dtype && theirs.count == mine.count && theirs.root == mine.root &&
              (!op.reducing || theirs.reduce == mine.reduce);
  auto me = static_cast<int32_t>(op.me), other = static_cast<int32_t>(member);
  if (same && mine.kind == CollectiveKind::Permute)
    same = (theirs.peer == me) == (mine.from == other) && (theirs.from == me) == (mine.peer == other);
  if (!same)
    return {Code::BadExecutable,
            "the ranks disagree: " + describe(mine, self, activity) + ", " + describe(theirs, rank, activity) +
                (kinds && theirs.groupHash != mine.groupHash ? "; their groups have different members" : "")};
  if (theirs.program != mine.program)
    return {Code::BadExecutable, "ranks " + std::to_string(self) + " and " + std::to_string(rank) +
                                     " run different programs, or multiply bf16 on different units (" + activity(self) +
                                     ")"};
  if (mine.kind == CollectiveKind::AllToAllV) {
    auto other = [&](int64_t sends, int32_t from, int64_t expects, int32_t to) {
      return Status{Code::BadExecutable, "the ranks disagree " + activity(self) + ": rank " + std::to_string(from) +
                                             " sends " + std::to_string(sends) + " elements to rank " +
                                             std::to_string(to) + ", which expects " + std::to_string(expects)};
    };
    if (theirs.sends != op.c.recvCounts[member])
      return other(theirs.sends, rank, op.c.recvCounts[member], self);
    if (theirs.expects != op.c.sendCounts[member])
      return other(op.c.sendCounts[member], self, theirs.expects, rank);
  }
  return Status::ok();
}

} // namespace comm::rt
