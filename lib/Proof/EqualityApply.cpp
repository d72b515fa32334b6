//===- EqualityApply.cpp - one operation on views -------------------------===//
// The operands are refined to boxes of indices on which each of them is one term; each box is one application. Boxes
// that lie behind one another along a sum are added.
//===----------------------------------------------------------------------===//
#include "EqualityRules.h"
#include <algorithm>

namespace comm::proof {
namespace {
using Ints = std::vector<int64_t>;
constexpr int32_t counter = -2; ///< no term

/// A step of a box within one dimension of the operation.
struct Step {
  size_t dim, pieceDim;
  int64_t n, step;
};
struct Box {
  Zipped zipped;
  Ints start;              ///< per dimension of the operation
  std::vector<Step> steps; ///< outermost first
};

class Applier {
public:
  Applier(Terms &terms, Operation o) : terms(terms), o(std::move(o)), at(rowMajor(this->o.n)) {
    total = 1;
    for (int64_t n : this->o.n)
      require(n == 0 || !__builtin_mul_overflow(total, n, &total), "more indices than 64 bits count");
    for (int64_t n : this->o.n)
      if (n == 0)
        total = 0;
  }

  View run() {
    View out{o.size, {}}, partial{o.size, {}};
    if (total == 0)
      return sumOfNothing();
    std::vector<Box> boxes = refine();
    if (!allWhole(boxes)) {
      for (Reads &r : o.operands)
        if (r.view->pieces.size() > 1 && !isWhole(r))
          assemble(r);
      boxes = refine();
      require(allWhole(boxes), "an operand that is not there whole");
    }
    const int64_t all = sums();
    for (const Box &box : boxes) {
      Piece result = resultOf(box);
      int64_t count = countOf(box);
      if (count == all) {
        terms.tidy(result.atoms);
        out.pieces.push_back(std::move(result));
        continue;
      }
      // How many of the indices are summed up travels as one more atom.
      result.atoms.push_back({counter, count, Ints(result.n.size(), 0)});
      accumulate(partial, result);
    }
    for (Piece &p : partial.pieces) {
      int64_t count = 0;
      for (const Atom &a : p.atoms)
        count += a.term == counter ? a.offset : 0;
      if (count != all)
        continue; // a sum over elements that are not there is undefined
      p.atoms.erase(std::remove_if(p.atoms.begin(), p.atoms.end(), [](const Atom &a) { return a.term == counter; }),
                    p.atoms.end());
      terms.tidy(p.atoms);
      out.pieces.push_back(std::move(p));
    }
    simplify(out);
    return out;
  }

private:
  bool isWhole(const Reads &r) { return allWhole(boxesOf({composed(r)})); }

  /// Makes one term of the pieces that an index needs together. What is whole already stays: rows of fill that others
  /// computed in parts must not tie the rows beside them to another term.
  void assemble(Reads &r) {
    View whole{r.view->size, {}}, parts = whole;
    for (const Piece &p : r.view->pieces) {
      Reads alone = r;
      alone.view = std::make_shared<View>(View{r.view->size, {p}});
      (isWhole(alone) ? whole : parts).pieces.push_back(p);
    }
    View joined = terms.assemble(std::move(parts));
    joined.pieces.insert(joined.pieces.end(), whole.pieces.begin(), whole.pieces.end());
    simplify(joined);
    r.view = std::make_shared<View>(std::move(joined));
  }

  /// Nothing to add up gives zero.
  View sumOfNothing() const {
    if (o.size == 0)
      return {0, {}};
    return {o.size, {{0, {o.size}, {1}, {}}}};
  }

  int64_t sums() const {
    int64_t out = 1;
    for (size_t d = 0; d < o.n.size(); ++d)
      if (o.role[d] == kSum)
        out *= o.n[d];
    return out;
  }

  bool keepsSum(const Reads &r, const Piece &p) const {
    return r.isLinear && (p.atoms.empty() || std::any_of(p.atoms.begin(), p.atoms.end(),
                                                         [&](const Atom &a) { return terms.isPart(a.term); }));
  }

  /// An operand by index, settled where the operation needs one term.
  View composed(const Reads &r) {
    View v = compose(*r.view, {r.offset, 0, o.n, at, r.strides}, total);
    View kept{v.size, {}}, settled{v.size, {}};
    for (Piece &p : v.pieces)
      (keepsSum(r, p) ? kept : settled).pieces.push_back(std::move(p));
    terms.settle(settled);
    settled.pieces.insert(settled.pieces.end(), kept.pieces.begin(), kept.pieces.end());
    return settled;
  }

  std::vector<Box> refine() {
    std::vector<View> views;
    for (const Reads &r : o.operands)
      views.push_back(composed(r));
    return boxesOf(views);
  }

  std::vector<Box> boxesOf(const std::vector<View> &views) const {
    std::vector<const View *> pointers;
    for (const View &v : views)
      pointers.push_back(&v);
    std::vector<Box> boxes;
    for (Zipped &z : zip(pointers))
      for (Piece &p : normalize(z.piece, at))
        boxes.push_back(boxOf({std::move(p), z.ends}));
    return boxes;
  }

  /// Names the dimension of the operation that each step of a piece belongs to.
  Box boxOf(Zipped z) const {
    Box box{std::move(z), {}, {}};
    const Piece &p = box.zipped.piece;
    int64_t rest = p.offset;
    for (size_t d = 0; d < o.n.size(); ++d) {
      box.start.push_back(rest / at[d]);
      rest %= at[d];
    }
    for (size_t k = 0; k < p.n.size(); ++k) {
      // The innermost dimension whose stride divides the step, of those that have more than one index.
      size_t dim = o.n.size();
      for (size_t d = 0; d < o.n.size(); ++d)
        if (o.n[d] > 1 && at[d] <= p.at[k]) {
          dim = d;
          break;
        }
      require(dim < o.n.size() && p.at[k] % at[dim] == 0, "strides that do not nest");
      box.steps.push_back({dim, k, p.n[k], p.at[k] / at[dim]});
    }
    std::sort(box.steps.begin(), box.steps.end(),
              [&](const Step &a, const Step &b) { return p.at[a.pieceDim] > p.at[b.pieceDim]; });
    return box;
  }

  bool allWhole(const std::vector<Box> &boxes) const {
    for (const Box &box : boxes)
      for (size_t d = 0; d < o.n.size(); ++d) {
        if (o.role[d] == kEach || o.role[d] == kSum)
          continue;
        int64_t covered = 1;
        for (const Step &s : box.steps)
          covered *= s.dim == d ? s.n : 1;
        if (covered != o.n[d])
          return false;
      }
    return true;
  }

  /// Indices of the sums that a box has.
  int64_t countOf(const Box &box) const {
    int64_t count = 1;
    for (const Step &s : box.steps)
      count *= o.role[s.dim] == kSum ? s.n : 1;
    return count;
  }

  Piece resultOf(const Box &box) {
    Piece out;
    for (size_t d = 0; d < o.n.size(); ++d)
      out.offset += o.result[d] < 0 ? 0 : box.start[d] * o.result[d];
    std::vector<size_t> shown;
    for (size_t k = 0; k < box.steps.size(); ++k)
      if (const Step &s = box.steps[k]; o.result[s.dim] >= 0) {
        out.n.push_back(s.n);
        out.at.push_back(s.step * o.result[s.dim]);
        shown.push_back(k);
      }
    for (const Atom &made : atomsOf(box)) {
      out.atoms.push_back({made.term, made.offset, {}});
      for (size_t k : shown)
        out.atoms.back().strides.push_back(made.strides[k]);
    }
    return out;
  }

  /// The application of every choice of one atom per operand.
  std::vector<Atom> atomsOf(const Box &box) {
    std::vector<std::vector<Atom>> choices;
    size_t several = 0, count = 1;
    for (size_t i = 0; i < o.operands.size(); ++i) {
      choices.push_back(box.zipped.atoms(i));
      several += choices.back().size() > 1;
      count *= choices.back().size();
    }
    require(several <= 1, "a product of sums");
    std::vector<Atom> out;
    for (size_t c = 0; c < count; ++c) {
      std::vector<Atom> chosen;
      for (const std::vector<Atom> &list : choices)
        chosen.push_back(list.size() > 1 ? list[c] : list[0]);
      out.push_back(applied(box, chosen));
    }
    return out;
  }

  Atom applied(const Box &box, const std::vector<Atom> &chosen) {
    Application a;
    a.op = o.op;
    a.attrs = o.attrs;
    a.commutes = o.commutes;
    a.mayCut = o.mayCut;
    for (const Step &s : box.steps) {
      a.n.push_back(s.n);
      a.role.push_back(o.role[s.dim]);
      a.inResult.push_back(o.result[s.dim] >= 0);
    }
    int32_t lifted = -1;
    for (size_t i = 0; i < chosen.size(); ++i) {
      Operand operand{chosen[i].term, chosen[i].offset, {}};
      if (o.operands[i].isLinear && terms.isPart(operand.term)) {
        require(lifted < 0, "a product of partial sums");
        lifted = operand.term;
        operand.term = terms[lifted].whole;
      }
      for (const Step &s : box.steps)
        operand.strides.push_back(chosen[i].strides[s.pieceDim]);
      a.operands.push_back(std::move(operand));
    }
    Atom made = terms.apply(std::move(a));
    if (lifted >= 0)
      made.term = terms.partLike(Term(terms[lifted]), made.term);
    return made;
  }

  Terms &terms;
  Operation o;
  Ints at;
  int64_t total = 0;
};
} // namespace

View apply(Terms &terms, Operation operation) { return Applier(terms, std::move(operation)).run(); }

} // namespace comm::proof
