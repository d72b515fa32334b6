//===- PadRules.h - fill at one operation (private) -------------*- C++ -*-===//
#ifndef COMM_LIB_ANALYSIS_PADRULES_H
#define COMM_LIB_ANALYSIS_PADRULES_H
#include "PadTypes.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include <functional>

namespace mlir::comm::padding {

/// One operation of form `global` with what is known about its operands.
class OpPadding {
public:
  /// `least`: smallest size of each symbol.
  OpPadding(Operation *op, ArrayRef<int64_t> least) : op(op), least(least) {}

  ShardingRule rule;
  bool hasRule = false;
  SmallVector<PadValue> operands;
  SmallVector<std::optional<Dim>> factors;   ///< parts of each factor of the rule, where an operand says them
  std::function<bool(int64_t)> resultVaries; ///< does a dimension of the first result follow a symbol?
  unsigned symbol = 0;                       ///< that a refusal is about

  /// Appends the steps that keep fill from the elements that count. Empty, or why there are none.
  std::string protect(SmallVectorImpl<PadStep> &steps);
  /// Fill of dimension `dim` of a result, made of `list`, after the steps.
  Fill fillOf(ArrayRef<unsigned> list, int64_t dim) const;

private:
  int symbolAt(unsigned operand, int64_t dim) const { return symbolIn(operands[operand].dims[dim]); }
  /// Notes the factors of a dimension as taken care of.
  void settle(unsigned operand, int64_t dim) { settled.append(rule.operands[operand][dim]); }
  std::string refuse(int about, const char *why) {
    symbol = about < 0 ? 0 : static_cast<unsigned>(about);
    return why;
  }
  std::string mask(unsigned operand, int64_t dim, Attribute neutral, Fill after);
  std::string maskZero(unsigned operand, int64_t dim);
  std::string protectProduct(MatmulOp product);
  std::string protectSum(linalg::ReduceOp reduce);
  std::string protectAttention(AttentionOp attention);
  std::string protectSoftmax();
  std::string protectTopK(TopKOp top);
  std::string protectDivisor();
  std::string protectIndices(unsigned operand, ArrayRef<int64_t> limits);
  std::string protectLookup(int64_t axis, bool canWrap);
  std::string protectSlice(tensor::ExtractSliceOp slice);
  std::string protectConcat(tensor::ConcatOp concat);

  Operation *op;
  ArrayRef<int64_t> least;
  SmallVector<unsigned> settled;
  SmallVectorImpl<PadStep> *steps = nullptr;
};
} // namespace mlir::comm::padding
#endif
