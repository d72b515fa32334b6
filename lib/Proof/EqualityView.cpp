//===- EqualityView.cpp - which elements of which terms -------------------===//
// Two boxes are intersected digit by digit: all strides involved form a chain in which each divides the next, so that a
// position has one digit per stride, and a box whose digits do not carry is an interval in each.
//===----------------------------------------------------------------------===//
#include "EqualityView.h"
#include <algorithm>
#include <numeric>
#include <string_view>

namespace comm::proof {
namespace {
constexpr size_t maxPieces = 4096;
using Ints = std::vector<int64_t>;

thread_local int64_t stepsLeft = 0;

void addStrides(Ints &chain, const Ints &at) { chain.insert(chain.end(), at.begin(), at.end()); }

void sortChain(Ints &chain) {
  chain.push_back(1);
  std::sort(chain.begin(), chain.end());
  chain.erase(std::unique(chain.begin(), chain.end()), chain.end());
  for (size_t i = 0; i + 1 < chain.size(); ++i)
    if (chain[i] <= 0 || chain[i + 1] % chain[i] != 0)
      throw NoRule{"strides that do not nest"};
}

/// Cuts dimension `d` of a piece to steps [from, from + count).
Piece cut(const Piece &p, size_t d, int64_t from, int64_t count) {
  Piece out = p;
  out.n[d] = count;
  out.offset += from * p.at[d];
  for (Atom &a : out.atoms)
    a.offset += from * a.strides[d];
  return out;
}

void dropDim(Piece &p, size_t d) {
  auto at = static_cast<std::ptrdiff_t>(d);
  p.n.erase(p.n.begin() + at);
  p.at.erase(p.at.begin() + at);
  for (Atom &a : p.atoms)
    a.strides.erase(a.strides.begin() + at);
}

void dropUnit(Piece &p) {
  for (size_t d = p.n.size(); d-- > 0;)
    if (p.n[d] == 1)
      dropDim(p, d);
}

size_t levelOf(const Ints &chain, int64_t stride) {
  auto it = std::lower_bound(chain.begin(), chain.end(), stride);
  if (it == chain.end() || *it != stride)
    throw NoRule{"strides that do not nest"};
  return static_cast<size_t>(it - chain.begin());
}

int64_t digit(const Ints &chain, int64_t position, size_t level) {
  int64_t q = position / chain[level];
  return level + 1 < chain.size() ? q % (chain[level + 1] / chain[level]) : q;
}

void normalizeInto(const Piece &p, const Ints &chain, std::vector<Piece> &out) {
  if (out.size() > maxPieces)
    throw NoRule{"too many pieces"};
  for (size_t d = 0; d < p.n.size(); ++d) {
    size_t level = levelOf(chain, p.at[d]);
    if (level + 1 == chain.size())
      continue;
    int64_t ratio = chain[level + 1] / chain[level], first = digit(chain, p.offset, level);
    if (first + p.n[d] <= ratio)
      continue;
    if (first != 0) {
      normalizeInto(cut(p, d, 0, ratio - first), chain, out);
      normalizeInto(cut(p, d, ratio - first, p.n[d] - (ratio - first)), chain, out);
      return;
    }
    int64_t rows = p.n[d] / ratio, rest = p.n[d] % ratio;
    Piece body = cut(p, d, 0, ratio);
    if (rows > 1) {
      body.n.push_back(rows);
      body.at.push_back(p.at[d] * ratio);
      for (Atom &a : body.atoms)
        a.strides.push_back(a.strides[d] * ratio);
    }
    normalizeInto(body, chain, out);
    if (rest)
      normalizeInto(cut(p, d, rows * ratio, rest), chain, out);
    return;
  }
  Ints steps = p.at;
  std::sort(steps.begin(), steps.end());
  if (std::adjacent_find(steps.begin(), steps.end()) != steps.end())
    throw NoRule{"an access that overlaps itself"};
  out.push_back(p);
}

/// A piece as one interval per level of the chain.
struct Digits {
  Ints low, count;
  std::vector<int> dim; ///< dimension of the piece, -1: fixed
};
Digits digitsOf(const Piece &p, const Ints &chain) {
  Digits out;
  for (size_t level = 0; level < chain.size(); ++level) {
    out.low.push_back(digit(chain, p.offset, level));
    out.count.push_back(1);
    out.dim.push_back(-1);
  }
  for (size_t d = 0; d < p.n.size(); ++d) {
    size_t level = levelOf(chain, p.at[d]);
    out.count[level] = p.n[d];
    out.dim[level] = static_cast<int>(d);
  }
  return out;
}

/// Where both are; the atoms of `a`, then those of `b`. False when nowhere.
bool intersect(const Piece &a, const Digits &da, const Piece &b, const Digits &db, const Ints &chain, Piece &out) {
  out = Piece();
  for (const Piece *p : {&a, &b})
    for (const Atom &atom : p->atoms)
      out.atoms.push_back({atom.term, atom.offset, {}});
  for (size_t level = 0; level < chain.size(); ++level) {
    int64_t low = std::max(da.low[level], db.low[level]);
    int64_t high = std::min(da.low[level] + da.count[level], db.low[level] + db.count[level]);
    if (low >= high)
      return false;
    out.offset += low * chain[level];
    bool step = high - low > 1;
    if (step) {
      out.n.push_back(high - low);
      out.at.push_back(chain[level]);
    }
    size_t next = 0;
    for (auto [p, d] : {std::make_pair(&a, &da), std::make_pair(&b, &db)})
      for (const Atom &atom : p->atoms) {
        int dim = d->dim[level];
        int64_t stride = dim < 0 ? 0 : atom.strides[static_cast<size_t>(dim)];
        out.atoms[next].offset += (low - d->low[level]) * stride;
        if (step)
          out.atoms[next].strides.push_back(stride);
        ++next;
      }
  }
  return true;
}

Ints chainOf(const Piece &a, const Piece &b) {
  Ints chain;
  addStrides(chain, a.at);
  addStrides(chain, b.at);
  sortChain(chain);
  return chain;
}

/// Appends the common parts of two pieces.
void intersectPieces(const Piece &a, const Piece &b, std::vector<Piece> &out) {
  takeStep();
  auto last = [](const Piece &p) {
    int64_t end = p.offset;
    for (size_t d = 0; d < p.n.size(); ++d)
      end += (p.n[d] - 1) * p.at[d];
    return end;
  };
  if (last(a) < b.offset || last(b) < a.offset)
    return;
  Ints chain = chainOf(a, b);
  std::vector<Piece> as, bs;
  normalizeInto(a, chain, as);
  normalizeInto(b, chain, bs);
  std::vector<Digits> db;
  for (const Piece &p : bs)
    db.push_back(digitsOf(p, chain));
  for (const Piece &p : as) {
    Digits da = digitsOf(p, chain);
    for (size_t i = 0; i < bs.size(); ++i) {
      takeStep();
      Piece common;
      if (intersect(p, da, bs[i], db[i], chain, common))
        out.push_back(std::move(common));
    }
  }
  if (out.size() > maxPieces)
    throw NoRule{"too many pieces"};
}

/// Appends what of `a` is outside `b`.
void subtract(const Piece &a, const Piece &b, std::vector<Piece> &out) {
  takeStep();
  Ints chain = chainOf(a, b);
  std::vector<Piece> rest, bs;
  normalizeInto(a, chain, rest);
  normalizeInto(b, chain, bs);
  for (const Piece &hole : bs) {
    Digits dh = digitsOf(hole, chain);
    std::vector<Piece> next;
    for (Piece p : rest) {
      takeStep();
      Digits dp = digitsOf(p, chain);
      bool apart = false;
      for (size_t l = 0; l < chain.size(); ++l)
        apart |= std::max(dp.low[l], dh.low[l]) >= std::min(dp.low[l] + dp.count[l], dh.low[l] + dh.count[l]);
      if (apart) {
        next.push_back(std::move(p));
        continue;
      }
      // Level by level: what lies before and after the hole stays, the rest goes on.
      for (size_t l = 0; l < chain.size(); ++l) {
        if (dp.dim[l] < 0)
          continue;
        auto d = static_cast<size_t>(dp.dim[l]);
        int64_t low = std::max(dp.low[l], dh.low[l]) - dp.low[l];
        int64_t high = std::min(dp.low[l] + dp.count[l], dh.low[l] + dh.count[l]) - dp.low[l];
        if (low > 0)
          next.push_back(cut(p, d, 0, low));
        if (high < p.n[d])
          next.push_back(cut(p, d, high, p.n[d] - high));
        p = cut(p, d, low, high - low);
      }
    }
    rest = std::move(next);
  }
  for (Piece &p : rest) {
    dropUnit(p);
    out.push_back(std::move(p));
  }
}

void mergeSteps(Piece &p) {
  dropUnit(p);
  std::vector<size_t> order(p.n.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p.at[a] < p.at[b]; });
  Piece sorted = p;
  for (size_t d = 0; d < order.size(); ++d) {
    sorted.n[d] = p.n[order[d]];
    sorted.at[d] = p.at[order[d]];
    for (size_t i = 0; i < p.atoms.size(); ++i)
      sorted.atoms[i].strides[d] = p.atoms[i].strides[order[d]];
  }
  p = std::move(sorted);
  for (size_t d = 0; d + 1 < p.n.size();) {
    bool joins = p.at[d + 1] == p.n[d] * p.at[d];
    for (const Atom &a : p.atoms)
      joins &= a.strides[d + 1] == p.n[d] * a.strides[d];
    if (!joins) {
      ++d;
      continue;
    }
    p.n[d] *= p.n[d + 1];
    dropDim(p, d + 1);
  }
  std::sort(p.atoms.begin(), p.atoms.end());
}

/// Gives `p` a step of one like step `d` of `like`.
void insertUnit(Piece &p, const Piece &like, size_t d) {
  auto at = static_cast<std::ptrdiff_t>(d);
  p.n.insert(p.n.begin() + at, 1);
  p.at.insert(p.at.begin() + at, like.at[d]);
  for (size_t i = 0; i < p.atoms.size(); ++i)
    p.atoms[i].strides.insert(p.atoms[i].strides.begin() + at, like.atoms[i].strides[d]);
}

/// `q` continues `p` along step `d`.
bool continues(const Piece &p, const Piece &q, size_t d) {
  for (size_t e = 0; e < p.n.size(); ++e)
    if (p.at[e] != q.at[e] || (e != d && p.n[e] != q.n[e]))
      return false;
  if (q.offset - p.offset != p.n[d] * p.at[d])
    return false;
  for (size_t i = 0; i < p.atoms.size(); ++i)
    if (p.atoms[i].strides != q.atoms[i].strides ||
        q.atoms[i].offset - p.atoms[i].offset != p.n[d] * p.atoms[i].strides[d])
      return false;
  return true;
}

/// Equal boxes at another place: a new step of two, where steps still nest.
bool stack(Piece &p, const Piece &q) {
  int64_t step = q.offset - p.offset;
  if (p.n != q.n || p.at != q.at || step <= 0)
    return false;
  for (size_t d = 0; d < p.n.size(); ++d) {
    bool inside = p.at[d] < step && step % p.at[d] == 0 && p.n[d] * p.at[d] <= step;
    bool outside = p.at[d] >= 2 * step && p.at[d] % step == 0;
    if (!inside && !outside)
      return false;
  }
  for (size_t i = 0; i < p.atoms.size(); ++i)
    if (p.atoms[i].strides != q.atoms[i].strides || q.atoms[i].offset < p.atoms[i].offset)
      return false;
  p.n.push_back(2);
  p.at.push_back(step);
  for (size_t i = 0; i < p.atoms.size(); ++i)
    p.atoms[i].strides.push_back(q.atoms[i].offset - p.atoms[i].offset);
  mergeSteps(p);
  return true;
}

/// Makes `p` both pieces when their indices allow it; p starts first.
bool join(Piece &p, const Piece &q) {
  takeStep();
  if (p.atoms.size() != q.atoms.size())
    return false;
  for (size_t i = 0; i < p.atoms.size(); ++i)
    if (p.atoms[i].term != q.atoms[i].term)
      return false;
  if (p.n.size() == q.n.size())
    for (size_t d = 0; d < p.n.size(); ++d)
      if (continues(p, q, d)) {
        p.n[d] += q.n[d];
        mergeSteps(p);
        return true;
      }
  if (p.n.size() == q.n.size() + 1 || p.n.size() + 1 == q.n.size())
    for (size_t d = 0; d < std::max(p.n.size(), q.n.size()); ++d) {
      Piece a = p, b = q;
      a.n.size() < b.n.size() ? insertUnit(a, b, d) : insertUnit(b, a, d);
      if (continues(a, b, d)) {
        p = std::move(a);
        p.n[d] += b.n[d];
        mergeSteps(p);
        return true;
      }
    }
  return stack(p, q);
}
} // namespace

void allowSteps(int64_t steps) { stepsLeft = steps; }
void takeStep() {
  if (--stepsLeft < 0)
    throw NoRule{"more steps than a check may take"};
}

int64_t Piece::elements() const {
  int64_t out = 1;
  for (int64_t count : n)
    out *= count;
  return out;
}

int64_t View::covered() const {
  int64_t out = 0;
  for (const Piece &p : pieces)
    out += p.elements();
  return out;
}

std::vector<int64_t> rowMajor(const std::vector<int64_t> &shape) {
  Ints out(shape.size());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0; stride *= shape[d])
    out[d] = stride;
  return out;
}

void simplify(View &view) {
  for (Piece &p : view.pieces)
    mergeSteps(p);
  std::sort(view.pieces.begin(), view.pieces.end(), [](const Piece &a, const Piece &b) { return a.offset < b.offset; });
  constexpr size_t tried = 64; // joins are a courtesy: with more pieces only neighbours are tried
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < view.pieces.size(); ++i)
      for (size_t j = i + 1; j < std::min(view.pieces.size(), i + tried);)
        if (join(view.pieces[i], view.pieces[j])) {
          view.pieces.erase(view.pieces.begin() + static_cast<std::ptrdiff_t>(j));
          changed = true;
        } else {
          ++j;
        }
  }
}

namespace {
/// The steps of an access that move, as a piece with one atom: by address with the iterations as index, or reversed.
Piece boxOf(const Access &access, bool byAddress) {
  Piece box;
  box.offset = byAddress ? access.offset : access.iteration;
  box.atoms.push_back({-1, byAddress ? access.iteration : access.offset, {}});
  for (size_t d = 0; d < access.n.size(); ++d) {
    if (access.n[d] == 1 || (byAddress && access.stride[d] == 0))
      continue;
    if (access.stride[d] < 0 || access.at[d] <= 0)
      throw NoRule{"a stride that goes backwards"};
    box.n.push_back(access.n[d]);
    box.at.push_back(byAddress ? access.stride[d] : access.at[d]);
    box.atoms[0].strides.push_back(byAddress ? access.at[d] : access.stride[d]);
  }
  return box;
}

bool isEmpty(const Access &access) { return std::find(access.n.begin(), access.n.end(), 0) != access.n.end(); }

/// The atom of boxOf becomes the domain.
Piece reindexed(Piece p, size_t place) {
  Atom domain = p.atoms[place];
  p.atoms.erase(p.atoms.begin() + static_cast<std::ptrdiff_t>(place));
  p.offset = domain.offset;
  p.at = domain.strides;
  return p;
}
} // namespace

View compose(const View &view, const Access &access, int64_t size) {
  View out{size, {}};
  if (isEmpty(access))
    return out;
  Piece box = boxOf(access, true);
  std::vector<Piece> common;
  for (const Piece &p : view.pieces)
    intersectPieces(box, p, common);
  for (Piece &p : common) {
    Piece moved = reindexed(std::move(p), 0);
    for (size_t d = 0; d < access.n.size(); ++d)
      if (access.n[d] > 1 && access.stride[d] == 0) {
        moved.n.push_back(access.n[d]);
        moved.at.push_back(access.at[d]);
        for (Atom &a : moved.atoms)
          a.strides.push_back(0);
      }
    out.pieces.push_back(std::move(moved));
  }
  simplify(out);
  return out;
}

void store(View &view, const Access &access, const View &source) {
  if (isEmpty(access))
    return;
  Piece box = boxOf(access, false);
  for (size_t d = 0; d < box.n.size(); ++d)
    if (box.atoms[0].strides[d] == 0)
      throw NoRule{"a store that overlaps itself"};
  Piece hole = reindexed(box, 0); // by address
  hole.atoms.clear();
  std::vector<Piece> kept, fresh;
  std::vector<Piece> nested;
  Ints chain = hole.at;
  sortChain(chain);
  normalizeInto(hole, chain, nested); // throws when it overlaps itself
  bool all = hole.elements() == view.size;
  for (const Piece &p : view.pieces)
    try {
      if (!all)
        subtract(p, hole, kept);
    } catch (const NoRule &) {
      // Mostly what another tensor left in these bytes. Undefined from now on.
    }
  for (const Piece &p : source.pieces)
    intersectPieces(box, p, fresh);
  for (Piece &p : fresh)
    kept.push_back(reindexed(std::move(p), 0));
  view.pieces = std::move(kept);
  simplify(view);
}

void accumulate(View &view, const Piece &piece) {
  std::vector<Piece> out, rest = {piece};
  for (const Piece &old : view.pieces) {
    intersectPieces(old, piece, out);
    subtract(old, piece, out);
    std::vector<Piece> outside;
    for (const Piece &p : rest)
      subtract(p, old, outside);
    rest = std::move(outside);
  }
  out.insert(out.end(), rest.begin(), rest.end());
  view.pieces = std::move(out);
}

std::vector<Piece> normalize(const Piece &piece, std::vector<int64_t> chain) {
  addStrides(chain, piece.at);
  sortChain(chain);
  std::vector<Piece> out;
  normalizeInto(piece, chain, out);
  for (Piece &p : out)
    dropUnit(p);
  return out;
}

std::vector<Zipped> zip(const std::vector<const View *> &views) {
  std::vector<Zipped> out;
  for (const Piece &p : views.at(0)->pieces)
    out.push_back({p, {p.atoms.size()}});
  for (size_t v = 1; v < views.size(); ++v) {
    std::vector<Zipped> next;
    for (const Zipped &z : out)
      for (const Piece &p : views[v]->pieces) {
        std::vector<Piece> common;
        intersectPieces(z.piece, p, common);
        for (Piece &c : common) {
          std::vector<size_t> ends = z.ends;
          ends.push_back(c.atoms.size());
          next.push_back({std::move(c), std::move(ends)});
        }
        if (next.size() > maxPieces)
          throw NoRule{"too many pieces"};
      }
    out = std::move(next);
  }
  return out;
}

} // namespace comm::proof
