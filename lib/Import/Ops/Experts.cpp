//===- Experts.cpp - com.microsoft MoE ------------------------------------===//
//===----------------------------------------------------------------------===//
#include "OpTable.h"
#include "comm/IR/CommExpertOps.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// One MoE node: its parts, step by step.
struct Experts {
  NodeContext &c;
  B &b;
  int64_t experts = 0, tokens = 0, hidden = 0, inner = 0, chosen = 0;
  Value ids, share;
  std::string activation;
  int64_t fusion = 0;

  LogicalResult check() {
    if (failed(c.needInputs(3, 8)) || !c.has(4) || failed(c.needFloat(0)) || failed(c.needRank(1, 2)) ||
        failed(c.needRank(2, 3)) || failed(c.needRank(4, 3)) || c.rank(0) < 2)
      return c.fail("expected tokens, router logits and weights of both layers", "E313");
    experts = c.shape(2)[0];
    hidden = c.shape(0).back();
    tokens = B::typeOf(c.in(0)).getNumElements() / std::max<int64_t>(hidden, 1);
    activation = c.getString("activation_type", "relu");
    fusion = c.getInt("swiglu_fusion", 0);
    if (c.getInt("use_sparse_mixer", 0))
      return c.fail("use_sparse_mixer");
    if (activation == "swiglu" && fusion == 0 && !c.has(6))
      fusion = 1; // older files leave it out
    int64_t halves = activation == "swiglu" && fusion ? 2 : 1;
    inner = c.shape(4)[2];
    if (experts < 1 || hidden < 1 || inner < 1 || tokens < 1)
      return c.fail("an operand is empty", "E313");
    // Before the layout turned, weights stood as [experts, in, out].
    if (c.shape(4)[1] != hidden || c.shape(2)[2] != hidden)
      return c.fail("weights that are not stored as [experts, out, in]");
    if (c.shape(2) != ArrayRef<int64_t>{experts, halves * inner, hidden} || c.shape(4)[0] != experts ||
        c.shape(1) != ArrayRef<int64_t>{tokens, experts})
      return c.fail("router or weights do not fit the tokens", "E313");
    if (c.has(6) && (fusion || c.shape(6) != ArrayRef<int64_t>{experts, inner, hidden}))
      return c.fail("the third weights do not fit", "E313");
    int64_t widths[] = {halves * inner, hidden, inner};
    for (size_t layer = 0; layer < 3; ++layer)
      if (c.has(3 + 2 * layer) && c.shape(3 + 2 * layer) != ArrayRef<int64_t>{experts, widths[layer]})
        return c.fail("a bias does not fit", "E313");
    for (size_t i = 1; i < c.numInputs(); ++i)
      if (c.has(i) && failed(c.needSameElement(0, i)))
        return failure();
    chosen = c.getInt("k", 1);
    if (chosen < 1 || chosen > experts)
      return c.fail("k = " + Twine(chosen) + " of " + Twine(experts) + " experts", "E313");
    return c.needBudget({chosen, tokens, std::max(halves * inner, hidden)}, B::elementOf(c.in(0)));
  }

  /// Every token's best k experts, i64 [T, K], and the router's weights of them, f32 [T, K].
  void route() {
    OpBuilder &builder = b.getBuilder();
    Value p = b.create<SoftmaxOp>(b.castTo(c.in(1), builder.getF32Type()));
    ids = b.create<TopKOp>(p, builder.getI64IntegerAttr(chosen), builder.getUnitAttr());
    share = b.create<GatherElementsOp>(p, ids, builder.getI64IntegerAttr(1));
    if (c.getInt("normalize_routing_weights", 0))
      share = b.div(share, b.reduce(Reduction::Sum, share, {1}, true));
  }

  /// x [T, k] or [T, K, k] -> [T, K, n].
  Value product(Value x, size_t weights) {
    return b.create<ExpertMatmulOp>(x, ids, c.in(weights), b.getBuilder().getUnitAttr(), IntegerAttr(), ArrayAttr(),
                                    b.getBuilder().getI64IntegerAttr(1));
  }
  /// Rows of a bias [E, n] -> [T, K, n].
  Value biasOf(size_t index) { return b.create<EmbeddingOp>(c.in(index), ids, IntegerAttr(), ArrayAttr()); }
  Value layer(Value x, size_t weights) {
    Value y = product(x, weights);
    return c.has(weights + 1) ? b.add(y, biasOf(weights + 1)) : y;
  }
  /// [T, K, H] -> the router's mean of each token's K rows, f32 [T, H].
  Value mix(Value y) {
    Value weighted = b.mul(b.castTo(y, b.getBuilder().getF32Type()), b.reshape(share, {tokens, chosen, 1}));
    return b.reduce(Reduction::Sum, weighted, {1}, false);
  }

  FailureOr<Value> activate(Value h, Value x) {
    if (activation == "swiglu") {
      Value gate = h, linear;
      if (fusion == 0) {
        linear = layer(x, 6);
      } else if (fusion == 1) {
        Value pairs = b.reshape(h, {tokens, chosen, inner, 2});
        gate = b.reshape(b.sliceDim(pairs, 3, 0, 1), {tokens, chosen, inner});
        linear = b.reshape(b.sliceDim(pairs, 3, 1, 1), {tokens, chosen, inner});
      } else {
        gate = b.sliceDim(h, 2, 0, inner);
        linear = b.sliceDim(h, 2, inner, inner);
      }
      double limit = c.getFloat("swiglu_limit", INFINITY);
      if (std::isfinite(limit)) {
        gate = b.min(gate, b.splatLike(gate, limit));
        linear = b.max(b.min(linear, b.splatLike(linear, limit)), b.splatLike(linear, -limit));
      }
      Value turned = b.mul(gate, b.sigmoid(b.mulScalar(gate, c.getFloat("activation_alpha", 1))));
      return b.mul(turned, b.addScalar(linear, c.getFloat("activation_beta", 0)));
    }
    if (activation == "relu")
      h = b.max(h, b.splatLike(h, 0));
    else if (activation == "gelu")
      h = b.create<GeluOp>(GeluKind::Erf, h);
    else if (activation == "silu")
      h = b.create<SiluOp>(h);
    else if (activation != "identity")
      return c.fail("activation '" + activation + "'");
    return c.has(6) ? b.mul(h, layer(x, 6)) : h;
  }

  LogicalResult run() {
    if (failed(check()))
      return failure();
    route();
    Value x = b.reshape(c.in(0), {tokens, hidden});
    FailureOr<Value> active = activate(layer(x, 2), x);
    if (failed(active))
      return failure();
    // The bias apart: the product may be a partial sum over ranks, which is then added up once, for each token.
    Value sum = mix(product(*active, 4));
    if (c.has(5))
      sum = b.add(sum, mix(biasOf(5)));
    return c.done(b.reshape(b.castTo(sum, B::elementOf(c.in(0))), c.shape(0)));
  }
};
LogicalResult mixtureOfExperts(NodeContext &c) { return Experts{c, c.b}.run(); }

/// rows, step, first, ends.., weights..: row r times the weights of the group whose range it lies in, else zeros.
/// Dense: every group's weights meet every row.
LogicalResult groupedMatMul(NodeContext &c) {
  size_t groups = c.numInputs() < 5 ? 0 : (c.numInputs() - 3) / 2;
  if (groups == 0 || c.numInputs() != 3 + 2 * groups || failed(c.needInputs(c.numInputs(), c.numInputs())) ||
      failed(c.needRank(0, 2)) || failed(c.needFloat(0)))
    return c.fail("expected rows and as many ends as weights", "E313");
  FailureOr<double> step = c.constantScalar(1, "the step of the ranges");
  if (failed(step) || *step != 1)
    return failed(step) ? failure() : c.fail("ranges that do not step by 1");
  B &b = c.b;
  Type i64 = b.getBuilder().getI64Type();
  int64_t rows = c.shape(0)[0], inner = c.shape(0)[1], columns = c.rank(3 + groups) == 2 ? c.shape(3 + groups)[1] : 0;
  Value number = b.countFrom(0, rows, {rows, 1}, i64), sum;
  for (size_t i = 0; i < groups; ++i) {
    size_t weights = 3 + groups + i;
    if (c.shape(weights) != ArrayRef<int64_t>{inner, columns} || failed(c.needSameElement(0, weights)))
      return c.fail("the weights of group " + Twine(i) + " do not fit", "E313");
    for (size_t bound : {2 + i, 3 + i})
      if (B::typeOf(c.in(bound)).getNumElements() != 1 || B::isFloat(c.in(bound)))
        return c.fail("an end is not one integer", "E313");
    auto bound = [&](size_t index) { return b.castTo(b.reshape(c.in(index), {}), i64); };
    Value inside =
        b.create<arith::AndIOp>(b.compare(arith::CmpFPredicate::OGE, arith::CmpIPredicate::sge, number, bound(2 + i)),
                                b.compare(arith::CmpFPredicate::OLT, arith::CmpIPredicate::slt, number, bound(3 + i)));
    Value product = b.matmul(c.in(0), c.in(weights));
    Value part = b.select(inside, product, b.splatLike(product, 0));
    sum = sum ? b.add(sum, part) : part;
  }
  return c.done(sum);
}
} // namespace

void addExpertOps(OpTable &table) {
  table.addMs("MoE", mixtureOfExperts);
  table.addOwn("GroupedMatMul", groupedMatMul);
}

} // namespace mlir::comm
