//===- StateUse.h - the states of an entry ----------------------*- C++ -*-===//
#pragma once
#include "comm/Executable/Executable.h"
#include <map>
#include <string>
#include <vector>

namespace comm::rt {

/// A dimension of a tensor, as the loops around it, in it and behind it.
struct AxisView {
  AxisView(const exe::Shape &, size_t axis, exe::DType);
  int64_t outer = 1, size = 0, innerBytes = 0;
};

/// A pair of ports, in whose dimension `axis` the program only appends: it copies its input into the first positions of
/// the output and does nothing else with it, and everything else that it writes to the output lies behind. Where the
/// first positions are the input already, the copy is not needed.
struct Growth {
  int32_t copy = -1; ///< the command; -1: the program does not do this
  size_t axis = 0;
};

/// A state of an entry: the name of its input, its ports by number.
struct StateUse {
  std::string name;
  size_t input = 0, output = 0;
  Growth growth;
};

/// The ports of a state were checked when the file was read; of a stranger's file nothing is, so what is missing is
/// left out.
std::vector<StateUse> statesOf(const exe::Entry &, const exe::Program &);

/// States of which every rank can keep what it holds: all entries hold the input and the output in the same way, and
/// in no dimension that ranks split, the sizes differ or leave a fill. By name; the bytes of the largest part of a
/// rank.
std::map<std::string, size_t> residentStates(const exe::Executable &, bool reference);

} // namespace comm::rt
