//===- TokenSplit.h - which ops work on a part of the tokens ----*- C++ -*-===//
// Follows one dimension of an argument (tokens, or sequences of a batch) through a block and says for every op whether
// it can be done in two parts: ops that are independent per row by their sharding rule; attention whose first part sees
// only keys of the first part; concatenation behind a cache. Reads IR, never changes it.
//===----------------------------------------------------------------------===//
#ifndef PASSES_OPTIMIZE_TOKENSPLIT_H
#define PASSES_OPTIMIZE_TOKENSPLIT_H
#include "comm/IR/CommOps.h"
#include "llvm/ADT/DenseSet.h"
#include <optional>

namespace mlir::comm {

/// How a value is cut in two: dimension `dim` is (outer, size, inner), major first, and `size` is cut at `at`.
struct Cut {
  int64_t dim = 0, outer = 1, size = 0, at = 0;
  bool operator==(const Cut &o) const { return dim == o.dim && outer == o.outer && size == o.size && at == o.at; }
  bool operator!=(const Cut &o) const { return !(*this == o); }
  int64_t length(int part) const { return part == 0 ? at : size - at; }
};
/// Type of one part.
RankedTensorType getPartType(RankedTensorType whole, const Cut &cut, int part);

struct OpPlan {
  /// Whole: not cut. Rule: both parts alike. Attention, Concat: as the text above. Pick: the op reads one part only.
  enum Kind { Whole, Rule, Attention, Concat, Pick } kind = Whole;
  SmallVector<std::optional<Cut>> operands; ///< what each part needs of an operand; none: all of it
  int part = 0;                             ///< Pick
};

class TokenSplit {
public:
  /// Cuts `dim` of `seed` at `at`.
  TokenSplit(Block &block, Value seed, int64_t dim, int64_t at);

  const OpPlan &planOf(Operation *op) const { return plans.find(op)->second; }
  std::optional<Cut> cutOf(Value value) const;
  /// Depends on both parts without being cut itself.
  bool joins(Value value) const { return joined.contains(value); }
  /// Reductions on the way to the op.
  int64_t depthOf(Operation *op) const { return depths.lookup(op); }

  int64_t splitSites = 0;  ///< reductions done in two parts
  int64_t joinedSites = 0; ///< reductions that need both parts
  int64_t siteRows = 0;    ///< rows of the first site, uncut
  std::string firstReason; ///< why the first op that needs both parts does

private:
  void visit(Operation *op);
  /// Fill `plan` and `results`, or say why not.
  std::string plan(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results);
  std::string planRule(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results);
  std::string planCollective(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results);
  std::string planAttention(AttentionOp op, OpPlan &plan, SmallVectorImpl<Cut> &results);
  std::string planConcat(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results);
  std::string planPick(Operation *op, OpPlan &plan, SmallVectorImpl<Cut> &results);
  /// Demands `cut` of operand `index`; false when it is cut otherwise or joins the parts.
  bool demand(Operation *op, unsigned index, std::optional<Cut> cut, OpPlan &plan);

  DenseMap<Operation *, OpPlan> plans;
  DenseMap<Operation *, int64_t> depths;
  DenseMap<Value, Cut> cuts;
  DenseMap<Value, int64_t> depthAfter;
  llvm::DenseSet<Value> joined;
};

} // namespace mlir::comm
#endif
