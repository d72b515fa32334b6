//===- BucketCollectives.cpp - small independent reductions as one --------===//
// Matches   all_reduces of one kind, group and element type that do not need each other
// Rewrites  concat of their elements, one all_reduce, slices of the result
// Skips     large ones; buckets that are not predicted to save time, or that raise the exposed time
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/OverlapGraph.h"
#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/Schedule/Passes.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::comm {
#define GEN_PASS_DEF_BUCKETCOLLECTIVESPASS
#include "passes/Schedule/Passes.h.inc"

namespace {
namespace solver = ::comm::solver;

/// All elements as one dimension, and back.
Value flatten(OpBuilder &builder, Location loc, Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  if (type.getRank() == 1)
    return value;
  auto flat = RankedTensorType::get(type.getNumElements(), type.getElementType());
  SmallVector<ReassociationIndices> groups;
  if (type.getRank() == 0)
    return tensor::ExpandShapeOp::create(builder, loc, flat, value, groups);
  groups.push_back(llvm::to_vector(llvm::seq<int64_t>(0, type.getRank())));
  return tensor::CollapseShapeOp::create(builder, loc, flat, value, groups);
}
Value unflatten(OpBuilder &builder, Location loc, Value flat, RankedTensorType type) {
  if (type.getRank() == 1)
    return flat;
  SmallVector<ReassociationIndices> groups;
  if (type.getRank() == 0)
    return tensor::CollapseShapeOp::create(builder, loc, type, flat, groups);
  groups.push_back(llvm::to_vector(llvm::seq<int64_t>(0, type.getRank())));
  return tensor::ExpandShapeOp::create(builder, loc, type, flat, groups);
}

struct BucketCollectives : impl::BucketCollectivesPassBase<BucketCollectives> {
  using BucketCollectivesPassBase::BucketCollectivesPassBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (function.isExternal() || function->hasAttr(kReferenceAttr))
      return;
    if (buckets(function).empty())
      return;
    auto model = loadCostModel(function, {topology, link, tuning});
    if (!model)
      return signalPassFailure();
    OpTimes times(model, getGrid(function));
    func::FuncOp copy = function.clone();
    int64_t members = 0;
    for (ArrayRef<AllReduceOp> bucket : buckets(copy)) {
      members += bucket.size();
      join(bucket);
    }
    bool sorted = sortTopologically(&copy.getBody().front());
    solver::OverlapTimes apart = predict(function, times), together = predict(copy, times);
    // The time must fall, and what is exposed must not rise.
    bool pays = sorted && together.makespanUs < apart.makespanUs && together.exposedUs <= apart.exposedUs;
    std::string text = llvm::formatv(
        "{0} small reductions of '{1}' {2}: predicted {3:f1} us apart, {4:f1} us together; exposed {5:f1} and "
        "{6:f1} us",
        members, function.getName(), pays ? "run as one" : "stay apart", apart.makespanUs, together.makespanUs,
        apart.exposedUs, together.exposedUs);
    explain(function->getParentOfType<ModuleOp>(), "buckets", text);
    if (pays) {
      function.getBody().takeBody(copy.getBody());
      numBucketed += members;
    }
    copy->erase();
  }

private:
  /// Of each kind the longest runs of reductions in which no one needs another.
  SmallVector<SmallVector<AllReduceOp>> buckets(func::FuncOp function) {
    SmallVector<SmallVector<AllReduceOp>> done, open;
    std::vector<llvm::DenseSet<Operation *>> dependent; // on a member of the open bucket
    Block &block = function.getBody().front();
    auto same = [](AllReduceOp a, AllReduceOp b) {
      return a.getKind() == b.getKind() && a.getAxesAttr() == b.getAxesAttr() && a.getGridAttr() == b.getGridAttr() &&
             getElementTypeOrSelf(a.getType()) == getElementTypeOrSelf(b.getType());
    };
    for (Operation &op : block.without_terminator()) {
      SmallVector<bool> depends(open.size(), false);
      op.walk([&](Operation *inner) {
        for (Value operand : inner->getOperands())
          for (size_t i = 0; i < open.size(); ++i)
            depends[i] = depends[i] || dependent[i].contains(operand.getDefiningOp());
      });
      auto reduce = dyn_cast<AllReduceOp>(op);
      bool small = reduce && getTensorBytes(reduce.getType()) <= maxBytes &&
                   cast<RankedTensorType>(reduce.getType()).getNumElements() > 0;
      bool placed = !small;
      for (size_t i = 0; i < open.size(); ++i) {
        if (!placed && same(open[i].front(), reduce)) {
          placed = true;
          if (depends[i]) { // needs a member: a new bucket
            done.push_back(std::move(open[i]));
            open[i] = {reduce};
            dependent[i].clear();
          } else {
            open[i].push_back(reduce);
          }
          dependent[i].insert(&op);
        } else if (depends[i]) {
          dependent[i].insert(&op);
        }
      }
      if (!placed) {
        open.push_back({reduce});
        dependent.emplace_back();
        dependent.back().insert(&op);
      }
    }
    llvm::append_range(done, std::move(open));
    llvm::erase_if(done, [](auto &bucket) { return bucket.size() < 2; });
    return done;
  }

  static void join(ArrayRef<AllReduceOp> bucket) {
    AllReduceOp last = bucket.back();
    OpBuilder builder(last);
    SmallVector<Value> pieces;
    SmallVector<Location> locations;
    for (AllReduceOp reduce : bucket) {
      pieces.push_back(flatten(builder, reduce.getLoc(), reduce.getInput()));
      locations.push_back(reduce.getLoc());
    }
    Location loc = builder.getFusedLoc(locations);
    Value all = tensor::ConcatOp::create(builder, loc, 0, pieces);
    Value sum = AllReduceOp::create(builder, loc, all.getType(), last.getKindAttr(), all, last.getGridAttr(),
                                    last.getAxesAttr());
    int64_t start = 0;
    for (AllReduceOp reduce : bucket) {
      auto type = cast<RankedTensorType>(reduce.getType());
      int64_t count = type.getNumElements();
      Value slice = tensor::ExtractSliceOp::create(builder, loc, RankedTensorType::get(count, type.getElementType()),
                                                   sum, SmallVector<OpFoldResult>{builder.getIndexAttr(start)},
                                                   SmallVector<OpFoldResult>{builder.getIndexAttr(count)},
                                                   SmallVector<OpFoldResult>{builder.getIndexAttr(1)});
      reduce.getResult().replaceAllUsesWith(unflatten(builder, loc, slice, type));
      start += count;
    }
    for (AllReduceOp reduce : bucket)
      reduce->erase();
  }

  solver::OverlapTimes predict(func::FuncOp function, const OpTimes &times) {
    OverlapGraphOptions options;
    options.memoryLimit = memoryLimit;
    options.maxInFlight = 8;
    OverlapGraph graph = buildOverlapGraph(function, times, options);
    solver::OverlapTimes never;
    never.makespanUs = never.exposedUs = std::numeric_limits<double>::infinity();
    if (!solver::check(graph.problem).empty())
      return never;
    solver::OverlapSchedule schedule = solver::solve(graph.problem);
    return schedule.status == solver::OverlapStatus::Ok ? schedule.times : never;
  }
};
} // namespace
} // namespace mlir::comm
