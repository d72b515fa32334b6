//===- EqualityTerms.h - what is computed, over whole tensors (private) -*- C++ -*-===//
// A term is one operation on boxes of other terms' elements; equal terms are one. An operation on a part of a known
// term's box is that part of the known term: this is how the split program meets the reference.
//===----------------------------------------------------------------------===//
#pragma once
#include "EqualityView.h"
#include <array>
#include <map>
#include <string>

namespace comm::proof {

/// Roles of the dimensions of an operation. What is not one of these two must be there whole, and is told apart by its
/// letter.
constexpr char kEach = 'o'; ///< one result per index
constexpr char kSum = '+';  ///< the result is a sum over the index: a part of it is a partial sum

struct Operand {
  int32_t term = -1;
  int64_t offset = 0;
  std::vector<int64_t> strides; ///< one per dimension of the operation
};

/// One operation on one box.
struct Application {
  std::string op, attrs;
  bool commutes = false;
  bool mayCut = false; ///< indices of role 'T' beyond those given change nothing
  std::vector<int64_t> n;
  std::vector<char> role;
  std::vector<bool> inResult;
  std::vector<Operand> operands;
};

struct Term {
  std::string op, attrs;
  std::vector<int64_t> n, own; ///< sizes; strides in the term's own index, 0 outside the result
  std::vector<char> role;
  std::vector<Operand> operands;
  /// Of a partial sum: the whole one, the term whose sum is cut, and the window of each of its sums.
  int32_t whole = -1, cut = -1;
  std::vector<std::array<int64_t, 2>> windows;
  bool isReference = false;
  int32_t rank = -1, command = -1; ///< who made it first
};

class Terms {
public:
  /// Terms made from now on belong to this place.
  void setPlace(bool isReference, int32_t rank, int32_t command);
  bool inReference() const { return isReference; }
  const Term &operator[](int32_t t) const { return terms[static_cast<size_t>(t)]; }

  /// A term without operands, named by its content.
  int32_t leaf(const std::string &op, const std::string &attrs);
  /// A term that equals nothing but itself.
  int32_t unknown(const std::string &why);
  /// The elements that the box gives: one stride per dimension of the application.
  Atom apply(Application);
  /// The part of a sum of which `like` is a part, for another whole.
  int32_t partLike(const Term &like, int32_t whole);
  /// Drops zeros, completes partial sums, sorts.
  void tidy(std::vector<Atom> &sum);
  bool isPart(int32_t t) const { return terms[static_cast<size_t>(t)].whole >= 0; }

  /// Sums, element by element; undefined where one of the views is.
  View sum(const std::vector<const View *> &views);
  /// One atom in every piece: constants for zeros, terms for sums.
  void settle(View &view);
  /// A view of several pieces as one term.
  View assemble(View view);
  int64_t count() const { return static_cast<int64_t>(terms.size()); }

private:
  int32_t insert(const std::string &key, Term term);
  int32_t create(const Application &);
  bool match(const Application &, int32_t t, Atom &out);
  bool matchInAnyOrder(Application, int32_t t, Atom &out);
  int32_t part(int32_t whole, int32_t cut, std::vector<std::array<int64_t, 2>> windows);
  bool mergeParts(Atom &a, const Atom &b);
  bool assembledAs(const View &view, int32_t t, bool leaveConstants, View &out);

  std::vector<Term> terms;
  std::map<std::string, int32_t> byKey;
  std::map<std::string, std::vector<int32_t>> byShape; ///< operation and operands -> terms
  std::map<int32_t, std::vector<int32_t>> assemblies;  ///< term of a piece -> terms assembled from it
  bool isReference = true;
  int32_t rank = 0, command = -1;
};

} // namespace comm::proof
