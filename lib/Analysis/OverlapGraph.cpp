//===- OverlapGraph.cpp - a function as an overlap problem ----------------===//
#include "comm/Analysis/OverlapGraph.h"
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/HeldBytes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace mlir::comm;
namespace solver = ::comm::solver;

namespace {
int64_t arenaBytes(Type type) {
  constexpr int64_t kAlignment = 64; // of buffers in the arena
  return llvm::alignTo(getTensorBytes(type), kAlignment);
}

/// The value whose buffer this one shows.
Value rootOf(Value value) {
  while (Operation *def = value.getDefiningOp()) {
    if (!isa<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp, tensor::ExtractSliceOp,
             linalg::BroadcastOp>(def) ||
        !isFreeOp(def))
      break;
    value = def->getOperand(0);
  }
  return value;
}

class GraphBuilder {
public:
  GraphBuilder(func::FuncOp function, const OpTimes &times, const OverlapGraphOptions &options)
      : block(function.getBody().front()), times(times), options(options) {
    graph.fixedBytes = getHeldBytes(function).total();
  }

  OverlapGraph run() {
    group();
    number();
    addNeeds();
    addTimes();
    addValues();
    finish();
    return std::move(graph);
  }

private:
  /// A loop nest in the making: grows while nobody outside reads its values.
  struct Unit {
    SmallVector<Operation *> ops;
    ArrayRef<int64_t> space;
    int64_t level = 0; ///< collectives awaited on the way to it
    bool open = false;
  };

  /// Values that an op reads, those of its regions included.
  template <typename Function> static void forOperands(Operation *op, Function function) {
    op->walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        if (!operand.getDefiningOp() || !op->isProperAncestor(operand.getDefiningOp()))
          function(operand);
    });
  }

  /// Units that `op` depends on, through free ops.
  void collect(Operation *op, llvm::SmallSetVector<int64_t, 4> &units) {
    forOperands(op, [&](Value operand) {
      Operation *def = operand.getDefiningOp();
      if (!def || def->getBlock() != &block)
        return;
      if (auto it = unitOf.find(def); it != unitOf.end())
        units.insert(it->second);
      else if (isFreeOp(def))
        collect(def, units);
    });
  }

  static ArrayRef<int64_t> spaceOf(Operation *op) {
    Value shaped = isa<linalg::ReduceOp>(op) ? op->getOperand(0) : op->getResult(0);
    auto type = dyn_cast<RankedTensorType>(shaped.getType());
    return type ? type.getShape() : ArrayRef<int64_t>();
  }

  void group() {
    for (Operation &op : block.without_terminator()) {
      if (isFreeOp(&op))
        continue;
      if (auto wait = dyn_cast<WaitOp>(op)) {
        int64_t unit = unitOf.lookup(wait.getToken().getDefiningOp());
        unitOf[&op] = unit;
        units[unit].ops.push_back(&op);
        units[unit].level = ++awaited;
        continue;
      }
      llvm::SmallSetVector<int64_t, 4> needs;
      collect(&op, needs);
      int64_t level = 0, into = -1;
      for (int64_t need : needs)
        level = std::max(level, units[need].level);
      if (isFusible(&op))
        into = join(&op, needs, level);
      for (int64_t need : needs)
        if (need != into)
          units[need].open = false;
      if (into < 0) {
        into = units.size();
        units.push_back({{}, isFusible(&op) ? spaceOf(&op) : ArrayRef<int64_t>(), level, isFusible(&op)});
      }
      bool synchronous = isa<CollectiveOpInterface>(op);
      if (synchronous)
        units[into].level = ++awaited;
      units[into].ops.push_back(&op);
      unitOf[&op] = into;
    }
  }

  /// The unit that `op` joins, -1 for none. Open units on the same space that wait for the same collectives become one.
  int64_t join(Operation *op, const llvm::SmallSetVector<int64_t, 4> &needs, int64_t level) {
    int64_t into = -1;
    for (int64_t need : needs) {
      Unit &unit = units[need];
      if (!unit.open || unit.level != level || unit.space != spaceOf(op))
        continue;
      if (into < 0) {
        into = need;
        continue;
      }
      for (Operation *member : unit.ops) {
        unitOf[member] = into;
        units[into].ops.push_back(member);
      }
      unit.ops.clear();
      unit.open = false;
    }
    return into;
  }

  /// Units get the place of their last op: everything that they need stands before it, nobody reads them earlier.
  void number() {
    for (Unit &unit : units)
      llvm::sort(unit.ops, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
    SmallVector<int64_t> order;
    for (auto [index, unit] : llvm::enumerate(units))
      if (!unit.ops.empty())
        order.push_back(index);
    auto place = [&](int64_t unit) {
      Operation *first = units[unit].ops.front();
      return isa<StartOp>(first) ? first : units[unit].ops.back();
    };
    llvm::sort(order, [&](int64_t a, int64_t b) { return place(a)->isBeforeInBlock(place(b)); });
    for (auto [number, unit] : llvm::enumerate(order)) {
      for (Operation *op : units[unit].ops)
        idOf[op] = number;
      graph.members.push_back(units[unit].ops);
    }
    graph.problem.ops.resize(order.size());
  }

  void collectIds(Operation *op, llvm::SmallSetVector<int32_t, 4> &ids) {
    forOperands(op, [&](Value operand) {
      Operation *def = operand.getDefiningOp();
      if (!def || def->getBlock() != &block)
        return;
      if (auto it = idOf.find(def); it != idOf.end())
        ids.insert(it->second);
      else
        collectIds(def, ids);
    });
  }

  void addNeeds() {
    int32_t lastCompute = -1;
    for (auto [number, members] : llvm::enumerate(graph.members)) {
      llvm::SmallSetVector<int32_t, 4> ids;
      for (Operation *op : members)
        if (!isa<WaitOp>(op))
          collectIds(op, ids);
      int32_t self = number;
      ids.remove(self);
      if (options.keepComputeOrder && !graph.collectiveOf(self)) {
        if (lastCompute >= 0)
          ids.insert(lastCompute);
        lastCompute = self;
      }
      graph.problem.ops[number].needs.assign(ids.begin(), ids.end());
      llvm::sort(graph.problem.ops[number].needs);
    }
  }

  void addTimes() {
    const ::comm::cost::CostModel &model = times.getModel();
    double plain = model.rateBesideCollective(false), bound = model.rateBesideCollective(true);
    graph.memoryBound.resize(graph.members.size(), false);
    for (auto [number, members] : llvm::enumerate(graph.members)) {
      solver::OverlapOp &op = graph.problem.ops[number];
      if (Operation *collective = graph.collectiveOf(number)) {
        op.us = times.ofCollective(collective);
        op.resource = times.resourceOf(collective);
        continue;
      }
      bool loop = isFusible(members[0]);
      int64_t bytes = loop ? loopBytes(members) : OpTimes::bytesOf(members[0]);
      op.us = loop ? times.ofLoop(members, bytes) : times.of(members[0]);
      graph.memoryBound[number] = model.isMemoryBound(static_cast<double>(bytes), op.us);
      op.computeRate = graph.memoryBound[number] ? bound : plain;
    }
  }

  /// What a loop nest reads from outside and writes for others.
  int64_t loopBytes(ArrayRef<Operation *> members) {
    llvm::SmallPtrSet<Operation *, 8> inside(members.begin(), members.end());
    llvm::SetVector<Value> touched;
    for (Operation *op : members) {
      for (Value operand : op->getOperands())
        if (Value root = rootOf(operand); !inside.contains(root.getDefiningOp()))
          touched.insert(root);
      for (Value result : op->getResults())
        if (isReadOutside(result, inside))
          touched.insert(result);
    }
    int64_t bytes = 0;
    for (Value value : touched)
      bytes += getTensorBytes(value.getType());
    return bytes;
  }

  bool isReadOutside(Value value, const llvm::SmallPtrSetImpl<Operation *> &inside) {
    return llvm::any_of(value.getUsers(), [&](Operation *user) {
      if (user->getBlock() != &block)
        user = block.findAncestorOpInBlock(*user);
      if (!isFreeOp(user))
        return !inside.contains(user);
      return llvm::any_of(user->getResults(), [&](Value result) { return isReadOutside(result, inside); });
    });
  }

  /// Ops of the problem that read a value or a view of it; true when the function returns it.
  bool collectUsers(Value value, llvm::SmallSetVector<int32_t, 4> &users) {
    bool returned = false;
    for (Operation *user : value.getUsers()) {
      if (user->getBlock() != &block)
        user = block.findAncestorOpInBlock(*user);
      if (user == block.getTerminator())
        returned = true;
      else if (auto it = idOf.find(user); it != idOf.end())
        users.insert(it->second);
      else
        for (Value result : user->getResults())
          returned |= collectUsers(result, users);
    }
    return returned;
  }

  void addValues() {
    DenseMap<int32_t, int64_t> inPlace; // all_reduce -> value that its result takes over
    for (auto [number, members] : llvm::enumerate(graph.members)) {
      int32_t self = number;
      Operation *collective = graph.collectiveOf(self);
      Operation *last = members.back();
      for (Operation *op : collective ? ArrayRef<Operation *>(last) : ArrayRef<Operation *>(members))
        for (Value result : op->getResults()) {
          llvm::SmallSetVector<int32_t, 4> users;
          bool returned = collectUsers(result, users);
          users.remove(self);
          if (users.empty() && !returned && !collective)
            continue; // stays in registers
          if (auto it = inPlace.find(self); it != inPlace.end()) {
            extend(it->second, users, returned);
            takenOver[result] = it->second;
            reuse(users, it->second, inPlace);
            continue;
          }
          solver::OverlapValue value;
          // A result of the function is computed where the caller wants it, unless a collective makes or reads it.
          bool outside = returned && !collective &&
                         llvm::none_of(users, [&](int32_t user) { return graph.collectiveOf(user) != nullptr; });
          value.bytes = outside ? 0 : arenaBytes(result.getType());
          value.producer = self;
          value.users.assign(users.begin(), users.end());
          value.kept = returned;
          graph.problem.values.push_back(std::move(value));
          reuse(users, graph.problem.values.size() - 1, inPlace);
        }
    }
  }

  /// An all_reduce that alone reads a value, the whole of it, works in its place.
  void reuse(const llvm::SmallSetVector<int32_t, 4> &users, int64_t value, DenseMap<int32_t, int64_t> &inPlace) {
    const solver::OverlapValue &info = graph.problem.values[value];
    if (users.size() != 1 || info.kept)
      return;
    auto reduce = dyn_cast_or_null<AllReduceOp>(graph.collectiveOf(users[0]));
    if (reduce && arenaBytes(reduce.getType()) == info.bytes)
      inPlace[users[0]] = value;
  }

  void extend(int64_t value, const llvm::SmallSetVector<int32_t, 4> &users, bool returned) {
    solver::OverlapValue &info = graph.problem.values[value];
    for (int32_t user : users) {
      info.users.push_back(user);
      std::vector<int32_t> &needs = graph.problem.ops[user].needs;
      if (!llvm::is_contained(needs, info.producer))
        needs.insert(llvm::upper_bound(needs, info.producer), info.producer);
    }
    info.kept |= returned;
  }

  void finish() {
    solver::OverlapProblem &problem = graph.problem;
    problem.maxInFlight = options.maxInFlight;
    problem.issueUs = times.getModel().chunkOverheadUs();
    problem.oneQueue = times.getModel().topology().device.cpu;
    if (options.memoryLimit > 0)
      problem.memoryLimit = std::max<int64_t>(1, options.memoryLimit - graph.fixedBytes);
  }

  Block &block;
  const OpTimes &times;
  const OverlapGraphOptions &options;
  OverlapGraph graph;
  std::vector<Unit> units;
  DenseMap<Operation *, int64_t> unitOf;
  DenseMap<Operation *, int32_t> idOf;
  DenseMap<Value, int64_t> takenOver;
  int64_t awaited = 0;
};
} // namespace

Operation *OverlapGraph::collectiveOf(int32_t op) const {
  Operation *first = members[op].front();
  if (auto start = dyn_cast<StartOp>(first))
    return start.getCollective();
  return isa<CollectiveOpInterface>(first) ? first : nullptr;
}

std::string OverlapGraph::siteOf(int32_t op) const { return getSiteName(members[op].back()); }

std::vector<solver::Step> OverlapGraph::blockOrder() const {
  // Steps by the place of the op that decides: the last of a loop nest.
  std::vector<std::pair<Operation *, solver::Step>> places;
  for (auto [number, ops] : llvm::enumerate(members)) {
    int32_t id = number;
    if (!collectiveOf(id)) {
      places.push_back({ops.back(), {id, solver::StepKind::Run}});
      continue;
    }
    places.push_back({ops.front(), {id, solver::StepKind::Start}});
    places.push_back({ops.back(), {id, solver::StepKind::Wait}});
  }
  llvm::sort(places, [](auto &a, auto &b) { // a synchronous collective is started before it is awaited
    return a.first == b.first ? a.second.kind < b.second.kind : a.first->isBeforeInBlock(b.first);
  });
  std::vector<solver::Step> order;
  for (auto &[op, step] : places)
    order.push_back(step);
  return order;
}

/// Moves the free ops that `op` reads in front of it, unless they stand already.
static void bringFree(Operation *op, Block &block, llvm::SmallPtrSetImpl<Operation *> &placed) {
  op->walk([&](Operation *inner) {
    for (Value operand : inner->getOperands()) {
      Operation *def = operand.getDefiningOp();
      if (!def || def->getBlock() != &block || !isFreeOp(def) || !placed.insert(def).second)
        continue;
      bringFree(def, block, placed);
      def->moveBefore(block.getTerminator());
    }
  });
}

void OverlapGraph::apply(ArrayRef<solver::Step> order, Block &block) const {
  llvm::SmallPtrSet<Operation *, 32> placed;
  auto place = [&](Operation *op) {
    bringFree(op, block, placed);
    op->moveBefore(block.getTerminator());
  };
  for (solver::Step step : order) {
    ArrayRef<Operation *> ops = members[step.op];
    if (step.kind == solver::StepKind::Run)
      llvm::for_each(ops, place);
    else if (step.kind == solver::StepKind::Start)
      place(ops.front());
    else if (ops.size() > 1)
      place(ops.back());
  }
  bringFree(block.getTerminator(), block, placed);
  // What nobody reads was not placed: it stands in front of its operands now.
  SmallVector<Operation *> ops = llvm::map_to_vector(block.without_terminator(), [](Operation &op) { return &op; });
  for (Operation *op : llvm::reverse(ops))
    if (isFreeOp(op) && op->use_empty())
      op->erase();
}

OverlapGraph mlir::comm::buildOverlapGraph(func::FuncOp function, const OpTimes &times,
                                           const OverlapGraphOptions &options) {
  return GraphBuilder(function, times, options).run();
}
