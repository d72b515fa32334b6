//===- SinkWaits.cpp - waits late, starts early ---------------------------===//
// Matches   functions in form async
// Rewrites  the order of ops in the block
// Skips     functions without comm.start
//===----------------------------------------------------------------------===//
#include "comm/Analysis/OpTimes.h"
#include "comm/IR/CommOps.h"
#include "passes/Schedule/Passes.h"
#include "llvm/ADT/SetVector.h"
#include <set>

namespace mlir::comm {
#define GEN_PASS_DEF_SINKWAITSPASS
#include "passes/Schedule/Passes.h.inc"

namespace {
struct SinkWaits : impl::SinkWaitsPassBase<SinkWaits> {
  using SinkWaitsPassBase::SinkWaitsPassBase;

  void runOnOperation() override {
    Block &block = getOperation().getBody().front();
    if (block.getOps<StartOp>().empty())
      return;
    reorder(block);
    int64_t order = 0;
    for (StartOp start : block.getOps<StartOp>())
      start.setOrder(order++);
    count(block);
  }

private:
  /// Values an op needs, those of its regions included.
  static SmallVector<Operation *> definers(Operation *op, Block &block) {
    SmallVector<Operation *> out;
    op->walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        if (Operation *def = operand.getDefiningOp(); def && def->getBlock() == &block)
          out.push_back(def);
    });
    return out;
  }

  void reorder(Block &block) {
    DenseMap<Operation *, int64_t> place, missing;
    DenseMap<Operation *, SmallVector<Operation *>> users;
    SmallVector<Operation *> ops;
    Operation *lastStart = nullptr;
    for (Operation &op : block.without_terminator()) {
      place[&op] = ops.size();
      ops.push_back(&op);
      SmallVector<Operation *> needs = definers(&op, block);
      if (isa<StartOp>(op)) {
        if (lastStart) // one total order
          needs.push_back(lastStart);
        lastStart = &op;
      }
      llvm::sort(needs);
      needs.erase(llvm::unique(needs), needs.end());
      missing[&op] = needs.size();
      for (Operation *def : needs)
        users[def].push_back(&op);
    }
    // Three queues in program order: starts, other work, waits.
    std::set<int64_t> ready[3];
    auto enqueue = [&](Operation *op) { ready[isa<StartOp>(op) ? 0 : isa<WaitOp>(op) ? 2 : 1].insert(place[op]); };
    for (Operation *op : ops)
      if (missing[op] == 0)
        enqueue(op);
    Operation *terminator = block.getTerminator();
    while (!ready[0].empty() || !ready[1].empty() || !ready[2].empty()) {
      auto &queue = !ready[0].empty() ? ready[0] : !ready[1].empty() ? ready[1] : ready[2];
      Operation *op = ops[*queue.begin()];
      queue.erase(queue.begin());
      op->moveBefore(terminator);
      for (Operation *user : users[op])
        if (--missing[user] == 0)
          enqueue(user);
    }
  }

  /// Collectives with work between start and wait.
  void count(Block &block) {
    llvm::SetVector<Operation *> pending, overlapped;
    for (Operation &op : block.without_terminator()) {
      if (isa<StartOp>(op))
        pending.insert(&op);
      else if (auto wait = dyn_cast<WaitOp>(op))
        pending.remove(wait.getToken().getDefiningOp());
      else if (!isFreeOp(&op))
        overlapped.insert(pending.begin(), pending.end());
    }
    numOverlapped += overlapped.size();
  }
};
} // namespace
} // namespace mlir::comm
