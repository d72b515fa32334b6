//===- RaiseAttention.cpp - name decomposed attention ---------------------===//
// Matches   softmax(scale * q k^T, softcap, masks) [isnan -> 0] v on [B, H, S, D]; scale on q, k or scores; kv heads
// repeated by broadcast and collapse Rewrites  comm.attention, keys and values from before the repetition, constant
// causal masks as attribute Skips     scores or probabilities with other users, softmax not over keys (comm.softmax is
// over the last dimension), masks of another shape
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "mlir/IR/Matchers.h"
#include "passes/Import/Match.h"
#include "passes/Import/Passes.h"
#include <cmath>

namespace mlir::comm {
#define GEN_PASS_DEF_RAISEATTENTIONPASS
#include "passes/Import/Passes.h.inc"
namespace {
constexpr double kHidden = -1e30; // a mask at or below hides a key completely in any float type that models use
/// A number added to hidden keys only hides them when no other mask is added and every query sees a key: exp() of 104
/// and more below the maximum is 0 in f32, unless the scores of one query differ by 9,796 or more. -1e4 is -9984 in
/// bf16.
constexpr double kHiddenAlone = -9900;

/// What is known about the scores on the way up from the softmax.
struct Scores {
  MatmulOp product;
  double scale = 1, softcap = 0;
  SmallVector<Value> added;    ///< float masks, in the shape of the scores
  SmallVector<Value> selected; ///< bool masks, true = attend
  const char *reason = "its input is not a scaled product of two tensors of rank 4";
};

/// A bool that is true where the select keeps, for `select(c, 0, hidden)` and `select(c, hidden, 0)`; null otherwise.
Value matchBoolMask(Value mask, OpBuilder &builder) {
  View view(mask);
  view.skip();
  auto select = view.value.getDefiningOp<arith::SelectOp>();
  if (!select || !isa<RankedTensorType>(select.getCondition().getType()))
    return nullptr;
  std::optional<double> kept = getSplatNumber(select.getTrueValue()), hidden = getSplatNumber(select.getFalseValue());
  if (!kept || !hidden)
    return nullptr;
  Value condition = select.getCondition();
  if (*kept <= kHidden && *hidden == 0) {
    std::swap(kept, hidden);
    Value all = arith::ConstantOp::create(builder, mask.getLoc(),
                                          DenseElementsAttr::get(cast<ShapedType>(condition.getType()), true));
    condition = arith::XOrIOp::create(builder, mask.getLoc(), condition, all);
  }
  return *kept == 0 && *hidden <= kHidden ? condition : Value();
}

/// The value as [b, h, s, t] where each is the size in `full` or 1; null when the view turns or merges dimensions.
Value asRankFour(Value value, ArrayRef<int64_t> view, ArrayRef<int64_t> full, OpBuilder &builder) {
  SmallVector<int64_t> shape;
  int64_t last = -1;
  for (auto [dim, source] : llvm::enumerate(view)) {
    if (source >= 0 && source <= last)
      return nullptr;
    last = source >= 0 ? source : last;
    shape.push_back(source >= 0 ? full[dim] : 1);
  }
  return buildReshape(builder, value.getLoc(), value, shape);
}

/// What a constant mask shows: true, or zero added where all else is at or below kHiddenAlone; none for other masks.
std::optional<SmallVector<bool>> shownBy(DenseElementsAttr attr) {
  if (attr.getElementType().isInteger(1))
    return SmallVector<bool>(attr.getValues<bool>());
  SmallVector<bool> shown;
  for (const APFloat &x : attr.getValues<APFloat>()) {
    if (!x.isZero() && !(x.convertToDouble() <= kHiddenAlone))
      return std::nullopt;
    shown.push_back(x.isZero());
  }
  return shown;
}

/// Offset with which exactly j <= i + offset is shown; none when it is not so.
std::optional<int64_t> causalOffset(int64_t queries, int64_t keys, llvm::function_ref<bool(int64_t, int64_t)> shows) {
  if (queries == 0)
    return std::nullopt;
  int64_t offset = -queries; // the last row says it
  while (offset + queries < keys && shows(queries - 1, offset + queries))
    ++offset;
  if (offset == -queries)
    return std::nullopt; // it shows nothing
  for (int64_t i = 0; i < queries; ++i)
    for (int64_t j = 0; j < keys; ++j)
      if (shows(i, j) != (j <= i + offset))
        return std::nullopt;
  return offset;
}

/// Numbers of a constant that change along dimension `dim` of the value only: as they are, or repeated along others.
std::optional<SmallVector<int64_t>> numbersAlong(Value value, int64_t dim) {
  SmallVector<int64_t> kept;
  auto broadcast = value.getDefiningOp<linalg::BroadcastOp>();
  for (int64_t d = 0, rank = tensorTypeOf(value).getRank(); d < rank; ++d)
    if (!broadcast || !llvm::is_contained(broadcast.getDimensions(), d))
      kept.push_back(d);
  DenseElementsAttr attr;
  if (!matchPattern(broadcast ? broadcast.getInput() : value, m_Constant(&attr)))
    return std::nullopt;
  for (auto [d, size] : llvm::zip_equal(kept, attr.getType().getShape()))
    if (d != dim && size != 1)
      return std::nullopt;
  SmallVector<int64_t> numbers;
  for (const APInt &x : attr.getValues<APInt>())
    numbers.push_back(x.getSExtValue());
  numbers.resize(shapeOf(value)[dim], numbers.empty() ? 0 : numbers.front()); // one number stands for all
  return numbers;
}

/// The comparison of positions of keys with positions of queries, which is too large to be folded.
std::optional<int64_t> matchCausalComparison(arith::CmpIOp compare) {
  if (!isa<IntegerType>(getElementTypeOrSelf(compare.getLhs())))
    return std::nullopt;
  for (bool keysLeft : {true, false}) {
    auto left = numbersAlong(compare.getLhs(), keysLeft ? 3 : 2),
         right = numbersAlong(compare.getRhs(), keysLeft ? 2 : 3);
    if (!left || !right)
      continue;
    const SmallVector<int64_t> &keys = keysLeft ? *left : *right, &queries = keysLeft ? *right : *left;
    auto shows = [&](int64_t i, int64_t j) {
      int64_t a = keysLeft ? keys[j] : queries[i], b = keysLeft ? queries[i] : keys[j];
      return arith::applyCmpPredicate(compare.getPredicate(), APInt(64, a, true), APInt(64, b, true));
    };
    if (std::optional<int64_t> offset = causalOffset(queries.size(), keys.size(), shows))
      return offset;
  }
  return std::nullopt;
}

/// Offset of a mask that shows exactly j <= i + offset over its last two dimensions; none otherwise.
std::optional<int64_t> matchCausal(Value mask, ArrayRef<int64_t> full) {
  DenseElementsAttr attr;
  ArrayRef<int64_t> shape = shapeOf(mask);
  if (shape.size() != 4 || shape[2] != full[2] || shape[3] != full[3])
    return std::nullopt;
  if (auto compare = mask.getDefiningOp<arith::CmpIOp>())
    return matchCausalComparison(compare);
  if (!matchPattern(mask, m_Constant(&attr)))
    return std::nullopt;
  std::optional<SmallVector<bool>> shown = shownBy(attr);
  if (!shown || (attr.isSplat() && !shown->front()))
    return std::nullopt;
  if (attr.isSplat())
    return full[3];
  // Every matrix of a batch must be the same.
  std::optional<int64_t> offset;
  for (int64_t at = 0, size = shape[2] * shape[3], count = shown->size(); at < count; at += size) {
    auto found =
        causalOffset(shape[2], shape[3], [&](int64_t i, int64_t j) { return (*shown)[at + i * shape[3] + j]; });
    if (!found || (offset && *offset != *found))
      return std::nullopt;
    offset = found;
  }
  return offset;
}

class Raiser {
public:
  Raiser(Operation *root, OpBuilder &builder) : op(root), builder(builder) {}
  const char *reason = nullptr; ///< why a product of a softmax stayed; null when there is no softmax
  bool grouped = false;
  std::string summary;

  /// An attention the model names itself: null when there is nothing to improve.
  Value refine(AttentionOp attention) {
    Value key = attention.getKey(), value = attention.getValue(), mask;
    ungroup(key, value);
    ArrayRef<int64_t> q = shapeOf(attention.getQuery()), k = shapeOf(key);
    full = {q[0], q[1], q[2], k[2]};
    Scores scores;
    bool isBool = attention.getMask() && tensorTypeOf(attention.getMask()).getElementType().isInteger(1);
    if (attention.getMask())
      (isBool ? scores.selected : scores.added).push_back(attention.getMask());
    std::optional<int64_t> causal;
    if (attention.getCausalOffset())
      causal = *attention.getCausalOffset();
    if (!buildMask(scores, mask, causal)) {
      mask = attention.getMask();
      causal = attention.getCausalOffset();
    }
    describe(q[1], k[1], causal, mask);
    if (!changed)
      return nullptr;
    return AttentionOp::create(builder, op->getLoc(), attention.getType(), attention.getQuery(), key, value, mask,
                               attention.getLengths(), attention.getScaleAttr(),
                               causal ? builder.getI64IntegerAttr(*causal) : IntegerAttr(), attention.getSoftcapAttr());
  }

  Value raise(MatmulOp root) {
    SoftmaxOp softmax = matchProbabilities(root.getLhs());
    if (!softmax || root.getTransposeLhs())
      return nullptr;
    Scores scores;
    if (!matchScores(softmax.getInput(), scores))
      return reason = scores.reason, nullptr;
    Value query = stripScale(scores.product.getLhs(), scores.scale),
          key = stripScale(scores.product.getRhs(), scores.scale), value = root.getRhs();
    for (Value part : {query, key, value})
      if (tensorTypeOf(part).getRank() != 4)
        return reason = "query, key or value has not rank 4", nullptr;
    if (scores.product.getTransposeLhs())
      return reason = "the query is transposed", nullptr;
    if (!scores.product.getTransposeRhs())
      key = buildTranspose(builder, root.getLoc(), key, {0, 1, 3, 2});
    if (root.getTransposeRhs())
      value = buildTranspose(builder, root.getLoc(), value, {0, 1, 3, 2});
    ungroup(key, value);
    ArrayRef<int64_t> q = shapeOf(query), k = shapeOf(key), v = shapeOf(value);
    if (q[0] != k[0] || k[0] != v[0] || k[1] != v[1] || k[1] == 0 || q[1] % k[1])
      return reason = "batch or heads of query, key and value differ", nullptr;
    full = {q[0], q[1], q[2], k[2]};
    Value mask;
    std::optional<int64_t> causal;
    if (!buildMask(scores, mask, causal))
      return reason = "a mask has another shape than [batch, heads, queries, keys]", nullptr;
    describe(q[1], k[1], causal, mask);
    return AttentionOp::create(
        builder, root.getLoc(), root.getType(), query, key, value, mask, Value(), builder.getF64FloatAttr(scores.scale),
        causal ? builder.getI64IntegerAttr(*causal) : IntegerAttr(), builder.getF64FloatAttr(scores.softcap));
  }

private:
  void describe(int64_t queryHeads, int64_t kvHeads, std::optional<int64_t> causal, Value mask) {
    summary = std::to_string(queryHeads) + " query heads, " + std::to_string(kvHeads) + " kv heads" +
              (causal ? ", causal" : "") + (mask ? ", masked" : "");
  }
  /// The softmax behind [select(isnan(p), 0, p)].
  SoftmaxOp matchProbabilities(Value p) {
    if (auto select = p.getDefiningOp<arith::SelectOp>()) {
      auto compare = select.getCondition().getDefiningOp<arith::CmpFOp>();
      Value inner = select.getFalseValue();
      if (!compare || compare.getPredicate() != arith::CmpFPredicate::UNO || compare.getLhs() != inner ||
          compare.getRhs() != inner || getSplatNumber(select.getTrueValue()).value_or(1) != 0)
        return nullptr;
      p = inner;
      if (!llvm::all_of(p.getUsers(), [&](Operation *user) { return user == select || user == compare; }) ||
          !select->hasOneUse())
        return reason = "the probabilities have other users", nullptr;
    } else if (!p.hasOneUse()) {
      if (p.getDefiningOp<SoftmaxOp>())
        reason = "the probabilities have other users";
      return nullptr;
    }
    return p.getDefiningOp<SoftmaxOp>();
  }

  bool matchScores(Value value, Scores &scores) {
    for (int step = 0; step < 16; ++step) {
      if (!value.hasOneUse())
        return scores.reason = "the scores have other users", false;
      Value x;
      double factor = 0;
      auto tanh = value.getDefiningOp<math::TanhOp>();
      if (auto product = value.getDefiningOp<MatmulOp>()) {
        scores.product = product;
        return tensorTypeOf(product).getRank() == 4;
      }
      if (matchScaled(value, x, factor)) {
        if (auto cap = x.getDefiningOp<math::TanhOp>()) { // c tanh(s / c)
          Value inner;
          double inverse = 0;
          if (scores.softcap || scores.scale != 1 || !x.hasOneUse() || !matchScaled(cap.getOperand(), inner, inverse) ||
              std::abs(inverse * factor - 1) > 1e-5)
            return false;
          scores.softcap = factor;
          value = inner;
          if (!cap.getOperand().hasOneUse())
            return false;
          continue;
        }
        scores.scale *= factor;
        value = x;
        continue;
      }
      if (tanh)
        return false;
      if (auto add = value.getDefiningOp<arith::AddFOp>()) {
        if (scores.scale != 1 || scores.softcap)
          return scores.reason = "a mask is scaled or capped", false;
        bool leftIsScores = leadsToProduct(add.getLhs(), 0);
        scores.added.push_back(leftIsScores ? add.getRhs() : add.getLhs());
        value = leftIsScores ? add.getLhs() : add.getRhs();
        continue;
      }
      if (auto select = value.getDefiningOp<arith::SelectOp>()) {
        std::optional<double> hidden = getSplatNumber(select.getFalseValue());
        if (!hidden || *hidden > kHidden || scores.scale != 1 || scores.softcap)
          return scores.reason = "a select is not a mask", false;
        scores.selected.push_back(select.getCondition());
        value = select.getTrueValue();
        continue;
      }
      return false;
    }
    return false;
  }

  static bool leadsToProduct(Value value, int depth) {
    Operation *op = value.getDefiningOp();
    if (!op || depth > 8 || tensorTypeOf(value).getRank() != 4)
      return false;
    if (isa<MatmulOp>(op))
      return true;
    if (!isa<arith::AddFOp, arith::MulFOp, arith::DivFOp, arith::SelectOp, math::TanhOp>(op))
      return false;
    return llvm::any_of(op->getOperands(), [&](Value operand) {
      return isa<RankedTensorType>(operand.getType()) && leadsToProduct(operand, depth + 1);
    });
  }

  static Value stripScale(Value value, double &scale) {
    Value x;
    double factor = 0;
    while (matchScaled(value, x, factor)) {
      scale *= factor;
      value = x;
    }
    // A transpose may stand above the scale.
    if (auto transpose = value.getDefiningOp<linalg::TransposeOp>();
        transpose && matchScaled(transpose.getInput(), x, factor)) {
      scale *= factor;
      OpBuilder builder(transpose);
      return buildTranspose(builder, transpose.getLoc(), x, transpose.getPermutation());
    }
    return value;
  }

  /// Key and value [B, Hkv * n, T, D] made of [B, Hkv, T, D] by repetition: taken from before it.
  void ungroup(Value &key, Value &value) {
    auto source = [](Value repeated) -> Value {
      auto collapse = repeated.getDefiningOp<tensor::CollapseShapeOp>();
      auto broadcast = collapse ? collapse.getSrc().getDefiningOp<linalg::BroadcastOp>() : linalg::BroadcastOp();
      if (!broadcast || tensorTypeOf(broadcast.getInput()).getRank() != 4 ||
          broadcast.getDimensions() != ArrayRef<int64_t>{2})
        return nullptr;
      SmallVector<ReassociationIndices> groups = collapse.getReassociationIndices();
      return groups.size() == 4 && groups[1].size() == 2 ? broadcast.getInput() : Value();
    };
    Value plainKey = source(key), plainValue = source(value);
    if (!plainKey || !plainValue || shapeOf(plainKey)[1] != shapeOf(plainValue)[1])
      return;
    key = plainKey;
    value = plainValue;
    grouped = changed = true;
  }

  /// Splits conjunctions, turns constant causal parts into the attribute, and joins the rest at their own size.
  void addBool(Value mask, ArrayRef<int64_t> dims, SmallVector<Value> &parts, std::optional<int64_t> &causal,
               bool &good) {
    View view(mask);
    view.skip();
    SmallVector<int64_t> composed;
    for (int64_t dim : dims)
      composed.push_back(dim >= 0 ? view.dims[dim] : -1);
    auto both = view.value.getDefiningOp<arith::AndIOp>();
    if (both) {
      addBool(both.getLhs(), composed, parts, causal, good);
      return addBool(both.getRhs(), composed, parts, causal, good);
    }
    Value four = asRankFour(view.value, composed, full, builder);
    good &= bool(four);
    std::optional<int64_t> offset;
    if (four)
      offset = matchCausalThrough(four);
    changed |= bool(offset);
    if (offset)
      causal = std::min(causal.value_or(*offset), *offset);
    else if (four)
      parts.push_back(four);
  }
  /// A fresh reshape of a constant is not folded yet.
  std::optional<int64_t> matchCausalThrough(Value four) {
    if (Operation *op = four.getDefiningOp(); op && isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp>(op)) {
      DenseElementsAttr attr;
      if (matchPattern(op->getOperand(0), m_Constant(&attr)))
        four = arith::ConstantOp::create(builder, op->getLoc(), attr.reshape(tensorTypeOf(four)));
    }
    return matchCausal(four, full);
  }

  bool buildMask(Scores &scores, Value &mask, std::optional<int64_t> &causal) {
    SmallVector<Value> bools, floats;
    SmallVector<int64_t> all = {0, 1, 2, 3};
    bool good = true;
    for (Value value : scores.selected)
      addBool(value, all, bools, causal, good);
    for (Value value : scores.added) {
      View view(value);
      view.skip();
      if (Value condition = matchBoolMask(view.value, builder)) {
        addBool(condition, view.dims, bools, causal, good);
        continue;
      }
      Value four = asRankFour(view.value, view.dims, full, builder);
      good &= bool(four);
      bool alone = four && scores.added.size() == 1 && scores.selected.empty();
      std::optional<int64_t> offset = alone ? matchCausalThrough(four) : std::nullopt;
      if (offset && *offset >= 0) // every query sees the first key
        causal = offset, changed = true;
      else
        floats.push_back(four);
    }
    if (!good)
      return false;
    auto join = [&](SmallVector<Value> &parts, auto combine) {
      Value result;
      for (Value part : parts)
        result = result ? combine(result, part) : part;
      return result;
    };
    Location loc = op->getLoc();
    Value boolMask = join(
        bools, [&](Value a, Value b) { return widened(a, b), arith::AndIOp::create(builder, loc, a, b).getResult(); });
    mask = join(floats,
                [&](Value a, Value b) { return widened(a, b), arith::AddFOp::create(builder, loc, a, b).getResult(); });
    if (boolMask && mask) { // one operand: hidden keys get minus infinity
      Value a = boolMask, b = mask;
      widened(a, b);
      Value low = buildSplat(builder, loc, tensorTypeOf(b), -std::numeric_limits<double>::infinity());
      mask = arith::SelectOp::create(builder, loc, a, b, low);
    } else if (boolMask) {
      mask = boolMask;
    }
    if (causal && *causal >= full[3] - 1) // the first query sees every key already
      causal.reset();
    return true;
  }

  /// Brings two masks to their common shape.
  void widened(Value &a, Value &b) {
    SmallVector<int64_t> shape;
    for (int dim = 0; dim < 4; ++dim)
      shape.push_back(std::max(shapeOf(a)[dim], shapeOf(b)[dim]));
    for (Value *value : {&a, &b}) {
      SmallVector<int64_t> kept, added;
      for (int dim = 0; dim < 4; ++dim)
        shapeOf(*value)[dim] == shape[dim] ? kept.push_back(shape[dim]) : added.push_back(dim);
      if (added.empty())
        continue;
      Value narrow = buildReshape(builder, op->getLoc(), *value, kept);
      Value init = tensor::EmptyOp::create(builder, op->getLoc(), shape, tensorTypeOf(*value).getElementType());
      *value = linalg::BroadcastOp::create(builder, op->getLoc(), narrow, init, added)->getResult(0);
    }
  }

  Operation *op;
  OpBuilder &builder;
  bool changed = false;
  SmallVector<int64_t> full;
};

struct RaiseAttention : impl::RaiseAttentionPassBase<RaiseAttention> {
  using RaiseAttentionPassBase::RaiseAttentionPassBase;
  void runOnOperation() override {
    SmallVector<Operation *> candidates;
    getOperation().walk([&](Operation *op) {
      if (isa<MatmulOp, AttentionOp>(op))
        candidates.push_back(op);
    });
    for (Operation *op : candidates) {
      OpBuilder builder(op);
      Raiser raiser(op, builder);
      auto product = dyn_cast<MatmulOp>(op);
      Value result = product ? raiser.raise(product) : raiser.refine(cast<AttentionOp>(op));
      numAttention += product && result;
      numGrouped += raiser.grouped;
      numNearMisses += raiser.reason != nullptr;
      if (raiser.reason)
        explain(op, "attention", llvm::Twine("not matched, ") + raiser.reason);
      else if (result || !product)
        explain(op, "attention", (product ? "recognised: " : "given by the model: ") + raiser.summary);
      if (result)
        op->getResult(0).replaceAllUsesWith(result);
    }
    for (auto function : getOperation().getOps<func::FuncOp>())
      eraseDeadOps(function);
  }
};
} // namespace
} // namespace mlir::comm
