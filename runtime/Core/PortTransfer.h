//===- PortTransfer.h - between a whole tensor and a rank's part -*- C++ -*-===//
#pragma once
#include "comm/Executable/Executable.h"

namespace comm::rt {

/// Slices an input for one rank; puts one rank's part of an output in its place.
class PortTransfer {
public:
  PortTransfer(const exe::Port &port, const exe::Grid &grid, int64_t rank);
  /// The rank holds the whole tensor as it is.
  bool direct() const;
  /// Where the rank's part lies in the whole tensor, in bytes, when it is one piece of it and needs no fill; else -1.
  int64_t piece() const;
  /// Of all ranks that hold the same part, this one writes it.
  bool writes() const { return writer; }
  int64_t localBytes() const;
  /// Missing elements become zero.
  void toLocal(const uint8_t *whole, uint8_t *local) const;
  /// Zero fill is left out.
  void toWhole(const uint8_t *local, uint8_t *whole) const;

private:
  template <class Copy> void walk(size_t dim, int64_t wholeOffset, int64_t localOffset, const Copy &copy) const;
  std::vector<int64_t> start, count;
  exe::Shape whole, local;
  int64_t width;
  bool filled = false, writer = false;
};

} // namespace comm::rt
