//===- ModelOpInference.cpp - result types of the model layer -------------===//
#include "comm/IR/CommOps.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::comm;

#define INFER_ARGS                                                                                                     \
  MLIRContext *context, std::optional<Location> loc, ValueRange operands, DictionaryAttr attributes,                   \
      OpaqueProperties properties, RegionRange regions, SmallVectorImpl<Type> &results
#define INFER_ADAPTOR(Op) Op::Adaptor adaptor(operands, attributes, properties, regions)

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

LogicalResult MatmulOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(MatmulOp);
  RankedTensorType lhs = typeOf(adaptor.getLhs()), rhs = typeOf(adaptor.getRhs());
  if (lhs.getRank() < 2 || rhs.getRank() < 2)
    return emitOptionalError(loc, "C1: expected operands of rank 2 or more, got ", lhs, " and ", rhs);
  auto matrix = [](RankedTensorType type, bool transposed) {
    int64_t rows = type.getDimSize(type.getRank() - 2), columns = type.getDimSize(type.getRank() - 1);
    return transposed ? std::pair(columns, rows) : std::pair(rows, columns);
  };
  auto [m, k] = matrix(lhs, adaptor.getTransposeLhs());
  auto [k2, n] = matrix(rhs, adaptor.getTransposeRhs());
  if (k != k2)
    return emitOptionalError(loc, "C2: inner sizes differ: ", k, " and ", k2, " in ", lhs, " and ", rhs);
  if (lhs.getElementType() != rhs.getElementType())
    return emitOptionalError(loc, "C4: element types differ: ", lhs, " and ", rhs);
  int64_t lhsBatch = lhs.getRank() - 2, rhsBatch = rhs.getRank() - 2, batch = std::max(lhsBatch, rhsBatch);
  SmallVector<int64_t> shape;
  for (int64_t i = 0; i < batch; ++i) {
    int64_t a = i < batch - lhsBatch ? 1 : lhs.getDimSize(i - (batch - lhsBatch));
    int64_t b = i < batch - rhsBatch ? 1 : rhs.getDimSize(i - (batch - rhsBatch));
    if (a != b && a != 1 && b != 1)
      return emitOptionalError(loc, "C3: batch sizes differ: ", a, " and ", b, " in ", lhs, " and ", rhs);
    shape.push_back(a == 1 ? b : a);
  }
  shape.append({m, n});
  results.push_back(RankedTensorType::get(shape, lhs.getElementType()));
  return success();
}

LogicalResult QuantizedMatmulOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(QuantizedMatmulOp);
  RankedTensorType input = typeOf(adaptor.getInput()), weights = typeOf(adaptor.getWeights()),
                   scales = typeOf(adaptor.getScales());
  // Getters of integer attributes are unsigned.
  auto bits = static_cast<int64_t>(adaptor.getBits()), block = static_cast<int64_t>(adaptor.getBlock());
  bool kMajor = adaptor.getKMajor();
  if ((bits != 4 && bits != 8) || block < 16 || block % 16 != 0 || block > 1024)
    return emitOptionalError(loc, "C1: expected 4 or 8 bits in blocks of a multiple of 16 up to 1024, got ", bits,
                             " in blocks of ", block);
  int64_t k = input.getRank() ? input.getShape().back() : 0, blocks = (k + block - 1) / block;
  if (k < 1 || weights.getRank() != 3 || !weights.getElementType().isInteger(8) ||
      weights.getDimSize(kMajor ? 0 : 1) != blocks ||
      weights.getDimSize(kMajor ? 1 : 2) != (kMajor ? block : block * bits / 8) || (kMajor && k % block != 0))
    return emitOptionalError(loc, "C2: weights ", weights, " do not hold the ", k, " rows of the product in blocks of ",
                             block);
  int64_t n = kMajor ? weights.getDimSize(2) * 8 / bits : weights.getDimSize(0);
  int64_t rows = kMajor ? blocks : n, columns = kMajor ? n : blocks;
  auto isOneOr = [](int64_t size, int64_t all) { return size == 1 || size == all; };
  if (scales.getRank() != 2 || !isOneOr(scales.getDimSize(0), rows) || !isOneOr(scales.getDimSize(1), columns))
    return emitOptionalError(loc, "C3: expected scales of [", rows, ", ", columns, "] or 1 in a dimension, got ",
                             scales);
  if (Value zeros = adaptor.getZeroPoints()) {
    RankedTensorType type = typeOf(zeros);
    bool floats = type == scales;
    auto packed = RankedTensorType::get({scales.getDimSize(0), (scales.getDimSize(1) * bits + 7) / 8},
                                        IntegerType::get(context, 8));
    if (!floats && type != packed)
      return emitOptionalError(loc, "C4: expected zero points ", packed, " or ", scales, ", got ", type);
  }
  SmallVector<int64_t> shape(input.getShape());
  shape.back() = n;
  results.push_back(RankedTensorType::get(shape, input.getElementType()));
  return success();
}

LogicalResult AttentionOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(AttentionOp);
  RankedTensorType q = typeOf(adaptor.getQuery()), k = typeOf(adaptor.getKey()), v = typeOf(adaptor.getValue());
  if (q.getRank() != 4 || k.getRank() != 4 || v.getRank() != 4)
    return emitOptionalError(loc, "C1: expected query, key and value of rank 4, got ", q, ", ", k, ", ", v);
  if (q.getDimSize(0) != k.getDimSize(0) || k.getDimSize(0) != v.getDimSize(0) || q.getDimSize(3) != k.getDimSize(3) ||
      k.getDimSize(1) != v.getDimSize(1) || k.getDimSize(2) != v.getDimSize(2))
    return emitOptionalError(loc, "C1: batch, head size, kv heads or kv length disagree: ", q, ", ", k, ", ", v);
  if (k.getDimSize(1) == 0 || q.getDimSize(1) % k.getDimSize(1) != 0)
    return emitOptionalError(loc, "C2: ", k.getDimSize(1), " kv heads do not divide ", q.getDimSize(1), " query heads");
  if (Value mask = adaptor.getMask()) {
    RankedTensorType type = typeOf(mask);
    int64_t full[4] = {q.getDimSize(0), q.getDimSize(1), q.getDimSize(2), k.getDimSize(2)};
    bool fits =
        type.getRank() == 4 && (type.getElementType().isInteger(1) || type.getElementType() == q.getElementType());
    for (int64_t i = 0; fits && i < 4; ++i)
      fits = type.getDimSize(i) == 1 || type.getDimSize(i) == full[i];
    if (!fits)
      return emitOptionalError(loc, "C3: mask ", type, " does not broadcast to [batch, heads, queries, keys] of ", q,
                               " and ", k);
  }
  if (Value lengths = adaptor.getLengths())
    if (typeOf(lengths).getRank() != 1 || typeOf(lengths).getDimSize(0) != q.getDimSize(0))
      return emitOptionalError(loc, "C4: expected one length per batch row, got ", typeOf(lengths));
  results.push_back(
      RankedTensorType::get({q.getDimSize(0), q.getDimSize(1), q.getDimSize(2), v.getDimSize(3)}, q.getElementType()));
  return success();
}

LogicalResult EmbeddingOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(EmbeddingOp);
  RankedTensorType table = typeOf(adaptor.getTable()), ids = typeOf(adaptor.getIds());
  if (table.getRank() != 2)
    return emitOptionalError(loc, "C1: expected a table of rank 2, got ", table);
  SmallVector<int64_t> shape(ids.getShape());
  shape.push_back(table.getDimSize(1));
  results.push_back(RankedTensorType::get(shape, table.getElementType()));
  return success();
}

LogicalResult GatherOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(GatherOp);
  RankedTensorType data = typeOf(adaptor.getData()), indices = typeOf(adaptor.getIndices());
  int64_t axis = adaptor.getAxis();
  if (axis < 0 || axis >= data.getRank())
    return emitOptionalError(loc, "C1: axis ", axis, " is outside ", data);
  SmallVector<int64_t> shape(data.getShape().take_front(axis));
  llvm::append_range(shape, indices.getShape());
  llvm::append_range(shape, data.getShape().drop_front(axis + 1));
  results.push_back(RankedTensorType::get(shape, data.getElementType()));
  return success();
}

LogicalResult GatherNDOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(GatherNDOp);
  RankedTensorType data = typeOf(adaptor.getData()), indices = typeOf(adaptor.getIndices());
  int64_t batch = adaptor.getBatchDims();
  if (batch < 0 || indices.getRank() < 1 || batch >= indices.getRank() || batch > data.getRank() ||
      indices.getShape().back() > data.getRank() - batch)
    return emitOptionalError(loc, "C1: indices ", indices, " with ", batch, " batch dimensions do not fit ", data);
  if (data.getShape().take_front(batch) != indices.getShape().take_front(batch))
    return emitOptionalError(loc, "C2: batch sizes of ", data, " and ", indices, " differ");
  SmallVector<int64_t> shape(indices.getShape().drop_back());
  llvm::append_range(shape, data.getShape().drop_front(batch + indices.getShape().back()));
  results.push_back(RankedTensorType::get(shape, data.getElementType()));
  return success();
}

LogicalResult GatherElementsOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(GatherElementsOp);
  RankedTensorType data = typeOf(adaptor.getData()), indices = typeOf(adaptor.getIndices());
  if (data.getRank() != indices.getRank() || adaptor.getAxis() < 0 ||
      adaptor.getAxis() >= static_cast<uint64_t>(data.getRank()))
    return emitOptionalError(loc, "C1: axis ", adaptor.getAxis(), " or rank of indices ", indices, " does not fit ",
                             data);
  for (int64_t dim = 0; dim < data.getRank(); ++dim)
    if (dim != static_cast<int64_t>(adaptor.getAxis()) && indices.getDimSize(dim) > data.getDimSize(dim))
      return emitOptionalError(loc, "C2: indices ", indices, " are larger than ", data, " in dimension ", dim);
  results.push_back(RankedTensorType::get(indices.getShape(), data.getElementType()));
  return success();
}

LogicalResult TopKOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(TopKOp);
  RankedTensorType input = typeOf(adaptor.getInput());
  int64_t k = adaptor.getK();
  if (input.getRank() < 1 || k < 0 || k > input.getShape().back())
    return emitOptionalError(loc, "C1: ", k, " elements cannot be taken of every row of ", input);
  SmallVector<int64_t> shape(input.getShape());
  shape.back() = k;
  results.push_back(RankedTensorType::get(shape, IntegerType::get(context, 64)));
  return success();
}

LogicalResult WindowsOp::inferReturnTypes(INFER_ARGS) {
  INFER_ADAPTOR(WindowsOp);
  RankedTensorType input = typeOf(adaptor.getInput());
  ArrayRef<int64_t> sizes = adaptor.getSizes(), strides = adaptor.getStrides(), dilations = adaptor.getDilations();
  auto positive = [](ArrayRef<int64_t> list) { return llvm::all_of(list, [](int64_t x) { return x > 0; }); };
  int64_t lead = input.getRank() - static_cast<int64_t>(sizes.size());
  if (lead < 0 || strides.size() != sizes.size() || dilations.size() != sizes.size() || !positive(sizes) ||
      !positive(strides) || !positive(dilations))
    return emitOptionalError(
        loc, "C1: expected one positive size, stride and dilation for each of the last dimensions of ", input);
  SmallVector<int64_t> shape(input.getShape().take_front(lead));
  llvm::append_range(shape, sizes);
  for (auto [i, size] : llvm::enumerate(sizes)) {
    int64_t extent, dim = input.getDimSize(lead + static_cast<int64_t>(i));
    if (__builtin_mul_overflow(size - 1, dilations[i], &extent) || extent >= dim)
      return emitOptionalError(loc, "C2: a window of ", size, " with dilation ", dilations[i], " does not fit into ",
                               dim);
    shape.push_back((dim - extent - 1) / strides[i] + 1);
  }
  results.push_back(RankedTensorType::get(shape, input.getElementType()));
  return success();
}
