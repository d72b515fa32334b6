//===- EqualityRules.h - what commands compute (private) --------*- C++ -*-===//
#pragma once
#include "EqualityState.h"

namespace comm::proof {

/// An operand of an operation: a tensor and how its elements are met.
struct Reads {
  SharedView view;
  int64_t offset = 0;
  std::vector<int64_t> strides; ///< one per dimension of the operation
  bool isLinear = false;        ///< zero gives zero, and a sum gives the sum
};

/// An operation over a box of indices, outermost first.
struct Operation {
  std::string op, attrs;
  bool commutes = false, mayCut = false;
  std::vector<int64_t> n;
  std::vector<char> role;
  std::vector<int64_t> result; ///< stride in the result; -1: not a dimension of it
  std::vector<Reads> operands;
  int64_t size = 0; ///< elements of the result

  void add(int64_t count, char letter, int64_t resultStride) {
    n.push_back(count);
    role.push_back(letter);
    result.push_back(resultStride);
  }
};
View apply(Terms &, Operation);

/// What a kernel's declaration makes of its operands.
std::vector<SharedView> applyKernel(Terms &, const exe::Kernel &, const std::vector<SharedView> &inputs);

/// The command quantized_matmul with its operands in order. Shapes are not trusted.
struct QuantizedProduct {
  const exe::Attrs &attrs;
  std::vector<exe::Shape> shapes;
  std::vector<SharedView> views;
  const exe::Shape &result;
  bool packedZeros; ///< the zero points are integers
};
Operation quantizedOperation(Terms &, const QuantizedProduct &);

/// One command that is no collective, no wait, on one rank. Throws NoRule.
void applyCommand(State &, const exe::Command &, int64_t rank);

/// Results of a collective by member of one group, from its operands by member. The command is that of the first
/// member, a rank; those of the others are equal to it in all that counts.
std::vector<std::vector<SharedView>> applyCollective(State &, int64_t first, const exe::Command &,
                                                     const std::vector<std::vector<SharedView>> &operands);

/// Attributes of commands; throw NoRule when they are missing.
int64_t intOf(const exe::Attrs &, const char *key);
double floatOf(const exe::Attrs &, const char *key);
const std::string &textOf(const exe::Attrs &, const char *key);
std::vector<int64_t> intsOf(const exe::Attrs &, const char *key);
std::vector<std::string> namesOf(const exe::Attrs &, const char *key);
/// Exact text of a number.
std::string exact(double);

inline void require(bool ok, const char *why) {
  if (!ok)
    throw NoRule{why};
}

} // namespace comm::proof
