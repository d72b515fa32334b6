//===- Contrib.cpp - com.microsoft attention, rotary and activations ------===//
#include "AttentionParts.h"
#include "OpTable.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;
using FP = arith::CmpFPredicate;
using IP = arith::CmpIPredicate;

/// (input, position_ids, cos, sin); position_ids is [B, S], or one number from which the positions count.
LogicalResult rotary(NodeContext &c) {
  if (failed(c.needInputs(4, 4)))
    return failure();
  if (c.getInt("is_packed_batching", 0) || c.getFloat("scale", 1) != 1)
    return c.fail("is_packed_batching and scale");
  if (c.rank(2) != 2 || B::typeOf(c.in(2)) != B::typeOf(c.in(3)) || B::isFloat(c.in(1)))
    return c.fail("expected caches [positions, size] and integer position_ids", "E313");
  bool packed = c.rank(0) == 3;
  int64_t heads = c.getInt("num_heads", 0), half = c.shape(2)[1];
  if (packed && !heads)
    heads = c.getInt("rotary_embedding_dim", 0) ? 0 : c.shape(0)[2] / std::max<int64_t>(1, 2 * half);
  FailureOr<Value> x = packed ? splitHeads(c, c.in(0), heads) : FailureOr<Value>(c.in(0));
  if (failed(x))
    return failure();
  Value positions = c.in(1);
  if (B::typeOf(positions).getNumElements() == 1 && B::typeOf(*x).getRank() == 4) {
    int64_t length = B::shapeOf(*x)[2];
    positions = c.b.add(c.b.reshape(positions, {1, 1}), c.b.countFrom(0, length, {1, length}, B::elementOf(positions)));
  }
  if (B::typeOf(positions).getRank() != 2)
    return c.fail("position_ids have neither one element nor rank 2", "E313");
  FailureOr<Value> result = buildRotary(c, *x, c.b.create<GatherOp>(c.in(2), positions, 0),
                                        c.b.create<GatherOp>(c.in(3), positions, 0), c.getInt("interleaved", 0));
  return failed(result) ? failure() : c.done(packed ? mergeHeads(c.b, *result) : *result);
}

/// One GroupQueryAttention node: its parts, step by step.
struct GroupQuery {
  NodeContext &c;
  B &b;
  int64_t queryHeads = 0, kvHeads = 0, batch = 0, length = 0, size = 0, past = 0, total = 0;
  bool shared = false;                          ///< present has the room of past, new tokens take slots of it
  bool uniform = true;                          ///< all rows have a past without padding: positions are known now
  Value query, key, value, rowLengths, rowPast; // rowLengths, rowPast: i64 [B]

  LogicalResult check() {
    queryHeads = c.getInt("num_heads", 0);
    kvHeads = c.getInt("kv_num_heads", 0);
    if (failed(c.needInputs(1, 16)) || !c.has(5) || !c.has(6))
      return c.fail("inputs query, seqlens_k and total_sequence_length are required", "E313");
    if (failed(c.needRank(0, 3)) || queryHeads <= 0 || queryHeads > INT32_MAX || kvHeads <= 0 || queryHeads % kvHeads)
      return c.fail("num_heads and kv_num_heads do not fit", "E313");
    if (c.has(1) != c.has(2) || c.has(3) != c.has(4) || c.has(14) != c.has(15))
      return c.fail("key and value, past_key and past_value, q_norm and k_norm go in pairs", "E313");
    const char *refused[] = {"smooth_softmax", "qk_output", "sliding_window_cache", "kv_cache_bit_width"};
    for (const char *name : refused)
      if (c.getInt(name, 0) > 0)
        return c.fail("attribute " + Twine(name));
    if (c.has(12) || c.has(13) || c.wants(3))
      return c.fail("quantised caches and output_qk");
    if (c.has(11) && (c.shape(11) != ArrayRef<int64_t>{queryHeads} || !B::isFloat(c.in(11))))
      return c.fail("head_sink has not one number per query head", "E313");
    batch = c.shape(0)[0];
    length = c.shape(0)[1];
    if (B::typeOf(c.in(5)).getNumElements() != batch || B::isFloat(c.in(5)))
      return c.fail("seqlens_k has not one integer per batch row", "E313");
    return success();
  }

  LogicalResult split() {
    int64_t heads = c.has(1) ? queryHeads : queryHeads + 2 * kvHeads, width = c.shape(0)[2];
    if (width % heads)
      return c.fail(Twine(heads) + " heads do not fit the last dimension", "E313");
    size = width / heads;
    Value q = c.in(0), k = c.in(1), v = c.in(2);
    if (!c.has(1)) {
      q = b.sliceDim(c.in(0), 2, 0, queryHeads * size);
      k = b.sliceDim(c.in(0), 2, queryHeads * size, kvHeads * size);
      v = b.sliceDim(c.in(0), 2, (queryHeads + kvHeads) * size, kvHeads * size);
    }
    FailureOr<Value> splitQ = splitHeads(c, q, queryHeads), splitK = splitHeads(c, k, kvHeads),
                     splitV = splitHeads(c, v, kvHeads);
    if (failed(splitQ) || failed(splitK) || failed(splitV))
      return failure();
    query = *splitQ, key = *splitK, value = *splitV;
    if (B::shapeOf(key) != ArrayRef<int64_t>{batch, kvHeads, length, size} || B::shapeOf(value) != B::shapeOf(key))
      return c.fail("key or value do not fit the query", "E313");
    if (c.has(14)) {
      if (c.shape(14) != ArrayRef<int64_t>{size} || c.shape(15) != ArrayRef<int64_t>{size})
        return c.fail("q_norm_weight and k_norm_weight have not one number per head element", "E313");
      FloatAttr epsilon = b.getBuilder().getF64FloatAttr(c.getFloat("qk_norm_epsilon", 1e-6f));
      query = b.create<RMSNormOp>(query, b.castTo(c.in(14), B::elementOf(query)), epsilon);
      key = b.create<RMSNormOp>(key, b.castTo(c.in(15), B::elementOf(key)), epsilon);
    }
    return success();
  }

  /// A prompt has no past. Otherwise row b has seqlens_k[b] + 1 - S tokens before this call, the rest of its past is
  /// padding; only constant lengths tell now that there is none.
  LogicalResult lengths() {
    Type i64 = b.getBuilder().getI64Type();
    if (c.has(3)) {
      ArrayRef<int64_t> shape = c.shape(3);
      if (shape.size() != 4 || shape[0] != batch || shape[1] != kvHeads || shape[3] != size || c.shape(4) != shape ||
          B::elementOf(c.in(3)) != B::elementOf(key) || B::elementOf(c.in(4)) != B::elementOf(key))
        return c.fail("past_key or past_value do not fit the new keys", "E313");
      past = shape[2];
    }
    total = past + length;
    if (std::optional<double> given = B::getSplat(c.in(6)); given && *given != static_cast<double>(total)) {
      FailureOr<int64_t> whole = c.constantInt(6, "total_sequence_length");
      if (failed(whole))
        return failure();
      shared = *given == static_cast<double>(past) && length <= past;
      if (!shared)
        return c.fail("total_sequence_length is " + std::to_string(*whole) + ", past and new tokens are " +
                      std::to_string(total) + ", and a buffer that past and present share has " + std::to_string(past));
      total = past;
    }
    rowLengths = b.addScalar(b.castTo(b.reshape(c.in(5), {batch}), i64), 1);
    std::optional<double> last = B::getSplat(c.in(5));
    uniform = past == 0 || (!shared && last && *last == static_cast<double>(total - 1));
    if (!uniform && length != 1 && batch != 1)
      return c.fail("several new tokens on a past need a batch of one", "E313");
    rowPast = b.addScalar(rowLengths, -static_cast<double>(length));
    return success();
  }

  /// Positions of the new tokens, [1 or B, S].
  Value positions() {
    Type i64 = b.getBuilder().getI64Type();
    if (c.has(9))
      return c.in(9);
    if (uniform)
      return b.countFrom(past, length, {1, length}, i64);
    return b.add(b.reshape(rowPast, {batch, 1}), b.countFrom(0, length, {1, length}, i64));
  }

  LogicalResult turn() {
    if (!c.getInt("do_rotary", 0))
      return success();
    if (!c.has(7) || !c.has(8) || c.rank(7) != 2 || c.shape(7) != c.shape(8))
      return c.fail("do_rotary needs cos_cache and sin_cache [positions, size]", "E313");
    Value where = positions();
    if (B::typeOf(where).getRank() != 2)
      return c.fail("position_ids have not rank 2", "E313");
    if (total > c.shape(7)[0])
      return c.fail("the rotary caches have " + Twine(c.shape(7)[0]) + " positions, " + Twine(total) + " are needed",
                    "E313");
    auto rows = [&](Value cache) -> Value {
      if (!c.has(9) && uniform)
        return b.reshape(b.sliceDim(cache, 0, past, length), {1, length, B::shapeOf(cache)[1]});
      return b.create<GatherOp>(cache, where, 0);
    };
    Value cos = rows(c.in(7)), sin = rows(c.in(8));
    bool interleaved = c.getInt("rotary_interleaved", 0);
    FailureOr<Value> q = buildRotary(c, query, cos, sin, interleaved), k = buildRotary(c, key, cos, sin, interleaved);
    if (failed(q) || failed(k))
      return failure();
    query = *q, key = *k;
    return success();
  }

  /// past then new; where a past may be padded, the new tokens stand right behind the row's own past. In a shared
  /// buffer what was behind them stays.
  Value append(size_t input, Value fresh) {
    if (past == 0)
      return fresh;
    if (shared && length == 1) { // one pass over the buffer
      ArrayRef<int64_t> room = B::shapeOf(c.in(input));
      Value at = b.countFrom(0, total, {1, 1, total, 1}, b.getBuilder().getI64Type());
      Value here = b.compare(FP::OEQ, IP::eq, at, b.reshape(rowPast, {batch, 1, 1, 1}));
      return b.select(b.broadcastTo(here, room), b.broadcastTo(fresh, room), c.in(input));
    }
    Value both = b.concat({c.in(input), fresh}, 2);
    if (uniform)
      return both;
    Type i64 = b.getBuilder().getI64Type();
    Value at = b.countFrom(0, total, {1, total}, i64), own = b.reshape(rowPast, {batch, 1});
    Value behind = b.min(b.add(b.sub(at, own), b.splat(RankedTensorType::get({}, i64), static_cast<double>(past))),
                         b.splat(RankedTensorType::get({}, i64), static_cast<double>(past + length - 1)));
    Value index = b.select(b.compare(FP::OLT, IP::slt, at, own), at, behind); // [B, T]
    if (shared)
      index = b.select(b.compare(FP::OLT, IP::slt, at, b.addScalar(own, static_cast<double>(length))), index, at);
    if (batch == 1)
      return b.create<GatherOp>(both, b.reshape(index, {total}), 2);
    Value full = b.broadcastTo(b.reshape(index, {batch, 1, total, 1}), B::shapeOf(both));
    return b.create<GatherElementsOp>(both, full, 2);
  }

  /// The causal rule and the window. Positions known now make the causal rule the op's own attribute, all else a mask.
  LogicalResult restrict(AttentionParts &parts) {
    bool causal = c.getInt("causal", 1);
    int64_t window = c.getInt("local_window_size", -1);
    if (causal)
      parts.causalOffset = past; // an upper bound where the past may be padded
    Type i64 = b.getBuilder().getI64Type();
    Value offsets = b.countFrom(0, length, {1, 1, length, 1}, i64), at = b.countFrom(0, total, {1, 1, 1, total}, i64);
    // Position of each query, [1 or B, 1, S, 1].
    Value own = uniform ? b.addScalar(offsets, static_cast<double>(past))
                        : b.add(b.reshape(rowPast, {batch, 1, 1, 1}), offsets);
    if (causal && !uniform && length > 1 && failed(restrictMask(c, parts.mask, b.compare(FP::OGE, IP::sge, own, at))))
      return failure();
    if (window < 0)
      return success();
    return restrictMask(c, parts.mask,
                        b.compare(FP::OGE, IP::sge, at, b.addScalar(own, 1.0 - static_cast<double>(window))));
  }

  LogicalResult run() {
    if (failed(check()) || failed(split()) || failed(lengths()) || failed(turn()))
      return failure();
    AttentionParts parts;
    parts.query = query;
    parts.key = append(3, key);
    parts.value = append(4, value);
    parts.scale = c.getFloat("scale", 0);
    parts.softcap = c.getFloat("softcap", 0);
    parts.mask = c.in(10);
    if (batch > 1 || !uniform)
      parts.lengths = rowLengths; // right padding, and the room behind shorter rows
    if (failed(restrict(parts)))
      return failure();
    FailureOr<Value> result = failure();
    if (c.has(11)) {
      FailureOr<PlainAttention> steps = buildPlainAttention(c, parts, c.in(11));
      if (succeeded(steps))
        result = steps->output;
    } else {
      result = buildAttention(c, parts);
    }
    if (failed(result) || failed(c.done(mergeHeads(b, *result))))
      return failure();
    c.markAppended(1, 3);
    c.markAppended(2, 4);
    return success(succeeded(c.setOut(1, parts.key)) && succeeded(c.setOut(2, parts.value)));
  }
};
LogicalResult groupQueryAttention(NodeContext &c) { return GroupQuery{c, c.b}.run(); }

/// query, key, value [B, S, heads*size]; packed and cross-attention layouts with rank 4 or 5 are refused.
LogicalResult multiHeadAttention(NodeContext &c) {
  if (failed(c.needInputs(3, 8)) || failed(c.needRank(0, 3)) || failed(c.needRank(1, 3)) || failed(c.needRank(2, 3)))
    return failure();
  if (c.wants(3) || c.has(6) != c.has(7))
    return c.fail("output qk, or only one of past_key and past_value");
  int64_t heads = c.getInt("num_heads", 0);
  Value q = c.in(0), k = c.in(1), v = c.in(2);
  if (c.has(3)) {
    int64_t width = c.shape(0)[2], valueWidth = c.shape(2)[2];
    if (c.rank(3) != 1 || c.shape(3)[0] != 2 * width + valueWidth || failed(c.needSameElement(0, 3)))
      return c.fail("the bias does not fit", "E313");
    auto addPart = [&](Value x, int64_t start, int64_t size) {
      return c.b.add(x, c.b.sliceDim(c.in(3), 0, start, size));
    };
    q = addPart(q, 0, width), k = addPart(k, width, width), v = addPart(v, 2 * width, valueWidth);
  }
  FailureOr<Value> query = splitHeads(c, q, heads), key = splitHeads(c, k, heads), value = splitHeads(c, v, heads);
  if (failed(query) || failed(key) || failed(value))
    return failure();
  AttentionParts parts;
  int64_t past = 0;
  if (c.has(6)) {
    for (size_t i = 6; i < 8; ++i) {
      Value fresh = i == 6 ? *key : *value;
      if (c.rank(i) != 4 || c.shape(i)[0] != B::shapeOf(fresh)[0] || c.shape(i)[1] != heads ||
          c.shape(i)[3] != B::shapeOf(fresh)[3] || B::elementOf(c.in(i)) != B::elementOf(fresh))
        return c.fail("past and new keys or values do not fit", "E313");
    }
    past = c.shape(6)[2];
    key = c.b.concat({c.in(6), *key}, 2);
    value = c.b.concat({c.in(7), *value}, 2);
    c.markAppended(1, 6);
    c.markAppended(2, 7);
  }
  parts.query = *query, parts.key = *key, parts.value = *value;
  parts.mask = c.in(5);
  parts.scale = c.getFloat("scale", 0);
  if (c.getInt("unidirectional", 0))
    parts.causalOffset = past;
  if (c.has(4)) { // key_padding_mask: lengths [B], or 0/1 [B, T]
    if (c.rank(4) == 1 && c.shape(4)[0] == B::shapeOf(*query)[0]) {
      parts.lengths = c.in(4);
    } else if (c.rank(4) == 2 && !parts.mask) {
      Value keep = c.b.castTo(c.in(4), c.b.getBuilder().getI1Type());
      parts.mask = c.b.reshape(keep, {c.shape(4)[0], 1, 1, c.shape(4)[1]});
    } else {
      return c.fail("this form of key_padding_mask");
    }
  }
  FailureOr<Value> result = buildAttention(c, parts);
  if (failed(result) || failed(c.done(mergeHeads(c.b, *result))))
    return failure();
  return success(succeeded(c.setOut(1, *key)) && succeeded(c.setOut(2, *value)));
}

LogicalResult biasGelu(NodeContext &c, GeluKind kind, size_t required) {
  if (failed(c.needInputs(required, 2)) || failed(c.needFloat(0)) || (c.has(1) && failed(c.needSameElement(0, 1))))
    return failure();
  Value x = c.in(0);
  if (c.has(1)) {
    if (failed(c.needBroadcastTo(c.in(1), c.shape(0))))
      return failure();
    x = c.b.add(x, c.in(1));
  }
  return c.done(c.b.create<GeluOp>(kind, x));
}
LogicalResult biasGeluErf(NodeContext &c) { return biasGelu(c, GeluKind::Erf, 2); }
LogicalResult fastGelu(NodeContext &c) { return biasGelu(c, GeluKind::Tanh, 1); }
LogicalResult msGelu(NodeContext &c) { return biasGelu(c, GeluKind::Erf, 1); }
LogicalResult quickGelu(NodeContext &c) {
  if (failed(c.needInputs(1, 1)) || failed(c.needFloat(0)))
    return failure();
  double alpha = c.getFloat("alpha", 1.702f);
  return c.done(alpha == 1 ? c.b.create<SiluOp>(c.in(0))
                           : c.b.mul(c.in(0), c.b.sigmoid(c.b.mulScalar(c.in(0), alpha))));
}
} // namespace

void addContribOps(OpTable &table) {
  table.addMs("RotaryEmbedding", rotary);
  table.addMs("GroupQueryAttention", groupQueryAttention);
  table.addMs("MultiHeadAttention", multiHeadAttention);
  table.addMs("BiasGelu", biasGeluErf);
  table.addMs("FastGelu", fastGelu);
  table.addMs("Gelu", msGelu);
  table.addMs("QuickGelu", quickGelu);
}

} // namespace mlir::comm
