//===- Attention.cpp - Attention-23/24 and RotaryEmbedding-23 -------------===//
#include "AttentionParts.h"
#include "OpTable.h"
#include <cmath>

namespace mlir::comm {
using B = ValueBuilder;

FailureOr<Value> splitHeads(NodeContext &c, Value x, int64_t heads) {
  ArrayRef<int64_t> shape = B::shapeOf(x);
  if (shape.size() != 3 || heads <= 0 || shape[2] % heads)
    return c.fail(Twine(heads) + " heads do not fit the last dimension", "E313");
  return c.b.transpose(c.b.reshape(x, {shape[0], shape[1], heads, shape[2] / heads}), {0, 2, 1, 3});
}

Value mergeHeads(B &b, Value x) {
  SmallVector<int64_t> shape(B::shapeOf(x));
  return b.reshape(b.transpose(x, {0, 2, 1, 3}), {shape[0], shape[2], shape[1] * shape[3]});
}

FailureOr<Value> buildAttention(NodeContext &c, AttentionParts parts) {
  ArrayRef<int64_t> q = B::shapeOf(parts.query), k = B::shapeOf(parts.key), v = B::shapeOf(parts.value);
  if (q.size() != 4 || k.size() != 4 || v.size() != 4 || q[0] != k[0] || k[0] != v[0] || q[3] != k[3] || k[1] != v[1] ||
      k[2] != v[2])
    return c.fail("query, key and value do not fit each other", "E313");
  if (k[1] == 0 || q[1] % k[1])
    return c.fail(Twine(k[1]) + " kv heads do not divide " + Twine(q[1]) + " query heads", "E313");
  Type element = B::elementOf(parts.query);
  if (!isa<FloatType>(element) || B::elementOf(parts.key) != element || B::elementOf(parts.value) != element)
    return c.fail("query, key and value differ in element type, or are not floating-point");
  int64_t full[4] = {q[0], q[1], q[2], k[2]};
  if (failed(c.needBudget(full, element)))
    return failure();
  if (Value mask = parts.mask) {
    Type maskElement = B::elementOf(mask);
    SmallVector<int64_t> shape(B::shapeOf(mask));
    if (shape.size() > 4 || shape.empty() || (!maskElement.isInteger(1) && !isa<FloatType>(maskElement)))
      return c.fail("the mask is not a boolean or float tensor of rank 1 to 4");
    shape.insert(shape.begin(), 4 - shape.size(), 1);
    mask = c.b.reshape(mask, shape);
    if (shape[3] != 1 && shape[3] < k[2]) { // keys past a short mask are not seen
      SmallVector<int64_t> rest(shape);
      rest[3] = k[2] - shape[3];
      double hidden = maskElement.isInteger(1) ? 0 : -INFINITY;
      mask = c.b.concat({mask, c.b.splat(B::withShape(mask, rest), hidden)}, 3);
      shape[3] = k[2];
    }
    for (int i = 0; i < 4; ++i)
      if (shape[i] != 1 && shape[i] != full[i])
        return c.fail("the mask does not broadcast to [batch, heads, queries, keys]", "E313");
    parts.mask = maskElement.isInteger(1) ? mask : c.b.castTo(mask, element);
  }
  if (parts.lengths && B::shapeOf(parts.lengths) != ArrayRef<int64_t>{q[0]})
    return c.fail("expected one length per batch row", "E313");
  OpBuilder &builder = c.b.getBuilder();
  double scale = parts.scale ? parts.scale : 1 / std::sqrt(static_cast<double>(q[3]));
  auto type = RankedTensorType::get({q[0], q[1], q[2], v[3]}, element);
  return c.b.create<AttentionOp>(type, parts.query, parts.key, parts.value, parts.mask, parts.lengths,
                                 builder.getF64FloatAttr(scale),
                                 parts.causalOffset ? builder.getI64IntegerAttr(*parts.causalOffset) : IntegerAttr(),
                                 builder.getF64FloatAttr(parts.softcap));
}

FailureOr<Value> buildRotary(NodeContext &c, Value x, Value cos, Value sin, bool interleaved) {
  ArrayRef<int64_t> shape = B::shapeOf(x), table = B::shapeOf(cos);
  Type element = B::elementOf(x);
  if (shape.size() != 4 || table.size() != 3 || B::typeOf(cos) != B::typeOf(sin) || !isa<FloatType>(element) ||
      !B::isFloat(cos) || (table[0] != 1 && table[0] != shape[0]) || table[1] != shape[2] || 2 * table[2] > shape[3])
    return c.fail("the cos and sin tables do not fit the input", "E313");
  return c.b.create<RotaryOp>(x, c.b.castTo(cos, element), c.b.castTo(sin, element),
                              interleaved ? c.b.getBuilder().getUnitAttr() : UnitAttr());
}

LogicalResult restrictMask(NodeContext &c, Value &mask, Value keep) {
  if (!mask) {
    mask = keep;
    return success();
  }
  int64_t keys = B::shapeOf(keep).back(), last = B::typeOf(mask).getRank() ? B::shapeOf(mask).back() : 0;
  if (last != 1 && last < keys) // a short mask hides what it does not reach; so does its end here
    keep = c.b.sliceDim(keep, 3, 0, last);
  if (failed(c.needBroadcast(mask, keep)))
    return failure();
  if (B::isFloat(mask)) {
    mask = c.b.select(keep, mask, c.b.splat(RankedTensorType::get({}, B::elementOf(mask)), -INFINITY));
  } else {
    c.b.broadcastPair(keep, mask);
    mask = c.b.create<arith::AndIOp>(keep, mask);
  }
  return success();
}

namespace {
/// Absolute position of each query, [1 or B, 1, S, 1]: behind the past, or at the end of an external cache of `lengths`
/// keys.
Value queryPositions(B &b, Value lengths, int64_t past, int64_t queries) {
  Type i64 = b.getBuilder().getI64Type();
  if (!lengths)
    return b.countFrom(past, queries, {1, 1, queries, 1}, i64);
  Value ends = b.reshape(b.castTo(lengths, i64), {B::shapeOf(lengths)[0], 1, 1, 1});
  return b.add(b.countFrom(-queries, queries, {1, 1, queries, 1}, i64), ends);
}

/// is_causal and the window attributes. A constant causal rule is the op's own attribute, all else a mask.
LogicalResult addPositionRules(NodeContext &c, AttentionParts &parts, int64_t past) {
  int64_t left = c.getInt("left_window_size", -1), right = c.getInt("right_window_size", -1);
  bool causal = c.getInt("is_causal", 0);
  if (causal && !parts.lengths)
    parts.causalOffset = past;
  if (left < 0 && right < 0 && (!causal || !parts.lengths))
    return success();
  int64_t keys = B::shapeOf(parts.key)[2];
  Value at = queryPositions(c.b, parts.lengths, past, B::shapeOf(parts.query)[2]);
  Value key = c.b.countFrom(0, keys, {1, 1, 1, keys}, c.b.getBuilder().getI64Type());
  auto atMost = [&](Value a, Value b) {
    return c.b.compare(arith::CmpFPredicate::OLE, arith::CmpIPredicate::sle, a, b);
  };
  if (causal && parts.lengths && failed(restrictMask(c, parts.mask, atMost(key, at))))
    return failure();
  if (left >= 0 && failed(restrictMask(c, parts.mask, atMost(c.b.addScalar(at, -static_cast<double>(left)), key))))
    return failure();
  return right >= 0 ? restrictMask(c, parts.mask, atMost(key, c.b.addScalar(at, static_cast<double>(right))))
                    : success();
}

LogicalResult attention(NodeContext &c) {
  if (failed(c.needInputs(3, 7)))
    return failure();
  if (c.has(4) != c.has(5) || (c.has(4) && c.has(6)))
    return c.fail("past_key, past_value and nonpad_kv_seqlen do not go together this way", "E313");
  AttentionParts parts;
  bool packed = c.rank(0) == 3;
  auto heads = [&](size_t index, const char *name) {
    return packed ? splitHeads(c, c.in(index), c.getInt(name, 0)) : FailureOr<Value>(c.in(index));
  };
  FailureOr<Value> query = heads(0, "q_num_heads"), key = heads(1, "kv_num_heads"), value = heads(2, "kv_num_heads");
  if (failed(query) || failed(key) || failed(value))
    return failure();
  if (B::typeOf(*query).getRank() != 4 || B::typeOf(*key).getRank() != 4 || B::typeOf(*value).getRank() != 4)
    return c.fail("expected query, key and value of rank 3 or 4", "E313");
  int64_t past = 0;
  if (c.has(4)) {
    auto fits = [&](size_t index, Value fresh) {
      ArrayRef<int64_t> a = c.shape(index), b = B::shapeOf(fresh);
      return a.size() == 4 && a[0] == b[0] && a[1] == b[1] && a[3] == b[3] &&
             B::elementOf(c.in(index)) == B::elementOf(fresh);
    };
    if (!fits(4, *key) || !fits(5, *value))
      return c.fail("past and new keys or values do not fit", "E313");
    past = c.shape(4)[2];
    key = c.b.concat({c.in(4), *key}, 2);
    value = c.b.concat({c.in(5), *value}, 2);
    c.markAppended(1, 4);
    c.markAppended(2, 5);
  }
  parts.query = *query, parts.key = *key, parts.value = *value, parts.mask = c.in(3);
  parts.scale = c.getFloat("scale", 0);
  parts.softcap = c.getFloat("softcap", 0);
  if (c.has(6)) {
    if (c.rank(6) != 1 || B::isFloat(c.in(6)))
      return c.fail("nonpad_kv_seqlen is not a vector of integers", "E313");
    parts.lengths = c.in(6);
  }
  if (failed(addPositionRules(c, parts, past)))
    return failure();
  if (failed(c.setOut(1, *key)) || failed(c.setOut(2, *value)))
    return failure();
  if (c.wants(3)) {
    FailureOr<PlainAttention> steps = buildPlainAttention(c, parts, Value());
    if (failed(steps))
      return failure();
    int64_t mode = c.getInt("qk_matmul_output_mode", 0);
    if (mode < 0 || mode > 3)
      return c.fail("qk_matmul_output_mode " + Twine(mode), "E313");
    Value shown[4] = {steps->scores, steps->capped, steps->biased, steps->weights};
    return success(succeeded(c.done(packed ? mergeHeads(c.b, steps->output) : steps->output)) &&
                   succeeded(c.setOut(3, c.b.castTo(shown[mode], B::elementOf(*query)))));
  }
  FailureOr<Value> result = buildAttention(c, parts);
  return failed(result) ? failure() : c.done(packed ? mergeHeads(c.b, *result) : *result);
}

/// RotaryEmbedding-23: (X, cos, sin, position_ids?). The com.microsoft one orders its inputs otherwise (Contrib.cpp).
LogicalResult rotary(NodeContext &c) {
  if (failed(c.needInputs(3, 4)))
    return failure();
  bool packed = c.rank(0) == 3;
  FailureOr<Value> x = packed ? splitHeads(c, c.in(0), c.getInt("num_heads", 0)) : FailureOr<Value>(c.in(0));
  if (failed(x))
    return failure();
  Value cos = c.in(1), sin = c.in(2);
  if (B::typeOf(cos) != B::typeOf(sin) || c.rank(1) < 1 || B::typeOf(*x).getRank() != 4)
    return c.fail("cos and sin differ or are single numbers, or the input has not rank 3 or 4", "E313");
  if (c.has(3)) {
    if (c.rank(1) != 2 || c.rank(3) != 2 || B::isFloat(c.in(3)))
      return c.fail("expected caches [positions, size] and position_ids [batch, sequence]", "E313");
    cos = c.b.create<GatherOp>(cos, c.in(3), 0);
    sin = c.b.create<GatherOp>(sin, c.in(3), 0);
  }
  int64_t turned = c.getInt("rotary_embedding_dim", 0);
  if (turned && 2 * B::shapeOf(cos).back() != turned)
    return c.fail("the caches do not have half of rotary_embedding_dim", "E313");
  FailureOr<Value> result = buildRotary(c, *x, cos, sin, c.getInt("interleaved", 0));
  if (failed(result))
    return failure();
  return c.done(packed ? mergeHeads(c.b, *result) : *result);
}
} // namespace

void addAttentionOps(OpTable &table) {
  table.add("Attention", attention);
  table.add("RotaryEmbedding", rotary);
}

} // namespace mlir::comm
