//===- MemoryOrder.cpp - orders that need little memory -------------------===//
// What is alive depends only on the set of steps taken, so orders are paths through sets. Two rules keep the search
// small, both from one fact: taken with more done before, a step frees at least as much.
//   A step that fits and leaves no more alive than before can be taken at once: any order can be changed to do so.
//   A stretch behind which no more is alive than before it can be settled on, unless a part of it had left even less.
//===----------------------------------------------------------------------===//
#include "lib/Solver/MemoryOrder.h"
#include <algorithm>
#include <map>
#include <queue>
#include <unordered_set>

namespace comm::solver {
namespace {

/// Ready steps that are looked at: a long list of equals is not searched to its end.
constexpr size_t kScanned = 256;

uint64_t mix(uint64_t x) { // splitmix64
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// Sets of steps as a tree below one that is settled, and the program moved from that one to any of them and back.
class SetSearch {
public:
  SetSearch(const Graph &graph, Progress progress, const MemorySearch &options, std::vector<int32_t> &order,
            int64_t &work)
      : options(options), work(work), workEnd(work + options.work), graph(graph), at(std::move(progress)),
        order(order) {
    for (int32_t step : graph.steps)
      if (at.missing[step] == 0 && !at.taken[step])
        baseReady.push_back(step);
    states.emplace_back();
    states[0].live = at.memory.live();
  }

protected:
  /// A set: that of `parent` and `units`, which are steps, or starts that are awaited at once.
  struct State {
    int32_t parent = -1;
    std::vector<int32_t> units;
    int64_t peak = 0, live = 0, kept = 0;
    uint64_t hash = 0;
    int64_t alive() const { return live - kept; } ///< bytes that later steps may free
  };
  struct Key {
    int64_t peak, live;
    int32_t state;
    bool operator<(const Key &other) const { // the top of a queue is the largest
      if (peak != other.peak)
        return peak > other.peak;
      return live != other.live ? live > other.live : state < other.state;
    }
  };
  Key keyOf(int32_t state) const { return {std::max(states[state].peak, options.enough), states[state].live, state}; }
  bool tooMuch(const Key &key) const { return options.mustFit && key.peak > options.enough; }

  /// Moves from the base to a set; `ready` and `path` belong to it until leave().
  void enter(int32_t state) {
    ready = baseReady;
    path.clear();
    chain.clear();
    for (int32_t s = state; s != base; s = states[s].parent)
      chain.push_back(s);
    for (auto it = chain.rbegin(); it != chain.rend(); ++it)
      for (int32_t unit : states[*it].units)
        follow(unit);
  }
  void leave() {
    for (auto it = path.rbegin(); it != path.rend(); ++it) {
      for (int32_t next : graph.successors[*it + starts(*it)])
        ++at.missing[next];
      undo(*it);
    }
  }
  /// Takes what fits and leaves no more alive.
  void close(int32_t index) {
    int64_t limit = std::max(states[index].peak, options.enough);
    for (size_t i = 0; i < std::min(ready.size(), kScanned);) {
      int32_t unit = ready[i];
      int64_t before = at.memory.live(), peak = take(unit);
      bool harmless = peak <= limit && at.memory.live() <= before;
      undo(unit);
      if (!harmless) {
        ++i;
        continue;
      }
      follow(unit);
      State &state = states[index];
      state.units.push_back(unit);
      state.hash ^= mix(static_cast<uint64_t>(unit));
      state.kept += keptBytes(unit);
      i = 0; // others may free more now
    }
    states[index].live = at.memory.live();
  }
  /// The sets with one more unit than the one that was entered, in `added`.
  void expand(int32_t index) {
    added.clear();
    for (size_t i = 0; i < std::min(ready.size(), kScanned); ++i) {
      int32_t unit = ready[i];
      State next;
      next.parent = index;
      next.units.push_back(unit);
      next.peak = std::max(states[index].peak, take(unit));
      next.live = at.memory.live();
      undo(unit);
      next.kept = states[index].kept + keptBytes(unit);
      next.hash = states[index].hash ^ mix(static_cast<uint64_t>(unit));
      if (next.peak == INT64_MAX || seen.count(next.hash))
        continue;
      added.push_back(static_cast<int32_t>(states.size()));
      states.push_back(std::move(next));
    }
  }
  bool isNew(int32_t state) { return seen.insert(states[state].hash).second; }
  /// The set that was entered is settled.
  void commit(int32_t state) {
    for (int32_t unit : path) {
      order.push_back(unit);
      if (starts(unit))
        order.push_back(unit + 1);
    }
    baseReady = ready;
    base = state;
  }

  const MemorySearch &options;
  int64_t &work;
  const int64_t workEnd;
  std::vector<State> states;
  int32_t base = 0;
  std::vector<int32_t> ready, path, added;
  std::unordered_set<uint64_t> seen;

private:
  bool starts(int32_t unit) const { return unit % 2 == 0 && graph.problem.ops[unit / 2].isCollective(); }
  int64_t keptBytes(int32_t unit) const {
    int64_t bytes = 0;
    if (unit % 2 == 0)
      for (int32_t v : graph.produced[unit / 2])
        bytes += graph.problem.values[v].kept ? graph.problem.values[v].bytes : 0;
    return bytes;
  }
  int64_t take(int32_t unit) {
    ++work;
    int64_t peak = at.memory.take(unit);
    // Too many under way: what was started before has to be awaited first.
    if (!at.memory.fitsInFlight())
      peak = INT64_MAX;
    if (starts(unit))
      at.memory.take(unit + 1);
    return peak;
  }
  void undo(int32_t unit) {
    if (starts(unit))
      at.memory.undo(unit + 1);
    at.memory.undo(unit);
  }
  void follow(int32_t unit) {
    take(unit);
    path.push_back(unit);
    ready.erase(std::find(ready.begin(), ready.end(), unit));
    for (int32_t next : graph.successors[unit + starts(unit)])
      if (--at.missing[next] == 0)
        ready.push_back(next);
  }

  const Graph &graph;
  Progress at;
  std::vector<int32_t> &order;
  std::vector<int32_t> baseReady, chain;
};

/// The set with the smallest peak first, of equal ones that with the least alive.
class BestFirst : SetSearch {
public:
  using SetSearch::SetSearch;
  int64_t run() {
    restart();
    while (!open.empty()) {
      Key top = open.top();
      open.pop();
      if (tooMuch(top))
        return -1;
      enter(top.state);
      close(top.state);
      if (ready.empty()) {
        commit(top.state);
        return states[top.state].peak;
      }
      if (!isNew(top.state)) {
        leave();
        continue;
      }
      bool settled = options.kind == MemorySearch::Stretches && states[top.state].alive() <= states[base].alive();
      if (!path.empty() && (open.empty() || settled)) {
        commit(top.state);
        restart();
        continue;
      }
      expand(top.state);
      leave();
      for (int32_t state : added)
        open.push(keyOf(state));
      if (--left <= 0 && !open.empty()) {
        int32_t best = open.top().state;
        enter(best);
        commit(best);
        restart();
      }
    }
    return -1;
  }

private:
  void restart() {
    open = {};
    seen.clear();
    open.push(keyOf(base));
    left = work < workEnd ? options.width : 1;
  }
  std::priority_queue<Key> open;
  int64_t left = 0; ///< sets until the best is settled on
};

/// The best sets of each size, size after size.
class BeamSearch : SetSearch {
public:
  using SetSearch::SetSearch;
  int64_t run() {
    levels[0].push_back(keyOf(0));
    for (int64_t round = 1; !levels.empty(); ++round) {
      std::vector<Key> keys = std::move(levels.begin()->second);
      int64_t size = levels.begin()->first;
      levels.erase(levels.begin());
      std::sort(keys.rbegin(), keys.rend());
      int64_t width = work < workEnd ? options.width : 1, used = 0;
      for (const Key &key : keys) {
        if (tooMuch(key) || used == width)
          break;
        visit(key.state, size, used);
        if (done)
          return states[key.state].peak;
      }
      if (round % 16 == 0)
        settle();
    }
    return -1;
  }

private:
  void visit(int32_t state, int64_t size, int64_t &used) {
    enter(state);
    size_t before = path.size();
    close(state);
    auto closed = static_cast<int64_t>(path.size() - before);
    if (state == base && closed > 0) {
      commit(state);
      levels[size + closed].push_back(keyOf(state));
      return;
    }
    if (ready.empty()) {
      // Complete sets have one size: this is the best of them.
      if (closed == 0) {
        commit(state);
        done = true;
        return;
      }
      levels[size + closed].push_back(keyOf(state));
    } else if (closed > 0) {
      levels[size + closed].push_back(keyOf(state));
    } else if (isNew(state)) {
      ++used;
      expand(state);
      for (int32_t next : added)
        levels[size + 1].push_back(keyOf(next));
    }
    leave();
  }

  /// What all sets that are left have in common is settled: it is not walked again.
  void settle() {
    int32_t common = -1;
    for (auto &[size, keys] : levels)
      for (const Key &key : keys) {
        std::vector<int32_t> ancestors;
        // The set itself may still grow by what closes it; those above it have.
        for (int32_t s = key.state == base ? base : states[key.state].parent; s != base; s = states[s].parent)
          ancestors.push_back(s);
        if (common < 0) {
          common = key.state;
          shared.assign(ancestors.rbegin(), ancestors.rend());
          continue;
        }
        size_t n = 0;
        while (n < shared.size() && n < ancestors.size() && shared[n] == ancestors[ancestors.size() - 1 - n])
          ++n;
        shared.resize(n);
        if (n == 0)
          return;
      }
    if (common < 0 || shared.empty())
      return;
    enter(shared.back());
    commit(shared.back());
  }

  std::map<int64_t, std::vector<Key>> levels; ///< by units taken
  std::vector<int32_t> shared;
  bool done = false;
};
} // namespace

int64_t Progress::take(const Graph &graph, int32_t step) {
  taken[step] = true;
  for (int32_t next : graph.successors[step])
    --missing[next];
  return memory.take(step);
}

bool completeFrugally(const Graph &graph, Progress at, bool limited, std::vector<int32_t> &order, int64_t &work) {
  Memory &memory = at.memory;
  std::vector<int32_t> ready;
  for (int32_t step : graph.steps)
    if (at.missing[step] == 0 && !at.taken[step])
      ready.push_back(step);
  auto takeOne = [&](int32_t step) {
    bool good = memory.fits(memory.take(step));
    order.push_back(step);
    for (int32_t next : graph.successors[step])
      if (--at.missing[next] == 0 && (next % 2 == 0 || next != step + 1))
        ready.push_back(next);
    return good || !limited;
  };
  while (!ready.empty()) {
    size_t best = 0, scanned = std::min(ready.size(), kScanned);
    std::pair<int64_t, int32_t> least{INT64_MAX, 0};
    for (size_t i = 0; i < scanned; ++i) {
      int32_t step = ready[i];
      bool starts = graph.toStep(step).kind == StepKind::Start;
      memory.take(step);
      if (starts)
        memory.take(step + 1);
      std::pair<int64_t, int32_t> key{memory.live(), step};
      if (starts)
        memory.undo(step + 1);
      memory.undo(step);
      if (key < least) {
        least = key;
        best = i;
      }
    }
    work += static_cast<int64_t>(scanned);
    int32_t step = ready[best];
    ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(best));
    if (!takeOne(step) || (graph.toStep(step).kind == StepKind::Start && !takeOne(step + 1)))
      return false;
  }
  return true;
}

int64_t completeSparingly(const Graph &graph, Progress progress, const MemorySearch &options,
                          std::vector<int32_t> &order, int64_t &work) {
  if (options.kind == MemorySearch::Beam)
    return BeamSearch(graph, std::move(progress), options, order, work).run();
  return BestFirst(graph, std::move(progress), options, order, work).run();
}

} // namespace comm::solver
