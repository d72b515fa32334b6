//===- DecomposeCollectives.cpp - collectives in the transport's layout ---===//
// Matches   all_gather, reduce_scatter, all_to_all on any dimension, started or not; all_reduce_norm; any collective
// over one rank Rewrites  pack_shards / reshape, the collective on blocks [members, ...], unpack_shards / reshape;
// all_reduce, adds, norm; nothing Skips     collectives on an outermost dimension that divides
//===----------------------------------------------------------------------===//
#include "mlir/IR/Builders.h"
#include "passes/Lower/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::comm {
#define GEN_PASS_DEF_DECOMPOSECOLLECTIVESPASS
#include "passes/Lower/Passes.h.inc"
namespace {

/// The group and the split of a collective.
struct Split {
  FlatSymbolRefAttr grid;
  ArrayAttr axes;
  int64_t members, dim, grain;
};

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

RankedTensorType withLeading(ArrayRef<int64_t> leading, RankedTensorType type) {
  SmallVector<int64_t> shape(leading);
  llvm::append_range(shape, type.getShape());
  return RankedTensorType::get(shape, type.getElementType());
}

/// Shard i is bytes [i, i + 1) * size / members of the whole: no dimension in front, nothing filled.
bool isBlocked(RankedTensorType whole, RankedTensorType local, const Split &split) {
  return llvm::all_of(whole.getShape().take_front(split.dim), [](int64_t d) { return d == 1; }) &&
         whole.getDimSize(split.dim) == split.members * local.getDimSize(split.dim);
}

/// Reshapes through one dimension: both shapes have equal dimensions after the first `from` and `to` of them.
Value reshapeLeading(OpBuilder &b, Location loc, Value value, RankedTensorType type, int64_t from, int64_t to) {
  RankedTensorType source = typeOf(value);
  auto groups = [](int64_t rank, int64_t leading) {
    SmallVector<ReassociationIndices> out;
    out.push_back(llvm::to_vector(llvm::seq<int64_t>(0, leading)));
    for (int64_t dim = leading; dim < rank; ++dim)
      out.push_back({dim});
    return out;
  };
  if (from > 1) {
    SmallVector<int64_t> shape{1};
    for (int64_t dim = 0; dim < from; ++dim)
      shape[0] *= source.getDimSize(dim);
    llvm::append_range(shape, source.getShape().drop_front(from));
    value = tensor::CollapseShapeOp::create(b, loc, RankedTensorType::get(shape, source.getElementType()), value,
                                            groups(source.getRank(), from));
  }
  return to > 1 ? tensor::ExpandShapeOp::create(b, loc, type, value, groups(type.getRank(), to)).getResult() : value;
}

class Decomposer {
public:
  Decomposer(func::FuncOp function, Pass::Statistic &numRelayouts, Pass::Statistic &numDropped)
      : grid(getGrid(function)), builder(function.getContext()), numRelayouts(numRelayouts), numDropped(numDropped) {}

  void run(Operation *op) {
    if (auto norm = dyn_cast<AllReduceNormOp>(op))
      return expandNorm(norm);
    auto start = dyn_cast<StartOp>(op);
    Operation *collective = start ? start.getCollective() : op;
    if (!isa<AllReduceOp, AllGatherOp, ReduceScatterOp, AllToAllOp, PermuteOp, ScatterNormGatherOp>(collective))
      return;
    wait = start ? cast<WaitOp>(*start.getToken().getUsers().begin()) : WaitOp();
    auto axes = cast<CollectiveOpInterface>(collective).getAxesAttr();
    if (grid.getNumShards(axes) == 1) {
      if (auto norm = dyn_cast<ScatterNormGatherOp>(collective))
        return expandAlone(norm, start);
      // Over one rank every collective gives its operand.
      Value input = collective->getOperand(0);
      ++numDropped;
      return replace(start, collective, input);
    }
    TypeSwitch<Operation *>(collective)
        .Case([&](AllGatherOp gather) { expandGather(gather, start); })
        .Case([&](ReduceScatterOp scatter) { expandScatter(scatter, start); })
        .Case([&](AllToAllOp exchange) { expandAllToAll(exchange, start); });
  }

private:
  IntegerAttr i64(int64_t value) { return builder.getI64IntegerAttr(value); }

  Split splitOf(Operation *op, int64_t dim, int64_t grain) {
    auto collective = cast<CollectiveOpInterface>(op);
    return {collective.getGridAttr(), collective.getAxesAttr(), grid.getNumShards(collective.getAxesAttr()), dim,
            grain};
  }

  /// The whole as one block per member.
  Value pack(Location loc, Value whole, const Split &split) {
    RankedTensorType type = typeOf(whole);
    SmallVector<int64_t> shard(type.getShape());
    shard[split.dim] = getLocalSize(shard[split.dim], split.grain, split.members);
    auto local = RankedTensorType::get(shard, type.getElementType());
    RankedTensorType blocks = withLeading({split.members}, local);
    if (isBlocked(type, local, split))
      return reshapeLeading(builder, loc, whole, blocks, split.dim + 1, split.dim + 2);
    ++numRelayouts;
    return PackShardsOp::create(builder, loc, blocks, whole, i64(split.dim), i64(split.grain), split.grid, split.axes);
  }

  Value unpack(Location loc, Value blocks, RankedTensorType whole, const Split &split) {
    SmallVector<int64_t> shard(typeOf(blocks).getShape().drop_front());
    if (isBlocked(whole, RankedTensorType::get(shard, whole.getElementType()), split))
      return reshapeLeading(builder, loc, blocks, whole, split.dim + 2, split.dim + 1);
    ++numRelayouts;
    return UnpackShardsOp::create(builder, loc, whole, blocks, i64(split.dim), i64(split.grain), split.grid, split.axes,
                                  UnitAttr());
  }

  /// Gives the users of the collective (or of its wait) another value, and erases it.
  void replace(StartOp start, Operation *collective, Value with) {
    if (!start) {
      collective->getResult(0).replaceAllUsesWith(with);
      collective->erase();
      return;
    }
    wait.getResult().replaceAllUsesWith(with);
    wait.erase();
    start.erase();
  }

  /// `make` creates the new collective. Started ones are started where the old was; afterwards the builder stands where
  /// the result is there.
  Value issue(StartOp start, Location loc, RankedTensorType type, llvm::function_ref<Value()> make) {
    if (!start)
      return make();
    auto fresh =
        StartOp::create(builder, start.getLoc(), TokenType::get(builder.getContext(), type), start.getOrderAttr());
    fresh->setDiscardableAttrs(start->getDiscardableAttrDictionary());
    {
      OpBuilder::InsertionGuard guard(builder);
      builder.createBlock(&fresh.getBody());
      YieldOp::create(builder, loc, make());
    }
    builder.setInsertionPoint(wait);
    return WaitOp::create(builder, wait.getLoc(), fresh.getToken()).getResult();
  }

  void expandGather(AllGatherOp op, StartOp start) {
    Split split = splitOf(op, op.getDim(), op.getGrain());
    auto local = typeOf(op.getInput()), whole = cast<RankedTensorType>(op.getType());
    if (isBlocked(whole, local, split))
      return;
    builder.setInsertionPoint(start ? start.getOperation() : op.getOperation());
    Value one = reshapeLeading(builder, op.getLoc(), op.getInput(), withLeading({1}, local), 1, 2);
    RankedTensorType blocks = withLeading({split.members}, local);
    Value gathered = issue(start, op.getLoc(), blocks, [&] {
      return AllGatherOp::create(builder, op.getLoc(), blocks, one, i64(0), i64(1), split.grid, split.axes);
    });
    replace(start, op, unpack(op.getLoc(), gathered, whole, split));
  }

  void expandScatter(ReduceScatterOp op, StartOp start) {
    Split split = splitOf(op, op.getDim(), op.getGrain());
    auto local = cast<RankedTensorType>(op.getType());
    if (isBlocked(typeOf(op.getInput()), local, split))
      return;
    builder.setInsertionPoint(start ? start.getOperation() : op.getOperation());
    Value blocks = pack(op.getLoc(), op.getInput(), split);
    RankedTensorType type = withLeading({1}, local);
    Value reduced = issue(start, op.getLoc(), type, [&] {
      return ReduceScatterOp::create(builder, op.getLoc(), type, op.getKindAttr(), blocks, i64(0), i64(1), split.grid,
                                     split.axes);
    });
    replace(start, op, reshapeLeading(builder, op.getLoc(), reduced, local, 2, 1));
  }

  void expandAllToAll(AllToAllOp op, StartOp start) {
    Split split = splitOf(op, op.getSplitDim(), op.getSplitGrain()),
          concat = splitOf(op, op.getConcatDim(), op.getConcatGrain());
    RankedTensorType input = typeOf(op.getInput());
    if (split.dim == 0 && concat.dim == 1 && input.getDimSize(0) == split.members && input.getDimSize(1) == 1)
      return;
    builder.setInsertionPoint(start ? start.getOperation() : op.getOperation());
    Value blocks = pack(op.getLoc(), op.getInput(), split);
    // Blocks [n, ...] as the op sees them: n splits, 1 concatenates.
    auto block = RankedTensorType::get(typeOf(blocks).getShape().drop_front(), input.getElementType());
    Value out = reshapeLeading(builder, op.getLoc(), blocks, withLeading({split.members, 1}, block), 1, 2);
    RankedTensorType type = withLeading({1, split.members}, block);
    Value in = issue(start, op.getLoc(), type, [&] {
      return AllToAllOp::create(builder, op.getLoc(), type, out, i64(0), i64(1), i64(1), i64(1), split.grid,
                                split.axes);
    });
    Value received = reshapeLeading(builder, op.getLoc(), in, withLeading({split.members}, block), 2, 1);
    replace(start, op, unpack(op.getLoc(), received, cast<RankedTensorType>(op.getType()), concat));
  }

  /// Vector over the last dimension of `type`.
  Value broadcast(Location loc, Value vector, RankedTensorType type) {
    if (type.getRank() == 1)
      return vector;
    Value init = tensor::EmptyOp::create(builder, loc, type.getShape(), type.getElementType());
    SmallVector<int64_t> dims = llvm::to_vector(llvm::seq<int64_t>(0, type.getRank() - 1));
    return linalg::BroadcastOp::create(builder, loc, vector, init, dims).getResult()[0];
  }

  /// The adds and the norm of a fused op on reduced rows: normed, sum.
  template <typename Op> std::pair<Value, Value> addAndNorm(Op op, Value sum) {
    Location loc = op.getLoc();
    RankedTensorType type = typeOf(sum);
    if (op.getBias())
      sum = arith::AddFOp::create(builder, loc, sum, broadcast(loc, op.getBias(), type));
    sum = arith::AddFOp::create(builder, loc, sum, op.getResidual());
    Value normed =
        op.getLayerNorm()
            ? LayerNormOp::create(builder, loc, type, sum, op.getWeight(), op.getNormBias(), op.getEpsilonAttr())
                  .getResult()
            : RMSNormOp::create(builder, loc, type, sum, op.getWeight(), op.getEpsilonAttr()).getResult();
    return {normed, sum};
  }

  void expandNorm(AllReduceNormOp op) {
    builder.setInsertionPoint(op);
    Value reduced = op.getInput();
    if (grid.getNumShards(op.getAxes()) > 1)
      reduced = AllReduceOp::create(builder, op.getLoc(), typeOf(reduced),
                                    ReduceKindAttr::get(builder.getContext(), ReduceKind::Sum), reduced,
                                    op.getGridAttr(), op.getAxesAttr());
    auto [normed, sum] = addAndNorm(op, reduced);
    op.getNormed().replaceAllUsesWith(normed);
    op.getSum().replaceAllUsesWith(sum);
    op.erase();
  }

  /// Over one rank: all rows are its own.
  void expandAlone(ScatterNormGatherOp op, StartOp start) {
    builder.setInsertionPoint(start ? wait.getOperation() : op.getOperation());
    RankedTensorType type = typeOf(op.getInput()), rows = typeOf(op.getResidual());
    Value input = reshapeLeading(builder, op.getLoc(), op.getInput(), rows, type.getRank() - 1, 1);
    auto [normed, sum] = addAndNorm(op, input);
    normed = reshapeLeading(builder, op.getLoc(), normed, type, 1, type.getRank() - 1);
    ResultRange old = start ? wait->getResults() : op->getResults();
    old[0].replaceAllUsesWith(normed);
    old[1].replaceAllUsesWith(sum);
    if (start)
      wait.erase();
    (start ? start.getOperation() : op.getOperation())->erase();
  }

  GridOp grid;
  OpBuilder builder;
  WaitOp wait;
  Pass::Statistic &numRelayouts, &numDropped;
};

struct DecomposeCollectives : impl::DecomposeCollectivesPassBase<DecomposeCollectives> {
  using DecomposeCollectivesPassBase::DecomposeCollectivesPassBase;
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal() || !getGrid(function))
      return;
    if (!llvm::hasSingleElement(function.getBody())) {
      function.emitError("form async has one block per function");
      return signalPassFailure();
    }
    Decomposer decomposer(function, numRelayouts, numDropped);
    SmallVector<Operation *> ops;
    for (Operation &op : function.getBody().front())
      if (isa<StartOp, CollectiveOpInterface>(op)) {
        if (auto start = dyn_cast<StartOp>(op);
            start && (!start.getToken().hasOneUse() || !isa<WaitOp>(*start.getToken().getUsers().begin()))) {
          start.emitError("expected exactly one comm.wait of this token");
          return signalPassFailure();
        }
        ops.push_back(&op);
      }
    for (Operation *op : ops)
      decomposer.run(op);
  }
};
} // namespace
} // namespace mlir::comm
