//===- ChunkCollectives.cpp - run what follows a collective by parts of rows ===//
// Matches   all_reduce, all_reduce_norm, and all_gather or reduce_scatter of columns, with what goes row by row around
// it Rewrites  2 or 4 copies on parts of the rows; values that mix rows read them put together Skips     collectives
// below min-bytes or of fewer rows than two tiles; everything where the whole is predicted to be as fast
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/OverlapGraph.h"
#include "mlir/Analysis/TopologicalSortUtils.h"
#include "passes/Schedule/Passes.h"
#include "passes/Schedule/RowRegion.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::comm {
#define GEN_PASS_DEF_CHUNKCOLLECTIVESPASS
#include "passes/Schedule/Passes.h.inc"

namespace {
namespace solver = ::comm::solver;

struct ChunkCollectives : impl::ChunkCollectivesPassBase<ChunkCollectives> {
  using ChunkCollectivesPassBase::ChunkCollectivesPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal() || function->hasAttr(kReferenceAttr) || seeds(function).empty())
      return;
    auto model = loadCostModel(function, {topology, link, tuning});
    if (!model)
      return signalPassFailure();
    OpTimes times(model, getGrid(function));
    double whole = predict(function, times), least = whole;
    std::string tried;
    func::FuncOp best;
    int64_t bestCount = 0;
    SmallVector<int64_t> candidates{2, 4, 8};
    if (chunks > 0)
      candidates.assign(1, chunks);
    for (int64_t parts : candidates) {
      if (parts < 2)
        continue;
      func::FuncOp copy = function.clone();
      int64_t count = cut(copy, parts);
      double us = count > 0 ? predict(copy, times) : whole;
      tried += llvm::formatv("{0}in {1} parts {2:f1} us", tried.empty() ? "" : ", ", parts, us);
      bool better = count > 0 && (chunks > 0 || us < least - minGain * whole);
      if (!better) {
        copy->erase();
        continue;
      }
      if (best)
        best->erase();
      best = copy;
      least = us;
      bestCount = count;
    }
    if (!best) {
      explain(
          function->getParentOfType<ModuleOp>(), "chunks",
          llvm::formatv("collectives of '{0}' stay whole: predicted {1:f1} us, {2}", function.getName(), whole, tried)
              .str());
      return;
    }
    function.getBody().takeBody(best.getBody());
    best->erase();
    numChunked += bestCount;
    explain(function->getParentOfType<ModuleOp>(), "chunks",
            llvm::formatv("{0} collectives of '{1}' run by parts of their rows: predicted {2:f1} us whole, {3}",
                          bestCount, function.getName(), whole, tried)
                .str());
  }

private:
  SmallVector<Operation *> seeds(func::FuncOp function) {
    SmallVector<Operation *> found;
    for (Operation &op : function.getBody().front())
      if (isa<AllReduceOp, AllReduceNormOp, AllGatherOp, ReduceScatterOp>(op) &&
          getTensorBytes(op.getOperand(0).getType()) >= minBytes)
        found.push_back(&op);
    return found;
  }

  /// Cuts every region once, in block order; the number of collectives that were cut.
  int64_t cut(func::FuncOp function, int64_t parts) {
    int64_t count = 0;
    llvm::SmallPtrSet<Operation *, 16> done;
    SmallVector<RowRegion> regions;
    for (Operation *seed : seeds(function)) {
      if (done.contains(seed))
        continue;
      RowRegion region(seed, done);
      if (region.empty() || region.getRows() < parts || region.getRows() * region.getTokensPerRow() < parts * tile)
        continue;
      // One that shares ops with an earlier one is left to it.
      if (llvm::any_of(region.getOps(), [&](Operation *op) { return done.contains(op); }))
        continue;
      done.insert(region.getOps().begin(), region.getOps().end());
      regions.push_back(std::move(region));
    }
    // The last first: an earlier region's values may be operands of a later one.
    for (RowRegion &region : llvm::reverse(regions)) {
      count += region.countCollectives();
      region.split(parts);
    }
    return count > 0 && sortTopologically(&function.getBody().front()) ? count : 0;
  }

  double predict(func::FuncOp function, const OpTimes &times) {
    OverlapGraphOptions options;
    options.memoryLimit = memoryLimit;
    options.maxInFlight = 8;
    OverlapGraph graph = buildOverlapGraph(function, times, options);
    if (!solver::check(graph.problem).empty())
      return std::numeric_limits<double>::infinity();
    solver::OverlapSchedule schedule = solver::solve(graph.problem);
    return schedule.status == solver::OverlapStatus::Ok ? schedule.times.makespanUs
                                                        : std::numeric_limits<double>::infinity();
  }
};
} // namespace
} // namespace mlir::comm
