//===- SplitTokens.cpp - two parts of the tokens, one after the other -----===//
// Matches   functions whose reductions all work row by row on one dimension of an argument (TokenSplit says which)
// Rewrites  every op on that way twice, on the first and on the second part; weights are read twice, never copied;
// results are put together again
// Skips     functions where ops between reductions need both parts, too few rows, fewer than two rows to cut
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "passes/Optimize/Passes.h"
#include "passes/Optimize/TokenCut.h"
#include "passes/Optimize/TokenSplit.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/TypeSwitch.h"
#include <array>

namespace mlir::comm {
#define GEN_PASS_DEF_SPLITTOKENSPASS
#include "passes/Optimize/Passes.h.inc"

namespace {
RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Makes the two copies. Ops are made in front of the one they stand for and sorted at the end: all of a window's first
/// part, then all of its second part; a window ends with a reduction.
class Splitter : OpBuilder::Listener {
public:
  Splitter(Block &block, const TokenSplit &split)
      : block(block), split(split), builder(block.getParent()->getContext(), this) {}

  void run(Value seed) {
    SmallVector<Operation *> ops, old;
    for (Operation &op : block) {
      orders[&op] = ops.size();
      ops.push_back(&op);
    }
    wholes[seed] = seed;
    Cut cut = *split.cutOf(seed);
    builder.setInsertionPointToStart(&block);
    for (int part : {0, 1}) {
      key = {0, part, -1};
      parts[seed][part] = slice(seed, cut, part);
    }
    for (Operation *op : ops) {
      emit(op);
      if (split.planOf(op).kind != OpPlan::Whole)
        old.push_back(op);
    }
    for (Operation *op : llvm::reverse(old))
      op->erase();
    sort();
  }

private:
  struct Key {
    int64_t depth, part, order;
    auto tie() const { return std::make_tuple(depth, part, order); }
  };
  void notifyOperationInserted(Operation *op, OpBuilder::InsertPoint) override {
    if (op->getBlock() == &block)
      keys[op] = key;
  }

  void emit(Operation *op) {
    const OpPlan &plan = split.planOf(op);
    builder.setInsertionPoint(op);
    int64_t order = orders[op], depth = split.depthOf(op);
    if (plan.kind == OpPlan::Whole) {
      bool joins = llvm::any_of(op->getOperands(), [&](Value v) { return split.cutOf(v) || split.joins(v); });
      keys[op] = {depth, joins ? 2 : -1, order};
      for (OpOperand &operand : op->getOpOperands())
        operand.set(whole(operand.get()));
      return;
    }
    for (int part : {0, 1}) {
      if (plan.kind == OpPlan::Pick && part != plan.part)
        continue;
      key = {depth, part, order};
      if (plan.kind == OpPlan::Pick)
        emitPick(cast<tensor::ExtractSliceOp>(op), part);
      else if (plan.kind == OpPlan::Attention)
        emitAttention(cast<AttentionOp>(op), plan, part);
      else if (plan.kind == OpPlan::Concat)
        emitConcat(cast<tensor::ConcatOp>(op), plan, part);
      else
        emitRule(op, plan, part);
    }
  }

  void emitRule(Operation *op, const OpPlan &plan, int part) {
    SmallVector<Value> operands;
    for (auto [operand, cut] : llvm::zip_equal(op->getOperands(), plan.operands))
      operands.push_back(cut ? partOf(operand, *cut, part) : whole(operand));
    Operation *made = cloneWith(op, operands, part);
    for (auto [result, fresh] : llvm::zip_equal(op->getResults(), made->getResults()))
      parts[result][part] = fresh;
  }

  Operation *cloneWith(Operation *op, ArrayRef<Value> operands, int part) {
    SmallVector<Type> types;
    for (Value result : op->getResults())
      types.push_back(getPartType(typeOf(result), *split.cutOf(result), part));
    Location loc = op->getLoc();
    return TypeSwitch<Operation *, Operation *>(op)
        .Case([&](tensor::ExpandShapeOp e) {
          return tensor::ExpandShapeOp::create(builder, loc, types[0], operands[0], e.getReassociationIndices());
        })
        .Case([&](tensor::CollapseShapeOp c) {
          return tensor::CollapseShapeOp::create(builder, loc, types[0], operands[0], c.getReassociationIndices());
        })
        .Case([&](tensor::ExtractSliceOp s) {
          auto type = cast<RankedTensorType>(types[0]);
          return extract(loc, operands[0], s.getStaticOffsets(), type.getShape(), s.getStaticStrides());
        })
        .Default([&](Operation *other) {
          Operation *made = builder.clone(*other);
          made->setOperands(operands);
          for (auto [result, type] : llvm::zip_equal(made->getResults(), types))
            result.setType(type);
          return made;
        });
  }

  Operation *extract(Location loc, Value source, ArrayRef<int64_t> offsets, ArrayRef<int64_t> sizes,
                     ArrayRef<int64_t> strides) {
    auto attrs = [&](ArrayRef<int64_t> list) { return getAsIndexOpFoldResult(builder.getContext(), list); };
    return tensor::ExtractSliceOp::create(builder, loc, source, attrs(offsets), attrs(sizes), attrs(strides));
  }

  /// The first part sees the cache and its own keys, the second everything.
  void emitAttention(AttentionOp op, const OpPlan &plan, int part) {
    SmallVector<Value> operands{partOf(op.getQuery(), *plan.operands[0], part)};
    for (unsigned i : {1, 2}) {
      Value operand = op->getOperand(i);
      operands.push_back(plan.operands[i] && part == 0 ? parts[operand][0] : whole(operand));
    }
    for (unsigned i = 3; i < op->getNumOperands(); ++i) {
      Value operand = op->getOperand(i);
      operand = plan.operands[i] ? partOf(operand, *plan.operands[i], part) : whole(operand);
      int64_t keys = typeOf(operands[1]).getDimSize(2);
      if (op.getMask() && i == 3 && typeOf(operand).getDimSize(3) > keys) {
        SmallVector<int64_t> sizes(typeOf(operand).getShape()), zeros(4, 0), ones(4, 1);
        sizes[3] = keys;
        operand = extract(op.getLoc(), operand, zeros, sizes, ones)->getResult(0);
      }
      operands.push_back(operand);
    }
    auto made = cast<AttentionOp>(cloneWith(op, operands, part));
    if (op.isCausal() && part == 1)
      made.setCausalOffset(*op.getCausalOffset() + plan.operands[0]->at);
    parts[op.getResult()][part] = made.getResult();
  }

  /// What stands in front of the cut operand joins its first part, what follows its second.
  void emitConcat(tensor::ConcatOp op, const OpPlan &plan, int part) {
    SmallVector<Value> inputs;
    bool behind = false;
    for (auto [input, cut] : llvm::zip_equal(op.getInputs(), plan.operands)) {
      if (cut)
        inputs.push_back(parts[input][part]);
      else if (behind == (part == 1))
        inputs.push_back(whole(input));
      behind |= cut.has_value();
    }
    parts[op.getResult()][part] = inputs.size() == 1
                                      ? inputs[0]
                                      : tensor::ConcatOp::create(builder, op.getLoc(), op.getDim(), inputs).getResult();
  }

  void emitPick(tensor::ExtractSliceOp op, int part) {
    Cut cut = *split.cutOf(op.getSource());
    SmallVector<int64_t> offsets(op.getStaticOffsets());
    if (part == 1)
      offsets[cut.dim] -= op.getSourceType().getDimSize(cut.dim) / cut.size * cut.at;
    auto attrs = [&](ArrayRef<int64_t> list) { return getAsIndexOpFoldResult(builder.getContext(), list); };
    wholes[op.getResult()] =
        tensor::ExtractSliceOp::create(builder, op.getLoc(), op.getResultType(), parts[op.getSource()][part],
                                       attrs(offsets), attrs(op.getStaticSizes()), attrs(op.getStaticStrides()));
  }

  //===--- parts and wholes -----------------------------------------------===//
  Value partOf(Value value, const Cut &cut, int part) {
    if (split.cutOf(value))
      return parts[value][part];
    value = whole(value);
    Operation *def = value.getDefiningOp();
    RankedTensorType type = getPartType(typeOf(value), cut, part);
    Location loc = value.getLoc();
    if (isa_and_nonnull<tensor::EmptyOp>(def))
      return tensor::EmptyOp::create(builder, loc, type.getShape(), type.getElementType());
    if (auto constant = dyn_cast_or_null<arith::ConstantOp>(def))
      if (auto splat = dyn_cast<SplatElementsAttr>(constant.getValue()))
        return arith::ConstantOp::create(builder, loc, splat.resizeSplat(type));
    if (auto fill = dyn_cast_or_null<linalg::FillOp>(def))
      return linalg::FillOp::create(builder, loc, fill.getInputs(), partOf(fill.getOutputs()[0], cut, part))
          .getResult(0);
    if (auto broadcast = dyn_cast_or_null<linalg::BroadcastOp>(def);
        broadcast && llvm::is_contained(broadcast.getDimensions(), cut.dim)) {
      Value init = tensor::EmptyOp::create(builder, loc, type.getShape(), type.getElementType());
      return linalg::BroadcastOp::create(builder, loc, whole(broadcast.getInput()), init, broadcast.getDimensions())
          .getResult()[0];
    }
    return slice(value, cut, part);
  }

  /// Splits dimension `dim` into `outer` and the rest, or joins the two again.
  Value unfold(Value value, int64_t dim, int64_t outer) {
    SmallVector<int64_t> shape(typeOf(value).getShape());
    shape[dim] /= outer;
    shape.insert(shape.begin() + dim, outer);
    return tensor::ExpandShapeOp::create(builder, value.getLoc(),
                                         RankedTensorType::get(shape, typeOf(value).getElementType()), value,
                                         groups(typeOf(value).getRank(), dim));
  }
  Value fold(Value value, int64_t dim) {
    return tensor::CollapseShapeOp::create(builder, value.getLoc(), value, groups(typeOf(value).getRank() - 1, dim));
  }
  static SmallVector<ReassociationIndices> groups(int64_t rank, int64_t dim) {
    SmallVector<ReassociationIndices> out;
    for (int64_t i = 0, next = 0; i < rank; ++i) {
      out.push_back({next++});
      if (i == dim)
        out.back().push_back(next++);
    }
    return out;
  }

  Value slice(Value value, const Cut &cut, int part) {
    bool folded = cut.outer > 1;
    if (folded)
      value = unfold(value, cut.dim, cut.outer);
    int64_t dim = cut.dim + folded;
    SmallVector<int64_t> sizes(typeOf(value).getShape()), offsets(sizes.size(), 0), ones(sizes.size(), 1);
    int64_t inner = sizes[dim] / cut.size;
    sizes[dim] = inner * cut.length(part);
    offsets[dim] = part == 0 ? 0 : inner * cut.at;
    value = extract(value.getLoc(), value, offsets, sizes, ones)->getResult(0);
    return folded ? fold(value, cut.dim) : value;
  }

  /// Both parts put together, once, right behind the second one.
  Value whole(Value value) {
    if (Value known = wholes.lookup(value))
      return known;
    std::optional<Cut> cut = split.cutOf(value);
    if (!cut)
      return value;
    Operation *def = value.getDefiningOp();
    Key saved = key;
    key = {split.depthOf(def), 1, orders[def]};
    std::array<Value, 2> both = parts[value];
    bool folded = cut->outer > 1;
    if (folded)
      for (Value &one : both)
        one = unfold(one, cut->dim, cut->outer);
    Value all = tensor::ConcatOp::create(builder, value.getLoc(), cut->dim + folded, ValueRange(both)).getResult();
    if (folded)
      all = fold(all, cut->dim);
    key = saved;
    return wholes[value] = all;
  }

  void sort() {
    SmallVector<Operation *> ops;
    for (Operation &op : block.without_terminator())
      ops.push_back(&op);
    llvm::stable_sort(ops, [&](Operation *a, Operation *b) { return keys[a].tie() < keys[b].tie(); });
    for (Operation *op : ops)
      op->moveBefore(block.getTerminator());
  }

  Block &block;
  const TokenSplit &split;
  OpBuilder builder;
  Key key{0, 0, 0};
  DenseMap<Operation *, Key> keys;
  DenseMap<Operation *, int64_t> orders;
  DenseMap<Value, std::array<Value, 2>> parts;
  DenseMap<Value, Value> wholes;
};

/// An argument's dimension that may be cut.
struct Seed {
  BlockArgument argument;
  int64_t dim = 0, at = 0;
  int64_t sites = 0;
};

struct SplitTokens : impl::SplitTokensPassBase<SplitTokens> {
  using SplitTokensPassBase::SplitTokensPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal() || !llvm::hasSingleElement(function.getBody()) || function->hasAttr(kReferenceAttr))
      return;
    Block &block = function.getBody().front();
    if (llvm::none_of(block, [](Operation &op) { return isa<AllReduceOp, AllReduceNormOp>(op); }))
      return;
    std::string why = "no argument has a dimension that goes through its reductions row by row";
    Seed best;
    for (BlockArgument argument : block.getArguments())
      for (int64_t dim = 0; dim < typeOf(argument).getRank(); ++dim)
        consider(block, argument, dim, best, why);
    if (!best.argument) {
      explain(function, "split", "'" + function.getName() + "' is not split in two: " + why);
      ++numRefused;
      return;
    }
    TokenSplit split(block, best.argument, best.dim, best.at);
    auto name = function.getArgAttrOfType<StringAttr>(best.argument.getArgNumber(), kNameAttr);
    explain(function, "split",
            "'" + function.getName() + "' runs in two parts: " + std::to_string(best.at) + " and " +
                std::to_string(typeOf(best.argument).getDimSize(best.dim) - best.at) + " of dimension " +
                std::to_string(best.dim) + " of " + (name ? "'" + name.str() + "'" : "an argument") + ", " +
                std::to_string(split.splitSites) + " reductions each" +
                (split.firstReason.empty() ? "" : "; put together at " + split.firstReason));
    Splitter(block, split).run(best.argument);
    numSplit += split.splitSites;
  }

private:
  /// Keeps the better of `best` and this dimension; on refusal the reason of the dimension that came furthest.
  void consider(Block &block, BlockArgument argument, int64_t dim, Seed &best, std::string &why) {
    int64_t size = typeOf(argument).getDimSize(dim);
    if (size < 2 || (typeOf(argument).getElementType().isInteger(1)))
      return;
    TokenSplit probe(block, argument, dim, size / 2);
    if (probe.splitSites == 0) {
      if (probe.joinedSites > furthest) {
        furthest = probe.joinedSites;
        why = probe.firstReason;
      }
      return;
    }
    // Rows that one step of this dimension stands for: 1 for tokens of one sequence, all its tokens for a sequence.
    int64_t rows = std::max<int64_t>(probe.siteRows / size, 1);
    ::comm::split::CutRequest request;
    request.rows = size;
    request.tile = std::max<int64_t>(1, tile / rows);
    request.offset = offset / rows;
    request.minRows = std::max<int64_t>(2, (minRows + rows - 1) / rows);
    request.units = units;
    if (units > 0) {
      for (Operation &op : block)
        if (auto matmul = dyn_cast<MatmulOp>(op); matmul && probe.cutOf(matmul.getResult()))
          request.products.push_back({typeOf(matmul.getResult()).getShape().back() * rows, tile, tileColumns});
    }
    int64_t at = cut > 0 ? (cut < size ? int64_t(cut) : 0) : ::comm::split::chooseCut(request);
    furthest = std::max(furthest, probe.splitSites + probe.joinedSites);
    if (at == 0) {
      why = std::to_string(size * rows) + " rows are too few, or fill no more rounds in one part than in two";
      return;
    }
    TokenSplit split(block, argument, dim, at);
    if (split.splitSites <= split.joinedSites) {
      why = "only " + std::to_string(split.splitSites) + " of " + std::to_string(split.splitSites + split.joinedSites) +
            " reductions work row by row; " + split.firstReason;
      return;
    }
    // More reductions first, then the longer dimension.
    if (split.splitSites > best.sites ||
        (split.splitSites == best.sites && size > typeOf(best.argument).getDimSize(best.dim)))
      best = {argument, dim, at, split.splitSites};
  }
  int64_t furthest = 0;
};
} // namespace
} // namespace mlir::comm
