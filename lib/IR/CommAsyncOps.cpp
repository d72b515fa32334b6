//===- CommAsyncOps.cpp - start and wait ----------------------------------===//
#include "comm/IR/CommOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace mlir::comm;

#define GET_OP_CLASSES
#include "comm/IR/CommAsyncOps.cpp.inc"

Operation *StartOp::getCollective() {
  if (getBody().empty() || getBody().front().empty())
    return nullptr;
  Operation *first = &getBody().front().front();
  return isa<CollectiveOpInterface>(first) ? first : nullptr;
}

LogicalResult StartOp::verifyRegions() {
  Block &block = getBody().front();
  Operation *collective = getCollective();
  if (!collective || collective->getNumResults() == 0 || std::distance(block.begin(), block.end()) != 2)
    return emitOpError("C1: expected one collective, then comm.yield");
  auto yield = dyn_cast<YieldOp>(block.back());
  if (!yield || !llvm::equal(yield.getValues(), collective->getResults()))
    return emitOpError("C1: expected the yield of the collective's results");
  if (!llvm::equal(getToken().getType().getResults(), collective->getResultTypes()))
    return emitOpError("C2: expected a token of ") << collective->getResultTypes() << ", got " << getToken().getType();
  if (static_cast<int64_t>(getOrder()) < 0)
    return emitOpError("C3: order must not be negative, got ") << static_cast<int64_t>(getOrder());
  return success();
}

LogicalResult WaitOp::inferReturnTypes(MLIRContext *, std::optional<Location>, Adaptor adaptor,
                                       SmallVectorImpl<Type> &types) {
  llvm::append_range(types, cast<TokenType>(adaptor.getToken().getType()).getResults());
  return success();
}
