//===- QuantizedMatMul.cpp - products with matrices of few bits -----------===//
// com.microsoft MatMulNBits, and products with a DequantizeLinear of a weight (QuantizedProducts.cpp). The integers
// stay as the model stores them; what comm.quantized_matmul does not know (2 bits, odd blocks) is expanded.
//===----------------------------------------------------------------------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// Bytes [.., n] as numbers of `bits` bits [.., n * 8 / bits], lowest first, f32.
Value unpackBits(B &b, Value bytes, int64_t bits) {
  Type f32 = b.getBuilder().getF32Type(), before = b.unsignedElement;
  b.unsignedElement = B::elementOf(bytes);
  SmallVector<int64_t> shape(B::shapeOf(bytes)), column(shape);
  int64_t last = static_cast<int64_t>(shape.size()) - 1, parts = 8 / bits;
  column.push_back(1);
  SmallVector<Value> numbers;
  for (int64_t i = 0; i < parts; ++i) {
    Value x = bytes;
    if (i > 0)
      x = b.create<arith::ShRUIOp>(x, b.splatLike(x, static_cast<double>(i * bits)));
    if (i + 1 < parts)
      x = b.create<arith::AndIOp>(x, b.splatLike(x, static_cast<double>((1 << bits) - 1)));
    numbers.push_back(b.reshape(b.castTo(x, f32), column));
  }
  b.unsignedElement = before;
  shape[last] *= parts;
  return b.reshape(b.concat(numbers, last + 1), shape);
}

/// One MatMulNBits node: B is [N, blocks, bytes], scales [N, blocks], zero points packed likewise or floats.
struct FewBits {
  NodeContext &c;
  B &b;
  int64_t k = 0, n = 0, bits = 4, block = 0, blocks = 0;

  LogicalResult check() {
    if (failed(c.needInputs(3, 6)) || failed(c.needFloat(0)) || failed(c.needFloat(2)))
      return failure();
    k = c.getInt("K", 0), n = c.getInt("N", 0), bits = c.getInt("bits", 4), block = c.getInt("block_size", 0);
    if (c.getInt("weight_prepacked", 0))
      return c.fail("prepacked weights");
    if ((bits != 2 && bits != 4 && bits != 8) || k < 1 || k > INT32_MAX || n < 1 || block < 16 || block > 1 << 20)
      return c.fail(Twine(bits) + " bits in blocks of " + Twine(block));
    blocks = (k + block - 1) / block;
    if (c.shape(1) != ArrayRef<int64_t>{n, blocks, block * bits / 8} || !B::elementOf(c.in(1)).isInteger(8) ||
        B::typeOf(c.in(2)).getNumElements() != n * blocks || c.rank(0) < 1 || c.shape(0).back() != k)
      return c.fail("operands do not fit K, N and block_size", "E313");
    if (c.has(3) && !hasFloatZeros() &&
        (!B::elementOf(c.in(3)).isInteger(8) || B::typeOf(c.in(3)).getNumElements() != n * zeroBytes()))
      return c.fail("the zero points do not fit", "E313");
    if (c.has(5) && (c.shape(5) != ArrayRef<int64_t>{n} || failed(c.needSameElement(0, 5))))
      return c.fail("the bias is not a vector of N", "E313");
    if (c.has(4) && !isInOrder())
      return c.fail("g_idx, rows in another order than their blocks,");
    SmallVector<int64_t> shape(c.shape(0));
    shape.back() = n;
    return c.needBudget(shape, B::elementOf(c.in(0)));
  }
  bool hasFloatZeros() { return B::isFloat(c.in(3)) && B::typeOf(c.in(3)).getNumElements() == n * blocks; }
  int64_t zeroBytes() const { return (blocks * bits + 7) / 8; }
  /// Row i belongs to block i / block, as it does without g_idx.
  bool isInOrder() {
    std::optional<SmallVector<int64_t>> groups = B::getConstantInts(c.in(4));
    bool same = groups && static_cast<int64_t>(groups->size()) == k;
    for (int64_t i = 0; same && i < k; ++i)
      same = (*groups)[i] == i / block;
    return same;
  }

  Value raised() {
    Value weights = c.stored(1, c.shape(1)), scales = c.stored(2, {n, blocks}), zeros;
    if (c.has(3) && hasFloatZeros())
      zeros = b.castTo(c.stored(3, {n, blocks}), B::elementOf(scales));
    else if (c.has(3))
      zeros = c.stored(3, {n, zeroBytes()});
    return b.create<QuantizedMatmulOp>(c.in(0), weights, scales, zeros, static_cast<uint64_t>(bits),
                                       static_cast<uint64_t>(block), /*is_signed=*/false, /*k_major=*/false,
                                       /*int8=*/c.getInt("accuracy_level", 0) == 4);
  }

  FailureOr<Value> expanded() {
    Type f32 = b.getBuilder().getF32Type();
    if (failed(c.needBudget({n, blocks, block}, f32)))
      return failure();
    Value q = unpackBits(b, c.in(1), bits); // [n, blocks, block]
    Value zero = b.splat(RankedTensorType::get({}, f32), static_cast<double>(1 << (bits - 1)));
    if (c.has(3) && hasFloatZeros())
      zero = b.reshape(b.castTo(c.in(3), f32), {n, blocks, 1});
    else if (c.has(3))
      zero = b.reshape(b.sliceDim(unpackBits(b, b.reshape(c.in(3), {n, zeroBytes()}), bits), 1, 0, blocks),
                       {n, blocks, 1});
    Value weights = b.mul(b.sub(q, zero), b.reshape(b.castTo(c.in(2), f32), {n, blocks, 1}));
    weights = b.sliceDim(b.reshape(weights, {n, blocks * block}), 1, 0, k);
    SmallVector<int64_t> shape(c.shape(0));
    Value x = shape.size() == 1 ? b.reshape(c.in(0), {1, k}) : c.in(0);
    shape.back() = n;
    return b.reshape(b.matmul(x, b.castTo(weights, B::elementOf(x)), false, true), shape);
  }

  LogicalResult run() {
    if (failed(check()))
      return failure();
    FailureOr<Value> y = bits != 2 && block % 16 == 0 && block <= 1024 && !B::elementOf(c.in(0)).isF64()
                             ? FailureOr<Value>(raised())
                             : expanded();
    if (failed(y))
      return failure();
    return c.done(c.has(5) ? b.add(*y, c.in(5)) : *y);
  }
};
LogicalResult matMulNBits(NodeContext &c) { return FewBits{c, c.b}.run(); }

/// x, w, scale, zero point?, bias?: x times a dequantised weight. QuantizedProducts.cpp has checked all but x.
LogicalResult quantizedMatMul(NodeContext &c) {
  if (failed(c.needInputs(3, 5)) || failed(c.needFloat(0)) || failed(c.needSameElement(0, 2)))
    return failure();
  B &b = c.b;
  int64_t block = c.getInt("block", 0), bits = c.bitsOf(1) ? c.bitsOf(1) : 8;
  if (block < 1 || failed(c.needRank(1, 2)))
    return c.fail("expected a matrix in blocks", "E313");
  bool kMajor = c.getInt("k_major", 0);
  int64_t first = c.shape(1)[0], last = c.shape(1)[1], k = kMajor ? first : last, n = kMajor ? last : first;
  if (c.rank(0) < 1 || c.shape(0).back() != k)
    return c.fail("the operands do not fit each other", "E313");
  SmallVector<int64_t> packed = kMajor ? SmallVector<int64_t>{k / block, block, n * bits / 8}
                                       : SmallVector<int64_t>{n, k / block, block * bits / 8},
                       shared{1, 1}, result(c.shape(0));
  if (c.rank(2) == 2)
    shared.assign(c.shape(2).begin(), c.shape(2).end());
  else if (B::typeOf(c.in(2)).getNumElements() != 1)
    shared[kMajor ? 1 : 0] = n;
  result.back() = n;
  if (failed(c.needBudget(result, B::elementOf(c.in(0)))))
    return failure();
  Value zeros = c.has(3) ? c.stored(3, {shared[0], (shared[1] * bits + 7) / 8}) : Value();
  Value y =
      b.create<QuantizedMatmulOp>(c.in(0), c.stored(1, packed), c.stored(2, shared), zeros, static_cast<uint64_t>(bits),
                                  static_cast<uint64_t>(block), !c.isUnsigned(1), kMajor, /*int8=*/false);
  if (c.has(4)) {
    if (failed(c.needSameElement(0, 4)) || failed(c.needBroadcastTo(c.in(4), result)))
      return failure();
    y = b.add(y, c.in(4));
  }
  return c.done(y);
}
/// Rows of a table of bytes [V, K * bits / 8]: only those that are asked for are expanded.
LogicalResult gatherBlockQuantized(NodeContext &c) {
  if (failed(c.needInputs(3, 4)) || failed(c.needRank(0, 2)) || failed(c.needRank(2, 2)) || failed(c.needFloat(2)))
    return failure();
  B &b = c.b;
  int64_t bits = c.getInt("bits", 4), block = c.getInt("block_size", 128), rows = c.shape(0)[0];
  FailureOr<int64_t> axis = c.axis(c.getInt("gather_axis", 0), 2), along = c.axis(c.getInt("quantize_axis", 1), 2);
  if (failed(axis) || failed(along))
    return failure();
  if ((bits != 4 && bits != 8) || *axis != 0 || *along != 1 || c.bitsOf(0) || !c.isUnsigned(0) ||
      !B::elementOf(c.in(0)).isInteger(8))
    return c.fail("a table that is not rows of 4- or 8-bit integers in unsigned bytes");
  int64_t k = c.shape(0)[1] * 8 / bits, blocks = c.shape(2)[1];
  bool fits = block >= 16 && k % block == 0 && c.shape(2) == ArrayRef<int64_t>{rows, k / block};
  if (!fits || (c.has(3) && c.shape(3) != ArrayRef<int64_t>{rows, (blocks * bits + 7) / 8}))
    return c.fail("scales or zero points do not fit the blocks of the table", "E313");
  Type f32 = b.getBuilder().getF32Type();
  SmallVector<int64_t> shape(c.shape(1)), inBlocks(shape), perBlock(shape);
  shape.push_back(k);
  inBlocks.append({blocks, block});
  perBlock.append({blocks, 1});
  if (failed(c.needBudget(shape, f32)))
    return failure();
  auto rowsOf = [&](size_t index) {
    return b.create<GatherOp>(c.in(index), c.in(1), b.getBuilder().getI64IntegerAttr(0));
  };
  Value zero = b.splat(RankedTensorType::get({}, f32), static_cast<double>(1 << (bits - 1)));
  if (c.has(3)) {
    Value all = unpackBits(b, rowsOf(3), bits);
    zero = b.reshape(b.sliceDim(all, B::typeOf(all).getRank() - 1, 0, blocks), perBlock);
  }
  Value numbers = b.reshape(unpackBits(b, rowsOf(0), bits), inBlocks);
  Value y = b.mul(b.sub(numbers, zero), b.reshape(b.castTo(rowsOf(2), f32), perBlock));
  c.resultUnsigned = false;
  return c.done(b.castTo(b.reshape(y, shape), B::elementOf(c.in(2))));
}
} // namespace

void addQuantizedMatMulOps(OpTable &table) {
  table.addMs("MatMulNBits", matMulNBits);
  table.addMs("GatherBlockQuantized", gatherBlockQuantized);
  table.addOwn("QuantizedMatMul", quantizedMatMul);
}

} // namespace mlir::comm
