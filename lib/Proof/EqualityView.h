//===- EqualityView.h - which elements of which terms (private) -*- C++ -*-===//
// A view says for each element of a tensor, by linear index, of which terms' elements it is the sum. It is a list of
// pieces: strided boxes in the tensor on which all indices are affine. Slices, transposes, reshapes, concatenations and
// broadcasts are operations on views, and none of them makes a term.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace comm::proof {

struct Atom {
  int32_t term = -1;
  int64_t offset = 0;
  std::vector<int64_t> strides; ///< one per dimension of the piece
  bool operator==(const Atom &o) const { return term == o.term && offset == o.offset && strides == o.strides; }
  bool operator<(const Atom &o) const {
    return term != o.term ? term < o.term : offset != o.offset ? offset < o.offset : strides < o.strides;
  }
};

/// Positions offset + sum of i_k * at_k with 0 <= i_k < n_k; there the value is the sum of the atoms, zero without any.
struct Piece {
  int64_t offset = 0;
  std::vector<int64_t> n, at;
  std::vector<Atom> atoms;
  int64_t elements() const;
};

/// Positions that no piece covers are undefined. Pieces are disjoint.
struct View {
  int64_t size = 0;
  std::vector<Piece> pieces;
  int64_t covered() const;
};

/// From a box of iterations to addresses. An address stride of zero repeats.
struct Access {
  int64_t offset = 0, iteration = 0;  ///< of the first iteration
  std::vector<int64_t> n, at, stride; ///< steps; in iterations; in addresses
};

/// Contiguous steps of `shape`, row-major.
std::vector<int64_t> rowMajor(const std::vector<int64_t> &shape);

/// Thrown when two sets of strides do not nest: there is no rule for it. Never leaves the checker.
struct NoRule {
  std::string_view why;
};

/// Bounds what follows on this thread: beyond so many steps everything throws NoRule. A file may be made to be slow.
void allowSteps(int64_t steps);
void takeStep();

/// Merges steps and pieces where all indices agree.
void simplify(View &);
/// What `view` has at the addresses of an access, by iteration (of `size`).
View compose(const View &view, const Access &, int64_t size);
/// `source`, by iteration, stored at the addresses of an access.
void store(View &view, const Access &, const View &source);
/// Adds a piece to what is there already: both atoms where both are.
void accumulate(View &view, const Piece &piece);
/// Splits a piece so that every step is one of `chain`, no step reaches the next one, and offsets do not carry.
std::vector<Piece> normalize(const Piece &, std::vector<int64_t> chain);

/// A box on which several views are affine at once; `ends[i]` is one past the last atom of view i.
struct Zipped {
  Piece piece;
  std::vector<size_t> ends;
  std::vector<Atom> atoms(size_t view) const {
    return {piece.atoms.begin() + static_cast<std::ptrdiff_t>(view ? ends[view - 1] : 0),
            piece.atoms.begin() + static_cast<std::ptrdiff_t>(ends[view])};
  }
};
/// The common refinement where all views are defined.
std::vector<Zipped> zip(const std::vector<const View *> &views);

} // namespace comm::proof
