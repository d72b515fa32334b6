//===- FuseAllReduceNorm.cpp - fold reduce, residual add and norm ---------===//
// Matches   norm(add(add(all_reduce(x), broadcast(bias)), residual), weight)      bias optional, adds either way round,
//           a norm of 16-bit sums also between casts to f32 and back
// Rewrites  all_reduce_norm(x, residual, weight) -> normed, sum
// Skips     shared reduces, adds without a norm, sums that are not f16, bf16, f32 or f64, operands defined too late
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"
#include "passes/Optimize/NarrowNorm.h"
#include "passes/Optimize/Passes.h"

namespace mlir::comm {
#define GEN_PASS_DEF_FUSEALLREDUCENORMPASS
#include "passes/Optimize/Passes.h.inc"

namespace {
/// The vector behind a broadcast over all leading dimensions; null otherwise.
Value getRowVector(Value value) {
  auto broadcast = value.getDefiningOp<linalg::BroadcastOp>();
  if (!broadcast)
    return nullptr;
  Value vector = broadcast.getInput();
  auto type = cast<RankedTensorType>(vector.getType());
  int64_t rank = cast<RankedTensorType>(value.getType()).getRank();
  bool leading = type.getRank() == 1 && llvm::equal(broadcast.getDimensions(), llvm::seq<int64_t>(0, rank - 1));
  return leading ? vector : nullptr;
}

/// The other operand of the add that uses `value`; null when both are `value`.
Value otherOperand(arith::AddFOp add, Value value) {
  if (add.getLhs() == value)
    return add.getRhs() == value ? nullptr : add.getRhs();
  return add.getLhs();
}

struct Chain {
  AllReduceOp reduce;
  Value bias;        ///< vector or null
  arith::AddFOp add; ///< the residual add: its result is the sum
  Value residual;
  Operation *norm = nullptr;
  std::string whyWide; ///< why a norm that reads the sum through a cast stays one
};

/// Follows the single user chain; returns the reason why it is not the pattern, empty when it is. A norm between casts
/// is narrowed on the way where that loses nothing.
std::string match(AllReduceOp reduce, Chain &chain, IRRewriter &rewriter) {
  chain.reduce = reduce;
  if (reduce.getKind() != ReduceKind::Sum)
    return "the reduction is not a sum";
  if (!reduce.getResult().hasOneUse())
    return "the reduced value has " + std::to_string(std::distance(reduce->use_begin(), reduce->use_end())) + " users";
  Value value = reduce.getResult();
  auto add = dyn_cast<arith::AddFOp>(*value.user_begin());
  // Widened first, the reduction would move twice the bytes and skip a rounding; behind it, the norm of the wider sum
  // would be gathered: half as many bytes more. Narrowed first, partial sums would be rounded.
  if (isa<arith::ExtFOp>(*value.user_begin()))
    return "it is widened before it meets the residual: fused, its norm would be gathered in the wider type, half as "
           "many bytes more";
  if (isa<arith::TruncFOp>(*value.user_begin()))
    return "it is narrowed before it meets the residual: summing in another type would round differently";
  if (!add)
    return "its user is " + (*value.user_begin())->getName().getStringRef().str() + ", not an add";
  Value other = otherOperand(add, value);
  if (!other)
    return "it is added to itself";
  if (Value vector = getRowVector(other); vector && add.getResult().hasOneUse()) {
    // A bias: the residual add comes next.
    if (auto next = dyn_cast<arith::AddFOp>(*add.getResult().user_begin());
        next && otherOperand(next, add.getResult())) {
      chain.bias = vector;
      value = add.getResult();
      add = next;
      other = otherOperand(add, value);
    }
  }
  chain.add = add;
  chain.residual = other;
  if (Operation *wide = findWideNorm(add.getResult()))
    chain.whyWide = narrowNorm(wide, rewriter);
  for (Operation *user : add.getResult().getUsers()) {
    auto rms = dyn_cast<RMSNormOp>(user);
    auto layer = dyn_cast<LayerNormOp>(user);
    if ((rms && rms.getInput() == add.getResult()) || (layer && layer.getInput() == add.getResult())) {
      chain.norm = user;
      break;
    }
  }
  if (!chain.norm) {
    if (findWideNorm(add.getResult()))
      return "the norm reads the residual sum through a cast: " + chain.whyWide;
    return "no norm reads the residual sum";
  }
  if (chain.norm->getBlock() != add->getBlock())
    return "the norm is in another block";
  for (Value operand : chain.norm->getOperands())
    if (Operation *def = operand.getDefiningOp();
        def && operand != add.getResult() && def->getBlock() == add->getBlock() && !def->isBeforeInBlock(add)) {
      // Weights have no operands of their own and may move up.
      if (!isa<WeightOp, arith::ConstantOp>(def))
        return "an operand of the norm is computed after the add";
    }
  return "";
}

void rewrite(Chain &chain, IRRewriter &rewriter) {
  for (Value operand : chain.norm->getOperands())
    if (Operation *def = operand.getDefiningOp();
        def && operand != chain.add.getResult() && !def->isBeforeInBlock(chain.add))
      rewriter.moveOpBefore(def, chain.add);
  rewriter.setInsertionPoint(chain.add);
  auto rms = dyn_cast<RMSNormOp>(chain.norm);
  auto layer = dyn_cast<LayerNormOp>(chain.norm);
  Value weight = rms ? rms.getWeight() : layer.getWeight();
  FloatAttr epsilon = rms ? rms.getEpsilonAttr() : layer.getEpsilonAttr();
  Type type = chain.add.getType();
  auto fused = AllReduceNormOp::create(rewriter, chain.norm->getLoc(), type, type, chain.reduce.getInput(),
                                       chain.residual, weight, chain.bias, layer ? layer.getBias() : Value(), epsilon,
                                       layer ? rewriter.getUnitAttr() : UnitAttr(), chain.reduce.getGridAttr(),
                                       chain.reduce.getAxesAttr());
  Operation *biasAdd = chain.bias ? *chain.reduce.getResult().user_begin() : nullptr;
  rewriter.replaceOp(chain.norm, fused.getNormed());
  rewriter.replaceOp(chain.add, fused.getSum());
  if (biasAdd)
    rewriter.eraseOp(biasAdd);
  rewriter.eraseOp(chain.reduce);
}

/// What may move in front of an all_reduce: reshapes, and transposes of leading dimensions (rows stay whole).
bool canMove(Operation *op) {
  auto transpose = dyn_cast<linalg::TransposeOp>(op);
  return isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op) ||
         (transpose && !transpose.getPermutation().empty() &&
          transpose.getPermutation().back() == static_cast<int64_t>(transpose.getPermutation().size()) - 1);
}

/// A reshape that keeps the last dimension whole and in place.
bool keepsRows(Operation *op) {
  if (auto transpose = dyn_cast<linalg::TransposeOp>(op))
    return canMove(transpose);
  if (!isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op))
    return false;
  auto from = cast<RankedTensorType>(op->getOperand(0).getType()),
       to = cast<RankedTensorType>(op->getResult(0).getType());
  return from.getRank() > 0 && to.getRank() > 0 && from.getShape().back() == to.getShape().back();
}

/// reshape(all_reduce(x)) -> all_reduce(reshape(x)), and with a bias between them
/// reshape(all_reduce(x) + bias) -> all_reduce(reshape(x)) + bias: the same elements, and the chain matches.
bool moveReshape(AllReduceOp reduce, IRRewriter &rewriter) {
  if (!reduce.getResult().hasOneUse())
    return false;
  Operation *user = *reduce.getResult().user_begin();
  Value bias;
  auto add = dyn_cast<arith::AddFOp>(user);
  if (add && add.getResult().hasOneUse())
    if (Value other = otherOperand(add, reduce.getResult()); other && (bias = getRowVector(other)))
      user = *add.getResult().user_begin();
  if (bias ? !keepsRows(user) : !canMove(user))
    return false;
  rewriter.setInsertionPoint(reduce);
  IRMapping map;
  if (auto transpose = dyn_cast<linalg::TransposeOp>(user)) {
    auto type = cast<RankedTensorType>(transpose.getInit().getType());
    map.map(transpose.getInit(),
            tensor::EmptyOp::create(rewriter, transpose.getLoc(), type.getShape(), type.getElementType()));
  }
  map.map(bias ? add.getResult() : reduce.getResult(), reduce.getInput());
  Operation *reshape = rewriter.clone(*user, map);
  auto type = cast<RankedTensorType>(reshape->getResult(0).getType());
  Value moved = AllReduceOp::create(rewriter, reduce.getLoc(), type, reduce.getKindAttr(), reshape->getResult(0),
                                    reduce.getGridAttr(), reduce.getAxesAttr());
  if (bias) {
    rewriter.setInsertionPoint(user);
    if (type.getRank() > 1) {
      Value empty = tensor::EmptyOp::create(rewriter, add.getLoc(), type.getShape(), type.getElementType());
      auto leading = llvm::to_vector(llvm::seq<int64_t>(0, type.getRank() - 1));
      bias = linalg::BroadcastOp::create(rewriter, add.getLoc(), bias, empty, leading).getResult()[0];
    }
    moved = arith::AddFOp::create(rewriter, add.getLoc(), moved, bias);
  }
  rewriter.replaceOp(user, moved);
  if (add && bias)
    rewriter.eraseOp(add);
  rewriter.eraseOp(reduce);
  return true;
}

/// The addends of a partial sum: what is the same on all ranks (its reduction is known, or it is masked to one rank)
/// and the rest.
struct Addends {
  SmallVector<Value> whole, partial;
};

/// all_reduce(x + y) -> all_reduce(x) + whole(y), where y was reduced before or is masked: a residual that was carried
/// as a partial sum is whole again, and the chain matches.
class Settler {
public:
  explicit Settler(IRRewriter &rewriter) : rewriter(rewriter) {}

  bool settle(AllReduceOp reduce) {
    if (reduce.getKind() != ReduceKind::Sum)
      return false;
    Addends addends;
    collect(reduce.getInput(), reduce.getAxesAttr(), addends);
    bool changes = !addends.whole.empty() && !addends.partial.empty();
    if (changes) {
      Location loc = reduce.getLoc();
      rewriter.setInsertionPoint(reduce);
      Value partial = addends.partial[0];
      for (Value more : ArrayRef(addends.partial).drop_front())
        partial = arith::AddFOp::create(rewriter, loc, partial, more);
      Value sum = AllReduceOp::create(rewriter, loc, partial.getType(), reduce.getKindAttr(), partial,
                                      reduce.getGridAttr(), reduce.getAxesAttr());
      // Biases first: that is where the chain has them.
      llvm::stable_sort(addends.whole, [](Value a, Value b) { return getRowVector(a) && !getRowVector(b); });
      for (Value whole : addends.whole)
        sum = arith::AddFOp::create(rewriter, loc, sum, whole);
      reduced[{reduce.getInput(), reduce.getAxesAttr()}] = sum;
      rewriter.replaceOp(reduce, sum);
      return true;
    }
    reduced[{reduce.getInput(), reduce.getAxesAttr()}] = reduce.getResult();
    return false;
  }

private:
  void collect(Value value, ArrayAttr axes, Addends &out, int depth = 0) {
    Operation *def = value.getDefiningOp();
    if (depth > 0)
      if (Value known = reduced.lookup({value, axes})) {
        out.whole.push_back(known);
        return;
      }
    if (auto mask = dyn_cast_or_null<RankMaskOp>(def); mask && mask.getAxesAttr() == axes) {
      out.whole.push_back(mask.getInput());
      return;
    }
    if (auto add = dyn_cast_or_null<arith::AddFOp>(def); add && depth < 8) {
      collect(add.getLhs(), axes, out, depth + 1);
      collect(add.getRhs(), axes, out, depth + 1);
      return;
    }
    out.partial.push_back(value);
  }

  IRRewriter &rewriter;
  DenseMap<std::pair<Value, Attribute>, Value> reduced;
};

struct FuseAllReduceNorm : impl::FuseAllReduceNormPassBase<FuseAllReduceNorm> {
  using FuseAllReduceNormPassBase::FuseAllReduceNormPassBase;

  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    if (settle) {
      Settler settler(rewriter);
      for (AllReduceOp reduce : llvm::to_vector(getOperation().getOps<AllReduceOp>()))
        numSettled += settler.settle(reduce);
    }
    bool moved = true;
    while (moved) {
      moved = false;
      for (AllReduceOp reduce : llvm::to_vector(getOperation().getOps<AllReduceOp>()))
        if (moveReshape(reduce, rewriter)) {
          ++numMoved;
          moved = true;
        }
    }
    for (AllReduceOp reduce : llvm::to_vector(getOperation().getOps<AllReduceOp>())) {
      Chain chain;
      std::string reason = match(reduce, chain, rewriter);
      if (reason.empty()) {
        explain(reduce, "fusion",
                Twine("all_reduce, residual add and ") + (isa<RMSNormOp>(chain.norm) ? "rms_norm" : "layer_norm") +
                    " are one op");
        rewrite(chain, rewriter);
        ++numFused;
        continue;
      }
      ++numNearMisses;
      explain(reduce, "fusion", "all_reduce is not fused with a norm: " + reason);
    }
  }
};
} // namespace
} // namespace mlir::comm
