//===- PipelineMatmuls.cpp - products and collectives in pieces of rows ---===//
// Matches   all_reduce, all_reduce_norm or reduce_scatter of a product; products of an all_gather
// Rewrites  the same on chunks of rows, put together again: chunk i is communicated while chunk i + 1 is computed; or,
// of
//           all_gather and reduce_scatter, one step per rank around the ring (RingMatmuls.cpp)
// Skips     where the pieces would take longer than the whole, shared products, rows that do not divide
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/OpTimes.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "passes/Optimize/ChunkChoice.h"
#include "passes/Optimize/MatmulSite.h"
#include "passes/Optimize/Passes.h"
#include "passes/Optimize/RingMatmuls.h"
#include "llvm/Support/FormatVariadic.h"

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

class ChunkRewriter {
public:
  explicit ChunkRewriter(OpBuilder &builder) : builder(builder) {}

  void run(const MatmulSite &site, const ChunkPlace &place, ArrayRef<int64_t> sizes) {
    site.gathers ? gather(site, place, sizes) : reduce(site, place, sizes);
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

  void reduce(const MatmulSite &site, const ChunkPlace &place, ArrayRef<int64_t> sizes) {
    builder.setInsertionPoint(site.collective);
    SmallVector<Operation *> chunks;
    int64_t from = 0;
    for (int64_t size : sizes) {
      chunks.push_back(reduceChunk(site, place, from, size));
      from += size;
    }
    for (OpResult result : site.collective->getResults()) {
      SmallVector<Value> parts;
      for (Operation *chunk : chunks)
        parts.push_back(chunk->getResult(result.getResultNumber()));
      result.replaceAllUsesWith(tensor::ConcatOp::create(builder, result.getLoc(), place.dim, parts).getResult());
    }
    site.collective->erase();
    site.products.front().erase();
  }

  Operation *reduceChunk(const MatmulSite &site, const ChunkPlace &place, int64_t from, int64_t size) {
    MatmulOp matmul = site.products.front();
    Value rows = rowsOf(matmul.getLhs(), place.dim, place.blocks, from, size);
    Value product = multiplyRows(builder, matmul, rows, place.dim);
    auto norm = dyn_cast<AllReduceNormOp>(site.collective);
    Value residual = norm ? extract(norm.getResidual(), place.dim, from, size) : Value();
    Operation *made = builder.clone(*site.collective);
    made->setOperand(0, product);
    if (norm)
      made->setOperand(1, residual);
    for (Value result : made->getResults())
      cast<OpResult>(result).setType(withSize(typeOf(result), place.dim, size));
    return made;
  }

  /// Behind one product each chunk stands where it is used; several products share the chunks.
  void gather(const MatmulSite &site, const ChunkPlace &place, ArrayRef<int64_t> sizes) {
    auto whole = cast<AllGatherOp>(site.collective);
    SmallVector<SmallVector<Value>> parts(site.products.size());
    int64_t from = 0;
    for (int64_t size : sizes) {
      builder.setInsertionPoint(site.products.size() == 1 ? site.products.front().getOperation() : whole);
      Value rows = extract(whole.getInput(), place.dim, from, size);
      Operation *made = builder.clone(*whole);
      made->setOperand(0, rows);
      made->getResult(0).setType(withSize(whole.getType(), place.dim, size * place.blocks));
      for (auto [matmul, list] : llvm::zip_equal(site.products, parts)) {
        builder.setInsertionPoint(matmul);
        list.push_back(multiplyRows(builder, matmul, made->getResult(0), place.dim));
      }
      from += size;
    }
    for (auto [matmul, list] : llvm::zip_equal(site.products, parts)) {
      builder.setInsertionPoint(matmul);
      matmul.getResult().replaceAllUsesWith(join(list, place, matmul.getType()));
      matmul.erase();
    }
    whole.erase();
  }

  /// Chunks of the rows of every shard, put together.
  Value join(ArrayRef<Value> parts, const ChunkPlace &place, RankedTensorType type) {
    Location loc = parts[0].getLoc();
    if (place.blocks == 1)
      return tensor::ConcatOp::create(builder, loc, place.dim, parts);
    SmallVector<Value> wide; // the chunk of every block, next to each other
    for (Value part : parts) {
      SmallVector<int64_t> shape(typeOf(part).getShape());
      shape[place.dim] /= place.blocks;
      shape.insert(shape.begin() + place.dim, place.blocks);
      wide.push_back(tensor::ExpandShapeOp::create(builder, loc, RankedTensorType::get(shape, type.getElementType()),
                                                   part, groups(type.getRank(), place.dim)));
    }
    Value all = tensor::ConcatOp::create(builder, loc, place.dim + 1, wide);
    return tensor::CollapseShapeOp::create(builder, loc, type, all, groups(type.getRank(), place.dim));
  }

  OpBuilder &builder;
};

struct PipelineMatmuls : impl::PipelineMatmulsPassBase<PipelineMatmuls> {
  using PipelineMatmulsPassBase::PipelineMatmulsPassBase;

  void runOnOperation() override {
    auto model = loadCostModel(getOperation(), {topology, link, tuning});
    GridOp grid = getGrid(getOperation());
    if (!model)
      return signalPassFailure();
    if (order != "direct" && order != "ring" && order != "auto") {
      getOperation().emitError("comm-pipeline-matmuls: order is direct, ring or auto, not '" + order + "'");
      return signalPassFailure();
    }
    if (!grid)
      return;
    OpTimes times(model, grid);
    SmallVector<Operation *> collectives;
    for (Operation &op : getOperation().getBody().getOps())
      if (isa<AllReduceOp, AllReduceNormOp, ReduceScatterOp, AllGatherOp>(op))
        collectives.push_back(&op);
    for (Operation *collective : collectives)
      pipeline(collective, times);
  }

private:
  /// What can be done about a site, with predicted times.
  struct Choice {
    ChunkPlace place;
    std::vector<int64_t> sizes; ///< of the chunks; fewer than two: one piece
    double chunksUs = 0, wholeUs = 0, ringUs = 0;
    std::string noChunks, noRing; ///< why not; empty when there is this way
  };

  void pipeline(Operation *collective, const OpTimes &times) {
    MatmulSite site;
    Choice choice;
    bool ring = false;
    std::string name = collective->getName().stripDialect().str(), why = findSite(collective, site);
    if (why.empty()) {
      consider(times, site, choice);
      ring = takesRing(choice);
      if (!ring)
        why = choice.noChunks;
    }
    if (!why.empty()) {
      ++numNearMisses;
      std::string noRing = order == "ring" && !choice.noRing.empty() ? "; no ring order: " + choice.noRing : "";
      return explain(collective, "pipeline", name + " stays in one piece: " + why + noRing);
    }
    size_t products = site.products.size();
    std::string text = name + " and " + (products == 1 ? "the product" : std::to_string(products) + " products") +
                       " beside it run in " + describe(site, choice, ring);
    explain(collective, "pipeline", text);
    OpBuilder builder(&getContext());
    if (ring)
      runRing(site, builder);
    else
      ChunkRewriter(builder).run(site, choice.place, choice.sizes);
    ++numPipelined;
    numRings += ring;
  }

  void consider(const OpTimes &times, const MatmulSite &site, Choice &choice) {
    ::comm::split::ChunkRequest request;
    choice.noChunks = findChunkPlace(site, choice.place);
    // Without rows to cut one row stands for the whole.
    request.rows = choice.noChunks.empty() ? choice.place.rows : 1;
    predict(times, site, request);
    if (choice.noChunks.empty()) {
      request.tile = tile;
      request.minRows = minRows;
      request.chunks = chunks;
      choice.sizes = ::comm::split::chooseChunks(request);
      choice.chunksUs = ::comm::split::pipelineUs(choice.sizes, request);
      if (choice.sizes.size() < 2)
        choice.noChunks = std::to_string(choice.place.rows) + " rows are as fast in one piece";
    }
    choice.wholeUs = ::comm::split::pipelineUs({request.rows}, request);
    choice.noRing = whyNoRing(site);
    if (choice.noRing.empty() && ringRows(site) * site.ranks < minRows)
      choice.noRing = "there are fewer than " + std::to_string(minRows) + " rows";
    if (choice.noRing.empty())
      choice.ringUs = predictRingUs(times, site);
  }

  /// By request, or where it is predicted to be the fastest by more than the noise.
  bool takesRing(const Choice &choice) const {
    if (!choice.noRing.empty() || order == "direct")
      return false;
    double other = choice.sizes.size() > 1 ? std::min(choice.wholeUs, choice.chunksUs) : choice.wholeUs;
    return order == "ring" || (chunks == 0 && choice.ringUs < other * (1 - ::comm::split::ChunkRequest().minGain));
  }

  std::string describe(const MatmulSite &site, const Choice &choice, bool ring) const {
    auto us = [](double time) { return llvm::formatv("{0:f1} us", time).str(); };
    std::string chunked = choice.sizes.size() > 1 ? ", in chunks " + us(choice.chunksUs) : "";
    std::string whole = ", in one piece " + us(choice.wholeUs) + ")";
    if (ring)
      return "ring order, " + std::to_string(site.ranks) + " steps of " + std::to_string(ringRows(site)) + " rows" +
             (order == "ring" ? ", by request" : "") + " (predicted " + us(choice.ringUs) + chunked + whole;
    std::string asRing = choice.noRing.empty() ? ", in ring order " + us(choice.ringUs) : "";
    return std::to_string(choice.sizes.size()) + " chunks of " + std::to_string(choice.sizes[0]) + " rows (predicted " +
           us(choice.chunksUs) + asRing + whole + (order == "ring" ? "; no ring order: " + choice.noRing : "");
  }

  /// Times of a part of the rows: those of the products with so many, and of the collective with as many of its bytes.
  static void predict(const OpTimes &times, const MatmulSite &site, ::comm::split::ChunkRequest &request) {
    SmallVector<::comm::cost::GemmQuery> gemms;
    for (MatmulOp matmul : site.products)
      gemms.push_back(OpTimes::query(matmul));
    ::comm::cost::CollectiveQuery collective = times.query(site.collective);
    // The adds and norm of a fused collective are the same in any number of pieces but are done behind each.
    double rest = times.ofCollective(site.collective) - times.getModel().collectiveUs(collective);
    request.communicateFirst = site.gathers;
    request.computeUs = [=, &times, whole = std::max<int64_t>(1, request.rows)](int64_t rows) {
      double us = times.getModel().chunkOverheadUs();
      for (::comm::cost::GemmQuery part : gemms) {
        part.m = std::max<int64_t>(1, part.m * rows / whole);
        us += times.getModel().gemmUs(part);
      }
      return us;
    };
    request.communicateUs = [=, &times, whole = std::max<int64_t>(1, request.rows)](int64_t rows) {
      ::comm::cost::CollectiveQuery part = collective;
      part.bytes = std::max<int64_t>(1, collective.bytes * rows / whole);
      double share = static_cast<double>(rows) / static_cast<double>(whole);
      return times.getModel().collectiveUs(part) + std::max(0.0, rest) * share + times.getModel().chunkOverheadUs();
    };
  }
};
} // namespace
} // namespace mlir::comm
