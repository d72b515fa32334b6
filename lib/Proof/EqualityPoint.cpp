//===- EqualityPoint.cpp - formulas at a random point ---------------------===//
#include "EqualityPoint.h"
#include <algorithm>
#include <cstdlib>

namespace comm::proof {
namespace {
constexpr uint64_t prime = (uint64_t(1) << 61) - 1;
constexpr int64_t maxDepth = 4000; ///< within any stack

uint64_t reduced(uint64_t x) { return x % prime; }
uint64_t plus(uint64_t a, uint64_t b) { return (a + b) % prime; }
uint64_t negative(uint64_t a) { return a ? prime - a : 0; }
uint64_t times(uint64_t a, uint64_t b) { return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b % prime); }
uint64_t inverse(uint64_t a) {
  uint64_t out = 1;
  for (uint64_t e = prime - 2; e; e >>= 1, a = times(a, a))
    if (e & 1)
      out = times(out, a);
  return out;
}
uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}
bool isEach(const Term &t) { return std::count(t.role.begin(), t.role.end(), kEach) == std::ptrdiff_t(t.role.size()); }
bool isSum(const Term &t) {
  return std::all_of(t.role.begin(), t.role.end(), [](char role) { return role == kEach || role == kSum; });
}

/// The operand that such an operation is linear in, as in the rules; -1: none.
bool isLinearIn(const Term &t, size_t operand) {
  return t.op == "mulf" || t.op == "matmul" || t.op == "negf" || (t.op == "expert_matmul" && operand < 2) ||
         (operand == 0 &&
          (t.op == "divf" || t.op == "embedding" || t.op == "reduce" || t.op.rfind("gather", 0) == 0)) ||
         (t.op == "quantized_matmul" && (operand == 0 || operand == 2));
}
bool commutes(const std::string &op) {
  static const std::vector<std::string> ops = {"maximumf", "minimumf", "maxnumf", "minnumf", "maxsi", "minsi",
                                               "maxui",    "minui",    "andi",    "ori",     "xori"};
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}
} // namespace

size_t Point::KeyHash::operator()(const Key &k) const {
  return mixed(mixed(static_cast<uint64_t>(k.term) << 32 ^ static_cast<uint32_t>(k.part)) ^
               static_cast<uint64_t>(k.element));
}

uint64_t Point::hash(uint64_t a, uint64_t b) const { return reduced(mixed(mixed(a ^ seed) + b)); }
uint64_t Point::hash(const std::string &text) const {
  uint64_t h = text.size();
  for (char c : text)
    h = mixed(h ^ static_cast<uint8_t>(c));
  return reduced(h);
}

void Point::count() {
  if (--stepsLeft < 0)
    throw NoRule{"a formula that is too large"};
}

uint64_t Point::value(const std::vector<Atom> &sum, const Indices &index) {
  depth = 0;
  uint64_t out = 0;
  for (const Atom &a : sum) {
    int64_t at = a.offset;
    for (size_t d = 0; d < index.size(); ++d)
      at += index[d] * a.strides[d];
    out = plus(out, element(a.term, at, -1));
  }
  return out;
}

uint64_t Point::element(int32_t term, int64_t at, int32_t part) {
  const Term &t = terms[term];
  if (t.operands.empty() && t.whole < 0) {
    if (t.op == "unknown")
      throw NoRule{"an operation without a rule"};
    if (t.op == "index")
      return reduced(static_cast<uint64_t>(at));
    if (t.op != "constant")
      return hash(hash(t.op) ^ hash(t.attrs) << 1, static_cast<uint64_t>(at));
    char *end = nullptr; // a constant that is a small integer is this integer
    double v = std::strtod(t.attrs.c_str(), &end);
    if (*end == 0 && v == static_cast<double>(static_cast<int32_t>(v)))
      return v < 0 ? negative(static_cast<uint64_t>(-v)) : static_cast<uint64_t>(v);
    return hash(hash(t.attrs), 1);
  }
  if (part >= 0 && !reaches(term, terms[part].cut))
    part = -1;
  Key key{term, part, at};
  if (auto it = known.find(key); it != known.end())
    return it->second;
  count();
  if (++depth > maxDepth)
    throw NoRule{"a formula that is too deep"};
  uint64_t out = compute(term, at, part);
  --depth;
  known[key] = out;
  return out;
}

uint64_t Point::compute(int32_t term, int64_t at, int32_t part) {
  const Term &t = terms[term];
  if (t.whole >= 0) {
    if (part >= 0)
      throw NoRule{"a partial sum of a partial sum"};
    return element(t.whole, at, term);
  }
  if (t.op == "assembly")
    return assembled(t, at);
  Indices index;
  for (size_t d = 0; d < t.n.size(); ++d)
    index.push_back(t.own[d] ? at / t.own[d] % t.n[d] : 0);
  if (isEach(t))
    return eachOf(t, index, part);
  if (isSum(t))
    return sumOver(term, t, std::move(index), part);
  if (part >= 0)
    throw NoRule{"a partial sum of a function"};
  return functionOver(t, std::move(index));
}

uint64_t Point::operand(const Term &t, size_t o, const Indices &index, int32_t part) {
  const Operand &x = t.operands[o];
  int64_t at = x.offset;
  for (size_t d = 0; d < index.size(); ++d)
    at += index[d] * x.strides[d];
  return element(x.term, at, part);
}

/// One index: sums and products are what they are.
uint64_t Point::eachOf(const Term &t, const Indices &index, int32_t part) {
  std::vector<uint64_t> x;
  for (size_t o = 0; o < t.operands.size(); ++o) {
    x.push_back(operand(t, o, index, isLinearIn(t, o) ? part : -1));
    if (part >= 0 && isLinearIn(t, o) && reaches(t.operands[o].term, terms[part].cut))
      part = -1; // the window is of one factor
  }
  if (t.op == "sum") {
    uint64_t out = 0;
    for (uint64_t v : x)
      out = plus(out, v);
    return out;
  }
  // A product of rounded operands is linear as well, but another one.
  if (t.op == "matmul" && !t.attrs.empty() && x.size() == 2)
    return times(times(x[0], x[1]), hash(hash(t.op), hash(t.attrs)));
  if ((t.op == "mulf" || t.op == "muli" || t.op == "matmul") && x.size() == 2)
    return times(x[0], x[1]);
  if ((t.op == "subf" || t.op == "subi") && x.size() == 2)
    return plus(x[0], negative(x[1]));
  if (t.op == "divf" && x.size() == 2)
    return times(x[0], inverse(x[1]));
  if (t.op == "negf" && x.size() == 1)
    return negative(x[0]);
  if (t.op == "embedding" && x.size() == 3)
    return times(x[0], hash(x[1], x[2]));
  if (t.op == "quantized_matmul") { // input and scale times a number that the others make
    uint64_t number = hash(hash(t.op), hash(t.attrs));
    for (size_t o = 1; o < x.size(); ++o)
      number = o == 2 ? number : hash(number, x[o]);
    return times(times(x[0], x[2]), number);
  }
  if (t.op == "expert_matmul" && x.size() == 4)
    return times(times(x[0], x[1]), hash(x[2], x[3]));
  if (t.op == "reduce" && x.size() == 1)
    return x[0];
  if (commutes(t.op))
    std::sort(x.begin(), x.end());
  uint64_t h = hash(hash(t.op), hash(t.attrs));
  for (uint64_t v : x)
    h = hash(h, v);
  return h;
}

uint64_t Point::sumOver(int32_t id, const Term &t, Indices index, int32_t part) {
  Indices from(t.n.size(), 0), to = t.n;
  size_t window = 0;
  bool isCut = part >= 0 && terms[part].cut == id;
  for (size_t d = 0; d < t.n.size(); ++d)
    if (t.role[d] != kSum)
      from[d] = index[d], to[d] = index[d] + 1;
    else if (isCut)
      from[d] = terms[part].windows[window][0], to[d] = terms[part].windows[window][1], ++window;
  uint64_t out = 0;
  for (index = from;;) {
    count();
    out = plus(out, eachOf(t, index, isCut ? -1 : part));
    size_t d = index.size();
    while (d > 0 && ++index[d - 1] == to[d - 1])
      index[d - 1] = from[d - 1], --d;
    if (d == 0)
      return out;
  }
}

/// A random function of everything that is there whole, and of the place in it.
uint64_t Point::functionOver(const Term &t, Indices index) {
  uint64_t place = 0, h = hash(hash(t.op), hash(t.attrs));
  for (size_t d = 0; d < t.n.size(); ++d)
    if (t.role[d] != kEach) {
      place = place * static_cast<uint64_t>(t.n[d]) + static_cast<uint64_t>(index[d]);
      index[d] = 0;
    }
  h = hash(h, place);
  // The keys that a query sees: the fourth operand of attention is its number.
  int64_t last = INT64_MAX;
  if (t.op == "attention" && t.attrs.find(" causal") != std::string::npos && t.operands.size() > 3)
    last = static_cast<int64_t>(operand(t, 3, index, -1));
  int64_t keys = 1;
  for (size_t d = 0; d < t.n.size(); ++d)
    keys *= t.role[d] == 'T' ? t.n[d] : 1;
  if (t.op == "attention" && t.attrs.find(" mask") != std::string::npos && last >= keys)
    maskedKeys.insert(keys);
  for (;;) {
    count();
    int64_t key = 0;
    for (size_t d = 0; d < t.n.size(); ++d)
      if (t.role[d] == 'T')
        key = key * t.n[d] + index[d];
    if (key <= last)
      for (size_t o = 0; o < t.operands.size(); ++o)
        h = hash(h, operand(t, o, index, -1));
    size_t d = index.size();
    for (; d > 0; --d) {
      if (t.role[d - 1] == kEach)
        continue;
      if (++index[d - 1] < t.n[d - 1])
        break;
      index[d - 1] = 0;
    }
    if (d == 0)
      return h;
  }
}

uint64_t Point::assembled(const Term &t, int64_t at) {
  for (size_t o = 0, first = 0; o < t.operands.size(); first += t.operands[o++].strides.size()) {
    const Operand &x = t.operands[o];
    int64_t rest = at - t.windows[o][0], source = x.offset;
    for (size_t k = x.strides.size(); k-- > 0 && rest >= 0;) { // outer steps last, as simplify leaves them
      int64_t step = t.own[first + k], i = std::min(rest / step, t.n[first + k] - 1);
      rest -= i * step;
      source += i * x.strides[k];
    }
    if (rest == 0)
      return element(x.term, source, -1);
  }
  throw NoRule{"a part of it is never computed"};
}

/// Whether a window of the sum `cut` is one of the term.
bool Point::reaches(int32_t term, int32_t cut) {
  if (term == cut)
    return true;
  auto [it, isNew] = below.try_emplace({term, cut}, false);
  if (!isNew)
    return it->second;
  count();
  if (++depth > maxDepth)
    throw NoRule{"a formula that is too deep"};
  const Term &t = terms[term];
  bool out = false;
  for (size_t o = 0; o < t.operands.size() && !out; ++o)
    out = isLinearIn(t, o) && reaches(t.operands[o].term, cut);
  --depth;
  return below[{term, cut}] = out;
}

} // namespace comm::proof
