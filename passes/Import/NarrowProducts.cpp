//===- NarrowProducts.cpp - f32 products of weights in 16 bits ------------===//
// Matches   f32 products with a weight on one side (f16: on the right), directly or behind a reshape; f32 attention
// (bf16) Rewrites  sets their precision; types stay Skips     products that decide a choice, short sums, products of
// two computed values, other element types
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/IR/Precision.h"
#include "passes/Import/Match.h"
#include "passes/Import/Passes.h"
#include "llvm/ADT/DenseSet.h"

namespace mlir::comm {
#define GEN_PASS_DEF_NARROWPRODUCTSPASS
#include "passes/Import/Passes.h.inc"
namespace {
/// A stored weight, perhaps seen in another shape.
bool isWeight(Value value) {
  for (Operation *op = value.getDefiningOp(); op; op = op->getOperand(0).getDefiningOp()) {
    if (isa<WeightOp>(op))
      return true;
    if (!isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::ExtractSliceOp, linalg::TransposeOp,
             linalg::BroadcastOp>(op))
      return false;
  }
  return false;
}

struct NarrowProducts : impl::NarrowProductsPassBase<NarrowProducts> {
  using NarrowProductsPassBase::NarrowProductsPassBase;

  /// Products from which a discrete result is made without another product between: whatever is chosen may change when
  /// they are rounded, and that is an error of another kind.
  llvm::DenseSet<Operation *> deciding() {
    llvm::DenseSet<Operation *> seen, products;
    SmallVector<Value> next;
    getOperation().walk([&](Operation *op) {
      if (isa<TopKOp, arith::FPToSIOp, arith::FPToUIOp>(op))
        next.push_back(op->getOperand(0));
    });
    while (!next.empty()) {
      Operation *op = next.pop_back_val().getDefiningOp();
      if (!op || !seen.insert(op).second)
        continue;
      if (isa<MatmulOp>(op))
        products.insert(op);
      else if (!isa<AttentionOp>(op))
        llvm::append_range(next, op->getOperands());
    }
    return products;
  }

  /// Empty: it may be narrowed.
  std::string whyNot(MatmulOp product, const llvm::DenseSet<Operation *> &choices) {
    if (choices.contains(product))
      return "stays f32: a choice is made from its result";
    bool right = isWeight(product.getRhs()), left = isWeight(product.getLhs());
    if (!right && !left)
      return "stays f32: neither operand is a weight";
    if (precision == "f16" && !right)
      return "stays f32: its weight is the left operand";
    RankedTensorType lhs = product.getLhs().getType();
    int64_t depth = lhs.getDimSize(lhs.getRank() - (product.getTransposeLhs() ? 2 : 1));
    if (depth < minDepth)
      return "stays f32: sums of " + std::to_string(depth) + " products gain nothing (min-depth " +
             std::to_string(minDepth) + ")";
    return "";
  }

  void runOnOperation() override {
    if (precision == "f32")
      return;
    if (precision != kBF16 && precision != kF16) {
      getOperation().emitError("error[E202]: '") << precision << "' is no precision; expected f32, bf16 or f16";
      return signalPassFailure();
    }
    llvm::DenseSet<Operation *> choices = deciding();
    int64_t products = 0, narrow = 0, attentions = 0;
    auto isCandidate = [](Operation *op) {
      return getElementTypeOrSelf(op->getResult(0)).isF32() && getPrecision(op).empty();
    };
    getOperation().walk([&](Operation *op) {
      if (!isa<MatmulOp, AttentionOp>(op) || !isCandidate(op))
        return;
      if (isa<AttentionOp>(op)) {
        if (precision != kBF16 || !attention)
          return;
        ++attentions;
      } else {
        ++products;
        if (std::string why = whyNot(cast<MatmulOp>(op), choices); !why.empty()) {
          explain(op, "precision", why);
          ++numHeldBack;
          return;
        }
        ++narrow;
      }
      setPrecision(op, precision);
      ++numNarrowed;
    });
    explain(getOperation(), "precision",
            Twine(narrow) + " of " + Twine(products) + " f32 products " +
                (precision == kBF16 ? "and " + Twine(attentions) + " attentions round their operands to bf16"
                                    : Twine("keep their weight in f16")) +
                ", sums and results stay f32");
  }
};
} // namespace
} // namespace mlir::comm
