//===- MatmulSite.cpp - a collective and the products beside it -----------===//
#include "passes/Optimize/MatmulSite.h"
#include "comm/IR/Precision.h"

using namespace mlir;
using namespace mlir::comm;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Rows of a product: the outermost dimension of the result that is not 1, if only the left operand has it.
static std::optional<int64_t> rowDim(MatmulOp matmul) {
  RankedTensorType out = matmul.getType();
  int64_t dim = 0;
  while (dim < out.getRank() - 1 && out.getDimSize(dim) == 1)
    ++dim;
  RankedTensorType lhs = typeOf(matmul.getLhs()), rhs = typeOf(matmul.getRhs());
  int64_t inRhs = dim - (out.getRank() - rhs.getRank());
  bool isRow = dim == out.getRank() - 2;
  if (dim > out.getRank() - 2 || lhs.getRank() != out.getRank() || (isRow && matmul.getTransposeLhs()) ||
      (!isRow && inRhs >= 0 && rhs.getDimSize(inRhs) != 1) || lhs.getDimSize(dim) != out.getDimSize(dim))
    return std::nullopt;
  return dim;
}

std::string mlir::comm::findSite(Operation *op, MatmulSite &site) {
  site.collective = op;
  site.ranks = getGrid(op).getNumShards(cast<CollectiveOpInterface>(op).getAxesAttr());
  if (auto gather = dyn_cast<AllGatherOp>(op)) {
    for (Operation *user : gather.getResult().getUsers()) {
      auto matmul = dyn_cast<MatmulOp>(user);
      if (!matmul || matmul.getLhs() != gather.getResult() || matmul.getRhs() == gather.getResult())
        return gather.getResult().hasOneUse() ? "no product reads it as its left operand"
                                              : "not all that reads it is a product with it on the left";
      site.products.push_back(matmul);
    }
    if (site.products.empty())
      return "nothing reads it";
    llvm::sort(site.products, [](MatmulOp a, MatmulOp b) { return a->isBeforeInBlock(b); });
    site.gathers = true;
    site.shardDim = static_cast<int64_t>(gather.getDim());
    site.grain = static_cast<int64_t>(gather.getGrain());
    return "";
  }
  auto matmul = op->getOperand(0).getDefiningOp<MatmulOp>();
  if (!matmul)
    return "it does not reduce a product";
  if (!matmul.getResult().hasOneUse())
    return "several ops read the product";
  site.products.push_back(matmul);
  if (auto scatter = dyn_cast<ReduceScatterOp>(op)) {
    site.shardDim = static_cast<int64_t>(scatter.getDim());
    site.grain = static_cast<int64_t>(scatter.getGrain());
  }
  return "";
}

std::string mlir::comm::findChunkPlace(const MatmulSite &site, ChunkPlace &place) {
  for (MatmulOp matmul : site.products) {
    std::optional<int64_t> dim = rowDim(matmul);
    if (!dim || (matmul != site.products.front() && *dim != place.dim))
      return "the rows of the product are not its own";
    place.dim = *dim;
  }
  place.rows = site.products.front().getType().getDimSize(place.dim);
  if (site.shardDim != place.dim)
    return "";
  if (site.grain != 1 || place.rows % site.ranks != 0)
    return "its rows do not divide into " + std::to_string(site.ranks) + " shards";
  place.blocks = site.ranks;
  place.rows /= site.ranks;
  return "";
}

Value mlir::comm::multiplyRows(OpBuilder &builder, MatmulOp matmul, Value rows, int64_t dim) {
  SmallVector<int64_t> shape(matmul.getType().getShape());
  shape[dim] = typeOf(rows).getDimSize(dim);
  auto type = RankedTensorType::get(shape, matmul.getType().getElementType());
  auto made = MatmulOp::create(builder, matmul.getLoc(), type, rows, matmul.getRhs(), matmul.getTransposeLhsAttr(),
                               matmul.getTransposeRhsAttr());
  setPrecision(made, getPrecision(matmul));
  return made;
}
