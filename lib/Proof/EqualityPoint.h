//===- EqualityPoint.h - formulas at a random point (private) ---*- C++ -*-===//
// What the rules cannot show equal is not yet different. Here two formulas are computed in a prime field, with inputs,
// weights and constants that mean nothing replaced by random numbers and every function that is no sum, product or
// quotient by a random function. Equal formulas give equal numbers; formulas that differ give other ones but by a
// chance of 2^-50.
//===----------------------------------------------------------------------===//
#pragma once
#include "EqualityTerms.h"
#include <set>
#include <unordered_map>

namespace comm::proof {

class Point {
public:
  Point(const Terms &terms, uint64_t seed, int64_t steps) : terms(terms), seed(seed), stepsLeft(steps) {}

  /// The sum of the atoms at an index. Throws NoRule when it takes too many steps or something has no value.
  uint64_t value(const std::vector<Atom> &sum, const std::vector<int64_t> &index);
  /// Whether other numbers are other formulas: no two attentions saw other numbers of keys where a mask may hide the
  /// difference.
  bool decides() const { return maskedKeys.size() <= 1; }

private:
  using Indices = std::vector<int64_t>;
  struct Key {
    int32_t term, part;
    int64_t element;
    bool operator==(const Key &o) const { return term == o.term && part == o.part && element == o.element; }
  };
  struct KeyHash {
    size_t operator()(const Key &k) const;
  };
  /// `part`: a partial sum, the window of which holds below; -1: none.
  uint64_t element(int32_t term, int64_t at, int32_t part);
  uint64_t compute(int32_t term, int64_t at, int32_t part);
  uint64_t operand(const Term &t, size_t o, const Indices &index, int32_t part);
  uint64_t eachOf(const Term &t, const Indices &index, int32_t part);
  uint64_t sumOver(int32_t id, const Term &t, Indices index, int32_t part);
  uint64_t functionOver(const Term &t, Indices index);
  uint64_t assembled(const Term &t, int64_t at);
  bool reaches(int32_t term, int32_t cut);
  uint64_t hash(uint64_t a, uint64_t b) const;
  uint64_t hash(const std::string &text) const;
  void count();

  const Terms &terms;
  uint64_t seed;
  int64_t stepsLeft, depth = 0;
  std::set<int64_t> maskedKeys; ///< of attentions in which keys may be hidden by the mask only
  std::unordered_map<Key, uint64_t, KeyHash> known;
  std::map<std::pair<int32_t, int32_t>, bool> below;
};

} // namespace comm::proof
