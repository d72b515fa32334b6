//===- Order.cpp - nobody waits for ever ----------------------------------===//
// Vertices: one per command of each rank, one per collective, which is the same vertex on all its members: with no
// buffering it happens when all are there. Edges:
//   command -> next command            the compute queue
//   start -> collective -> wait        a synchronous collective: its command -> collective -> next command
//   collective -> next collective      the communication queue of each rank
// A full queue blocks whoever starts one more until an earlier collective of the same queue is done; that follows from
// these edges. No cycle, no deadlock: whatever is left of the run always has a vertex that can go.
//===----------------------------------------------------------------------===//
#include "Steps.h"
#include <algorithm>
#include <numeric>
#include <queue>

namespace comm::proof {
namespace {

class Graph {
public:
  Graph(const std::vector<const Steps *> &ranks, const Meetings &meetings) : ranks(ranks), meetings(meetings) {
    for (const Steps *s : ranks) {
      first.push_back(vertices);
      vertices += static_cast<int64_t>(s->steps.size());
    }
    meetingBase = vertices;
    vertices += meetings.count;
    build();
  }

  int64_t edgeCount() const { return static_cast<int64_t>(targets.size()); }

  /// Vertices in an order that every edge follows, smallest number first; short when there is a cycle.
  std::vector<int64_t> sort() {
    std::vector<int32_t> missing(static_cast<size_t>(vertices), 0);
    for (int64_t t : targets)
      ++missing[static_cast<size_t>(t)];
    // The meeting of a command comes right after it: runs of the order stay long.
    std::priority_queue<std::pair<int64_t, int64_t>, std::vector<std::pair<int64_t, int64_t>>, std::greater<>> ready;
    for (int64_t v = 0; v < vertices; ++v)
      if (missing[static_cast<size_t>(v)] == 0)
        ready.push({key[static_cast<size_t>(v)], v});
    std::vector<int64_t> order;
    while (!ready.empty()) {
      int64_t v = ready.top().second;
      ready.pop();
      order.push_back(v);
      for (int64_t e = begin[static_cast<size_t>(v)]; e < begin[static_cast<size_t>(v) + 1]; ++e)
        if (int64_t t = targets[static_cast<size_t>(e)]; --missing[static_cast<size_t>(t)] == 0)
          ready.push({key[static_cast<size_t>(t)], t});
    }
    return order;
  }

  /// fn(from, to) for every edge.
  template <class Fn> void forEach(Fn fn) const {
    for (size_t v = 0; v < static_cast<size_t>(vertices); ++v)
      for (int64_t e = begin[v]; e < begin[v + 1]; ++e)
        fn(static_cast<int64_t>(v), targets[static_cast<size_t>(e)]);
  }

  /// One sentence about a cycle among the vertices that `order` misses.
  std::string cycle(const std::vector<int64_t> &order) const;

private:
  int64_t vertexOf(size_t rank, int64_t command) const { return first[rank] + command; }
  int64_t meetingOf(size_t rank, size_t call) const { return meetingBase + meetings.instance[rank][call]; }

  void build() {
    key.resize(static_cast<size_t>(vertices));
    std::vector<std::pair<int64_t, int64_t>> edges;
    for (size_t r = 0; r < ranks.size(); ++r) {
      const Steps &s = *ranks[r];
      auto commands = static_cast<int64_t>(s.steps.size());
      for (int64_t i = 0; i < commands; ++i) {
        key[static_cast<size_t>(vertexOf(r, i))] = 2 * i;
        if (i + 1 < commands)
          edges.push_back({vertexOf(r, i), vertexOf(r, i + 1)});
      }
      for (size_t n = 0; n < s.calls.size(); ++n) {
        const Call &c = s.calls[n];
        int64_t meeting = meetingOf(r, n), after = c.wait >= 0 ? c.wait : int64_t(c.issue) + 1;
        key[static_cast<size_t>(meeting)] = 2 * c.issue + 1;
        edges.push_back({vertexOf(r, c.issue), meeting});
        if (after < commands)
          edges.push_back({meeting, vertexOf(r, after)});
        if (n + 1 < s.calls.size())
          edges.push_back({meeting, meetingOf(r, n + 1)});
      }
    }
    begin.assign(static_cast<size_t>(vertices) + 1, 0);
    for (auto [from, to] : edges)
      ++begin[static_cast<size_t>(from) + 1];
    for (size_t v = 0; v < static_cast<size_t>(vertices); ++v)
      begin[v + 1] += begin[v];
    std::vector<int64_t> at(begin.begin(), begin.end() - 1);
    targets.resize(edges.size());
    for (auto [from, to] : edges)
      targets[static_cast<size_t>(at[static_cast<size_t>(from)]++)] = to;
  }

  const std::vector<const Steps *> &ranks;
  const Meetings &meetings;
  std::vector<int64_t> first, begin, targets, key;
  int64_t vertices = 0, meetingBase = 0;
};

std::string Graph::cycle(const std::vector<int64_t> &order) const {
  std::vector<char> left(static_cast<size_t>(vertices), 1);
  for (int64_t v : order)
    left[static_cast<size_t>(v)] = 0;
  // Every vertex that is left has one before it that is left: walking backwards must come round.
  std::vector<int64_t> before(static_cast<size_t>(vertices), -1);
  for (int64_t v = 0; v < vertices; ++v)
    for (int64_t e = begin[static_cast<size_t>(v)];
         left[static_cast<size_t>(v)] && e < begin[static_cast<size_t>(v) + 1]; ++e)
      before[static_cast<size_t>(targets[static_cast<size_t>(e)])] = v;
  int64_t v = static_cast<int64_t>(std::find(left.begin(), left.end(), 1) - left.begin());
  std::vector<int64_t> place(static_cast<size_t>(vertices), -1), path;
  while (place[static_cast<size_t>(v)] < 0) {
    place[static_cast<size_t>(v)] = static_cast<int64_t>(path.size());
    path.push_back(v);
    v = before[static_cast<size_t>(v)];
  }
  std::vector<int64_t> ring(path.rbegin(), path.rend() - place[static_cast<size_t>(v)]); // forwards
  // Turn the ring so that it begins with a meeting, then say which rank leads from each meeting to the next.
  auto isMeeting = [&](int64_t vertex) { return vertex >= meetingBase; };
  auto start = std::find_if(ring.begin(), ring.end(), isMeeting);
  std::rotate(ring.begin(), start, ring.end());
  std::string text;
  auto callOf = [&](size_t rank, int64_t meeting) {
    const auto &list = meetings.instance[rank];
    return static_cast<size_t>(std::find(list.begin(), list.end(), meeting - meetingBase) - list.begin());
  };
  for (size_t i = 0; i < ring.size();) {
    size_t next = i + 1;
    while (next < ring.size() && !isMeeting(ring[next]))
      ++next;
    int64_t from = ring[i], to = ring[next % ring.size()];
    size_t rank = ranks.size();
    if (next > i + 1) { // through commands of one rank
      rank = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), ring[i + 1]) - first.begin()) - 1;
    } else
      for (size_t r = 0; r < ranks.size() && rank == ranks.size(); ++r)
        if (size_t n = callOf(r, from); n + 1 < meetings.instance[r].size() && meetingOf(r, n + 1) == to)
          rank = r;
    const Steps &s = *ranks[rank];
    text += (text.empty() ? "rank " : ", rank ") + std::to_string(rank) + " reaches " +
            s.calls[callOf(rank, to)].text(*s.program) + " only after " + s.calls[callOf(rank, from)].text(*s.program);
    i = next;
  }
  return text;
}
} // namespace

void checkOrder(const std::vector<const Steps *> &ranks, const Meetings &meetings, Findings &findings, int64_t &edges,
                std::vector<int64_t> *order) {
  Graph graph(ranks, meetings);
  edges = graph.edgeCount();
  std::vector<int64_t> sorted = graph.sort();
  size_t vertices = static_cast<size_t>(meetings.count);
  for (const Steps *s : ranks)
    vertices += s->steps.size();
  if (sorted.size() < vertices)
    findings.add(Rule::Deadlock, 0, "deadlock: " + graph.cycle(sorted));
  if (order)
    *order = std::move(sorted);
}

std::string edgeAgainst(const Steps &steps, const std::vector<int64_t> &position, int64_t &edges) {
  Meetings meetings;
  meetings.count = static_cast<int32_t>(steps.calls.size());
  meetings.instance.emplace_back(steps.calls.size());
  std::iota(meetings.instance[0].begin(), meetings.instance[0].end(), 0);
  std::vector<const Steps *> ranks = {&steps};
  Graph graph(ranks, meetings);
  edges = graph.edgeCount();
  auto commands = static_cast<int64_t>(steps.steps.size());
  auto text = [&](int64_t vertex) {
    return vertex < commands ? commandText(*steps.program, vertex)
                             : steps.calls[static_cast<size_t>(vertex - commands)].text(*steps.program);
  };
  std::string wrong;
  graph.forEach([&](int64_t from, int64_t to) {
    if (wrong.empty() && position[static_cast<size_t>(from)] >= position[static_cast<size_t>(to)])
      wrong = "its order has " + text(to) + " before " + text(from) + ", which must come first";
  });
  return wrong;
}

} // namespace comm::proof
