//===- Filling.h - what ops make of fill ------------------------*- C++ -*-===//
// Fill stands behind the end of a dimension: of an uneven shard, or of an input that is smaller than the entry it runs
// in. The elements before it are taken to be finite.
//===----------------------------------------------------------------------===//
#ifndef COMM_ANALYSIS_FILLING_H
#define COMM_ANALYSIS_FILLING_H
#include "mlir/IR/Operation.h"
#include <optional>

namespace mlir::comm {
/// What every element of a fill is: a known number, some finite number, or perhaps an infinity or NaN.
struct Fill {
  enum Kind { Known, Finite, Bad } kind = Known;
  double number = 0;
  static Fill known(double x);
  static Fill finite() { return {Finite, 0}; }
  static Fill bad() { return {Bad, 0}; }
  bool isZero() const { return kind == Known && number == 0; }
};
/// What holds for elements of both.
Fill join(Fill a, Fill b);

/// Fill of a result from that of the operands; none for operands that do not vary with the filled dimension.
Fill resultFill(Operation *op, llvm::ArrayRef<std::optional<Fill>> fills);
} // namespace mlir::comm
#endif
