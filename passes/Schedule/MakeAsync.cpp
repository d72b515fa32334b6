//===- MakeAsync.cpp - collectives become start and wait ------------------===//
// Matches   every op with CollectiveOpInterface in a function's block
// Rewrites  comm.start order N { collective } ; comm.wait
// Skips     functions without collectives
//===----------------------------------------------------------------------===//
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "passes/Schedule/Passes.h"

namespace mlir::comm {
#define GEN_PASS_DEF_MAKEASYNCPASS
#include "passes/Schedule/Passes.h.inc"

namespace {
/// Starts `collective` (moved into the body) and waits for it.
void startAndWait(Operation *collective, int64_t order, IRRewriter &rewriter) {
  Location loc = collective->getLoc();
  SmallVector<RankedTensorType> types;
  for (Type type : collective->getResultTypes())
    types.push_back(cast<RankedTensorType>(type));
  rewriter.setInsertionPoint(collective);
  auto token = TokenType::get(rewriter.getContext(), types[0], ArrayRef(types).drop_front());
  auto start = StartOp::create(rewriter, loc, token, order);
  auto wait = WaitOp::create(rewriter, loc, start.getToken());
  rewriter.replaceAllUsesWith(collective->getResults(), wait->getResults());
  Block *body = rewriter.createBlock(&start.getBody());
  rewriter.moveOpBefore(collective, body, body->end());
  rewriter.setInsertionPointToEnd(body);
  YieldOp::create(rewriter, loc, collective->getResults());
}

/// The all_reduce of a fused op; bias, residual and norm follow as value ops, in the order the op promises.
AllReduceOp splitNorm(AllReduceNormOp op, IRRewriter &rewriter) {
  Location loc = op.getLoc();
  rewriter.setInsertionPoint(op);
  auto kind = ReduceKindAttr::get(rewriter.getContext(), ReduceKind::Sum);
  auto reduce = AllReduceOp::create(rewriter, loc, op.getInput().getType(), kind, op.getInput(), op.getGridAttr(),
                                    op.getAxesAttr());
  Value sum = reduce.getResult();
  RankedTensorType type = op.getInput().getType();
  if (Value bias = op.getBias()) {
    if (type.getRank() > 1) {
      Value empty = tensor::EmptyOp::create(rewriter, loc, type.getShape(), type.getElementType());
      bias = linalg::BroadcastOp::create(rewriter, loc, bias, empty,
                                         llvm::to_vector(llvm::seq<int64_t>(0, type.getRank() - 1)))
                 .getResult()[0];
    }
    sum = arith::AddFOp::create(rewriter, loc, sum, bias);
  }
  sum = arith::AddFOp::create(rewriter, loc, sum, op.getResidual());
  Value normed;
  if (op.getLayerNorm())
    normed = LayerNormOp::create(rewriter, loc, sum, op.getWeight(), op.getNormBias(), op.getEpsilonAttr());
  else
    normed = RMSNormOp::create(rewriter, loc, sum, op.getWeight(), op.getEpsilonAttr());
  rewriter.replaceOp(op, {normed, sum});
  return reduce;
}

struct MakeAsync : impl::MakeAsyncPassBase<MakeAsync> {
  using MakeAsyncPassBase::MakeAsyncPassBase;

  void runOnOperation() override {
    SmallVector<Operation *> collectives;
    for (Operation &op : getOperation().getBody().getOps())
      if (isa<CollectiveOpInterface>(op))
        collectives.push_back(&op);
    IRRewriter rewriter(&getContext());
    int64_t order = 0;
    for (Operation *collective : collectives) {
      if (auto fused = dyn_cast<AllReduceNormOp>(collective))
        collective = splitNorm(fused, rewriter);
      startAndWait(collective, order++, rewriter);
      ++numStarted;
    }
  }
};
} // namespace
} // namespace mlir::comm
