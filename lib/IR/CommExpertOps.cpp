//===- CommExpertOps.cpp - types, rule and cost of expert_matmul ----------===//
#include "comm/IR/CommExpertOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace mlir::comm;

#define GET_OP_CLASSES
#include "comm/IR/CommExpertOps.cpp.inc"

LogicalResult ExpertMatmulOp::inferReturnTypes(MLIRContext *, std::optional<Location> loc, ValueRange operands,
                                               DictionaryAttr attributes, OpaqueProperties properties,
                                               RegionRange regions, SmallVectorImpl<Type> &results) {
  Adaptor adaptor(operands, attributes, properties, regions);
  auto typeOf = [](Value value) { return cast<RankedTensorType>(value.getType()); };
  RankedTensorType input = typeOf(adaptor.getInput()), ids = typeOf(adaptor.getIds()),
                   weights = typeOf(adaptor.getWeights());
  ArrayRef<int64_t> rows = ids.getShape();
  bool fits = !rows.empty() && (input.getRank() == ids.getRank() + 1 || input.getRank() == ids.getRank());
  if (!fits || input.getShape().drop_back() != rows.take_front(input.getRank() - 1))
    return emitOptionalError(loc, "C1: rows ", input, " do not fit ids ", ids);
  bool transposed = adaptor.getTranspose();
  if (weights.getRank() != 3 || weights.getDimSize(transposed ? 2 : 1) != input.getShape().back() ||
      weights.getElementType() != input.getElementType())
    return emitOptionalError(loc, "C2: weights ", weights, " do not fit rows ", input);
  SmallVector<int64_t> shape(rows);
  shape.push_back(weights.getDimSize(transposed ? 1 : 2));
  results.push_back(RankedTensorType::get(shape, input.getElementType()));
  return success();
}

LogicalResult ExpertMatmulOp::verify() {
  if (getExperts().has_value() != getExpertAxes().has_value())
    return emitOpError("C3: experts and expert_axes come together");
  if (getExperts() && static_cast<int64_t>(*getExperts()) <= 0)
    return emitOpError("C3: experts must be positive, got ") << static_cast<int64_t>(*getExperts());
  return success();
}

int64_t ExpertMatmulOp::getFlops() { return 2 * getType().getNumElements() * getInput().getType().getShape().back(); }
int64_t ExpertMatmulOp::getBytes() {
  int64_t experts = getWeights().getType().getDimSize(0), rows = getIds().getType().getNumElements();
  int64_t each = experts ? getTensorBytes(getWeights().getType()) / experts : 0;
  return getTensorBytes(getInput().getType()) + getTensorBytes(getIds().getType()) + getTensorBytes(getType()) +
         each * std::min(experts, rows);
}

/// An expert that is held elsewhere gives zeros: the experts are summed over, as k is.
ShardingRule ExpertMatmulOp::getShardingRule() {
  ShardingRule rule;
  auto add = [&](int64_t size, FactorKind kind) {
    rule.factors.push_back({size, kind});
    return DimFactors{static_cast<unsigned>(rule.factors.size() - 1)};
  };
  RankedTensorType input = getInput().getType();
  DimFactors expert = add(getWeights().getType().getDimSize(0), FactorKind::Reduction);
  SmallVector<DimFactors> ids;
  for (int64_t size : getIds().getType().getShape())
    ids.push_back(add(size, FactorKind::Parallel));
  DimFactors k = add(input.getShape().back(), FactorKind::Reduction);
  DimFactors n = add(getType().getShape().back(), FactorKind::Parallel);
  SmallVector<DimFactors> rows(ids.begin(), ids.begin() + (input.getRank() - 1)), out = ids;
  rows.push_back(k);
  out.push_back(n);
  bool t = getTranspose();
  rule.operands = {rows, ids, {expert, t ? n : k, t ? k : n}};
  rule.results = {out};
  rule.linearIn = {true, false, true};
  rule.linearInAny = true;
  return rule;
}
