//===- Exchange.cpp - the messages of one operation -----------------------===//
#include "runtime/Transport/Mpi/Exchange.h"
#include "runtime/Transport/Reduce.h"
#include <algorithm>
#include <cstring>

namespace comm::rt::mpi {

Exchange::Exchange(const Operation &op, const ExchangeOptions &options)
    : op(op), options(options), chunk(std::max<int64_t>(1, options.chunkBytes / op.width) * op.width),
      sendOf(op.size()), operandOf(op.size()), resultOf(op.size()) {
  if (op.reducing)
    planReduction();
  else
    planCopies();
}

void Exchange::addStream(bool sends, size_t member, int tag, void *base, int64_t bytes, int64_t ring) {
  if (bytes <= 0)
    return;
  Stream s;
  s.sends = sends;
  s.peer = op.rankOf(member);
  s.tag = tag;
  s.base = static_cast<uint8_t *>(base);
  s.bytes = bytes;
  s.ring = ring;
  s.done.resize(static_cast<size_t>(s.pieces(chunk)));
  streams.push_back(std::move(s));
  if (tag == resultTag)
    resultOf[member] = sends ? resultOf[member] : streams.size();
  else
    (sends ? sendOf : operandOf)[member] = streams.size();
}

void Exchange::planReduction() {
  auto *in = static_cast<uint8_t *>(const_cast<void *>(op.c.in)), *out = static_cast<uint8_t *>(op.c.out);
  bool all = op.c.kind == CollectiveKind::AllReduce;
  halves = all && op.c.count * op.width > options.oneShotBytes;
  /// First byte and length of what `member` reduces, in the operands.
  auto part = [&](size_t member) -> std::pair<int64_t, int64_t> {
    if (halves)
      return {op.partBegin(member) * op.width, (op.partBegin(member + 1) - op.partBegin(member)) * op.width};
    return {all ? 0 : static_cast<int64_t>(member) * op.c.count * op.width, op.c.count * op.width};
  };
  auto [begin, bytes] = part(op.me);
  own = in + begin;
  result = out + (halves ? begin : 0);
  resultBytes = bytes;
  int64_t ring = std::min(options.window, std::max<int64_t>(1, (bytes + chunk - 1) / chunk));
  staging.resize(static_cast<size_t>(std::min(bytes, ring * chunk)) * (op.size() - 1));
  uint8_t *stage = staging.data();
  // Peers in the order behind ourselves: not all send to rank 0 first.
  for (size_t i = 1; i < op.size(); ++i) {
    size_t m = (op.me + i) % op.size();
    addStream(true, m, dataTag, in + part(m).first, part(m).second);
    addStream(false, m, dataTag, stage, bytes, ring);
    stage += std::min(bytes, ring * chunk);
  }
  for (size_t i = 1; halves && i < op.size(); ++i) {
    size_t m = (op.me + i) % op.size();
    addStream(true, m, resultTag, result, bytes);
    addStream(false, m, resultTag, out + part(m).first, part(m).second);
  }
}

void Exchange::planCopies() {
  auto *in = static_cast<uint8_t *>(const_cast<void *>(op.c.in)), *out = static_cast<uint8_t *>(op.c.out);
  int64_t from, to;
  for (size_t i = 1; i < op.size(); ++i) {
    size_t m = (op.me + i) % op.size();
    int64_t sends = op.outgoing(m, from), takes = op.incoming(m, to);
    addStream(true, m, dataTag, in + from * op.width, sends * op.width);
    addStream(false, m, dataTag, out + to * op.width, takes * op.width);
  }
}

void Exchange::begin() {
  begun = true;
  if (op.reducing)
    return reduce();
  const auto *in = static_cast<const uint8_t *>(op.c.in);
  auto *out = static_cast<uint8_t *>(op.c.out);
  int64_t from, to, takes = op.incoming(op.me, to);
  op.outgoing(op.me, from);
  if (takes > 0 && in + from * op.width != out + to * op.width)
    std::memcpy(out + to * op.width, in + from * op.width, static_cast<size_t>(takes * op.width));
  if (op.c.kind == CollectiveKind::Permute && op.c.from == -1)
    std::memset(out, 0, static_cast<size_t>(op.c.count * op.width));
}

bool Exchange::mayPost(const Stream &s) const {
  if (s.posted >= s.pieces(chunk) || s.posted - s.ended >= options.window)
    return false;
  if (s.ring) // the place in the ring is free when what was in it has been reduced
    return s.posted - reduced < s.ring;
  if (s.tag == resultTag && s.sends)
    return s.posted < reduced;
  if (s.tag == resultTag && op.inPlace) {
    // The result of another member overwrites what was sent to it.
    auto member = static_cast<size_t>(std::find(op.members->begin(), op.members->end(), s.peer) - op.members->begin());
    return sendOf[member] == 0 || streams[sendOf[member] - 1].ended > s.posted;
  }
  return true;
}

bool Exchange::next(Post &out) {
  for (size_t i = 0; i < streams.size(); ++i) {
    Stream &s = streams[i];
    if ((!s.sends && !begun) || !mayPost(s))
      continue;
    out = {s.sends,
           s.at(s.posted, chunk),
           static_cast<size_t>(s.length(s.posted, chunk)),
           s.peer,
           s.tag,
           static_cast<uint64_t>(i) << 40 | static_cast<uint64_t>(s.posted)};
    ++s.posted;
    return true;
  }
  return false;
}

void Exchange::end(uint64_t token) {
  Stream &s = streams[static_cast<size_t>(token >> 40)];
  s.done[static_cast<size_t>(token & ((uint64_t(1) << 40) - 1))] = true;
  while (s.ended < s.posted && s.done[static_cast<size_t>(s.ended)])
    ++s.ended;
  if (op.reducing)
    reduce();
}

/// In the order of the group, every piece that all members have sent.
void Exchange::reduce() {
  std::vector<const void *> sources(op.size());
  for (int64_t pieces = (resultBytes + chunk - 1) / chunk; reduced < pieces; ++reduced) {
    int64_t at = reduced * chunk, bytes = std::min(chunk, resultBytes - at);
    for (size_t m = 0; m < op.size(); ++m) {
      const Stream *s = m == op.me ? nullptr : &streams[operandOf[m] - 1];
      if (s && s->ended <= reduced)
        return;
      // Without halves the result lies where others still read our operand from.
      if (s && op.inPlace && !halves && streams[sendOf[m] - 1].ended <= reduced)
        return;
      sources[m] = s ? s->at(reduced, chunk) : own + at;
    }
    reduceInOrder(op.c.dtype, op.c.reduce, sources.data(), sources.size(), result + at, bytes / op.width);
  }
}

bool Exchange::finished() const {
  return begun &&
         std::all_of(streams.begin(), streams.end(), [&](const Stream &s) { return s.ended == s.pieces(chunk); }) &&
         reduced * chunk >= resultBytes;
}

std::vector<int32_t> Exchange::pendingPeers() const {
  std::vector<int32_t> ranks;
  for (const Stream &s : streams)
    if (s.ended < s.pieces(chunk) && std::find(ranks.begin(), ranks.end(), s.peer) == ranks.end())
      ranks.push_back(s.peer);
  std::sort(ranks.begin(), ranks.end());
  return ranks;
}

int64_t Exchange::bytesSent() const {
  int64_t bytes = 0;
  for (const Stream &s : streams)
    bytes += s.sends ? s.bytes : 0;
  return bytes;
}

} // namespace comm::rt::mpi
