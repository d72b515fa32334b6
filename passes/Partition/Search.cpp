//===- Search.cpp - beam search over the ops in program order -------------===//
// A plan is a choice per op; two plans with equal states of the values that are still needed have the same future, so
// only the cheaper one goes on. A value is in one state when it is made and in another one besides after each
// conversion, so its state is a set. History is back-pointers; only the live values of the current step are stored.
//===----------------------------------------------------------------------===//
#include "Search.h"
#include "Candidates.h"
#include "llvm/ADT/Hashing.h"
#include <cmath>
#include <limits>
#include <unordered_map>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::partition;

double CostModel::collective(ReshardStep::Kind kind, double wholeBytes, int64_t ranks) const {
  double n = ranks, part = wholeBytes * (n - 1) / n;
  switch (kind) {
  case ReshardStep::AllReduce:
    return 2 * (n - 1) * latencyUs + 2 * part / bytesPerUs;
  case ReshardStep::ReduceScatter:
  case ReshardStep::AllGather:
    return (n - 1) * latencyUs + part / bytesPerUs;
  case ReshardStep::AllToAll:
    return (n - 1) * latencyUs + part / n / bytesPerUs;
  case ReshardStep::Slice:
    return wholeBytes / n / memoryBytesPerUs;
  case ReshardStep::Mask:
    // A pass of its own over the tensor, and an add in front of the reduction that no norm can take in.
    return latencyUs / 2 + 2 * wholeBytes / memoryBytesPerUs;
  }
  return 0;
}

double CostModel::convert(AxisState from, AxisState to, double bytes, int64_t ranks) const {
  if (from == to || ranks == 1)
    return 0;
  AxisState whole = AxisState::replicated(), partial = AxisState::partial();
  if (from == partial)
    return collective(to == whole ? ReshardStep::AllReduce : ReshardStep::ReduceScatter, bytes, ranks);
  if (from == whole)
    return collective(to == partial ? ReshardStep::Mask : ReshardStep::Slice, bytes, ranks);
  if (to == whole)
    return collective(ReshardStep::AllGather, bytes, ranks);
  if (to == partial)
    return collective(ReshardStep::AllGather, bytes, ranks) + collective(ReshardStep::Mask, bytes, ranks);
  return collective(ReshardStep::AllToAll, bytes, ranks);
}

namespace {
constexpr double kImpossible = std::numeric_limits<double>::infinity();
/// Of breaking a rule of the axis' role: more than any plan costs, so that it happens only where nothing else is left.
constexpr double kPenalty = 1e12;
constexpr int kNone = std::numeric_limits<int>::max();
/// States in which a value is at hand, and, for a state argument, the one it comes in (plus one; 0: open).
using Slot = uint32_t;
constexpr unsigned kHomeShift = 26;
constexpr Slot kStates = (1u << kHomeShift) - 1;

Slot comeAs(AxisState state) { return state.bit() | static_cast<Slot>(state.code + 1) << kHomeShift; }
std::optional<AxisState> homeOf(Slot slot) {
  if (slot >> kHomeShift == 0)
    return std::nullopt;
  return AxisState{static_cast<int8_t>((slot >> kHomeShift) - 1)};
}

/// What happens at one op, in terms of the slots of its step.
struct Step {
  SmallVector<int> enter;       // arguments that come alive here
  SmallVector<int> before;      // live values while the op runs; results last
  SmallVector<int> operandSlot; // -1: free or no tensor
  SmallVector<int> resultSlot;
  SmallVector<int> kept; // slots that live on
  CandidateSet set;
  // History of the plans after this step.
  std::vector<int> parent;
  std::vector<uint8_t> candidate;
  std::vector<double> cost;
  SmallVector<double> bestOf; // per candidate
};

class Searcher {
public:
  Searcher(Graph &graph, unsigned axis, const SearchOptions &options)
      : graph(graph), axis(axis), options(options), ranks(graph.grid.sizes[axis]) {}

  std::vector<Decision> run() {
    prepare();
    std::vector<Slot> states; // of the current plans, concatenated
    std::vector<double> costs = {0};
    size_t width = 0;
    for (size_t at = 0; at < steps.size(); ++at)
      advance(at, states, costs, width);
    return finish(costs);
  }

private:
  double bytesOf(int number) const {
    const ValueInfo &value = graph.values[number];
    return getTensorBytes(getLocalType(value.type, value.layout, graph.grid));
  }
  bool isStateArgument(int number) const { return graph.values[number].state >= 0; }

  void prepare() {
    size_t count = graph.values.size();
    std::vector<int> first(count, kNone), last(count, -1), definedAt(count, -1);
    for (auto [at, op] : llvm::enumerate(graph.ops)) {
      for (int number : op.operands)
        if (number >= 0) {
          first[number] = std::min<int>(first[number], at);
          last[number] = std::max<int>(last[number], at);
        }
      for (int number : op.results)
        if (number >= 0)
          definedAt[number] = at;
    }
    pairedResult.assign(count, -1);
    for (const StatePair &state : graph.states) {
      int argument = graph.arguments[state.argument], result = state.result < 0 ? -1 : graph.returned[state.result];
      if (result < 0 || argument < 0)
        continue;
      int at = definedAt[result];
      if (at < 0 || graph.values[result].free) { // an argument or a constant handed through: comes and goes whole
        closedStates.insert(argument);
        continue;
      }
      if (pairedResult[result] >= 0) { // one value for two caches
        closedStates.insert(argument);
        continue;
      }
      pairedResult[result] = argument;
      first[argument] = std::min(first[argument], at);
      last[argument] = std::max(last[argument], at);
    }
    lifted = llvm::any_of(graph.values, [&](const ValueInfo &value) {
      return value.fixed && !(stateOn(*value.fixed, axis) == AxisState::replicated());
    });
    std::vector<SmallVector<int>> entering(graph.ops.size());
    for (int number : graph.arguments)
      if (number >= 0 && first[number] != kNone)
        entering[first[number]].push_back(number);
    SmallVector<int> live;
    steps.resize(graph.ops.size());
    for (auto [at, op] : llvm::enumerate(graph.ops)) {
      Step &step = steps[at];
      step.enter = entering[at];
      live.append(step.enter.begin(), step.enter.end());
      step.before = live;
      DenseMap<int, int> slotOf;
      for (auto [slot, number] : llvm::enumerate(live))
        slotOf[number] = slot;
      if (!op.free)
        for (int number : op.results)
          if (number >= 0) {
            slotOf[number] = step.before.size();
            step.before.push_back(number);
          }
      auto slot = [&](int number) { return number < 0 || graph.values[number].free ? -1 : slotOf.lookup(number); };
      for (int number : op.operands)
        step.operandSlot.push_back(slot(number));
      for (int number : op.results)
        step.resultSlot.push_back(slot(number));
      live.clear();
      for (auto [index, number] : llvm::enumerate(step.before))
        if (last[number] > static_cast<int>(at)) {
          live.push_back(number);
          step.kept.push_back(index);
        }
      if (!op.free)
        step.set = candidatesFor(graph, op, axis, options, lifted);
    }
  }

  Slot entryState(int number) const {
    const ValueInfo &value = graph.values[number];
    if (value.fixed)
      return comeAs(stateOn(*value.fixed, axis));
    if (value.settled)
      return comeAs(stateOn(*value.settled, axis));
    return isStateArgument(number) && !closedStates.contains(number) ? 0 : comeAs(AxisState::replicated());
  }

  /// Makes `slot` available in `want`; returns the cost.
  double obtain(Slot &slot, AxisState want, int number) const {
    if ((slot & kStates) == 0) { // an open state argument comes as it is first asked for
      slot = comeAs(want == AxisState::partial() || !homeFits(number, want) ? AxisState::replicated() : want);
    }
    if (slot & want.bit())
      return 0;
    double best = kImpossible, bytes = bytesOf(number);
    for (int8_t code = 0; code < static_cast<int8_t>(kHomeShift); ++code)
      if (slot >> code & 1)
        best = std::min(best, options.cost.convert(AxisState{code}, want, bytes, ranks));
    slot |= want.bit();
    return best;
  }
  /// A second axis may share a dimension of a state argument only when it stays even.
  bool homeFits(int number, AxisState want) const {
    const ValueInfo &value = graph.values[number];
    if (!want.isSplit() || value.layout.dims[want.dim()].axes.empty())
      return true;
    const DimSplit &split = value.layout.dims[want.dim()];
    return value.type.getDimSize(want.dim()) %
               (graph.grid.shards(split.axes) * ranks * std::max(split.grain, value.grain[want.dim()])) ==
           0;
  }

  /// Applies a candidate to the slots of its step; with kPenalty for each rule of the axis that it breaks.
  double apply(const Step &step, const OpInfo &op, const Candidate &candidate, MutableArrayRef<Slot> slots) const {
    double cost = candidate.costUs;
    for (auto [index, state] : candidate.avoid)
      if (int slot = step.operandSlot[index];
          slot >= 0 && (slots[slot] & state.bit()) && !(slots[slot] & candidate.need[index].bit())) {
        cost += kPenalty;
        break;
      }
    if (candidate.follows) {
      bool found = false;
      for (auto [slot, need] : llvm::zip(step.operandSlot, candidate.need)) {
        if (slot < 0 || !need.isSplit())
          continue;
        bool has = slots[slot] & need.bit();
        found |= has || (slots[slot] & kStates) == 0;
        if (!has && !options.sequenceParallel && (slots[slot] & kStates) == AxisState::partial().bit())
          cost += kPenalty;
      }
      if (!found)
        cost += kPenalty;
    }
    for (auto [index, slot] : llvm::enumerate(step.operandSlot)) {
      if (index >= candidate.need.size())
        break;
      AxisState need = candidate.need[index];
      if (slot >= 0)
        cost += obtain(slots[slot], need, step.before[slot]);
      else if (op.operands[index] >= 0 && need == AxisState::partial())
        cost += options.cost.collective(ReshardStep::Mask, bytesOf(op.operands[index]), ranks);
    }
    for (auto [index, slot] : llvm::enumerate(step.resultSlot)) {
      if (slot < 0)
        continue;
      int number = step.before[slot];
      const ValueInfo &value = graph.values[number];
      AxisState made = candidate.made[index];
      if (value.fixed) {
        AxisState fixed = stateOn(*value.fixed, axis);
        cost += options.cost.convert(made, fixed, bytesOf(number), ranks);
        made = fixed;
      }
      slots[slot] = made.bit();
      for (int result : value.returnedAs)
        cost += deliver(step, slots, slot, made, result);
    }
    return cost;
  }

  /// Hands a value to a function result as soon as it is made.
  double deliver(const Step &step, MutableArrayRef<Slot> slots, int slot, AxisState made, int result) const {
    int number = step.before[slot], argument = pairedResult[number];
    auto asked = graph.function.getResultAttrOfType<LayoutAttr>(result, kLayoutAttr);
    AxisState want = AxisState::replicated();
    if (asked)
      if (std::optional<Layout> layout = toLayout(asked, graph.values[number].type, graph.grid))
        want = stateOn(*layout, axis);
    if (argument >= 0 && graph.states[graph.values[argument].state].result == result) {
      int at = std::distance(step.before.begin(), llvm::find(step.before, argument));
      if (!homeOf(slots[at]))
        slots[at] = comeAs(asked                                                       ? want
                           : made == AxisState::partial() || !homeFits(argument, made) ? AxisState::replicated()
                                                                                       : made);
      want = *homeOf(slots[at]);
    }
    return obtain(slots[slot], want, number);
  }

  void advance(size_t at, std::vector<Slot> &states, std::vector<double> &costs, size_t &width) {
    Step &step = steps[at];
    const OpInfo &op = graph.ops[at];
    size_t entries = costs.size(), wide = step.before.size(), next = step.kept.size();
    SmallVector<Slot> slots(wide);
    std::vector<Slot> nextStates;
    std::vector<double> nextCosts;
    std::vector<int> parents;
    std::vector<uint8_t> chosen;
    std::unordered_map<size_t, SmallVector<unsigned, 1>> seen;
    size_t options = op.free ? 1 : step.set.candidates.size();
    step.bestOf.assign(options, kImpossible);
    for (size_t entry = 0; entry < entries; ++entry)
      for (size_t c = 0; c < options; ++c) {
        std::copy_n(states.begin() + entry * width, width, slots.begin());
        for (auto [index, number] : llvm::enumerate(step.enter))
          slots[width + index] = entryState(number);
        double cost = costs[entry];
        if (!op.free)
          cost += apply(step, op, step.set.candidates[c], slots);
        step.bestOf[c] = std::min(step.bestOf[c], cost);
        SmallVector<Slot> keep;
        for (int slot : step.kept)
          keep.push_back(slots[slot]);
        SmallVector<unsigned, 1> &bucket = seen[llvm::hash_combine_range(keep.begin(), keep.end())];
        unsigned *same = llvm::find_if(bucket, [&](unsigned index) {
          return std::equal(keep.begin(), keep.end(), nextStates.begin() + index * next);
        });
        if (same != bucket.end()) {
          if (cost < nextCosts[*same]) {
            nextCosts[*same] = cost;
            parents[*same] = entry;
            chosen[*same] = c;
          }
          continue;
        }
        bucket.push_back(nextCosts.size());
        nextStates.insert(nextStates.end(), keep.begin(), keep.end());
        nextCosts.push_back(cost);
        parents.push_back(entry);
        chosen.push_back(c);
      }
    SmallVector<unsigned> order = llvm::to_vector(llvm::seq<unsigned>(0, nextCosts.size()));
    if (order.size() > this->options.beam) {
      llvm::stable_sort(order, [&](unsigned a, unsigned b) { return nextCosts[a] < nextCosts[b]; });
      order.resize(this->options.beam);
    }
    states.clear();
    for (unsigned index : order) {
      states.insert(states.end(), nextStates.begin() + index * next, nextStates.begin() + (index + 1) * next);
      step.parent.push_back(parents[index]);
      step.candidate.push_back(chosen[index]);
      step.cost.push_back(nextCosts[index]);
    }
    costs = step.cost;
    width = next;
  }

  std::vector<Decision> finish(const std::vector<double> &costs) {
    std::vector<uint8_t> path(steps.size());
    std::vector<int> entryAt(steps.size());
    int entry = std::distance(costs.begin(), std::min_element(costs.begin(), costs.end()));
    for (size_t at = steps.size(); at-- > 0;) {
      entryAt[at] = entry;
      path[at] = steps[at].candidate[entry];
      entry = steps[at].parent[entry];
    }
    // Walk the chosen plan once more for the layouts that state arguments come in.
    std::vector<Decision> decisions(steps.size());
    DenseMap<int, Slot> now;
    double before = 0;
    for (auto [at, step] : llvm::enumerate(steps)) {
      OpInfo &op = graph.ops[at];
      Decision &decision = decisions[at];
      if (op.free) {
        op.choices.push_back({});
        continue;
      }
      SmallVector<Slot> slots;
      for (int number : step.before)
        slots.push_back(llvm::is_contained(step.enter, number) ? entryState(number) : now.lookup(number));
      const Candidate &candidate = step.set.candidates[path[at]];
      apply(step, op, candidate, slots);
      for (auto [number, slot] : llvm::zip_equal(step.before, slots))
        now[number] = slot;
      op.choices.push_back(candidate.choice);
      decision.choice = candidate.choice;
      decision.note = step.set.note;
      decision.costUs = std::fmod(step.cost[entryAt[at]] - before, kPenalty);
      before = step.cost[entryAt[at]];
      for (size_t c = 0; c < step.bestOf.size(); ++c) {
        if (c == path[at] || step.bestOf[c] == kImpossible ||
            (decision.hadAlternative && step.bestOf[c] - before >= decision.runnerUpUs))
          continue;
        decision.hadAlternative = true;
        decision.runnerUpUs = step.bestOf[c] - before;
        decision.runnerUpBreaksRole = decision.runnerUpUs > kPenalty / 2;
        decision.runnerUp = describeChoice(graph, op, step.set.candidates[c].choice);
      }
      for (auto [number, layout] : llvm::zip(op.results, candidate.layouts.results))
        if (number >= 0)
          graph.values[number].layout = graph.values[number].fixed ? *graph.values[number].fixed : layout;
    }
    for (int number : graph.arguments)
      if (number >= 0)
        setArgument(number, now);
    return decisions;
  }

  void setArgument(int number, const DenseMap<int, Slot> &now) {
    ValueInfo &value = graph.values[number];
    if (value.fixed || value.settled) {
      value.layout = value.fixed ? *value.fixed : *value.settled;
      return;
    }
    auto it = now.find(number);
    std::optional<AxisState> home = it == now.end() ? std::nullopt : homeOf(it->second);
    if (!home || !home->isSplit())
      return;
    DimSplit &split = value.layout.dims[home->dim()];
    split.axes.push_back(axis);
    split.grain = canonicalGrain(value.type.getDimSize(home->dim()), std::max(split.grain, value.grain[home->dim()]),
                                 graph.grid.shards(split.axes));
  }

  Graph &graph;
  unsigned axis;
  const SearchOptions &options;
  int64_t ranks;
  bool lifted = false;
  std::vector<Step> steps;
  std::vector<int> pairedResult; // value -> state argument whose next value it is
  llvm::DenseSet<int> closedStates;
};
} // namespace

std::vector<Decision> partition::searchAxis(Graph &graph, unsigned axis, const SearchOptions &options) {
  graph.spreadGrains(axis);
  return Searcher(graph, axis, options).run();
}
