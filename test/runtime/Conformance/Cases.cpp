//===- Cases.cpp - collectives with known answers -------------------------===//
#include "test/runtime/Conformance/Cases.h"
#include "runtime/Kernels/Convert.h"
#include <algorithm>
#include <cstring>

namespace comm::rt::test {
namespace {
constexpr size_t guard = 64;

/// Element i of what rank r holds for block b.
int64_t valueOf(const Case &c, int32_t r, int64_t b, int64_t i) {
  int64_t x = (r * 7 + b * 11 + i * 3 + i / 5 + static_cast<int64_t>(c.kind)) % 5;
  switch (c.dtype) {
  case exe::DType::Bool:
    return x % 2;
  case exe::DType::U8:
  case exe::DType::U16:
  case exe::DType::U32:
  case exe::DType::U64:
    return c.reduce == ReduceKind::Prod ? 1 + x % 2 : x;
  default:
    return c.reduce == ReduceKind::Prod ? (x % 2 ? -1 : 1) * (1 + (x == 3)) : x - 2;
  }
}

template <class T> void put(uint8_t *to, T value) { std::memcpy(to, &value, sizeof value); }

void store(exe::DType t, uint8_t *to, int64_t v) {
  switch (t) {
  case exe::DType::F32:
    return put(to, static_cast<float>(v));
  case exe::DType::F16:
    return put(to, toF16(static_cast<float>(v)));
  case exe::DType::BF16:
    return put(to, toBF16(static_cast<float>(v)));
  case exe::DType::F64:
    return put(to, static_cast<double>(v));
  default: // little-endian integers wrap by being cut off
    std::memcpy(to, &v, static_cast<size_t>(exe::byteWidth(t)));
  }
}

int64_t combine(const Case &c, int64_t a, int64_t b) {
  switch (c.reduce) {
  case ReduceKind::Sum:
    return c.dtype == exe::DType::Bool ? (a | b) : a + b;
  case ReduceKind::Prod:
    return a * b;
  case ReduceKind::Max:
    return std::max(a, b);
  case ReduceKind::Min:
    return std::min(a, b);
  }
  return 0;
}

/// all_to_all_v: elements from member i to member j; some are zero.
int64_t varying(const Case &c, size_t i, size_t j) {
  return (c.count + static_cast<int64_t>(i * 3 + j)) % 4
             ? c.count - std::min<int64_t>(c.count, static_cast<int64_t>(i + 2 * j) % 7)
             : 0;
}

bool mayBeInPlace(CollectiveKind kind) {
  return kind == CollectiveKind::AllReduce || kind == CollectiveKind::Broadcast;
}

/// A filled collective and what its result must be.
struct Plan {
  Collective op;
  int64_t inElements = 0, outElements = 0;
  bool reads = true, writes = true;
};

Plan plan(const Case &c, size_t me) {
  Plan p;
  auto n = static_cast<int64_t>(c.group.size());
  p.op.kind = c.kind;
  p.op.reduce = c.reduce;
  p.op.dtype = c.dtype;
  p.op.group = c.group;
  p.op.count = c.count;
  p.op.program = 42;
  p.op.planId = c.planId;
  p.op.label = "conformance";
  p.inElements = p.outElements = c.count;
  auto shift = static_cast<int32_t>(c.variant % n), self = static_cast<int32_t>(me), size = static_cast<int32_t>(n);
  switch (c.kind) {
  case CollectiveKind::ReduceScatter:
    p.inElements = n * c.count;
    break;
  case CollectiveKind::AllGather:
    p.outElements = n * c.count;
    break;
  case CollectiveKind::AllToAll:
    p.inElements = p.outElements = n * c.count;
    break;
  case CollectiveKind::AllToAllV:
    p.inElements = p.outElements = 0;
    for (size_t m = 0; m < c.group.size(); ++m) {
      p.op.sendCounts.push_back(varying(c, me, m));
      p.op.recvCounts.push_back(varying(c, m, me));
      p.op.sendDispls.push_back(p.inElements);
      p.op.recvDispls.push_back(p.outElements);
      p.inElements += p.op.sendCounts.back() + 1; // a gap that nobody may touch
      p.outElements += p.op.recvCounts.back() + 1;
    }
    break;
  case CollectiveKind::Broadcast:
    p.op.root = shift;
    p.reads = p.op.root == self;
    break;
  case CollectiveKind::Permute: // variant n and above: a chain with open ends
    p.op.peer = (self + shift) % size;
    p.op.from = (self - shift + size) % size;
    if (c.variant >= size && shift > 0) {
      p.op.peer = self + shift < size ? self + shift : -1;
      p.op.from = self >= shift ? self - shift : -1;
    }
    p.reads = p.op.peer >= 0;
    break;
  case CollectiveKind::Send:
  case CollectiveKind::Recv: // run() makes pairs of neighbours
    p.op.peer = self ^ 1;
    p.op.kind = self % 2 == c.variant % 2 ? CollectiveKind::Send : CollectiveKind::Recv;
    p.reads = p.op.kind == CollectiveKind::Send;
    p.writes = !p.reads;
    break;
  case CollectiveKind::Barrier:
    p.reads = p.writes = false;
    p.op.count = 0;
    break;
  case CollectiveKind::AllReduce:
    break;
  }
  return p;
}

/// Block and index of input element `i` of `member`.
int64_t inputValue(const Case &c, size_t member, int64_t i, const Plan &p) {
  int32_t rank = c.group[member];
  if (c.kind == CollectiveKind::ReduceScatter || c.kind == CollectiveKind::AllToAll)
    return valueOf(c, rank, c.count ? i / c.count : 0, c.count ? i % c.count : 0);
  if (c.kind != CollectiveKind::AllToAllV)
    return valueOf(c, rank, 0, i);
  size_t block = 0;
  while (block + 1 < p.op.sendDispls.size() && p.op.sendDispls[block + 1] <= i)
    ++block;
  return valueOf(c, rank, static_cast<int64_t>(block), i - p.op.sendDispls[block]);
}

/// Result element i; false when nothing is written there.
bool expectedValue(const Case &c, size_t me, int64_t i, const Plan &p, int64_t &out) {
  auto n = c.group.size();
  auto self = static_cast<int64_t>(me);
  auto rank = [&](int64_t member) { return c.group[static_cast<size_t>(member)]; };
  switch (c.kind) {
  case CollectiveKind::AllReduce:
  case CollectiveKind::ReduceScatter: {
    int64_t block = c.kind == CollectiveKind::ReduceScatter ? self : 0;
    out = valueOf(c, c.group[0], block, i);
    for (size_t m = 1; m < n; ++m)
      out = combine(c, out, valueOf(c, c.group[m], block, i));
    return true;
  }
  case CollectiveKind::AllGather:
    out = valueOf(c, rank(i / c.count), 0, i % c.count);
    return true;
  case CollectiveKind::AllToAll:
    out = valueOf(c, rank(i / c.count), self, i % c.count);
    return true;
  case CollectiveKind::AllToAllV:
    for (size_t m = 0; m < n; ++m)
      if (i >= p.op.recvDispls[m] && i < p.op.recvDispls[m] + p.op.recvCounts[m]) {
        out = valueOf(c, c.group[m], self, i - p.op.recvDispls[m]);
        return true;
      }
    return false;
  case CollectiveKind::Broadcast:
    out = valueOf(c, rank(p.op.root), 0, i);
    return true;
  case CollectiveKind::Permute:
    out = p.op.from < 0 ? 0 : valueOf(c, rank(p.op.from), 0, i);
    return true;
  case CollectiveKind::Recv:
  case CollectiveKind::Send:
    out = valueOf(c, rank(p.op.peer), 0, i);
    return true;
  case CollectiveKind::Barrier:
    return false;
  }
  return false;
}
} // namespace

std::string describe(const Case &c) {
  static const char *placements[] = {"arena", "private", "in place", "mixed results", "mixed"};
  std::string text = std::string(collectiveName(c.kind)) + " " + reduceName(c.reduce) + " " + exe::dtypeName(c.dtype) +
                     "[" + std::to_string(c.count) + "] " + placements[static_cast<int>(c.placement)] + " variant " +
                     std::to_string(c.variant) + " over {";
  for (int32_t r : c.group)
    text += std::to_string(r) + ",";
  return text + "}";
}

/// Memory of `bytes` with guards of NaN bits (in every float type) on both sides.
uint8_t *CaseRunner::place(std::vector<uint8_t> &own, size_t bytes, size_t slot, Placement placement) {
  size_t whole = (bytes + 63) / 64 * 64 + 2 * guard;
  uint8_t *p;
  if (placement == Placement::Private) {
    own.resize(whole);
    p = own.data();
  } else {
    if (whole > arenaBytes / 2)
      return nullptr;
    p = arena + slot * (arenaBytes / 2 / 64 * 64);
  }
  std::memset(p, 0xff, whole);
  return p + guard;
}

std::string CaseRunner::run(const Case &c, const WaitBudget &budget) {
  auto found = std::find(c.group.begin(), c.group.end(), transport.rank());
  if (found == c.group.end())
    return "";
  auto me = static_cast<size_t>(found - c.group.begin());
  bool pairs = c.kind == CollectiveKind::Send || c.kind == CollectiveKind::Recv;
  if (pairs && (me ^ 1) >= c.group.size())
    return ""; // the odd one out
  Plan p = plan(c, me);
  auto width = static_cast<size_t>(exe::byteWidth(c.dtype));
  size_t inBytes = p.reads ? static_cast<size_t>(p.inElements) * width : 0,
         outBytes = p.writes ? static_cast<size_t>(p.outElements) * width : 0;
  std::vector<uint8_t> ownIn, ownOut;
  // Of this member.
  Placement ofIn = c.placement, ofOut = c.placement;
  if (c.placement == Placement::MixedResult || c.placement == Placement::MixedBoth) {
    bool even = me % 2 == 0;
    ofIn = even                                    ? mayBeInPlace(c.kind) ? Placement::InPlace : Placement::Arena
           : c.placement == Placement::MixedResult ? Placement::Arena
                                                   : Placement::Private;
    ofOut = even ? ofIn : Placement::Private;
  }
  bool inPlace = ofIn == Placement::InPlace;
  uint8_t *in = place(ownIn, std::max(inBytes, inPlace ? outBytes : 0), 0, ofIn),
          *out = inPlace ? in : place(ownOut, outBytes, 1, ofOut);
  if (!in || !out)
    return describe(c) + ": the arena of the test is too small";
  for (size_t i = 0; p.reads && i < static_cast<size_t>(p.inElements); ++i)
    store(c.dtype, in + i * width, inputValue(c, me, static_cast<int64_t>(i), p));
  p.op.in = p.reads ? in : inPlace ? in : nullptr;
  p.op.out = p.writes ? out : nullptr;
  std::vector<uint8_t> before(in, in + inBytes);

  Status s = transport.run(p.op, budget);
  if (!s)
    return describe(c) + ": " + s.text;
  ++done;
  auto wrong = [&](const std::string &what) {
    return "rank " + std::to_string(transport.rank()) + ", " + describe(c) + ": " + what;
  };
  for (size_t i = 0; p.writes && i < static_cast<size_t>(p.outElements); ++i) {
    int64_t value;
    uint8_t expected[8];
    std::memset(expected, 0xff, sizeof expected);
    if (expectedValue(c, me, static_cast<int64_t>(i), p, value))
      store(c.dtype, expected, value);
    if (std::memcmp(out + i * width, expected, width) != 0)
      return wrong("element " + std::to_string(i) + " is wrong");
  }
  if (!inPlace && !before.empty() && std::memcmp(in, before.data(), inBytes) != 0)
    return wrong("its operand was changed");
  for (auto [p0, bytes] :
       {std::make_pair(in, std::max(inBytes, inPlace ? outBytes : 0)), std::make_pair(out, outBytes)})
    for (size_t g = 0; g < guard; ++g)
      if (p0[-1 - static_cast<std::ptrdiff_t>(g)] != 0xff || p0[bytes + g] != 0xff)
        return wrong("memory beside an operand was changed");
  for (size_t i = 0; i < outBytes; ++i)
    hash = (hash ^ out[i]) * 0x100000001b3;
  return "";
}

std::vector<Case> allKinds(exe::DType dtype, int64_t count, Placement placement, const std::vector<int32_t> &group,
                           bool reductions) {
  std::vector<Case> cases;
  auto n = static_cast<int32_t>(group.size());
  auto add = [&](CollectiveKind kind, ReduceKind reduce, int32_t variant) {
    Case c{kind, reduce, dtype, count, placement, group, 0, variant};
    if (placement == Placement::InPlace && !mayBeInPlace(kind))
      return;
    cases.push_back(c);
  };
  for (ReduceKind reduce : {ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod}) {
    if (reduce != ReduceKind::Sum && !reductions)
      continue;
    add(CollectiveKind::AllReduce, reduce, 0);
    add(CollectiveKind::ReduceScatter, reduce, 0);
  }
  for (CollectiveKind kind :
       {CollectiveKind::AllGather, CollectiveKind::AllToAll, CollectiveKind::AllToAllV, CollectiveKind::Barrier})
    add(kind, ReduceKind::Sum, 0);
  add(CollectiveKind::Broadcast, ReduceKind::Sum, 0);
  add(CollectiveKind::Broadcast, ReduceKind::Sum, n - 1);
  for (int32_t shift : {0, 1, n - 1, n + 1})
    add(CollectiveKind::Permute, ReduceKind::Sum, shift);
  add(CollectiveKind::Send, ReduceKind::Sum, 0);
  add(CollectiveKind::Send, ReduceKind::Sum, 1);
  return cases;
}

} // namespace comm::rt::test
