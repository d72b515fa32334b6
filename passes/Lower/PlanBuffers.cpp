//===- PlanBuffers.cpp - place every buffer in the arena ------------------===//
// Matches   comm.buffer of every function of form command
// Rewrites  offsets on them; comm.arena_bytes and comm.comm_bytes on the function
// Skips     functions without buffers get an arena of 0 bytes; over the memory limit is an error
//===----------------------------------------------------------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/HeldBytes.h"
#include "comm/Solver/BufferPlan.h"
#include "passes/Lower/Passes.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::comm {
#define GEN_PASS_DEF_PLANBUFFERSPASS
#include "passes/Lower/Passes.h.inc"
namespace {

Value rootOf(Value value) {
  while (auto view = value.getDefiningOp<ViewOp>())
    value = view.getSource();
  return value;
}
bool isWhole(Value value) { return getTensorBytes(value.getType()) == getTensorBytes(rootOf(value).getType()); }

/// Products of more rows are dealt out by rows.
constexpr int64_t kMostRows = 256;

/// Lifetimes of the buffers of one function.
class Lifetimes {
public:
  explicit Lifetimes(func::FuncOp function) : function(function) {}

  LogicalResult run() {
    int64_t time = 0;
    for (Operation &op : function.getBody().front()) {
      if (!isa<CommandOp, LaunchOp>(op))
        continue;
      for (Value operand : op.getOperands())
        touch(operand, time);
      auto command = dyn_cast<CommandOp>(op);
      if (command && command.isCollective()) {
        // Peers reach the first operand and the results; what else a fused collective reads is its own affair.
        if (failed(share(command, command.getInputs()[0])))
          return failure();
        for (Value output : command.getOutputs())
          if (failed(share(command, output)))
            return failure();
      }
      if (command && failed(follow(command, time)))
        return failure();
      ++time;
    }
    for (auto &[token, command] : started)
      return command.emitError("form command: token ") << token << " is never waited for";
    return success();
  }

  /// Joins the result of an in-place collective with its operand when that ends there.
  int64_t joinInPlace() {
    int64_t joined = 0;
    for (auto [command, time] : reductions) {
      Value in = command.getInputs()[0], out = command.getOutputs()[0];
      Value inRoot = rootOf(in), outRoot = rootOf(out);
      auto a = requests.find(leader(inRoot)), b = requests.find(leader(outRoot));
      if (a == requests.end() || b == requests.end() || a == b || !isWhole(in) || !isWhole(out) ||
          a->second.bytes != b->second.bytes || lastUse.lookup(inRoot) != time || b->second.first < time)
        continue;
      a->second.last = std::max(a->second.last, b->second.last);
      leaders[outRoot] = leader(inRoot);
      ++joined;
    }
    return joined;
  }

  /// Keeps the left operand of a product until the kernels right behind it have read its result: a rank computes both
  /// range of columns by range of columns, and other columns still need the operand. So do further products in
  /// between. Returns how many buffers live longer.
  int64_t holdForEpilogues() {
    SmallVector<std::pair<Operation *, int64_t>> commands;
    for (Operation &op : function.getBody().front())
      if (isa<CommandOp, LaunchOp>(op))
        commands.push_back({&op, static_cast<int64_t>(commands.size())});
    int64_t held = 0;
    for (auto [op, time] : commands)
      if (isProductOfFewRows(op))
        held += holdUntil(op->getOperand(0), lastEpilogue(commands, time));
    return held;
  }

  Value leader(Value root) {
    while (Value next = leaders.lookup(root))
      root = next;
    return root;
  }

  llvm::MapVector<Value, ::comm::solver::BufferRequest> requests;

private:
  static bool isProductOfFewRows(Operation *op) {
    auto command = dyn_cast<CommandOp>(op);
    if (!command || (command.getName() != "matmul" && command.getName() != "quantized_matmul"))
      return false;
    ArrayRef<int64_t> shape = cast<MemRefType>(command.getOutputs()[0].getType()).getShape();
    return !shape.empty() && llvm::product_of(shape.drop_back()) <= kMostRows;
  }

  /// The last of the kernels that go over columns of product `time`, or of others of its run, or `time`.
  static int64_t lastEpilogue(ArrayRef<std::pair<Operation *, int64_t>> commands, int64_t time) {
    llvm::SmallDenseSet<Value> results;
    int64_t last = time;
    for (auto [op, at] : commands.drop_front(time)) {
      bool product = isProductOfFewRows(op);
      unsigned inputs = product ? cast<CommandOp>(op).getInputs().size() : 0;
      if (auto launch = dyn_cast<LaunchOp>(op))
        inputs = launch.getInputs().size();
      else if (!product)
        break;
      bool reads =
          llvm::any_of(op->getOperands().take_front(inputs), [&](Value v) { return results.contains(rootOf(v)); });
      if (reads == product)
        break; // a product of a product needs all columns; a kernel of nothing else ends the run
      for (Value output : op->getOperands().drop_front(inputs))
        results.insert(rootOf(output));
      if (!product)
        last = at;
    }
    return last;
  }

  bool holdUntil(Value value, int64_t time) {
    auto it = requests.find(leader(rootOf(value)));
    if (it == requests.end() || it->second.last >= time)
      return false;
    it->second.last = time;
    return true;
  }

  void touch(Value value, int64_t time) {
    Value root = rootOf(value);
    if (!root.getDefiningOp<BufferOp>())
      return;
    requests.insert({root, {getTensorBytes(root.getType()), time, time, false}});
    hold(root, time);
    lastUse[root] = time;
  }
  void hold(Value root, int64_t time) {
    if (auto it = requests.find(root); it != requests.end())
      it->second.last = std::max(it->second.last, time);
  }

  LogicalResult share(CommandOp command, Value value) {
    auto it = requests.find(rootOf(value));
    if (it == requests.end())
      return command.emitError("form command: a collective may only use buffers of the arena");
    it->second.shared = true;
    return success();
  }

  /// Tokens: what is started lives until its wait.
  LogicalResult follow(CommandOp command, int64_t time) {
    if (command.isWait()) {
      auto it = started.find(command.getInt("token"));
      if (it == started.end())
        return command.emitError("form command: token ")
               << command.getInt("token") << " was not started, or was waited for before";
      for (Value operand : it->second->getOperands())
        hold(rootOf(operand), time);
      started.erase(it);
      return success();
    }
    if (!command.isCollective())
      return success();
    if (command.getInt("plan_id") <= lastPlanId)
      return command.emitError("form command: plan_id must rise, got ")
             << command.getInt("plan_id") << " after " << lastPlanId;
    lastPlanId = command.getInt("plan_id");
    Value operand = rootOf(command.getInputs()[0]);
    bool busy = llvm::any_of(started, [&](auto &other) { return rootOf(other.second.getInputs()[0]) == operand; });
    if (command.getCollectiveName() == "all_reduce" && !busy)
      reductions.push_back({command, time});
    if (command.isStart()) {
      if (!tokens.insert(command.getInt("token")).second)
        return command.emitError("form command: token ") << command.getInt("token") << " is started twice";
      started.insert({command.getInt("token"), command});
    }
    return success();
  }

  struct Reduction {
    CommandOp command;
    int64_t time;
  };
  func::FuncOp function;
  llvm::MapVector<int64_t, CommandOp> started;
  llvm::DenseSet<int64_t> tokens;
  SmallVector<Reduction> reductions; ///< all_reduce whose operand no other collective under way reads
  DenseMap<Value, int64_t> lastUse;  ///< by a command itself; waits only hold
  DenseMap<Value, Value> leaders;
  int64_t lastPlanId = -1;
};

/// What one rank holds while a function runs.
struct Footprint {
  int64_t weights = 0, activations = 0, communication = 0, ports = 0;
  int64_t mapped = 0, loading = 0; ///< as HeldBytes has them
  int64_t running() const { return weights + activations + communication + ports; }
  int64_t total() const { return std::max(running(), loading); }
};

/// Small sizes to the byte, others as people say them.
std::string sizeText(int64_t bytes) {
  if (bytes < 100000)
    return llvm::formatv("{0} bytes", bytes);
  return bytes < 100000000 ? llvm::formatv("{0:f1} MB", bytes / 1e6) : llvm::formatv("{0:f1} GB", bytes / 1e9);
}

/// What else there is to say of the weights.
std::string besides(const Footprint &sizes) {
  std::string text;
  if (sizes.loading > sizes.running())
    text +=
        "; while weights are packed there are " + sizeText(sizes.loading) + " of them and what they are packed from";
  if (sizes.mapped > 0)
    text += "; " + sizeText(sizes.mapped) + " of weights are read in mapped files";
  return text;
}

struct PlanBuffers : impl::PlanBuffersPassBase<PlanBuffers> {
  using PlanBuffersPassBase::PlanBuffersPassBase;

  void runOnOperation() override {
    for (func::FuncOp function : getOperation().getOps<func::FuncOp>())
      if (!function.isExternal() && failed(plan(function)))
        return signalPassFailure();
  }

private:
  LogicalResult plan(func::FuncOp function) {
    Lifetimes lifetimes(function);
    if (failed(lifetimes.run()))
      return failure();
    if (inPlace)
      numInPlace += lifetimes.joinInPlace();
    DenseMap<Value, int64_t> index;
    ::comm::solver::BufferPlan plan;
    int64_t limit = arenaLimit(function);
    std::string problem = place(lifetimes, limit, index, plan);
    if (int64_t held = lifetimes.holdForEpilogues(); held && problem.empty()) {
      ::comm::solver::BufferPlan longer;
      problem = place(lifetimes, limit, index, longer);
      if (limit == 0 || longer.arenaBytes <= limit) {
        longer.lowerBound = plan.lowerBound;
        plan = longer;
        numHeld += held;
      }
    }
    if (!problem.empty())
      return function.emitError("error[E100]: the buffers of '")
             << function.getName() << "' could not be placed: " << problem;
    OpBuilder builder(function);
    for (BufferOp buffer : llvm::make_early_inc_range(function.getBody().front().getOps<BufferOp>())) {
      if (!lifetimes.requests.count(buffer)) {
        if (buffer->use_empty())
          buffer.erase();
        else
          buffer.setOffset(0); // of zero bytes, or only viewed
        continue;
      }
      buffer.setOffset(plan.offsets[index.lookup(lifetimes.leader(buffer))]);
      ++numBuffers;
    }
    function->setAttr(kArenaBytesAttr, builder.getI64IntegerAttr(plan.arenaBytes));
    function->setAttr(kCommBytesAttr, builder.getI64IntegerAttr(plan.sharedBytes));
    return function->hasAttr(kReferenceAttr) ? success() : report(function, plan);
  }

  /// `index`: numbers of the roots in the plan. Returns what is wrong, or nothing.
  static std::string place(Lifetimes &lifetimes, int64_t limit, DenseMap<Value, int64_t> &index,
                           ::comm::solver::BufferPlan &plan) {
    std::vector<::comm::solver::BufferRequest> requests;
    for (auto &[root, request] : lifetimes.requests)
      if (lifetimes.leader(root) == root) {
        index[root] = requests.size();
        requests.push_back(request);
      }
    std::string problem = ::comm::solver::check(requests);
    if (!problem.empty())
      return problem;
    plan = ::comm::solver::planBuffers(requests, limit);
    return ::comm::solver::verify(requests, plan);
  }

  /// What the limit leaves for the arena; 0: there is no limit.
  int64_t arenaLimit(func::FuncOp function) {
    if (memoryLimit <= 0 || function->hasAttr(kReferenceAttr))
      return 0;
    return std::max<int64_t>(1, memoryLimit - footprint(function, {}).running());
  }

  Footprint footprint(func::FuncOp function, const ::comm::solver::BufferPlan &plan) {
    Footprint sizes;
    sizes.communication = plan.sharedBytes;
    sizes.activations = plan.arenaBytes - plan.sharedBytes;
    HeldBytes held = getHeldBytes(function);
    sizes.weights = held.weights;
    sizes.mapped = held.mapped;
    sizes.ports = held.ports;
    sizes.loading = held.loading;
    return sizes;
  }

  /// Of all functions.
  void noteLargest(StringRef name, int64_t bytes) {
    auto known = getOperation()->getAttrOfType<IntegerAttr>(name);
    getOperation()->setAttr(name,
                            Builder(&getContext()).getI64IntegerAttr(std::max(bytes, known ? known.getInt() : 0)));
  }

  LogicalResult report(func::FuncOp function, const ::comm::solver::BufferPlan &plan) {
    Footprint sizes = footprint(function, plan);
    explain(getOperation(), "memory",
            "'" + function.getName() + "' needs " + sizeText(sizes.total()) + " per rank: weights and constants " +
                sizeText(sizes.weights) + ", activations " + sizeText(sizes.activations) + ", communication " +
                sizeText(sizes.communication) + ", inputs and outputs " + sizeText(sizes.ports) + besides(sizes) +
                "; no plan of the arena is below " + sizeText(plan.lowerBound) + ", this one has " +
                sizeText(plan.arenaBytes));
    if (memoryLimit <= 0 || sizes.total() <= memoryLimit)
      return success();
    int64_t over = sizes.total() - memoryLimit;
    if (!strict && over < plan.arenaBytes && sizes.loading <= memoryLimit) { // else no schedule helps
      noteLargest(kOverBytesAttr, over);
      noteLargest(kLeastBytesAttr, sizes.running() - plan.arenaBytes + plan.lowerBound);
      return success();
    }
    InFlightDiagnostic error = function.emitError("error[E501]: '")
                               << function.getName() << "' needs " << sizeText(sizes.total())
                               << " per rank, the limit is " << sizeText(memoryLimit) << ": weights and constants "
                               << sizeText(sizes.weights) << ", activations " << sizeText(sizes.activations)
                               << ", communication " << sizeText(sizes.communication) << ", inputs and outputs "
                               << sizeText(sizes.ports) << besides(sizes);
    int64_t rest = memoryLimit - (sizes.running() - sizes.weights);
    if (rest > 0 && sizes.weights > sizes.total() / 2)
      error << "; split the weights over " << llvm::divideCeil(sizes.weights, rest)
            << " times as many ranks, or raise the limit to " << sizes.total() << " bytes";
    else
      error << "; smaller input shapes reduce activations and communication, or raise the limit to " << sizes.total()
            << " bytes";
    return error;
  }
};
} // namespace
} // namespace mlir::comm
