//===- Mutations.h - seeded faults in command lists -------------*- C++ -*-===//
#pragma once
#include "comm/Executable/Executable.h"
#include <random>

namespace comm::test {

enum class Fault { Swap, Drop, Duplicate, MisGroup, MisSize, Reorder, EarlyFree, WrongWait, WrongSlice };
constexpr Fault allFaults[] = {Fault::Swap,    Fault::Drop,      Fault::Duplicate, Fault::MisGroup,  Fault::MisSize,
                               Fault::Reorder, Fault::EarlyFree, Fault::WrongWait, Fault::WrongSlice};
const char *faultName(Fault);

/// One random fault of a class. False when this draw changes nothing or the program has no place for it; else `what`
/// says what was done.
bool mutate(Fault, const exe::Program &, std::mt19937_64 &random, exe::Program &out, std::string &what);

/// Equal in everything that a run depends on.
bool samePrograms(const exe::Program &, const exe::Program &);

} // namespace comm::test
