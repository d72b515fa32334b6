//===- Encoder.cpp - com.microsoft operators of fused encoders ------------===//
#include "AttentionParts.h"
#include "OpTable.h"
#include <cmath>

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// ids, segment_ids?, words, positions, segments?, gamma, beta, mask?, position_ids? -> normed, lengths?, sum?
LogicalResult embedLayerNorm(NodeContext &c) {
  if (failed(c.needInputs(1, 9)) || !c.has(2) || !c.has(3) || !c.has(5) || !c.has(6) || failed(c.needRank(0, 2)) ||
      failed(c.needRank(2, 2)) || failed(c.needRank(3, 2)) || failed(c.needFloat(2)))
    return c.fail("expected ids [batch, sequence] and the tables of words and positions", "E313");
  if (c.has(1) != c.has(4))
    return c.fail("segment ids and their table go together", "E313");
  B &b = c.b;
  int64_t batch = c.shape(0)[0], length = c.shape(0)[1], hidden = c.shape(2)[1];
  for (size_t table : {3, 4})
    if (c.has(table) && (c.rank(table) != 2 || c.shape(table)[1] != hidden || failed(c.needSameElement(2, table))))
      return c.fail("the tables differ in width", "E313");
  for (size_t vector : {5, 6})
    if (c.shape(vector) != ArrayRef<int64_t>{hidden} || failed(c.needSameElement(2, vector)))
      return c.fail("gamma or beta does not fit the tables", "E313");
  auto look = [&](size_t table, Value ids) { return b.create<GatherOp>(c.in(table), ids, 0); };
  Value words = c.in(2).getDefiningOp<WeightOp>() ? b.create<EmbeddingOp>(c.in(2), c.in(0), IntegerAttr(), ArrayAttr())
                                                  : look(2, c.in(0));
  Value positions;
  if (c.has(8)) {
    positions = look(3, c.in(8));
  } else {
    if (length > c.shape(3)[0])
      return c.fail(Twine(length) + " tokens, the table has " + Twine(c.shape(3)[0]) + " positions", "E313");
    positions = b.reshape(b.sliceDim(c.in(3), 0, 0, length), {1, length, hidden});
  }
  Value sum = b.add(words, positions);
  if (c.has(1))
    sum = b.add(sum, look(4, c.in(1)));
  Value y = b.create<LayerNormOp>(sum, c.in(5), c.in(6), b.getBuilder().getF64FloatAttr(c.getFloat("epsilon", 1e-12f)));
  if (failed(c.done(y)) || failed(c.setOut(2, sum)))
    return failure();
  if (!c.wants(1))
    return success();
  Type i32 = b.getBuilder().getI32Type();
  if (!c.has(7))
    return c.setOut(1, b.splat(RankedTensorType::get({batch}, i32), 0));
  if (c.shape(7) != c.shape(0) || B::isFloat(c.in(7)))
    return c.fail("the mask does not have the shape of the ids", "E313");
  return c.setOut(1, b.reduce(Reduction::Sum, b.castTo(c.in(7), i32), {1}, false));
}

/// input, weights, bias?, mask?, past?, attention_bias? -> output, present?
LogicalResult packedAttention(NodeContext &c) {
  if (failed(c.needInputs(2, 7)) || failed(c.needRank(0, 3)) || failed(c.needRank(1, 2)) || failed(c.needFloat(0)) ||
      failed(c.needSameElement(0, 1)))
    return failure();
  if (c.getInt("do_rotary", 0) || c.getInt("past_present_share_buffer", 0) || c.has(6))
    return c.fail("do_rotary and shared cache buffers");
  B &b = c.b;
  int64_t batch = c.shape(0)[0], length = c.shape(0)[1], width = c.shape(1)[1], heads = c.getInt("num_heads", 0);
  SmallVector<int64_t> sizes = c.getInts("qkv_hidden_sizes");
  if (sizes.empty())
    sizes.assign(3, width / 3);
  if (sizes.size() != 3 || llvm::any_of(sizes, [&](int64_t x) { return x < 1 || x > width; }) ||
      sizes[0] + sizes[1] + sizes[2] != width || sizes[0] != sizes[1] || c.shape(1)[0] != c.shape(0)[2])
    return c.fail("the packed weights do not fit", "E313");
  if (c.has(2) && (c.shape(2) != ArrayRef<int64_t>{width} || failed(c.needSameElement(0, 2))))
    return c.fail("the bias does not fit the packed weights", "E313");
  Value packed = b.matmul(c.in(0), c.in(1));
  if (c.has(2))
    packed = b.add(packed, c.in(2));
  auto part = [&](int64_t start, int64_t size) { return splitHeads(c, b.sliceDim(packed, 2, start, size), heads); };
  FailureOr<Value> q = part(0, sizes[0]), k = part(sizes[0], sizes[1]), v = part(2 * sizes[0], sizes[2]);
  if (failed(q) || failed(k) || failed(v))
    return failure();
  int64_t past = 0;
  if (c.has(4)) {
    ArrayRef<int64_t> shape = c.shape(4);
    if (shape.size() != 5 || shape[0] != 2 || shape[1] != batch || shape[2] != heads || shape[4] != B::shapeOf(*k)[3] ||
        B::shapeOf(*v)[3] != shape[4] || failed(c.needSameElement(0, 4)))
      return c.fail("past does not fit the new keys and values", "E313");
    past = shape[3];
    SmallVector<int64_t> one(shape.drop_front());
    k = b.concat({b.reshape(b.sliceDim(c.in(4), 0, 0, 1), one), *k}, 2);
    v = b.concat({b.reshape(b.sliceDim(c.in(4), 0, 1, 1), one), *v}, 2);
  }
  AttentionParts parts;
  parts.query = *q, parts.key = *k, parts.value = *v;
  parts.mask = c.in(5);
  parts.scale = c.getFloat("scale", 0);
  if (c.getInt("unidirectional", 0))
    parts.causalOffset = past;
  int64_t total = past + length;
  if (c.has(3)) {
    ArrayRef<int64_t> mask = c.shape(3);
    Value keep = b.castTo(c.in(3), b.getBuilder().getI1Type());
    if (mask == ArrayRef<int64_t>{batch})
      parts.lengths = b.castTo(c.in(3), b.getBuilder().getI64Type()); // right padding
    else if (mask == ArrayRef<int64_t>{batch, total} &&
             succeeded(restrictMask(c, parts.mask, b.reshape(keep, {batch, 1, 1, total}))))
      ;
    else if (mask == ArrayRef<int64_t>{batch, length, total} &&
             succeeded(restrictMask(c, parts.mask, b.reshape(keep, {batch, 1, length, total}))))
      ;
    else
      return c.fail("this form of mask_index");
  }
  FailureOr<Value> result = buildAttention(c, parts);
  if (failed(result) || failed(c.done(mergeHeads(b, *result))))
    return failure();
  if (!c.wants(1))
    return success();
  SmallVector<int64_t> one(B::shapeOf(*k));
  one.insert(one.begin(), 1);
  if (B::shapeOf(*k) != B::shapeOf(*v))
    return c.fail("present of keys and values of different sizes");
  return c.setOut(1, b.concat({b.reshape(*k, one), b.reshape(*v, one)}, 0));
}
} // namespace

void addEncoderOps(OpTable &table) {
  table.addMs("EmbedLayerNormalization", embedLayerNorm);
  table.addMs("Attention", packedAttention);
}

} // namespace mlir::comm
