//===- LinearAttention.cpp - attention with a state instead of a cache ----===//
// Token after token, S [B, Hkv, Dk, Dv]: S = e^decay S, then S += k (x) v or its delta rule, then y = scale q S.
//===----------------------------------------------------------------------===//
#include "AttentionParts.h"
#include "OpTable.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;
constexpr int64_t kMaxTokens = 512; ///< every token is a handful of ops

LogicalResult linearAttention(NodeContext &c) {
  if (failed(c.needInputs(3, 6)) || failed(c.needRank(0, 3)) || failed(c.needRank(1, 3)) || failed(c.needRank(2, 3)) ||
      failed(c.needFloat(0)))
    return failure();
  B &b = c.b;
  Type f32 = b.getBuilder().getF32Type(), element = B::elementOf(c.in(0));
  int64_t heads = c.getInt("q_num_heads", 0), kv = c.getInt("kv_num_heads", 0), batch = c.shape(0)[0],
          length = c.shape(0)[1];
  std::string rule = c.getString("update_rule", "gated_delta");
  bool gated = rule == "gated" || rule == "gated_delta", delta = rule == "delta" || rule == "gated_delta";
  if ((!gated && !delta && rule != "linear") || heads < 1 || kv < 1 || heads % kv || gated != c.has(4) ||
      delta != c.has(5))
    return c.fail("heads, decay or beta do not fit update_rule '" + rule + "'", "E313");
  if (length > kMaxTokens)
    return c.fail(Twine(length) + " tokens: more than " + Twine(kMaxTokens) + " steps are not unrolled");
  auto part = [&](size_t index, int64_t count) { return splitHeads(c, b.castTo(c.in(index), f32), count); };
  FailureOr<Value> q = part(0, heads), k = part(1, kv), v = part(2, kv);
  if (failed(q) || failed(k) || failed(v))
    return failure();
  int64_t dk = B::shapeOf(*q)[3], dv = B::shapeOf(*v)[3];
  if (B::shapeOf(*k) != ArrayRef<int64_t>{batch, kv, length, dk} ||
      B::shapeOf(*v) != ArrayRef<int64_t>{batch, kv, length, dv})
    return c.fail("query, key and value do not fit each other", "E313");
  Value decay, beta; // [B, Hkv, T, 1 or Dk], [B, 1 or Hkv, T, 1]
  if (gated) {
    bool perHead = c.rank(4) == 3 && c.shape(4)[2] == kv;
    FailureOr<Value> split = part(4, kv);
    if (failed(split) || B::shapeOf(*split) != ArrayRef<int64_t>{batch, kv, length, perHead ? 1 : dk})
      return c.fail("the decay does not fit", "E313");
    decay = b.create<math::ExpOp>(*split);
  }
  if (delta) {
    FailureOr<Value> split = c.rank(5) == 3 ? part(5, c.shape(5)[2]) : FailureOr<Value>(failure());
    int64_t each = failed(split) ? 0 : B::shapeOf(*split)[1];
    if ((each != 1 && each != kv) || B::shapeOf(*split) != ArrayRef<int64_t>{batch, each, length, 1})
      return c.fail("beta does not fit", "E313");
    beta = *split;
  }
  Value state = b.splat(RankedTensorType::get({batch, kv, dk, dv}, f32), 0);
  Type stateElement = element;
  if (c.has(3)) {
    if (c.shape(3) != ArrayRef<int64_t>{batch, kv, dk, dv} || !B::isFloat(c.in(3)))
      return c.fail("past_state does not fit", "E313");
    state = b.castTo(c.in(3), f32);
    stateElement = B::elementOf(c.in(3));
  }
  double scale = c.getFloat("scale", 0);
  scale = scale == 0 ? 1 / std::sqrt(static_cast<double>(dk)) : scale;
  SmallVector<Value> rows;
  for (int64_t i = 0; i < length; ++i) {
    Value key = b.sliceDim(*k, 2, i, 1), value = b.sliceDim(*v, 2, i, 1); // [B, Hkv, 1, D]
    if (gated) {
      Value now = b.sliceDim(decay, 2, i, 1);
      state = b.mul(state, b.reshape(now, {batch, kv, B::shapeOf(now)[3], 1}));
    }
    if (delta)
      value = b.mul(b.sub(value, b.matmul(key, state)), b.sliceDim(beta, 2, i, 1));
    state = b.add(state, b.matmul(key, value, true, false));
    Value query = b.reshape(b.sliceDim(*q, 2, i, 1), {batch, kv, heads / kv, dk});
    rows.push_back(b.reshape(b.matmul(query, state), {batch, heads, 1, dv}));
  }
  Value y = rows.empty() ? b.splat(RankedTensorType::get({batch, heads, 0, dv}, f32), 0)
                         : b.mulScalar(b.concat(rows, 2), scale);
  return success(succeeded(c.done(mergeHeads(b, b.castTo(y, element)))) &&
                 succeeded(c.setOut(1, b.castTo(state, stateElement))));
}
} // namespace

void addRecurrentOps(OpTable &table) { table.add("LinearAttention", linearAttention); }

} // namespace mlir::comm
