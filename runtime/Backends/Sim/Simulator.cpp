//===- Simulator.cpp - a program in virtual time --------------------------===//
// Discrete events over classes of ranks. A class has a compute queue (position in the program, one command running) and
// a communication queue (collectives in the order of issue, one at its head). What runs has work left and a rate; when
// its neighbour on the other queue changes, the rate does, and its end is predicted anew. Old predictions stay in the
// heap and are skipped by their version.
//===----------------------------------------------------------------------===//
#include "comm/Simulator/Simulator.h"
#include "RankClasses.h"
#include "comm/Simulator/CommandCost.h"
#include <algorithm>
#include <map>
#include <queue>
#include <unordered_map>

namespace comm::sim {
namespace {
constexpr double forever = 1e300;

/// A command as the engine sees it.
struct Step {
  enum Kind { Compute, Start, Wait, Collective } kind = Compute;
  int32_t ordinal = -1; ///< of the collective that it issues or waits for
  int32_t issuer = -1;  ///< the command that issues that collective
  size_t axes = 0;      ///< number of its list of axes
  bool later = false;   ///< a wait with something between it and its start
};

struct Plan {
  std::vector<Step> steps;
  std::vector<std::vector<std::string>> axes;
  int32_t collectives = 0;
};

const int64_t *tokenOf(const exe::Command &c) {
  auto it = c.attrs.find("token");
  return it == c.attrs.end() ? nullptr : std::get_if<int64_t>(&it->second);
}

/// Everything that the engine relies on.
bool makePlan(const exe::Program &program, Plan &plan, std::string &error) {
  std::map<int64_t, std::pair<int32_t, int32_t>> flying; // token -> ordinal, issuer
  for (size_t i = 0; i < program.commands.size(); ++i) {
    const exe::Command &c = program.commands[i];
    auto fail = [&](const std::string &what) {
      error = "command " + std::to_string(i) + " '" + c.op + "': " + what;
      return false;
    };
    for (const auto *list : {&c.inputs, &c.outputs})
      for (int32_t v : *list)
        if (v < 0 || static_cast<size_t>(v) >= program.values.size())
          return fail("operand " + std::to_string(v) + " does not exist");
    Step step;
    const int64_t *token = tokenOf(c);
    if (c.op == "wait") {
      auto it = token ? flying.find(*token) : flying.end();
      if (it == flying.end())
        return fail("it waits for a token that is not in flight");
      step.kind = Step::Wait;
      std::tie(step.ordinal, step.issuer) = it->second;
      step.later = step.issuer + 1 != static_cast<int32_t>(i);
      flying.erase(it);
    } else if (c.op == "start" || !exe::collectiveOf(c).empty()) {
      if (exe::collectiveOf(c).empty() || c.inputs.empty() || c.outputs.empty())
        return fail("it starts no known collective, or one without operands");
      std::vector<std::string> axes = axesOf(c);
      for (size_t a = 0; a < axes.size(); ++a)
        if (program.grid.coordinate(0, {axes[a]}) < 0 ||
            std::find(axes.begin(), axes.begin() + a, axes[a]) != axes.begin() + a)
          return fail("axis '" + axes[a] + "' does not exist or is named twice");
      auto known = std::find(plan.axes.begin(), plan.axes.end(), axes);
      step.axes = static_cast<size_t>(known - plan.axes.begin());
      if (known == plan.axes.end())
        plan.axes.push_back(axes);
      step.kind = c.op == "start" ? Step::Start : Step::Collective;
      step.ordinal = plan.collectives++;
      step.issuer = static_cast<int32_t>(i);
      if (step.kind == Step::Start &&
          (!token || !flying.emplace(*token, std::make_pair(step.ordinal, step.issuer)).second))
        return fail("its token is missing or in flight already");
    }
    plan.steps.push_back(step);
  }
  return true;
}

/// The same on every machine: no distribution of the standard library.
double uniform(uint64_t seed, uint64_t rank, uint64_t command) {
  uint64_t x = seed * 0x9e3779b97f4a7c15ull + rank * 0xbf58476d1ce4e5b9ull + command * 0x94d049bb133111ebull + 1;
  for (uint64_t factor : {0xbf58476d1ce4e5b9ull, 0x94d049bb133111ebull}) {
    x ^= x >> 30;
    x *= factor;
  }
  return static_cast<double>((x ^ (x >> 31)) >> 11) / 9007199254740992.0;
}

/// Something that runs at a rate.
struct Work {
  bool running = false;
  double left = 0, rate = 1, since = 0;
  uint32_t version = 0;

  void begin(double us, double now) { *this = {true, us, 1, now, version + 1}; }
  void setRate(double r, double now) {
    left = std::max(0.0, left - (now - since) * rate);
    since = now;
    rate = r;
    ++version;
  }
  double end() const { return rate > 0 ? since + left / rate : forever; }
};

/// A collective of one class of groups, from the first member's arrival to its end.
struct Flight {
  int32_t issuer = -1, group = -1;
  size_t arrived = 0;
  double metUs = 0;
  Work work;
};

struct Span {
  double begin, end;
};

struct ClassState {
  double slow = 1;
  size_t next = 0;                                        ///< command that compute does, or waits in
  Work work;                                              ///< of a compute command
  double begun = 0;                                       ///< of what compute does
  bool blocked = false, issued = false, finished = false; ///< issued: the collective of command `next`
  bool handingOver = false, handedOver = false;           ///< what a late wait costs: being paid, paid
  int64_t started = 0, done = 0;                          ///< collectives; the head of the queue is number `done`
  bool arrived = false, moving = false;                   ///< the head
  std::vector<int32_t> queue;                             ///< issuers by ordinal
  std::vector<double> issueUs;
  std::vector<Span> waits; ///< compute stood still
};

struct Event {
  double at;
  uint64_t order;
  int64_t what; ///< class, or ~flight
  uint32_t version;
  bool operator>(const Event &o) const { return std::tie(at, order) > std::tie(o.at, o.order); }
};

class Engine {
public:
  Engine(const Plan &plan, const Partition &partition, const Costs &costs, const SimOptions &options)
      : plan(plan), parts(partition), costs(costs), options(options), slowsCollectives(costs.slowsCollectives()),
        handOverUs(std::max(0.0, costs.handOverUs())) {}

  bool run(SimResult &result, std::string &error) {
    result.classes.resize(parts.first.size());
    for (size_t c = 0; c < parts.first.size(); ++c) {
      states.emplace_back();
      result.classes[c].first = parts.first[c];
      result.classes[c].count = parts.count[c];
      auto slow = options.slowRanks.find(parts.first[c]);
      states[c].slow = slow == options.slowRanks.end() ? 1 : slow->second;
    }
    classes = &result.classes;
    computeUs.reserve(plan.steps.size());
    for (size_t i = 0; i < plan.steps.size(); ++i)
      computeUs.push_back(plan.steps[i].kind == Step::Compute ? costs.computeUs(static_cast<int32_t>(i)) : 0);
    for (size_t c = 0; c < states.size(); ++c)
      advance(static_cast<int32_t>(c), 0);
    while (!events.empty()) {
      Event e = events.top();
      events.pop();
      if (e.what >= 0)
        computeEnded(e);
      else
        collectiveEnded(e);
    }
    for (size_t c = 0; c < states.size(); ++c) {
      if (!states[c].finished) {
        error = "rank " + std::to_string(parts.first[c]) + " stands still in command " +
                std::to_string(states[c].next) + ": its collective never ends";
        return false;
      }
      account(states[c], result.classes[c]);
      result.stepUs = std::max(result.stepUs, result.classes[c].endUs);
    }
    return true;
  }

private:
  void push(double at, int64_t what, uint32_t version) {
    if (at < forever)
      events.push({at, order++, what, version});
  }

  double timeOf(const ClassState &s, int32_t c, size_t command) const {
    double us = computeUs[command] * s.slow;
    if (options.jitter > 0)
      us *= 1 +
            options.jitter * uniform(options.seed, static_cast<uint64_t>(parts.first[static_cast<size_t>(c)]), command);
    return us;
  }

  //===--- compute queue ----------------------------------------------------===//
  /// Goes on with the program until something takes time.
  void advance(int32_t c, double now) {
    ClassState &s = states[static_cast<size_t>(c)];
    RankClass &out = (*classes)[static_cast<size_t>(c)];
    for (; s.next < plan.steps.size(); ++s.next) {
      const Step &step = plan.steps[s.next];
      if (step.kind == Step::Compute) {
        double us = timeOf(s, c, s.next);
        s.begun = now;
        if (us > 0) {
          s.work.begin(us, now);
          push(s.work.end(), c, s.work.version);
          refresh(c, now);
          return;
        }
        record(out, {SimEvent::Compute, static_cast<int32_t>(s.next), now, now, 0, 0});
        continue;
      }
      if (step.kind != Step::Wait && !s.issued) {
        if (s.started - s.done >= options.queueDepth)
          return block(s, now);
        unblock(s, now);
        s.queue.push_back(step.issuer);
        s.issueUs.push_back(now);
        ++s.started;
        s.issued = true;
        arrive(c, now);
      }
      if (step.kind == Step::Start) {
        s.issued = false;
        continue;
      }
      if (step.later && !s.handedOver && handOverUs > 0) {
        s.handingOver = true;
        s.work.begin(handOverUs, now);
        push(s.work.end(), c, s.work.version);
        return;
      }
      if (step.ordinal >= s.done)
        return block(s, now);
      s.handedOver = false;
      unblock(s, now);
      s.issued = false;
      record(out, {SimEvent::Wait, step.issuer, s.begun, now, s.issueUs[static_cast<size_t>(step.ordinal)],
                   out.collectives[static_cast<size_t>(step.ordinal)].endUs -
                       out.collectives[static_cast<size_t>(step.ordinal)].movedUs});
    }
    if (!s.finished) {
      s.finished = true;
      out.endUs = now;
    }
  }

  void block(ClassState &s, double now) {
    if (!s.blocked)
      s.begun = now;
    s.blocked = true;
  }
  /// Also sets `begun` of a wait that does not block.
  void unblock(ClassState &s, double now) {
    if (s.blocked)
      s.waits.push_back({s.begun, now});
    else
      s.begun = now;
    s.blocked = false;
  }

  void computeEnded(const Event &e) {
    auto c = static_cast<int32_t>(e.what);
    ClassState &s = states[static_cast<size_t>(c)];
    if (!s.work.running || s.work.version != e.version)
      return;
    s.work.running = false;
    if (s.handingOver) {
      s.handingOver = false;
      s.handedOver = true;
      return advance(c, e.at);
    }
    RankClass &out = (*classes)[static_cast<size_t>(c)];
    out.computeUs += e.at - s.begun;
    record(out, {SimEvent::Compute, static_cast<int32_t>(s.next), s.begun, e.at, 0, 0});
    ++s.next;
    advance(c, e.at);
    if (s.moving && slowsCollectives)
      refreshFlight(headOf(c), e.at);
  }

  //===--- communication queue ----------------------------------------------===//
  int64_t keyOf(int64_t ordinal, int32_t group) const {
    return ordinal * static_cast<int64_t>(parts.groups.size()) + group;
  }
  int64_t headOf(int32_t c) const {
    const ClassState &s = states[static_cast<size_t>(c)];
    int32_t issuer = s.queue[static_cast<size_t>(s.done)];
    size_t axes = plan.steps[static_cast<size_t>(issuer)].axes;
    return keyOf(s.done, parts.groupOf[axes][static_cast<size_t>(c)]);
  }

  /// The head of a class's queue reaches its collective.
  void arrive(int32_t c, double now) {
    ClassState &s = states[static_cast<size_t>(c)];
    if (s.arrived || s.done == s.started)
      return;
    s.arrived = true;
    int64_t key = headOf(c);
    Flight &f = flights[key];
    f.issuer = s.queue[static_cast<size_t>(s.done)];
    f.group = static_cast<int32_t>(key % static_cast<int64_t>(parts.groups.size()));
    const GroupClass &group = parts.groups[static_cast<size_t>(f.group)];
    CollectiveTime t;
    t.command = f.issuer;
    t.place = group.place;
    t.beginUs = now;
    (*classes)[static_cast<size_t>(c)].collectives.push_back(t);
    if (++f.arrived < group.members.size())
      return;
    f.metUs = now;
    f.work.begin(transferUs(f.issuer, group.place), now);
    push(f.work.end(), ~key, f.work.version);
    for (int32_t member : group.members) {
      states[static_cast<size_t>(member)].moving = true;
      refresh(member, now);
    }
  }

  double transferUs(int32_t command, const GroupPlace &place) {
    auto [it, fresh] = transfers.try_emplace({command, place}, 0.0);
    if (fresh)
      it->second = costs.collectiveUs(command, place);
    return it->second;
  }

  void collectiveEnded(const Event &e) {
    int64_t key = ~e.what;
    auto it = flights.find(key);
    if (it == flights.end() || it->second.work.version != e.version)
      return;
    Flight f = it->second;
    flights.erase(it);
    const std::vector<int32_t> &members = parts.groups[static_cast<size_t>(f.group)].members;
    for (int32_t member : members) {
      ClassState &s = states[static_cast<size_t>(member)];
      RankClass &out = (*classes)[static_cast<size_t>(member)];
      CollectiveTime &t = out.collectives.back();
      t.endUs = e.at;
      t.movedUs = e.at - f.metUs;
      record(out, {SimEvent::Collective, f.issuer, t.beginUs, e.at, s.issueUs[static_cast<size_t>(s.done)], f.metUs});
      ++s.done;
      s.arrived = s.moving = false;
      refresh(member, e.at);
    }
    for (int32_t member : members) {
      arrive(member, e.at);
      if (states[static_cast<size_t>(member)].blocked)
        advance(member, e.at);
    }
  }

  //===--- rates ------------------------------------------------------------===//
  /// Compute of a class, and the collective beside it, after one of them changed.
  void refresh(int32_t c, double now) {
    ClassState &s = states[static_cast<size_t>(c)];
    if (s.work.running) {
      double rate = 1;
      if (s.moving && !s.handingOver)
        rate = std::clamp(costs.beside(static_cast<int32_t>(s.next), s.queue[static_cast<size_t>(s.done)]).compute, 0.0,
                          1.0);
      if (rate != s.work.rate) {
        s.work.setRate(rate, now);
        push(s.work.end(), c, s.work.version);
      }
    }
    if (s.moving && slowsCollectives)
      refreshFlight(headOf(c), now);
  }

  void refreshFlight(int64_t key, double now) {
    Flight &f = flights[key];
    double rate = 1;
    for (int32_t member : parts.groups[static_cast<size_t>(f.group)].members)
      if (const ClassState &s = states[static_cast<size_t>(member)]; s.work.running && !s.handingOver)
        rate = std::min(rate, costs.beside(static_cast<int32_t>(s.next), f.issuer).collective);
    rate = std::max(rate, 0.01); // compute must not stop what it will wait for
    if (rate != f.work.rate) {
      f.work.setRate(rate, now);
      push(f.work.end(), ~key, f.work.version);
    }
  }

  //===--- results ----------------------------------------------------------===//
  void record(RankClass &out, const SimEvent &e) const {
    if (options.events)
      out.events.push_back(e);
  }

  /// What of each collective compute stood waiting for. Both lists rise in time and neither overlaps itself.
  static void account(const ClassState &s, RankClass &out) {
    size_t w = 0;
    for (CollectiveTime &t : out.collectives) {
      double met = t.endUs - t.movedUs;
      while (w < s.waits.size() && s.waits[w].end <= t.beginUs)
        ++w;
      for (size_t i = w; i < s.waits.size() && s.waits[i].begin < t.endUs; ++i) {
        auto common = [&](double begin, double end) {
          return std::max(0.0, std::min(s.waits[i].end, end) - std::max(s.waits[i].begin, begin));
        };
        t.lateUs += common(t.beginUs, met);
        t.exposedUs += common(met, t.endUs);
      }
      t.exposedUs = std::min(t.exposedUs, t.movedUs);
      t.hiddenUs = t.movedUs - t.exposedUs;
      out.movedUs += t.movedUs;
      out.hiddenUs += t.hiddenUs;
      out.exposedUs += t.exposedUs;
      out.lateUs += t.lateUs;
    }
  }

  const Plan &plan;
  const Partition &parts;
  const Costs &costs;
  const SimOptions &options;
  const bool slowsCollectives;
  const double handOverUs;
  std::vector<ClassState> states;
  std::vector<RankClass> *classes = nullptr;
  std::vector<double> computeUs;
  std::unordered_map<int64_t, Flight> flights;
  std::map<std::pair<int32_t, GroupPlace>, double> transfers;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
  uint64_t order = 0;
};
} // namespace

const RankClass &SimResult::critical() const {
  size_t best = 0;
  for (size_t c = 1; c < classes.size(); ++c)
    if (classes[c].computeUs > classes[best].computeUs)
      best = c;
  return classes[best];
}

bool simulate(const exe::Program &program, const Costs &costs, const SimOptions &options, SimResult &out,
              std::string &error) {
  out = SimResult();
  Plan plan;
  if (!makePlan(program, plan, error))
    return false;
  int64_t ranks = 1;
  for (const exe::Axis &axis : program.grid.axes)
    if (axis.size < 1 || __builtin_mul_overflow(ranks, axis.size, &ranks) || ranks > maxRanks) {
      error = "the grid has an axis without ranks, or more than " + std::to_string(maxRanks) + " ranks";
      return false;
    }
  if (options.ranksPerNode < 1 || options.queueDepth < 1 || !(options.jitter >= 0 && options.jitter <= 1e3)) {
    error = "ranks per node and queue depth must be positive, jitter from 0 to 1000";
    return false;
  }
  for (const auto &[rank, factor] : options.slowRanks)
    if (rank < 0 || rank >= ranks || !(factor > 0 && factor <= 1e6)) {
      error = "a slowed rank must be one of the " + std::to_string(ranks) + " ranks, its factor from 0 to 1e6";
      return false;
    }
  // What a rank is by itself: 0, or itself when nobody else behaves as it does.
  std::vector<int64_t> kinds(static_cast<size_t>(ranks), 0);
  std::map<double, int64_t> factors{{1.0, 0}};
  for (const auto &[rank, factor] : options.slowRanks)
    kinds[static_cast<size_t>(rank)] = factors.emplace(factor, static_cast<int64_t>(factors.size())).first->second;
  if (!options.symmetry || options.jitter > 0)
    for (int64_t r = 0; r < ranks; ++r)
      kinds[static_cast<size_t>(r)] = r;
  Partition partition = partitionRanks(program.grid, plan.axes, kinds, options.ranksPerNode);
  out.ranks = ranks;
  out.classOf = partition.classOf;
  return Engine(plan, partition, costs, options).run(out, error);
}

} // namespace comm::sim
