//===- OpCosts.cpp - FLOPs and bytes of the model ops ---------------------===//
#include "comm/IR/CommOps.h"

using namespace mlir;
using namespace mlir::comm;

int64_t comm::detail::elementwiseFlops(Operation *op) {
  int64_t total = 0;
  for (Type type : op->getResultTypes())
    if (auto tensor = dyn_cast<RankedTensorType>(type))
      total += tensor.hasStaticShape() ? tensor.getNumElements() : 0;
  return total;
}
int64_t comm::detail::operandAndResultBytes(Operation *op) {
  int64_t total = 0;
  for (Type type : op->getOperandTypes())
    total += getTensorBytes(type);
  for (Type type : op->getResultTypes())
    total += getTensorBytes(type);
  return total;
}

int64_t MatmulOp::getFlops() {
  auto lhs = getLhs().getType();
  int64_t k = lhs.getDimSize(lhs.getRank() - (getTransposeLhs() ? 2 : 1));
  return 2 * getType().getNumElements() * k;
}
int64_t QuantizedMatmulOp::getFlops() {
  return 2 * getType().getNumElements() * getInput().getType().getShape().back();
}
int64_t AttentionOp::getFlops() {
  auto q = getQuery().getType(), k = getKey().getType(), v = getValue().getType();
  int64_t scores = q.getDimSize(0) * q.getDimSize(1) * q.getDimSize(2) * k.getDimSize(2);
  return scores * (2 * q.getDimSize(3) + 2 * v.getDimSize(3) + 5);
}
int64_t RMSNormOp::getFlops() { return 4 * getType().getNumElements(); }
int64_t LayerNormOp::getFlops() { return 7 * getType().getNumElements(); }
int64_t SoftmaxOp::getFlops() { return 5 * getType().getNumElements(); }
int64_t RotaryOp::getFlops() { return 6 * getType().getNumElements(); }
int64_t GeluOp::getFlops() { return 10 * getType().getNumElements(); }
int64_t SiluOp::getFlops() { return 5 * getType().getNumElements(); }

// Data movement: what is read is what is written, plus the indices.
static int64_t gatherBytes(Value indices, Value result) {
  return getTensorBytes(indices.getType()) + 2 * getTensorBytes(result.getType());
}
int64_t EmbeddingOp::getFlops() { return 0; }
int64_t EmbeddingOp::getBytes() { return gatherBytes(getIds(), getResult()); }
int64_t GatherOp::getFlops() { return 0; }
int64_t GatherOp::getBytes() { return gatherBytes(getIndices(), getResult()); }
int64_t GatherNDOp::getFlops() { return 0; }
int64_t GatherNDOp::getBytes() { return gatherBytes(getIndices(), getResult()); }
int64_t GatherElementsOp::getFlops() { return 0; }
int64_t GatherElementsOp::getBytes() { return gatherBytes(getIndices(), getResult()); }
int64_t ScatterNDOp::getFlops() { return 0; }
int64_t ScatterNDOp::getBytes() { return detail::operandAndResultBytes(*this); }
int64_t TopKOp::getFlops() {
  auto type = cast<RankedTensorType>(getInput().getType());
  return 2 * type.getNumElements() * static_cast<int64_t>(getK());
}
int64_t WindowsOp::getFlops() { return 0; }
