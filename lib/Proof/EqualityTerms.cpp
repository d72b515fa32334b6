//===- EqualityTerms.cpp - what is computed, over whole tensors -----------===//
#include "EqualityTerms.h"
#include <algorithm>
#include <numeric>

namespace comm::proof {
namespace {
using Ints = std::vector<int64_t>;

void put(std::string &key, int64_t v) { (key += std::to_string(v)) += ','; }

std::string keyOf(const Term &t) {
  std::string key = t.op + "|" + std::to_string(t.attrs.size()) + ":" + t.attrs + "|";
  for (size_t d = 0; d < t.n.size(); ++d) {
    key += t.role[d];
    put(key, t.n[d]);
    put(key, t.own[d]);
  }
  for (const Operand &o : t.operands) {
    key += ';';
    put(key, o.term);
    put(key, o.offset);
    for (int64_t s : o.strides)
      put(key, s);
  }
  return key;
}

std::string shapeKey(const Application &a) {
  std::string key = a.op + "|" + std::to_string(a.attrs.size()) + ":" + a.attrs + "|";
  for (const Operand &o : a.operands)
    put(key, o.term);
  return key;
}

void eraseDim(Application &a, size_t d) {
  auto at = static_cast<std::ptrdiff_t>(d);
  a.n.erase(a.n.begin() + at);
  a.role.erase(a.role.begin() + at);
  a.inResult.erase(a.inResult.begin() + at);
  for (Operand &o : a.operands)
    o.strides.erase(o.strides.begin() + at);
}

/// Dimensions with one result per index come first, by the order in which they walk the operands: a term is the same
/// whatever order the program kept its results in, and what is one step in an operand is one dimension.
Application inOperandOrder(const Application &a) {
  Ints order(a.n.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
    auto i = static_cast<size_t>(x), j = static_cast<size_t>(y);
    if (a.role[i] != kEach || a.role[j] != kEach)
      return a.role[i] == kEach && a.role[j] != kEach;
    for (const Operand &o : a.operands)
      if (o.strides[i] != o.strides[j])
        return o.strides[i] > o.strides[j];
    return false;
  });
  Application out = a;
  for (size_t d = 0; d < order.size(); ++d) {
    auto from = static_cast<size_t>(order[d]);
    out.n[d] = a.n[from];
    out.role[d] = a.role[from];
    out.inResult[d] = a.inResult[from];
    for (size_t o = 0; o < a.operands.size(); ++o)
      out.operands[o].strides[d] = a.operands[o].strides[from];
  }
  return out;
}

bool reads(const Application &a, size_t d) {
  return std::any_of(a.operands.begin(), a.operands.end(), [&](const Operand &o) { return o.strides[d] != 0; });
}

/// How one dimension of an application lies in one of a term.
struct Place {
  size_t dim;
  int64_t step;
};

/// Whether strides are `step` times those of dimension j of the term; step 0: any.
bool stepOf(const Application &a, size_t d, const Term &t, size_t j, int64_t &step) {
  step = 0;
  for (size_t o = 0; o < a.operands.size(); ++o) {
    int64_t mine = a.operands[o].strides[d], theirs = t.operands[o].strides[j];
    if (theirs == 0) {
      if (mine != 0)
        return false;
      continue;
    }
    if (mine % theirs != 0 || mine / theirs < 1 || (step != 0 && mine / theirs != step))
      return false;
    step = mine / theirs;
  }
  return true;
}

/// Finds the term's dimension of each of the application's; `extent` is how far they reach in it.
bool placeDims(const Application &a, const Term &t, std::vector<Place> &places, Ints &extent) {
  extent.assign(t.n.size(), 0);
  places.assign(a.n.size(), {0, 0});
  Ints filled(t.n.size(), 1);
  for (size_t d = a.n.size(); d-- > 0;) {
    bool found = false;
    for (size_t j = 0; j < t.n.size(); ++j) {
      int64_t step;
      if (t.role[j] != a.role[d] || !stepOf(a, d, t, j, step))
        continue;
      if (step == 0)
        step = filled[j];
      if (extent[j] + step * (a.n[d] - 1) > t.n[j] - 1 || (found && step >= places[d].step))
        continue;
      found = true;
      places[d] = {j, step};
    }
    if (!found)
      return false;
    extent[places[d].dim] += places[d].step * (a.n[d] - 1);
    filled[places[d].dim] *= a.n[d];
  }
  return true;
}

/// Where in the term's dimensions the application starts: the operands' offsets, taken apart by their strides.
bool placeStart(const Application &a, const Term &t, const Ints &extent, Ints &start) {
  start.assign(t.n.size(), -1);
  for (size_t o = 0; o < a.operands.size(); ++o) {
    const Ints &strides = t.operands[o].strides;
    int64_t rest = a.operands[o].offset - t.operands[o].offset;
    std::vector<size_t> open;
    for (size_t j = 0; j < t.n.size(); ++j)
      if (strides[j] != 0 && start[j] < 0)
        open.push_back(j);
      else if (strides[j] != 0)
        rest -= start[j] * strides[j];
    std::sort(open.begin(), open.end(), [&](size_t x, size_t y) { return strides[x] > strides[y]; });
    for (size_t j : open) {
      start[j] = std::clamp<int64_t>(rest / strides[j], 0, t.n[j] - 1 - extent[j]);
      rest -= start[j] * strides[j];
    }
    if (rest != 0)
      return false;
  }
  for (int64_t &s : start)
    s = std::max<int64_t>(s, 0);
  return true;
}

/// Number of neighbouring indices of dimension j that the application covers; -1 when there are gaps.
int64_t coverage(const Application &a, const std::vector<Place> &places, size_t j) {
  std::vector<std::pair<int64_t, int64_t>> steps;
  for (size_t d = 0; d < places.size(); ++d)
    if (places[d].dim == j)
      steps.push_back({places[d].step, a.n[d]});
  std::sort(steps.begin(), steps.end());
  int64_t covered = 1;
  for (auto [step, n] : steps) {
    if (step != covered)
      return -1;
    covered *= n;
  }
  return covered;
}
} // namespace

void Terms::setPlace(bool reference, int32_t r, int32_t c) {
  isReference = reference;
  rank = r;
  command = c;
}

int32_t Terms::insert(const std::string &key, Term term) {
  auto [it, isNew] = byKey.try_emplace(key, static_cast<int32_t>(terms.size()));
  if (isNew) {
    term.isReference = isReference;
    term.rank = rank;
    term.command = command;
    terms.push_back(std::move(term));
  }
  return it->second;
}

int32_t Terms::leaf(const std::string &op, const std::string &attrs) {
  Term t;
  t.op = op;
  t.attrs = attrs;
  return insert(keyOf(t), t);
}

int32_t Terms::unknown(const std::string &why) {
  Term t;
  t.op = "unknown";
  t.attrs = why;
  return insert("unknown " + std::to_string(terms.size()), t);
}

int32_t Terms::create(const Application &a) {
  Application merged = inOperandOrder(a);
  for (size_t d = 0; d + 1 < merged.n.size();) {
    bool joins = merged.role[d] == merged.role[d + 1] && merged.inResult[d] == merged.inResult[d + 1];
    for (const Operand &o : merged.operands)
      joins &= o.strides[d] == merged.n[d + 1] * o.strides[d + 1];
    if (!joins) {
      ++d;
      continue;
    }
    merged.n[d + 1] *= merged.n[d];
    eraseDim(merged, d);
    d = d ? d - 1 : 0;
  }
  Term t;
  t.op = a.op;
  t.attrs = a.attrs;
  t.n = merged.n;
  t.role = merged.role;
  t.operands = merged.operands;
  t.own.assign(t.n.size(), 0);
  int64_t stride = 1;
  for (size_t d = t.n.size(); d-- > 0;)
    if (merged.inResult[d]) {
      t.own[d] = stride;
      stride *= t.n[d];
    }
  int32_t id = insert(keyOf(t), t);
  byShape[shapeKey(a)].push_back(id);
  return id;
}

bool Terms::match(const Application &a, int32_t id, Atom &out) {
  takeStep();
  const Term &t = terms[static_cast<size_t>(id)];
  std::vector<Place> places;
  Ints extent, start;
  if (t.operands.size() != a.operands.size() || !placeDims(a, t, places, extent) || !placeStart(a, t, extent, start))
    return false;
  out = {id, 0, {}};
  std::vector<std::array<int64_t, 2>> windows;
  for (size_t j = 0; j < t.n.size(); ++j) {
    out.offset += start[j] * t.own[j];
    if (t.role[j] == kEach)
      continue;
    int64_t covered = coverage(a, places, j);
    if (covered < 0)
      return false;
    if (t.role[j] == kSum)
      windows.push_back({start[j], start[j] + covered});
    else if (start[j] != 0 || (covered != t.n[j] && !(a.mayCut && t.role[j] == 'T')))
      return false;
  }
  for (size_t d = 0; d < a.n.size(); ++d)
    out.strides.push_back(a.inResult[d] ? places[d].step * t.own[places[d].dim] : 0);
  if (!windows.empty())
    out.term = part(id, id, std::move(windows));
  return true;
}

/// Operands of one term have no order of their own: a part may lack the strides that told them apart in the whole.
bool Terms::matchInAnyOrder(Application a, int32_t id, Atom &out) {
  constexpr int mostOrders = 120;
  auto less = [](const Operand &x, const Operand &y) {
    return x.strides != y.strides ? x.strides < y.strides : x.offset < y.offset;
  };
  for (int tried = 0; tried < mostOrders; ++tried) {
    if (match(a, id, out))
      return true;
    bool isNew = false;
    for (auto first = a.operands.begin(); a.commutes && first != a.operands.end() && !isNew;) {
      auto last = std::find_if(first, a.operands.end(), [&](const Operand &o) { return o.term != first->term; });
      isNew = std::next_permutation(first, last, less);
      first = last;
    }
    if (!isNew)
      return false;
  }
  return false;
}

Atom Terms::apply(Application a) {
  // What no operand depends on does not change the result; single indices are no dimension.
  Ints kept;
  for (size_t d = 0; d < a.n.size(); ++d)
    kept.push_back(static_cast<int64_t>(d));
  const size_t all = a.n.size();
  for (size_t d = a.n.size(); d-- > 0;)
    if (a.n[d] == 1 || (a.role[d] == kEach && !reads(a, d))) {
      eraseDim(a, d);
      kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(d));
    }
  if (a.commutes)
    std::sort(a.operands.begin(), a.operands.end(), [](const Operand &x, const Operand &y) {
      return x.term != y.term ? x.term < y.term : x.strides != y.strides ? x.strides < y.strides : x.offset < y.offset;
    });
  Atom found;
  bool ok = false;
  auto it = byShape.find(shapeKey(a));
  if (it != byShape.end())
    for (size_t i = 0; i < it->second.size() && !ok; ++i)
      ok = matchInAnyOrder(a, it->second[i], found);
  if (!ok && !match(a, create(a), found))
    throw NoRule{"indices that do not nest"};
  Atom out{found.term, found.offset, Ints(all, 0)};
  for (size_t d = 0; d < kept.size(); ++d)
    out.strides[static_cast<size_t>(kept[d])] = found.strides[d];
  return out;
}

int32_t Terms::part(int32_t whole, int32_t cut, std::vector<std::array<int64_t, 2>> windows) {
  const Term &t = terms[static_cast<size_t>(cut)];
  bool full = true;
  size_t next = 0;
  std::string key = "part|";
  put(key, whole);
  put(key, cut);
  for (size_t j = 0; j < t.n.size(); ++j)
    if (t.role[j] == kSum) {
      full &= windows[next][0] == 0 && windows[next][1] == t.n[j];
      put(key, windows[next][0]);
      put(key, windows[next][1]);
      ++next;
    }
  if (full)
    return whole;
  Term out;
  out.op = "partial sum";
  out.whole = whole;
  out.cut = cut;
  out.windows = std::move(windows);
  return insert(key, out);
}

int32_t Terms::partLike(const Term &like, int32_t whole) {
  if (isPart(whole))
    throw NoRule{"a partial sum of a partial sum"};
  return part(whole, like.cut, like.windows);
}

bool Terms::mergeParts(Atom &a, const Atom &b) {
  takeStep();
  const Term &x = terms[static_cast<size_t>(a.term)], &y = terms[static_cast<size_t>(b.term)];
  if (x.whole < 0 || x.whole != y.whole || x.cut != y.cut || a.offset != b.offset || a.strides != b.strides)
    return false;
  size_t differs = x.windows.size(), count = 0;
  for (size_t w = 0; w < x.windows.size(); ++w)
    if (x.windows[w] != y.windows[w]) {
      differs = w;
      ++count;
    }
  if (count != 1 || x.windows[differs][1] != y.windows[differs][0])
    return false;
  auto windows = x.windows;
  windows[differs][1] = y.windows[differs][1];
  a.term = part(x.whole, x.cut, std::move(windows));
  return true;
}

void Terms::tidy(std::vector<Atom> &sum) {
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < sum.size() && !changed; ++i)
      for (size_t j = 0; isPart(sum[i].term) && j < sum.size() && !changed; ++j)
        if (i != j && mergeParts(sum[i], sum[j])) {
          sum.erase(sum.begin() + static_cast<std::ptrdiff_t>(j));
          changed = true;
        }
  }
  std::sort(sum.begin(), sum.end());
}

View Terms::sum(const std::vector<const View *> &views) {
  View out{views.at(0)->size, {}};
  for (Zipped &z : zip(views)) {
    tidy(z.piece.atoms);
    out.pieces.push_back(std::move(z.piece));
  }
  simplify(out);
  return out;
}

void Terms::settle(View &view) {
  for (Piece &p : view.pieces) {
    if (p.atoms.size() == 1)
      continue;
    if (p.atoms.empty()) {
      p.atoms.push_back({leaf("constant", "0"), 0, Ints(p.n.size(), 0)});
      continue;
    }
    // Outer steps first, as everywhere.
    std::vector<size_t> order(p.n.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p.at[a] > p.at[b]; });
    Application a;
    a.op = "sum";
    a.commutes = true;
    for (size_t d : order)
      a.n.push_back(p.n[d]);
    a.role.assign(order.size(), kEach);
    a.inResult.assign(order.size(), true);
    for (const Atom &atom : p.atoms) {
      Operand o{atom.term, atom.offset, {}};
      for (size_t d : order)
        o.strides.push_back(atom.strides[d]);
      a.operands.push_back(std::move(o));
    }
    Atom made = apply(std::move(a)), placed = made;
    for (size_t k = 0; k < order.size(); ++k)
      placed.strides[order[k]] = made.strides[k];
    p.atoms = {placed};
  }
}

bool Terms::assembledAs(const View &view, int32_t id, bool leaveConstants, View &out) {
  takeStep();
  out = {view.size, {}};
  for (const Piece &p : view.pieces) {
    if (leaveConstants && terms[static_cast<size_t>(p.atoms[0].term)].op == "constant") {
      out.pieces.push_back(p);
      continue;
    }
    bool found = false;
    // Each operand of an assembly is one of its pieces, with dimensions of its own: attrs hold nothing, n is split
    // below.
    const Term &t = terms[static_cast<size_t>(id)];
    size_t first = 0;
    for (size_t o = 0; o < t.operands.size() && !found; ++o) {
      const Operand &operand = t.operands[o];
      size_t dims = operand.strides.size();
      if (operand.term == p.atoms[0].term) {
        Term one;
        one.n.assign(t.n.begin() + static_cast<std::ptrdiff_t>(first),
                     t.n.begin() + static_cast<std::ptrdiff_t>(first + dims));
        one.own.assign(t.own.begin() + static_cast<std::ptrdiff_t>(first),
                       t.own.begin() + static_cast<std::ptrdiff_t>(first + dims));
        one.role.assign(dims, kEach);
        one.operands = {operand};
        Application a;
        a.n = p.n;
        a.role.assign(p.n.size(), kEach);
        a.operands = {{p.atoms[0].term, p.atoms[0].offset, p.atoms[0].strides}};
        std::vector<Place> places;
        Ints extent, start;
        if (placeDims(a, one, places, extent) && placeStart(a, one, extent, start)) {
          Piece moved = p;
          moved.atoms[0].term = id;
          moved.atoms[0].offset = t.windows[o][0];
          for (size_t j = 0; j < dims; ++j)
            moved.atoms[0].offset += start[j] * one.own[j];
          for (size_t d = 0; d < p.n.size(); ++d)
            moved.atoms[0].strides[d] = places[d].step * one.own[places[d].dim];
          out.pieces.push_back(std::move(moved));
          found = true;
        }
      }
      first += dims;
    }
    if (!found)
      return false;
  }
  simplify(out);
  return true;
}

View Terms::assemble(View view) {
  settle(view);
  simplify(view);
  if (view.pieces.size() < 2)
    return view;
  View out;
  // Zeros beside parts of a known whole are fill; where no whole is known they belong to it.
  for (bool leaveConstants : {false, true})
    for (const Piece &p : view.pieces)
      if (auto it = assemblies.find(p.atoms[0].term);
          it != assemblies.end() && terms[static_cast<size_t>(p.atoms[0].term)].op != "constant") {
        for (int32_t id : it->second)
          if (assembledAs(view, id, leaveConstants, out))
            return out;
        break;
      }
  // windows[i][0] is where piece i starts in the whole.
  Term t;
  t.op = "assembly";
  for (const Piece &p : view.pieces) {
    t.n.insert(t.n.end(), p.n.begin(), p.n.end());
    t.own.insert(t.own.end(), p.at.begin(), p.at.end());
    t.role.insert(t.role.end(), p.n.size(), kEach);
    t.operands.push_back({p.atoms[0].term, p.atoms[0].offset, p.atoms[0].strides});
    t.windows.push_back({p.offset, 0});
    put(t.attrs, p.offset);
  }
  int32_t id = insert(keyOf(t), t);
  for (const Piece &p : view.pieces) {
    std::vector<int32_t> &list = assemblies[p.atoms[0].term];
    if (std::find(list.begin(), list.end(), id) == list.end())
      list.push_back(id);
  }
  if (!assembledAs(view, id, false, out))
    throw NoRule{"a concatenation whose parts do not nest"};
  return out;
}

} // namespace comm::proof
