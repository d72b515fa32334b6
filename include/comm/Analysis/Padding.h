//===- Padding.h - may an entry run smaller inputs? -------------*- C++ -*-===//
// An entry of fixed sizes runs a smaller input that is filled up on the right when nothing of the fill reaches an
// element that the caller sees. The same model at smaller sizes tells which dimensions are filled; see decision 0062.
//===----------------------------------------------------------------------===//
#ifndef COMM_ANALYSIS_PADDING_H
#define COMM_ANALYSIS_PADDING_H
#include "comm/IR/Pads.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <string>

namespace mlir::comm {

/// A symbolic dimension and its size in the entry.
struct PadSymbol {
  std::string name;
  int64_t size = 0;
};
/// The model at a smaller size of one symbol, all others as in the entry.
struct PadSibling {
  func::FuncOp function;
  unsigned symbol = 0;
  int64_t size = 0;
};
/// Where the fill of a dimension begins: at the size that the symbol has in a call, plus `offset`.
struct PadExtent {
  unsigned symbol = 0;
  int64_t offset = 0;
};
/// A dimension of an argument or a result that is smaller in a call.
struct PadPort {
  int64_t dim = 0;
  PadExtent extent;
};

/// A change that keeps fill from where it would matter.
struct PadStep {
  enum Kind {
    Mask,    ///< the fill of `dim` of the operand becomes `neutral`
    Lengths, ///< attention: keys from the extent on are not looked at
    Wrap,    ///< the operand's negative indices count from the extent
    Count    ///< the op, a splat constant, becomes factor * symbol + term
  } kind = Mask;
  Operation *op = nullptr;
  unsigned operand = 0;
  int64_t dim = 0;
  PadExtent extent;
  Attribute neutral; ///< one element
  int64_t factor = 0, term = 0;
};

struct PadPlan {
  std::string reason;  ///< why not; empty: it may
  unsigned symbol = 0; ///< the one that the reason is about
  int sibling = -1;    ///< the one that is another model; -1: the reason is about all of them
  llvm::SmallVector<PadStep> steps;
  llvm::SmallVector<llvm::SmallVector<PadPort>> arguments, results;
};

/// How `entry` can run every size of each symbol from that of its smallest sibling on. All functions are of form
/// `global` and have passed the same passes. Every symbol needs a sibling. `anyFill`: what floating-point inputs are
/// filled up with may be anything, not only zeros.
PadPlan planPadding(func::FuncOp entry, llvm::ArrayRef<PadSymbol> symbols, llvm::ArrayRef<PadSibling> siblings,
                    bool anyFill = false);

} // namespace mlir::comm
#endif
