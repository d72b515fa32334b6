//===- RingMatmuls.cpp - products and collectives in ring order -----------===//
// With coordinate c of n on the ring and shift -1, a rank holds the shard c + k after k steps; a sum that ends at rank
// c was at rank c + n - 1 - k in step k, which added its product of shard c there: its own number + k + 1.
//===----------------------------------------------------------------------===//
#include "passes/Optimize/RingMatmuls.h"
#include "comm/Analysis/OpTimes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::comm;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

static RankedTensorType withSize(RankedTensorType type, int64_t dim, int64_t size) {
  SmallVector<int64_t> shape(type.getShape());
  shape[dim] = size;
  return RankedTensorType::get(shape, type.getElementType());
}

/// Rows along `dim` of the left operand are rows of the result, and only there.
static bool isOwnRow(MatmulOp matmul, int64_t dim) {
  RankedTensorType out = matmul.getType(), lhs = typeOf(matmul.getLhs()), rhs = typeOf(matmul.getRhs());
  int64_t rank = out.getRank(), inRhs = dim - (rank - rhs.getRank());
  if (dim < 0 || dim > rank - 2 || lhs.getRank() != rank || lhs.getDimSize(dim) != out.getDimSize(dim))
    return false;
  return dim == rank - 2 ? !matmul.getTransposeLhs() : inRhs < 0 || rhs.getDimSize(inRhs) == 1;
}

std::string mlir::comm::whyNoRing(const MatmulSite &site) {
  if (site.shardDim < 0)
    return "every rank gets the whole sum";
  if (site.ranks < 2)
    return "the group has one rank";
  if (!llvm::all_of(site.products, [&](MatmulOp matmul) { return isOwnRow(matmul, site.shardDim); }))
    return "its shards do not lie in rows of the product";
  auto scatter = dyn_cast<ReduceScatterOp>(site.collective);
  if (!scatter)
    return "";
  if (scatter.getKind() != ReduceKind::Sum)
    return "the reduction is not a sum";
  // A reduction is summed wide and rounded once; the sum that travels would be rounded at every step.
  Type element = scatter.getType().getElementType();
  if (element.isF16() || element.isBF16())
    return "a sum of 16-bit elements would be rounded at every step";
  return "";
}

int64_t mlir::comm::ringRows(const MatmulSite &site) {
  return getLocalSize(typeOf(site.getWhole()).getDimSize(site.shardDim), site.grain, site.ranks);
}

double mlir::comm::predictRingUs(const OpTimes &times, const MatmulSite &site) {
  const ::comm::cost::CostModel &model = times.getModel();
  int64_t rows = ringRows(site), whole = typeOf(site.getWhole()).getDimSize(site.shardDim);
  auto bytesOf = [&](Value value) { // of one step
    return getTensorBytes(withSize(typeOf(value), site.shardDim, rows));
  };
  ::comm::split::RingRequest ring;
  ring.steps = site.ranks;
  ring.gathers = site.gathers;
  int64_t results = 0;
  for (MatmulOp matmul : site.products) {
    ::comm::cost::GemmQuery gemm = OpTimes::query(matmul);
    gemm.m = std::max<int64_t>(1, gemm.m * rows / std::max<int64_t>(1, whole));
    ring.computeUs += model.gemmUs(gemm) + model.chunkOverheadUs();
    results += bytesOf(matmul.getResult());
  }
  ::comm::cost::CollectiveQuery pass = times.query(site.collective);
  pass.op = "permute";
  pass.bytes = site.gathers ? bytesOf(site.getWhole()) : results;
  ring.passUs = model.collectiveUs(pass) + model.chunkOverheadUs();
  if (site.gathers) {
    ring.finishUs = model.memoryUs({2 * results * site.ranks, 0, pass.dtype}); // shards into their places
  } else {
    ring.computeUs += model.memoryUs({2 * bytesOf(site.getWhole()), 0, pass.dtype}); // the shard is cut out
    ring.addUs = model.memoryUs({3 * results, 0, pass.dtype});
  }
  return ::comm::split::ringUs(ring);
}

namespace {
class RingRewriter {
public:
  RingRewriter(const MatmulSite &site, OpBuilder &builder)
      : site(site), builder(builder), loc(site.collective->getLoc()),
        grid(cast<CollectiveOpInterface>(site.collective).getGridAttr()),
        axes(cast<CollectiveOpInterface>(site.collective).getAxesAttr()) {}

  void gather() {
    builder.setInsertionPoint(site.collective);
    SmallVector<Value> shards{site.collective->getOperand(0)};
    while (static_cast<int64_t>(shards.size()) < site.ranks)
      shards.push_back(pass(shards.back()));
    for (MatmulOp matmul : site.products) {
      builder.setInsertionPoint(matmul);
      SmallVector<Value> parts;
      for (Value shard : shards)
        parts.push_back(asBlock(multiplyRows(builder, matmul, shard, site.shardDim)));
      Value blocks = tensor::ConcatOp::create(builder, loc, 0, parts);
      Value whole = UnpackShardsOp::create(builder, loc, matmul.getType(), blocks, i64(site.shardDim), i64(site.grain),
                                           grid, axes, builder.getUnitAttr());
      matmul.getResult().replaceAllUsesWith(whole);
      matmul.erase();
    }
    site.collective->erase();
  }

  void scatter() {
    builder.setInsertionPoint(site.collective);
    MatmulOp matmul = site.products.front();
    RankedTensorType shard = withSize(typeOf(matmul.getLhs()), site.shardDim, ringRows(site));
    Value sum;
    for (int64_t step = 0; step < site.ranks; ++step) {
      Value rows = ShardSliceOp::create(builder, loc, shard, matmul.getLhs(), i64(site.shardDim), i64(site.grain), grid,
                                        axes, i64((step + 1) % site.ranks));
      Value product = multiplyRows(builder, matmul, rows, site.shardDim);
      sum = sum ? add(pass(sum), product) : product;
    }
    site.collective->getResult(0).replaceAllUsesWith(sum);
    site.collective->erase();
    matmul.erase();
  }

private:
  IntegerAttr i64(int64_t value) { return builder.getI64IntegerAttr(value); }
  Value pass(Value value) { return PermuteOp::create(builder, loc, value.getType(), value, i64(-1), grid, axes); }
  Value add(Value a, Value b) {
    if (isa<FloatType>(typeOf(a).getElementType()))
      return arith::AddFOp::create(builder, loc, a, b);
    return arith::AddIOp::create(builder, loc, a, b);
  }
  /// One dimension of 1 in front.
  Value asBlock(Value value) {
    SmallVector<int64_t> shape{1};
    llvm::append_range(shape, typeOf(value).getShape());
    SmallVector<ReassociationIndices> groups{{0, 1}};
    for (int64_t dim = 2; dim <= typeOf(value).getRank(); ++dim)
      groups.push_back({dim});
    return tensor::ExpandShapeOp::create(builder, loc, RankedTensorType::get(shape, typeOf(value).getElementType()),
                                         value, groups);
  }

  const MatmulSite &site;
  OpBuilder &builder;
  Location loc;
  FlatSymbolRefAttr grid;
  ArrayAttr axes;
};
} // namespace

void mlir::comm::runRing(const MatmulSite &site, OpBuilder &builder) {
  RingRewriter rewriter(site, builder);
  site.gathers ? rewriter.gather() : rewriter.scatter();
}
