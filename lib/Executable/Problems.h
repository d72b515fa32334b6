//===- Problems.h - collects what validate() finds (private) ----*- C++ -*-===//
#pragma once
#include "comm/Executable/Executable.h"

namespace comm::exe {

/// At most `limit` sentences; strings from the file are shortened and made printable.
class Problems {
public:
  static constexpr size_t limit = 20;
  /// Adds a sentence unless `ok`; returns `ok`.
  bool require(bool ok, const std::string &where, const std::string &what) {
    if (!ok && list.size() < limit)
      list.push_back(where + ": " + what);
    return ok;
  }
  bool full() const { return list.size() >= limit; }
  std::vector<std::string> list;
};

/// 'name' with control characters and bytes of broken UTF-8 replaced, at most 80 bytes.
std::string quoted(const std::string &);
/// [2, 3, 4]
std::string shapeText(const Shape &);
/// Largest tensor, arena or file that this version accepts: 64 TiB, so that sums of sizes never overflow.
constexpr int64_t maxBytes = int64_t(1) << 46;
constexpr int64_t maxRanks = 65536;

/// Dimensions not negative, element count and bytes in range.
bool checkTensor(Problems &, const std::string &where, DType, const Shape &);
/// A layout of a tensor of this shape: one split per dimension, no axis twice, sizes whole multiples of the grain.
bool checkLayout(Problems &, const std::string &where, const Shape &, const Layout &);
/// Symbols, steps and results of the kernels' declarations.
void checkKernels(Problems &, const Executable &);
/// Values, ports, commands and the flow of collectives of one program; its weights are already sound.
void checkProgram(Problems &, const std::string &where, const Executable &, const Program &);

} // namespace comm::exe
