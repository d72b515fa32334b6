//===- ShardingRules.cpp - factors of comm and upstream ops ---------------===//
// One function per op family. A dimension is a list of factors, major first; equal numbers are the same loop.
//===----------------------------------------------------------------------===//
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::comm;

namespace {
RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Builds a rule factor by factor.
struct RuleBuilder {
  ShardingRule rule;
  unsigned add(int64_t size, FactorKind kind = FactorKind::Parallel) {
    rule.factors.push_back({size, kind});
    return rule.factors.size() - 1;
  }
  using Dims = SmallVector<DimFactors>;
  /// One fresh factor per dimension.
  Dims fresh(RankedTensorType type, FactorKind kind = FactorKind::Parallel) {
    Dims dims;
    for (int64_t size : type.getShape())
      dims.push_back({add(size, kind)});
    return dims;
  }
};
} // namespace

ShardingRule MatmulOp::getShardingRule() {
  RuleBuilder b;
  RankedTensorType lhs = getLhs().getType(), rhs = getRhs().getType(), out = getType();
  RuleBuilder::Dims result;
  int64_t batch = out.getRank() - 2;
  for (int64_t i = 0; i < batch; ++i)
    result.push_back({b.add(out.getDimSize(i))});
  unsigned m = b.add(out.getDimSize(batch)), n = b.add(out.getDimSize(batch + 1));
  unsigned k = b.add(lhs.getDimSize(lhs.getRank() - (getTransposeLhs() ? 2 : 1)), FactorKind::Reduction);
  auto operand = [&](RankedTensorType type, unsigned row, unsigned column, bool transposed) {
    RuleBuilder::Dims dims;
    for (int64_t i = 0, skip = batch - (type.getRank() - 2); i < type.getRank() - 2; ++i)
      dims.push_back(type.getDimSize(i) == 1 && out.getDimSize(i + skip) != 1 ? DimFactors{} : result[i + skip]);
    dims.push_back({transposed ? column : row});
    dims.push_back({transposed ? row : column});
    return dims;
  };
  b.rule.operands = {operand(lhs, m, k, getTransposeLhs()), operand(rhs, k, n, getTransposeRhs())};
  result.push_back({m});
  result.push_back({n});
  b.rule.results = {result};
  b.rule.linearIn = {true, true};
  b.rule.linearInAny = true;
  return b.rule;
}

/// Rows are free, columns split with their scales, and k splits in whole blocks: a partial sum. What shares a byte
/// stays together. Rounding to 8 bits is no linear function, so that partial sums do not pass through.
ShardingRule QuantizedMatmulOp::getShardingRule() {
  RuleBuilder b;
  RankedTensorType input = getInput().getType(), weights = typeOf(getWeights()), scales = getScales().getType();
  int64_t block = getBlock(), bits = getBits(), k = input.getShape().back(), n = getType().getShape().back();
  bool kMajor = getKMajor();
  int64_t blocks = weights.getDimSize(kMajor ? 0 : 1);
  RankedTensorType zeros = getZeroPoints() ? typeOf(getZeroPoints()) : RankedTensorType();
  bool packed = zeros && zeros.getElementType().isInteger(8) && bits == 4;
  // Pairs of columns or blocks that share a byte somewhere, as [pairs, 2].
  bool pairColumns = kMajor && bits == 4, pairBlocks = packed && !kMajor && scales.getDimSize(1) > 1;
  bool uneven = k % block != 0 || (pairBlocks && blocks % 2 != 0);
  auto split = [&](int64_t size, bool paired, FactorKind kind) {
    if (!paired)
      return DimFactors{b.add(size, kind)};
    unsigned major = b.add(size / 2, kind);
    return DimFactors{major, b.add(2, FactorKind::Whole)};
  };
  RuleBuilder::Dims rows;
  for (int64_t size : input.getShape().drop_back())
    rows.push_back({b.add(size)});
  DimFactors columns = split(n, pairColumns, FactorKind::Parallel), inBlocks, depth;
  unsigned bytes = b.add(weights.getDimSize(kMajor ? 1 : 2), FactorKind::Whole);
  if (uneven) {
    inBlocks = {b.add(blocks, FactorKind::Whole)};
    depth = {b.add(k, FactorKind::Whole)};
  } else {
    inBlocks = split(blocks, pairBlocks, FactorKind::Reduction);
    depth = inBlocks;
    depth.push_back(b.add(block, FactorKind::Whole));
  }
  auto inBytes = [&](DimFactors dim, bool paired) {
    if (paired)
      dim.pop_back();
    return dim;
  };
  RuleBuilder::Dims x = rows, y = rows;
  x.push_back(depth);
  y.push_back(columns);
  b.rule.operands.push_back(x);
  if (kMajor)
    b.rule.operands.push_back({inBlocks, {bytes}, inBytes(columns, pairColumns)});
  else
    b.rule.operands.push_back({columns, inBlocks, {bytes}});
  auto perScale = [&](bool inPairs) {
    DimFactors first = kMajor ? inBlocks : columns, second = kMajor ? columns : inBlocks;
    if (inPairs) // an odd last number leaves half a byte
      second = uneven && !kMajor ? DimFactors{b.add(zeros.getDimSize(1), FactorKind::Whole)} : inBytes(second, true);
    return RuleBuilder::Dims{scales.getDimSize(0) == 1 ? DimFactors{} : first,
                             scales.getDimSize(1) == 1 ? DimFactors{} : second};
  };
  b.rule.operands.push_back(perScale(false));
  if (zeros)
    b.rule.operands.push_back(perScale(packed));
  b.rule.results = {y};
  if (!getInt8()) {
    b.rule.linearIn.assign(getNumOperands(), false);
    b.rule.linearIn[0] = true;
  }
  return b.rule;
}

ShardingRule AttentionOp::getShardingRule() {
  RuleBuilder b;
  RankedTensorType q = getQuery().getType(), k = getKey().getType(), v = getValue().getType();
  int64_t kvHeads = k.getDimSize(1);
  unsigned batch = b.add(q.getDimSize(0)), kv = b.add(kvHeads), group = b.add(q.getDimSize(1) / kvHeads);
  // A causal mask is computed from the position in the whole sequence.
  unsigned s = b.add(q.getDimSize(2), isCausal() ? FactorKind::Whole : FactorKind::Parallel);
  unsigned t = b.add(k.getDimSize(2), FactorKind::Whole), d = b.add(q.getDimSize(3), FactorKind::Whole);
  unsigned dv = b.add(v.getDimSize(3), FactorKind::Whole);
  b.rule.operands = {{{batch}, {kv, group}, {s}, {d}}, {{batch}, {kv}, {t}, {d}}, {{batch}, {kv}, {t}, {dv}}};
  if (Value mask = getMask()) {
    RankedTensorType type = typeOf(mask);
    DimFactors full[4] = {{batch}, {kv, group}, {s}, {t}};
    RuleBuilder::Dims dims;
    for (int64_t i = 0; i < 4; ++i)
      dims.push_back(type.getDimSize(i) == 1 ? DimFactors{} : full[i]);
    b.rule.operands.push_back(dims);
  }
  if (getLengths())
    b.rule.operands.push_back({{batch}});
  b.rule.results = {{{batch}, {kv, group}, {s}, {dv}}};
  return b.rule;
}

/// All dimensions but the last may be split; vectors of the last dimension follow.
static ShardingRule rowWiseRule(RankedTensorType type, ArrayRef<Value> vectors) {
  RuleBuilder b;
  RuleBuilder::Dims dims;
  for (int64_t i = 0; i < type.getRank(); ++i)
    dims.push_back({b.add(type.getDimSize(i), i + 1 == type.getRank() ? FactorKind::Whole : FactorKind::Parallel)});
  b.rule.operands.push_back(dims);
  for (Value vector : vectors)
    if (vector)
      b.rule.operands.push_back({dims.back()});
  b.rule.results = {dims};
  return b.rule;
}
ShardingRule RMSNormOp::getShardingRule() { return rowWiseRule(getType(), {getWeight()}); }
ShardingRule LayerNormOp::getShardingRule() { return rowWiseRule(getType(), {getWeight(), getBias()}); }
ShardingRule SoftmaxOp::getShardingRule() { return rowWiseRule(getType(), {}); }

ShardingRule RotaryOp::getShardingRule() {
  RuleBuilder b;
  RankedTensorType x = getType(), cos = getCos().getType();
  unsigned batch = b.add(x.getDimSize(0)), head = b.add(x.getDimSize(1)), s = b.add(x.getDimSize(2));
  unsigned d = b.add(x.getDimSize(3), FactorKind::Whole), half = b.add(cos.getDimSize(2), FactorKind::Whole);
  RuleBuilder::Dims angles = {
      cos.getDimSize(0) == 1 && x.getDimSize(0) != 1 ? DimFactors{} : DimFactors{batch}, {s}, {half}};
  b.rule.operands = {{{batch}, {head}, {s}, {d}}, angles, angles};
  b.rule.results = {{{batch}, {head}, {s}, {d}}};
  b.rule.linearIn = {true, false, false};
  return b.rule;
}

ShardingRule EmbeddingOp::getShardingRule() {
  RuleBuilder b;
  RankedTensorType table = getTable().getType();
  unsigned v = b.add(table.getDimSize(0), FactorKind::Reduction);
  RuleBuilder::Dims ids = b.fresh(getIds().getType()), out = ids;
  unsigned c = b.add(table.getDimSize(1));
  out.push_back({c});
  b.rule.operands = {{{v}, {c}}, ids};
  b.rule.results = {out};
  b.rule.linearIn = {true, false};
  return b.rule;
}

ShardingRule GatherOp::getShardingRule() {
  RuleBuilder b;
  RuleBuilder::Dims data = b.fresh(getData().getType()), indices = b.fresh(getIndices().getType()), out;
  b.rule.factors[data[getAxis()][0]].kind = FactorKind::Whole;
  out.append(data.begin(), data.begin() + getAxis());
  out.append(indices.begin(), indices.end());
  out.append(data.begin() + getAxis() + 1, data.end());
  b.rule.operands = {data, indices};
  b.rule.results = {out};
  b.rule.linearIn = {true, false};
  return b.rule;
}

ShardingRule GatherNDOp::getShardingRule() {
  RuleBuilder b;
  RuleBuilder::Dims data = b.fresh(getData().getType()), indices = b.fresh(getIndices().getType()), out;
  int64_t batch = getBatchDims(), tuple = getIndices().getType().getShape().back();
  b.rule.factors[indices.back()[0]].kind = FactorKind::Whole;
  for (int64_t i = 0; i < batch; ++i)
    indices[i] = data[i];
  for (int64_t i = batch; i < batch + tuple; ++i)
    b.rule.factors[data[i][0]].kind = FactorKind::Whole;
  out.append(indices.begin(), indices.end() - 1);
  out.append(data.begin() + batch + tuple, data.end());
  b.rule.operands = {data, indices};
  b.rule.results = {out};
  return b.rule;
}

ShardingRule GatherElementsOp::getShardingRule() {
  RuleBuilder b;
  RankedTensorType data = getData().getType(), indices = getIndices().getType();
  RuleBuilder::Dims in, out;
  for (int64_t i = 0; i < data.getRank(); ++i) {
    // Indices may be shorter than the data in any dimension; such a one stays whole.
    bool same = i != static_cast<int64_t>(getAxis()) && data.getDimSize(i) == indices.getDimSize(i);
    bool isAxis = i == static_cast<int64_t>(getAxis());
    out.push_back({b.add(indices.getDimSize(i), same || isAxis ? FactorKind::Parallel : FactorKind::Whole)});
    in.push_back(same ? out.back() : DimFactors{b.add(data.getDimSize(i), FactorKind::Whole)});
  }
  b.rule.operands = {in, out};
  b.rule.results = {out};
  return b.rule;
}

/// Ranks may hold other slices of the data; which element meets which update is the same on all.
ShardingRule ScatterNDOp::getShardingRule() {
  RuleBuilder b;
  RuleBuilder::Dims data = b.fresh(typeOf(getData())), indices = b.fresh(typeOf(getIndices()), FactorKind::Whole);
  int64_t tuple = typeOf(getIndices()).getShape().back();
  for (int64_t i = 0; i < tuple; ++i)
    b.rule.factors[data[i][0]].kind = FactorKind::Whole;
  RuleBuilder::Dims updates(indices.begin(), indices.end() - 1);
  updates.append(data.begin() + tuple, data.end());
  b.rule.operands = {data, indices, updates};
  b.rule.results = {data};
  return b.rule;
}

ShardingRule TopKOp::getShardingRule() {
  RuleBuilder b;
  RankedTensorType type = typeOf(getInput());
  RuleBuilder::Dims in = b.fresh(type), out(in.begin(), in.end() - 1);
  b.rule.factors[in.back()[0]].kind = FactorKind::Whole;
  out.push_back({b.add(static_cast<int64_t>(getK()), FactorKind::Whole)});
  b.rule.operands = {in};
  b.rule.results = {out};
  return b.rule;
}

/// Windows reach over the borders of a part: what they cover stays whole.
ShardingRule WindowsOp::getShardingRule() {
  RuleBuilder b;
  RankedTensorType in = typeOf(getInput()), out = typeOf(getResult());
  int64_t lead = in.getRank() - static_cast<int64_t>(getSizes().size());
  RuleBuilder::Dims source, result;
  for (int64_t dim = 0; dim < out.getRank(); ++dim)
    result.push_back({b.add(out.getDimSize(dim), dim < lead ? FactorKind::Parallel : FactorKind::Whole)});
  source.append(result.begin(), result.begin() + lead);
  for (int64_t dim = lead; dim < in.getRank(); ++dim)
    source.push_back({b.add(in.getDimSize(dim), FactorKind::Whole)});
  b.rule.operands = {source};
  b.rule.results = {result};
  b.rule.linearIn = {true};
  return b.rule;
}

static ShardingRule elementwiseRule(Operation *op) {
  RuleBuilder b;
  RuleBuilder::Dims dims = b.fresh(cast<RankedTensorType>(op->getResult(0).getType()));
  for (Value operand : op->getOperands())
    b.rule.operands.push_back(isa<RankedTensorType>(operand.getType()) ? dims : RuleBuilder::Dims{});
  b.rule.results = {dims};
  return b.rule;
}
ShardingRule GeluOp::getShardingRule() { return elementwiseRule(*this); }
ShardingRule SiluOp::getShardingRule() { return elementwiseRule(*this); }

//===----------------------------------------------------------------------===//
// Upstream ops
//===----------------------------------------------------------------------===//

/// expand_shape and collapse_shape: the factors of the expanded side, grouped.
static ShardingRule reshapeRule(RankedTensorType expanded, ArrayRef<ReassociationIndices> groups, bool expands) {
  RuleBuilder b;
  RuleBuilder::Dims wide = b.fresh(expanded), narrow;
  for (const ReassociationIndices &group : groups) {
    DimFactors factors;
    for (int64_t dim : group)
      factors.push_back(wide[dim][0]);
    narrow.push_back(factors);
  }
  b.rule.operands = {expands ? narrow : wide};
  b.rule.results = {expands ? wide : narrow};
  b.rule.linearIn = {true};
  return b.rule;
}

/// A zero constant, or a fill with one.
static bool isZeroTensor(Value value) {
  if (auto fill = value.getDefiningOp<linalg::FillOp>())
    return matchPattern(fill.getInputs()[0], m_Zero()) || matchPattern(fill.getInputs()[0], m_AnyZeroFloat());
  return matchPattern(value, m_Zero()) || matchPattern(value, m_AnyZeroFloat());
}

static bool upstreamRule(Operation *op, ShardingRule &rule) {
  RuleBuilder b;
  return TypeSwitch<Operation *, bool>(op)
      .Case([&](tensor::ExpandShapeOp expand) {
        rule = reshapeRule(expand.getResultType(), expand.getReassociationIndices(), true);
        return true;
      })
      .Case([&](tensor::CollapseShapeOp collapse) {
        rule = reshapeRule(collapse.getSrcType(), collapse.getReassociationIndices(), false);
        return true;
      })
      .Case([&](linalg::TransposeOp transpose) {
        RuleBuilder::Dims in = b.fresh(typeOf(transpose.getInput())), out;
        for (int64_t dim : transpose.getPermutation())
          out.push_back(in[dim]);
        b.rule.operands = {in, out};
        b.rule.results = {out};
        b.rule.linearIn = {true, false};
        rule = b.rule;
        return true;
      })
      .Case([&](linalg::BroadcastOp broadcast) {
        RuleBuilder::Dims out = b.fresh(typeOf(broadcast.getInit())), in;
        llvm::SmallDenseSet<int64_t> added(broadcast.getDimensions().begin(), broadcast.getDimensions().end());
        for (int64_t dim = 0; dim < static_cast<int64_t>(out.size()); ++dim)
          if (!added.contains(dim))
            in.push_back(out[dim]);
        b.rule.operands = {in, out};
        b.rule.results = {out};
        b.rule.linearIn = {true, false};
        rule = b.rule;
        return true;
      })
      .Case([&](linalg::FillOp fill) {
        RuleBuilder::Dims out = b.fresh(typeOf(fill.getOutputs()[0]));
        b.rule.operands = {{}, out};
        b.rule.results = {out};
        rule = b.rule;
        return true;
      })
      .Case([&](linalg::ReduceOp reduce) {
        if (reduce.getInputs().size() != 1)
          return false;
        RuleBuilder::Dims in = b.fresh(typeOf(reduce.getInputs()[0])), out;
        // Only a sum passes through a partial sum; every other combiner needs the whole dimension.
        // It starts from its init on every rank, so that must be zero.
        // The combiner must be the addition alone: a sum of squares is not linear in its input.
        Block &combiner = reduce.getCombiner().front();
        bool isSum = llvm::hasNItems(combiner, 2) && isa<arith::AddFOp, arith::AddIOp>(combiner.front()) &&
                     isZeroTensor(reduce.getInits()[0]);
        for (int64_t dim = 0; dim < static_cast<int64_t>(in.size()); ++dim) {
          if (llvm::is_contained(reduce.getDimensions(), dim))
            b.rule.factors[in[dim][0]].kind = isSum ? FactorKind::Reduction : FactorKind::Whole;
          else
            out.push_back(in[dim]);
        }
        b.rule.operands = {in, out};
        b.rule.results = {out};
        if (isSum)
          b.rule.linearIn = {true, false};
        rule = b.rule;
        return true;
      })
      .Case([&](tensor::ExtractSliceOp slice) {
        RankedTensorType in = slice.getSourceType(), out = slice.getResultType();
        if (in.getRank() != out.getRank())
          return false;
        RuleBuilder::Dims dims, source;
        for (int64_t dim = 0; dim < in.getRank(); ++dim) {
          bool whole = in.getDimSize(dim) == out.getDimSize(dim);
          dims.push_back({b.add(out.getDimSize(dim), whole ? FactorKind::Parallel : FactorKind::Whole)});
          source.push_back(whole ? dims.back() : DimFactors{b.add(in.getDimSize(dim), FactorKind::Whole)});
        }
        b.rule.operands = {source};
        b.rule.results = {dims};
        b.rule.linearIn = {true};
        rule = b.rule;
        return true;
      })
      .Case([&](tensor::ConcatOp concat) {
        RuleBuilder::Dims out = b.fresh(concat.getResultType());
        b.rule.factors[out[concat.getDim()][0]].kind = FactorKind::Whole;
        for (Value input : concat.getInputs()) {
          RuleBuilder::Dims dims = out;
          dims[concat.getDim()] = {b.add(typeOf(input).getDimSize(concat.getDim()), FactorKind::Whole)};
          b.rule.operands.push_back(dims);
          b.rule.linearIn.push_back(true);
        }
        b.rule.results = {out};
        rule = b.rule;
        return true;
      })
      .Default([&](Operation *other) {
        if (other->getNumResults() != 1 || !isa<RankedTensorType>(other->getResult(0).getType()) ||
            other->getNumOperands() == 0 || !other->hasTrait<OpTrait::Elementwise>())
          return false;
        rule = elementwiseRule(other);
        if (isa<arith::AddFOp, arith::SubFOp, arith::AddIOp, arith::SubIOp>(other))
          rule.linearIn = {true, true};
        else if (isa<arith::NegFOp, arith::ExtFOp>(other))
          rule.linearIn = {true};
        else if (isa<arith::DivFOp>(other))
          rule.linearIn = {true, false};
        else if (isa<arith::MulFOp, arith::MulIOp>(other)) {
          rule.linearIn = {true, true};
          rule.linearInAny = true;
        }
        return true;
      });
}

bool comm::getShardingRule(Operation *op, ShardingRule &rule) {
  if (auto withRule = dyn_cast<ShardingRuleOpInterface>(op)) {
    rule = withRule.getShardingRule();
    return true;
  }
  return upstreamRule(op, rule);
}
