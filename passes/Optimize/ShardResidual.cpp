//===- ShardResidual.cpp - keep the residual split by rows ----------------===//
// Matches   all_reduce_norm(x, residual, ...), one or a chain of them whose sums are the next one's residual
// Rewrites  scatter_norm_gather(x, rows of the residual, ...); the sum stays split along the chain; other readers of
// the sum get one all_gather Skips     fewer rows than ranks, groups of one rank
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "passes/Optimize/Passes.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::comm {
#define GEN_PASS_DEF_SHARDRESIDUALPASS
#include "passes/Optimize/Passes.h.inc"

namespace {
RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// All leading dimensions as one, or the inverse.
Value reshapeRows(OpBuilder &builder, Location loc, Value value, RankedTensorType type) {
  auto reassociate = [](int64_t rank) {
    return SmallVector<ReassociationIndices>{llvm::to_vector(llvm::seq<int64_t>(0, rank - 1)), {rank - 1}};
  };
  RankedTensorType from = typeOf(value);
  if (from.getRank() > type.getRank())
    return tensor::CollapseShapeOp::create(builder, loc, type, value, reassociate(from.getRank()));
  if (from.getRank() < type.getRank())
    return tensor::ExpandShapeOp::create(builder, loc, type, value, reassociate(type.getRank()));
  return value;
}

/// Reshapes that leave the rows what they are, and casts: both can be done on a part of the rows.
bool actsOnRows(Operation *op) {
  if (isa_and_nonnull<arith::ExtFOp, arith::TruncFOp>(op))
    return true;
  if (!isa_and_nonnull<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op))
    return false;
  RankedTensorType from = typeOf(op->getOperand(0)), to = typeOf(op->getResult(0));
  return from.getRank() > 1 && to.getRank() > 1 && from.getShape().back() == to.getShape().back();
}

/// One chain per group of ranks.
class Sharder {
public:
  explicit Sharder(MLIRContext *context) : builder(context) {}

  /// This rank's rows of `value`, [R, columns]; made once, in front of `site`.
  Value shardOf(Value value, AllReduceNormOp site, int64_t ranks) {
    if (Value known = shards.lookup({value, site.getAxesAttr()}))
      return known;
    Location loc = site.getLoc();
    RankedTensorType type = typeOf(value);
    int64_t rows = ScatterNormGatherOp::getNumRows(type), columns = type.getShape().back();
    auto local = RankedTensorType::get({getLocalSize(rows, 1, ranks), columns}, type.getElementType());
    Value shard;
    Operation *def = value.getDefiningOp();
    if (actsOnRows(def) && isShardedBelow(def->getOperand(0), site.getAxesAttr())) {
      shard = shardOf(def->getOperand(0), site, ranks);
      if (shard.getType() != local) { // a cast
        Operation *cast = builder.clone(*def);
        cast->setOperand(0, shard);
        cast->getResult(0).setType(local);
        shard = cast->getResult(0);
      }
    } else {
      Value flat = reshapeRows(builder, loc, value, RankedTensorType::get({rows, columns}, type.getElementType()));
      shard = ShardSliceOp::create(builder, loc, local, flat, i64(0), i64(1), site.getGridAttr(), site.getAxesAttr(),
                                   i64(0));
      ++numSliced;
    }
    shards[{value, site.getAxesAttr()}] = shard;
    return shard;
  }

  void rewrite(AllReduceNormOp site, int64_t ranks) {
    builder.setInsertionPoint(site);
    Value residual = shardOf(site.getResidual(), site, ranks);
    auto fused = ScatterNormGatherOp::create(builder, site.getLoc(), site.getNormed().getType(), residual.getType(),
                                             site.getInput(), residual, site.getWeight(), site.getBias(),
                                             site.getNormBias(), site.getEpsilonAttr(), site.getLayerNormAttr(),
                                             site.getGridAttr(), site.getAxesAttr());
    site.getNormed().replaceAllUsesWith(fused.getNormed());
    shards[{site.getSum(), site.getAxesAttr()}] = fused.getSum();
    sites.push_back({site, fused});
  }

  /// Erases what was rewritten, last one first, so that only real readers of a sum are left when its turn comes.
  void finish() {
    for (auto [site, fused] : llvm::reverse(sites)) {
      eraseDeadUsers(site.getSum());
      if (!site.getSum().use_empty()) {
        builder.setInsertionPointAfter(fused);
        RankedTensorType type = typeOf(site.getSum());
        auto flat = RankedTensorType::get({fused.getNumRows(), type.getShape().back()}, type.getElementType());
        Value whole = AllGatherOp::create(builder, site.getLoc(), flat, fused.getSum(), i64(0), i64(1),
                                          site.getGridAttr(), site.getAxesAttr());
        explain(fused, "residual",
                "its sum is read whole by " + getSiteName(*site.getSum().user_begin()) + ": gathered there");
        site.getSum().replaceAllUsesWith(reshapeRows(builder, site.getLoc(), whole, type));
        ++numGathered;
      }
      site.erase();
    }
  }

  int64_t numSliced = 0, numGathered = 0;

private:
  IntegerAttr i64(int64_t value) { return builder.getI64IntegerAttr(value); }

  bool isShardedBelow(Value value, ArrayAttr axes) {
    while (true) {
      if (shards.count({value, axes}))
        return true;
      Operation *def = value.getDefiningOp();
      if (!actsOnRows(def))
        return false;
      value = def->getOperand(0);
    }
  }

  static void eraseDeadUsers(Value value) {
    for (Operation *user : llvm::make_early_inc_range(value.getUsers())) {
      if (!actsOnRows(user))
        continue;
      eraseDeadUsers(user->getResult(0));
      if (user->use_empty())
        user->erase();
    }
  }

  OpBuilder builder;
  llvm::MapVector<std::pair<Value, Attribute>, Value> shards;
  SmallVector<std::pair<AllReduceNormOp, ScatterNormGatherOp>> sites;
};

struct ShardResidual : impl::ShardResidualPassBase<ShardResidual> {
  using ShardResidualPassBase::ShardResidualPassBase;

  void runOnOperation() override {
    GridOp grid = getGrid(getOperation());
    if (!grid)
      return;
    Sharder sharder(&getContext());
    for (AllReduceNormOp site : llvm::to_vector(getOperation().getOps<AllReduceNormOp>())) {
      int64_t ranks = grid.getNumShards(site.getAxes()),
              rows = ScatterNormGatherOp::getNumRows(site.getInput().getType());
      if (ranks < 2 || rows < std::max<int64_t>(ranks, minRows) || site.getInput().getType().getRank() < 2) {
        explain(site, "residual",
                "stays whole on every rank: " + std::to_string(rows) + " rows for " + std::to_string(ranks) + " ranks");
        ++numNearMisses;
        continue;
      }
      sharder.rewrite(site, ranks);
      ++numSharded;
    }
    sharder.finish();
    numSliced += sharder.numSliced;
    numGathered += sharder.numGathered;
  }
};
} // namespace
} // namespace mlir::comm
