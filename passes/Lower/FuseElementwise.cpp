//===- FuseElementwise.cpp - group ops that one loop nest computes --------===//
// Matches   elementwise arith and math ops, gelu, silu, norms, softmax, reductions from a splat, rotary, on static
// tensors of one block Rewrites  ops on one iteration space -> comm.fused; broadcasts and splat constants are copied
// into each group that reads them Skips     values that an op outside needs before the group ends; groups across a
// comm.wait; rotary with others
//===----------------------------------------------------------------------===//
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/Lower/Codegen/Codegen.h"
#include "passes/Lower/Passes.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::comm {
#define GEN_PASS_DEF_FUSEELEMENTWISEPASS
#include "passes/Lower/Passes.h.inc"
namespace {

using Dims = SmallVector<int64_t>;

RankedTensorType typeOf(Value value) { return dyn_cast<RankedTensorType>(value.getType()); }
bool isSplat(Operation *op) {
  auto constant = dyn_cast_or_null<arith::ConstantOp>(op);
  return constant && isa<SplatElementsAttr>(constant.getValue());
}
/// Copied into every group that needs it.
bool isCopiedIn(Operation *op) { return op && (isSplat(op) || isa<linalg::BroadcastOp, tensor::EmptyOp>(op)); }
/// Costs nothing or little and stands best in front of its first user.
bool isMovable(Operation *op) {
  return isa<arith::ConstantOp, WeightOp, tensor::EmptyOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp,
             linalg::BroadcastOp>(op);
}

/// How an op walks its space.
struct Walk {
  enum Kind { None, Elementwise, Rows, Alone } kind = None;
  Dims space;   ///< shape that it walks
  Dims reduced; ///< Rows: dimensions it needs whole
};

Walk walkOf(Operation *op) {
  if (op->getNumResults() != 1 || !typeOf(op->getResult(0)) || isCopiedIn(op))
    return {};
  Dims shape(typeOf(op->getResult(0)).getShape());
  if (llvm::is_contained(shape, 0))
    return {}; // nothing to compute
  bool tensors = llvm::all_of(op->getOperandTypes(), llvm::IsaPred<RankedTensorType>);
  if (isa<GeluOp, SiluOp>(op) ||
      (op->hasTrait<OpTrait::Elementwise>() && op->getNumRegions() == 0 && op->getNumOperands() > 0 && tensors))
    return {Walk::Elementwise, shape, {}};
  if (isa<RMSNormOp, LayerNormOp, SoftmaxOp>(op) && !shape.empty())
    return {Walk::Rows, shape, {static_cast<int64_t>(shape.size()) - 1}};
  if (isa<RotaryOp>(op))
    return {Walk::Alone, shape, {}};
  if (auto reduce = dyn_cast<linalg::ReduceOp>(op)) {
    if (reduce.getInputs().size() != 1 || !isSplat(reduce.getInits()[0].getDefiningOp()) ||
        !llvm::hasNItems(reduce.getCombiner().front(), 2))
      return {};
    Dims dims(reduce.getDimensions());
    llvm::sort(dims);
    return {Walk::Rows, Dims(typeOf(reduce.getInputs()[0]).getShape()), dims};
  }
  return {};
}

struct Group {
  SmallVector<Operation *> members; ///< in block order
  Dims space, reduced;
  int64_t segment = 0; ///< waits in front of it
  bool open = true, alone = false;

  Dims rowShape() const {
    Dims shape;
    for (auto [dim, size] : llvm::enumerate(space))
      if (!llvm::is_contained(reduced, static_cast<int64_t>(dim)))
        shape.push_back(size);
    return shape;
  }
  bool isRowShape(ArrayRef<int64_t> shape) const { return !reduced.empty() && shape == ArrayRef<int64_t>(rowShape()); }
};

class Grouper {
public:
  Grouper(Block &block, bool fuse, int64_t maxOps) : block(block), fuse(fuse), maxOps(maxOps) {}

  /// Groups in the order of their last members.
  SmallVector<Group> run() {
    for (Operation &op : block) {
      if (isa<WaitOp>(op))
        ++segment;
      if (isCopiedIn(&op))
        continue; // its users decide
      Walk walk = walkOf(&op);
      if (walk.kind == Walk::None)
        closeOperands(&op, nullptr);
      else
        place(&op, walk);
    }
    SmallVector<Group> out;
    for (Operation &op : block) {
      auto it = groupOf.find(&op);
      if (it != groupOf.end() && groups[it->second].members.back() == &op)
        out.push_back(groups[it->second]);
    }
    return out;
  }

private:
  /// Groups whose values `op` reads, through broadcasts too; regions included.
  llvm::SmallSetVector<int64_t, 4> producers(Operation *op) {
    llvm::SmallSetVector<int64_t, 4> found;
    op->walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        if (auto group = groupOf.find(source(operand)); group != groupOf.end())
          found.insert(group->second);
    });
    return found;
  }
  static Operation *source(Value value) {
    while (auto broadcast = value.getDefiningOp<linalg::BroadcastOp>())
      value = broadcast.getInput();
    return value.getDefiningOp();
  }

  void closeOperands(Operation *op, const int64_t *except) {
    for (int64_t id : producers(op))
      if (!except || id != *except)
        groups[id].open = false;
  }

  /// Whether all operands of `op` that the group makes have the dimensions which `op` reads.
  bool operandsFit(Operation *op, const Walk &walk, int64_t id) {
    const Group &group = groups[id];
    bool onRows = walk.kind == Walk::Elementwise && walk.space != group.space;
    for (OpOperand &operand : op->getOpOperands()) {
      Operation *def = operand.get().getDefiningOp();
      if (isa<RMSNormOp, LayerNormOp>(op) && operand.getOperandNumber() > 0) {
        if (auto it = groupOf.find(source(operand.get())); it != groupOf.end() && it->second == id)
          return false; // the parameters run along the columns
        continue;
      }
      if (auto broadcast = dyn_cast_or_null<linalg::BroadcastOp>(def)) {
        auto it = groupOf.find(source(operand.get()));
        if (it == groupOf.end() || it->second != id)
          continue;
        Dims dims(broadcast.getDimensions());
        llvm::sort(dims);
        // Only rows to the whole space, in one step.
        if (onRows || dims != group.reduced || broadcast.getInput().getDefiningOp() != source(operand.get()))
          return false;
        continue;
      }
      auto it = def ? groupOf.find(def) : groupOf.end();
      if (it == groupOf.end() || it->second != id)
        continue;
      bool defOnRows = rowMembers.contains(def);
      if (defOnRows != onRows)
        return false;
    }
    return true;
  }

  bool canJoin(int64_t id, Operation *op, const Walk &walk) {
    const Group &group = groups[id];
    if (!group.open || group.alone || walk.kind == Walk::Alone || group.segment != segment ||
        static_cast<int64_t>(group.members.size()) >= maxOps)
      return false;
    bool fits = walk.kind == Walk::Elementwise
                    ? walk.space == group.space || group.isRowShape(walk.space)
                    : walk.space == group.space && (group.reduced.empty() || group.reduced == walk.reduced);
    return fits && operandsFit(op, walk, id);
  }

  bool canMerge(int64_t into, int64_t from) {
    const Group &a = groups[into], &b = groups[from];
    return b.open && !b.alone && b.segment == a.segment && a.space == b.space &&
           (a.reduced.empty() || b.reduced.empty() || a.reduced == b.reduced) &&
           static_cast<int64_t>(a.members.size() + b.members.size()) < maxOps;
  }

  void merge(int64_t into, int64_t from) {
    Group &a = groups[into], &b = groups[from];
    SmallVector<Operation *> members;
    std::merge(a.members.begin(), a.members.end(), b.members.begin(), b.members.end(), std::back_inserter(members),
               [](Operation *x, Operation *y) { return x->isBeforeInBlock(y); });
    for (Operation *member : b.members)
      groupOf[member] = into;
    a.members = std::move(members);
    if (a.reduced.empty())
      a.reduced = b.reduced;
    b.members.clear();
    b.open = false;
  }

  void add(int64_t id, Operation *op, const Walk &walk) {
    Group &group = groups[id];
    if (walk.kind == Walk::Rows)
      group.reduced = walk.reduced;
    bool row = isa<linalg::ReduceOp>(op) || (walk.kind == Walk::Elementwise && walk.space != group.space);
    if (row)
      rowMembers.insert(op);
    group.members.push_back(op);
    groupOf[op] = id;
  }

  void place(Operation *op, const Walk &walk) {
    int64_t id = -1;
    llvm::SmallSetVector<int64_t, 4> candidates = producers(op);
    if (fuse)
      for (int64_t candidate : candidates)
        if (canJoin(candidate, op, walk)) {
          id = candidate;
          break;
        }
    if (id < 0) {
      id = groups.size();
      groups.push_back({{}, walk.space, walk.reduced, segment, true, walk.kind == Walk::Alone});
      add(id, op, walk);
    } else {
      add(id, op, walk);
      for (int64_t other : candidates)
        if (other != id && canMerge(id, other) && operandsFit(op, walk, other) &&
            (walk.space == groups[id].space || groups[id].isRowShape(walk.space)))
          merge(id, other);
    }
    for (int64_t other : candidates)
      if (other != id)
        groups[other].open = false;
  }

  Block &block;
  bool fuse;
  int64_t maxOps, segment = 0;
  std::vector<Group> groups;
  DenseMap<Operation *, int64_t> groupOf;
  DenseSet<Operation *> rowMembers; ///< values of the rows
};

/// Replaces the members of a group by one comm.fused where the last stood.
class Emitter {
public:
  explicit Emitter(const Group &group) : group(group) {
    for (Operation *member : group.members)
      inside.insert(member);
  }

  /// False, and nothing changed, when the code generator cannot compile the group; a group of one is left to
  /// comm-outline-kernels to report.
  bool emit() {
    Operation *last = group.members.back();
    OpBuilder builder(last);
    auto body = std::make_unique<Block>();
    OpBuilder bodyBuilder(last->getContext());
    bodyBuilder.setInsertionPointToStart(body.get());
    for (Operation *member : group.members) {
      for (Value operand : member->getOperands())
        bring(operand, *body, bodyBuilder);
      Operation *copy = bodyBuilder.clone(*member, mapping);
      copy->setDiscardableAttrs(DictionaryAttr::get(copy->getContext(), {}));
    }
    SmallVector<Value> results, yielded;
    SmallVector<Type> types;
    for (Operation *member : group.members)
      if (neededOutside(member->getResult(0))) {
        results.push_back(member->getResult(0));
        yielded.push_back(mapping.lookup(member->getResult(0)));
        types.push_back(member->getResult(0).getType());
      }
    YieldOp::create(bodyBuilder, last->getLoc(), yielded);
    auto fused = FusedOp::create(builder, last->getLoc(), types, inputs);
    fused.getBody().push_back(body.release());
    if (group.members.size() > 1 && !canCompileKernel(fused.getBody().front())) {
      fused.erase();
      return false;
    }
    for (auto [old, fresh] : llvm::zip_equal(results, fused.getOutputs()))
      old.replaceAllUsesWith(fresh);
    for (Operation *member : llvm::reverse(group.members)) {
      member->dropAllUses(); // what is left reads through broadcasts that no one needs
      member->erase();
    }
    return true;
  }

  /// Erases broadcasts and the like that lost their last reader; true readers first.
  static void eraseUnused(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isMovable(&op) && op.use_empty())
        op.erase();
  }

private:
  void bring(Value value, Block &body, OpBuilder &builder) {
    if (mapping.contains(value))
      return;
    Operation *def = value.getDefiningOp();
    if (isCopiedIn(def) && !group.alone) {
      for (Value operand : def->getOperands())
        bring(operand, body, builder);
      builder.clone(*def, mapping)->setDiscardableAttrs(DictionaryAttr::get(def->getContext(), {}));
      return;
    }
    mapping.map(value, body.addArgument(value.getType(), value.getLoc()));
    inputs.push_back(value);
  }

  /// A value is stored when an op outside reads it, or a broadcast of it.
  bool neededOutside(Value value) {
    return llvm::any_of(value.getUsers(), [&](Operation *user) {
      if (inside.contains(user))
        return false;
      auto broadcast = dyn_cast<linalg::BroadcastOp>(user);
      return !broadcast || neededOutside(broadcast.getResult()[0]);
    });
  }

  const Group &group;
  DenseSet<Operation *> inside;
  IRMapping mapping;
  SmallVector<Value> inputs;
};

/// Puts every movable op in front of its first user; everything else keeps its order.
void sinkMovable(Block &block) {
  SmallVector<Operation *> ops;
  DenseMap<Operation *, int64_t> place;
  for (Operation &op : block) {
    place[&op] = ops.size();
    ops.push_back(&op);
  }
  SmallVector<int64_t> key(ops.size());
  for (int64_t i = static_cast<int64_t>(ops.size()) - 1; i >= 0; --i) {
    key[i] = i;
    if (!isMovable(ops[i]) || ops[i]->use_empty())
      continue;
    key[i] = ops.size();
    for (Operation *user : ops[i]->getUsers())
      key[i] = std::min(key[i], key[place.lookup(block.findAncestorOpInBlock(*user))]);
  }
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, ops.size()));
  // Chains of movable ops keep their order; all of them go in front of the user with the same key.
  llvm::sort(order, [&](int64_t a, int64_t b) {
    return std::make_tuple(key[a], key[a] == a, a) < std::make_tuple(key[b], key[b] == b, b);
  });
  for (int64_t i : order)
    ops[i]->moveBefore(&block, block.end());
}

//===----------------------------------------------------------------------===//
// Before grouping
//===----------------------------------------------------------------------===//

/// fill of an empty tensor is a splat constant.
struct FillToConstant : OpRewritePattern<linalg::FillOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(linalg::FillOp fill, PatternRewriter &rewriter) const override {
    Attribute value;
    auto type = dyn_cast<RankedTensorType>(fill.getResult(0).getType());
    if (!type || !matchPattern(fill.getInputs()[0], m_Constant(&value)))
      return rewriter.notifyMatchFailure(fill, "fills with a value known at run time");
    rewriter.replaceOpWithNewOp<arith::ConstantOp>(fill, SplatElementsAttr::get(type, value));
    return success();
  }
};

/// op(reshape(a), reshape(b)) -> reshape(op(a, b)) when both reshape alike: brings spaces together.
struct SinkReshape : RewritePattern {
  explicit SinkReshape(MLIRContext *context) : RewritePattern(MatchAnyOpTypeTag(), 1, context) {}
  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    if (walkOf(op).kind != Walk::Elementwise)
      return failure();
    Operation *reshape = nullptr;
    for (Value operand : op->getOperands()) {
      Operation *def = operand.getDefiningOp();
      if (isSplat(def))
        continue;
      if (!isa_and_nonnull<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(def) || !operand.hasOneUse())
        return failure();
      if (reshape && (def->getName() != reshape->getName() ||
                      typeOf(def->getOperand(0)).getShape() != typeOf(reshape->getOperand(0)).getShape()))
        return failure();
      reshape = reshape ? reshape : def;
    }
    if (!reshape)
      return failure();
    RankedTensorType narrow = typeOf(reshape->getOperand(0));
    auto retype = [&](Type element) { return RankedTensorType::get(narrow.getShape(), element); };
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      Operation *def = operand.getDefiningOp();
      if (isSplat(def)) {
        auto splat = cast<SplatElementsAttr>(cast<arith::ConstantOp>(def).getValue());
        operands.push_back(
            arith::ConstantOp::create(rewriter, def->getLoc(), splat.resizeSplat(retype(splat.getElementType()))));
      } else {
        operands.push_back(def->getOperand(0));
      }
    }
    Type type = op->getResult(0).getType();
    SmallVector<NamedAttribute> attrs; // a comm.layout of the old shape would not fit
    llvm::copy_if(op->getAttrs(), std::back_inserter(attrs),
                  [](NamedAttribute attr) { return !attr.getName().getValue().starts_with("comm."); });
    Operation *inner = rewriter.create(op->getLoc(), op->getName().getIdentifier(), operands,
                                       {retype(getElementTypeOrSelf(type))}, attrs);
    IRMapping mapping;
    mapping.map(reshape->getOperand(0), inner->getResult(0));
    Operation *outer = rewriter.clone(*reshape, mapping);
    rewriter.modifyOpInPlace(outer, [&] {
      outer->removeDiscardableAttr(kLayoutAttr);
      outer->getResult(0).setType(cast<RankedTensorType>(type));
    });
    rewriter.replaceOp(op, outer);
    return success();
  }
};

struct FuseElementwise : impl::FuseElementwisePassBase<FuseElementwise> {
  using FuseElementwisePassBase::FuseElementwisePassBase;
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal())
      return;
    if (!llvm::hasSingleElement(function.getBody())) {
      function.emitError("form async has one block per function");
      return signalPassFailure();
    }
    MLIRContext *context = &getContext();
    RewritePatternSet patterns(context);
    patterns.add<FillToConstant, SinkReshape>(context);
    tensor::CollapseShapeOp::getCanonicalizationPatterns(patterns, context);
    tensor::ExpandShapeOp::getCanonicalizationPatterns(patterns, context);
    GreedyRewriteConfig config;
    config.enableFolding(false).enableConstantCSE(false).setRegionSimplificationLevel(
        GreedySimplifyRegionLevel::Disabled);
    if (failed(applyPatternsGreedily(function, std::move(patterns), config)))
      return signalPassFailure();
    Block &block = function.getBody().front();
    sinkMovable(block);
    SmallVector<Group> groups = Grouper(block, fuse, maxOps).run();
    for (Group &group : groups) {
      if (Emitter(group).emit()) {
        ++numGroups;
        numFused += group.members.size() - 1;
        continue;
      }
      ++numSplit;
      for (Operation *member : group.members) {
        ++numGroups;
        Emitter(Group{{member}, group.space, group.reduced, group.segment, false, false}).emit();
      }
    }
    Emitter::eraseUnused(block);
    sinkMovable(block); // broadcasts that stay stand in front of the group that made their source until here
  }
};
} // namespace
} // namespace mlir::comm
