//===- PipelineMatmuls.cpp - products and collectives in chunks of rows ---===//
// Matches   all_reduce, all_reduce_norm or reduce_scatter of a product; a product of an all_gather
// Rewrites  the same on chunks of rows, put together again: chunk i is communicated while chunk i + 1 is computed
// Skips     where the chunks would take longer than the whole, shared products, rows that do not divide
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/OpTimes.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "passes/Optimize/ChunkChoice.h"
#include "passes/Optimize/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::comm {
#define GEN_PASS_DEF_PIPELINEMATMULSPASS
#include "passes/Optimize/Passes.h.inc"

namespace {
RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

RankedTensorType withSize(RankedTensorType type, int64_t dim, int64_t size) {
  SmallVector<int64_t> shape(type.getShape());
  shape[dim] = size;
  return RankedTensorType::get(shape, type.getElementType());
}

/// Rows of a product: the outermost dimension of the result that is not 1, if only the left operand has it.
std::optional<int64_t> rowDim(MatmulOp matmul) {
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

/// A product beside its collective.
struct Site {
  Operation *collective = nullptr;
  MatmulOp matmul;
  int64_t dim = 0;    ///< rows, in the result of the product
  int64_t rows = 0;   ///< what is cut: rows, or the rows of one shard
  int64_t blocks = 1; ///< shards that are interleaved in the rows of the product
  bool gathers = false;
};

class Rewriter {
public:
  explicit Rewriter(MLIRContext *context) : builder(context) {}

  void run(Site site, ArrayRef<int64_t> sizes) {
    builder.setInsertionPoint(site.gathers ? site.matmul.getOperation() : site.collective);
    SmallVector<SmallVector<Value>> results;
    int64_t from = 0;
    for (int64_t size : sizes) {
      results.push_back(site.gathers ? gatherChunk(site, from, size) : reduceChunk(site, from, size));
      from += size;
    }
    Operation *last = site.gathers ? site.matmul.getOperation() : site.collective;
    for (unsigned i = 0; i < last->getNumResults(); ++i) {
      SmallVector<Value> parts;
      for (auto &chunk : results)
        parts.push_back(chunk[i]);
      last->getResult(i).replaceAllUsesWith(join(parts, site, typeOf(last->getResult(i))));
    }
    last->erase();
    Operation *first = site.gathers ? site.collective : site.matmul.getOperation();
    first->erase();
  }

private:
  SmallVector<ReassociationIndices> groups(int64_t rank, int64_t dim) {
    SmallVector<ReassociationIndices> out;
    for (int64_t i = 0, next = 0; i < rank; ++i) {
      out.push_back({next++});
      if (i == dim)
        out.back().push_back(next++);
    }
    return out;
  }
  Value extract(Value value, int64_t dim, int64_t from, int64_t size) {
    SmallVector<int64_t> sizes(typeOf(value).getShape()), offsets(sizes.size(), 0), ones(sizes.size(), 1);
    sizes[dim] = size;
    offsets[dim] = from;
    auto attrs = [&](ArrayRef<int64_t> list) { return getAsIndexOpFoldResult(builder.getContext(), list); };
    return tensor::ExtractSliceOp::create(builder, value.getLoc(), value, attrs(offsets), attrs(sizes), attrs(ones));
  }
  /// Rows [from, from + size) of every block.
  Value rowsOf(Value value, int64_t dim, int64_t blocks, int64_t from, int64_t size) {
    if (blocks == 1)
      return extract(value, dim, from, size);
    RankedTensorType type = typeOf(value);
    SmallVector<int64_t> shape(type.getShape());
    shape[dim] /= blocks;
    shape.insert(shape.begin() + dim, blocks);
    value = tensor::ExpandShapeOp::create(builder, value.getLoc(), RankedTensorType::get(shape, type.getElementType()),
                                          value, groups(type.getRank(), dim));
    value = extract(value, dim + 1, from, size);
    return tensor::CollapseShapeOp::create(builder, value.getLoc(), value, groups(type.getRank(), dim));
  }

  Value multiply(MatmulOp matmul, Value lhs, int64_t dim) {
    RankedTensorType type = withSize(matmul.getType(), dim, typeOf(lhs).getDimSize(dim));
    return MatmulOp::create(builder, matmul.getLoc(), type, lhs, matmul.getRhs(), matmul.getTransposeLhsAttr(),
                            matmul.getTransposeRhsAttr());
  }

  SmallVector<Value> reduceChunk(Site &site, int64_t from, int64_t size) {
    MatmulOp matmul = site.matmul;
    Value product = multiply(matmul, rowsOf(matmul.getLhs(), site.dim, site.blocks, from, size), site.dim);
    auto norm = dyn_cast<AllReduceNormOp>(site.collective);
    Value residual = norm ? extract(norm.getResidual(), site.dim, from, size) : Value();
    Operation *made = builder.clone(*site.collective);
    made->setOperand(0, product);
    if (norm)
      made->setOperand(1, residual);
    for (Value result : made->getResults())
      cast<OpResult>(result).setType(withSize(typeOf(result), site.dim, size));
    return llvm::to_vector_of<Value>(made->getResults());
  }

  SmallVector<Value> gatherChunk(Site &site, int64_t from, int64_t size) {
    auto gather = cast<AllGatherOp>(site.collective);
    Value rows = extract(gather.getInput(), site.dim, from, size);
    Operation *made = builder.clone(*gather);
    made->setOperand(0, rows);
    made->getResult(0).setType(withSize(gather.getType(), site.dim, size * site.blocks));
    return {multiply(site.matmul, made->getResult(0), site.dim)};
  }

  Value join(ArrayRef<Value> parts, const Site &site, RankedTensorType type) {
    Location loc = parts[0].getLoc();
    if (!site.gathers || site.blocks == 1)
      return tensor::ConcatOp::create(builder, loc, site.dim, parts);
    SmallVector<Value> wide; // the chunk of every block, next to each other
    for (Value part : parts) {
      SmallVector<int64_t> shape(typeOf(part).getShape());
      shape[site.dim] /= site.blocks;
      shape.insert(shape.begin() + site.dim, site.blocks);
      wide.push_back(tensor::ExpandShapeOp::create(builder, loc, RankedTensorType::get(shape, type.getElementType()),
                                                   part, groups(type.getRank(), site.dim)));
    }
    Value all = tensor::ConcatOp::create(builder, loc, site.dim + 1, wide);
    return tensor::CollapseShapeOp::create(builder, loc, type, all, groups(type.getRank(), site.dim));
  }

  OpBuilder builder;
};

struct PipelineMatmuls : impl::PipelineMatmulsPassBase<PipelineMatmuls> {
  using PipelineMatmulsPassBase::PipelineMatmulsPassBase;

  void runOnOperation() override {
    std::string error;
    auto model = loadCostModel({topology, link, tuning}, error);
    GridOp grid = getGrid(getOperation());
    if (!model) {
      getOperation().emitError(error);
      return signalPassFailure();
    }
    if (!grid)
      return;
    OpTimes times(model, grid);
    SmallVector<Operation *> collectives;
    for (Operation &op : getOperation().getBody().getOps())
      if (isa<AllReduceOp, AllReduceNormOp, ReduceScatterOp, AllGatherOp>(op))
        collectives.push_back(&op);
    Rewriter rewriter(&getContext());
    for (Operation *collective : collectives) {
      Site site;
      std::string why = match(collective, site);
      std::vector<int64_t> sizes;
      if (why.empty()) {
        ::comm::split::ChunkRequest request;
        request.rows = site.rows;
        request.tile = tile;
        request.minRows = minRows;
        request.chunks = chunks;
        predict(times, site, request);
        sizes = ::comm::split::chooseChunks(request);
        if (sizes.size() < 2)
          why = std::to_string(site.rows) + " rows are as fast in one piece";
      }
      if (sizes.size() < 2) {
        ++numNearMisses;
        explain(collective, "pipeline", collective->getName().stripDialect() + " stays in one piece: " + why);
        continue;
      }
      explain(collective, "pipeline",
              collective->getName().stripDialect() + " and the product beside it run in " +
                  std::to_string(sizes.size()) + " chunks of " + std::to_string(sizes[0]) + " rows");
      rewriter.run(site, sizes);
      ++numPipelined;
    }
  }

private:
  /// Times of a chunk: those of the product with so many rows, and of the collective with as large a part of its bytes.
  static void predict(const OpTimes &times, const Site &site, ::comm::split::ChunkRequest &request) {
    ::comm::cost::GemmQuery gemm = OpTimes::query(site.matmul);
    ::comm::cost::CollectiveQuery collective = times.query(site.collective);
    // The adds and norm of a fused collective are the same in any number of pieces but are done behind each.
    double rest = times.ofCollective(site.collective) - times.getModel().collectiveUs(collective);
    request.communicateFirst = site.gathers;
    request.computeUs = [=, &times, whole = site.rows](int64_t rows) {
      ::comm::cost::GemmQuery part = gemm;
      part.m = std::max<int64_t>(1, gemm.m * rows / whole);
      return times.getModel().gemmUs(part) + times.getModel().chunkOverheadUs();
    };
    request.communicateUs = [=, &times, whole = site.rows](int64_t rows) {
      ::comm::cost::CollectiveQuery part = collective;
      part.bytes = std::max<int64_t>(1, collective.bytes * rows / whole);
      double share = static_cast<double>(rows) / static_cast<double>(whole);
      return times.getModel().collectiveUs(part) + std::max(0.0, rest) * share + times.getModel().chunkOverheadUs();
    };
  }

  std::string match(Operation *op, Site &site) {
    site.collective = op;
    if (auto gather = dyn_cast<AllGatherOp>(op)) {
      if (!gather.getResult().hasOneUse())
        return "several ops read it";
      site.matmul = dyn_cast<MatmulOp>(*gather.getResult().user_begin());
      if (!site.matmul || site.matmul.getLhs() != gather.getResult())
        return "no product reads it as its left operand";
      site.gathers = true;
      return place(site, gather.getDim(), gather.getGrain(), gather.getType());
    }
    site.matmul = op->getOperand(0).getDefiningOp<MatmulOp>();
    if (!site.matmul)
      return "it does not reduce a product";
    if (!site.matmul.getResult().hasOneUse())
      return "several ops read the product";
    if (auto scatter = dyn_cast<ReduceScatterOp>(op))
      return place(site, scatter.getDim(), scatter.getGrain(), scatter.getInput().getType());
    return place(site, -1, 1, typeOf(op->getOperand(0)));
  }

  /// `split`: the dimension over which the collective puts shards together or apart, in `whole`; -1: none.
  std::string place(Site &site, int64_t split, int64_t grain, RankedTensorType whole) {
    std::optional<int64_t> dim = rowDim(site.matmul);
    if (!dim)
      return "the rows of the product are not its own";
    site.dim = *dim;
    site.rows = whole.getDimSize(*dim);
    if (split != *dim)
      return "";
    auto collective = cast<CollectiveOpInterface>(site.collective);
    int64_t ranks = getGrid(site.collective).getNumShards(collective.getAxesAttr());
    if (grain != 1 || site.rows % ranks != 0)
      return "its rows do not divide into " + std::to_string(ranks) + " shards";
    site.blocks = ranks;
    site.rows /= ranks;
    return "";
  }
};
} // namespace
} // namespace mlir::comm
