//===- BufferPlan.cpp - greedy best fit of buffers in an arena ------------===//
#include "comm/Solver/BufferPlan.h"
#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <random>

namespace comm::solver {
namespace {

int64_t aligned(int64_t bytes) { return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment; }

/// Live buffers by command, so that a buffer meets only those near it in time: a segment tree over time whose nodes
/// list the buffers that cover them.
class LiveIndex {
public:
  explicit LiveIndex(int64_t times) {
    while (size < times)
      size *= 2;
    covering.resize(2 * size);
    below.resize(2 * size);
  }
  void add(int32_t id, int64_t first, int64_t last) { add(id, first, last, 1, 0, size - 1); }
  /// Buffers alive at some command of [first, last]; may name one twice.
  void query(int64_t first, int64_t last, std::vector<int32_t> &out) const { query(first, last, 1, 0, size - 1, out); }

private:
  void add(int32_t id, int64_t first, int64_t last, int64_t node, int64_t low, int64_t high) {
    if (last < low || high < first)
      return;
    if (first <= low && high <= last) {
      covering[node].push_back(id);
      return;
    }
    below[node].push_back(id);
    int64_t middle = (low + high) / 2;
    add(id, first, last, 2 * node, low, middle);
    add(id, first, last, 2 * node + 1, middle + 1, high);
  }
  void query(int64_t first, int64_t last, int64_t node, int64_t low, int64_t high, std::vector<int32_t> &out) const {
    if (last < low || high < first)
      return;
    out.insert(out.end(), covering[node].begin(), covering[node].end());
    if (first <= low && high <= last) {
      out.insert(out.end(), below[node].begin(), below[node].end());
      return;
    }
    int64_t middle = (low + high) / 2;
    query(first, last, 2 * node, low, middle, out);
    query(first, last, 2 * node + 1, middle + 1, high, out);
  }
  int64_t size = 1;
  std::vector<std::vector<int32_t>> covering, below;
};

class Placer {
public:
  Placer(const std::vector<BufferRequest> &requests, int64_t times)
      : requests(requests), index(times), offsets(requests.size(), 0) {}

  /// Smallest gap that fits between the buffers alive at the same time, the lowest of equal ones; with `lowest` the
  /// lowest gap.
  void place(int32_t id, bool lowest) {
    const BufferRequest &request = requests[id];
    neighbours.clear();
    index.query(request.first, request.last, neighbours);
    std::sort(neighbours.begin(), neighbours.end(),
              [&](int32_t a, int32_t b) { return std::make_pair(offsets[a], a) < std::make_pair(offsets[b], b); });
    int64_t bytes = aligned(request.bytes), end = 0, bestGap = std::numeric_limits<int64_t>::max(), best = -1;
    for (int32_t other : neighbours) {
      int64_t gap = offsets[other] - end;
      if (gap >= bytes && gap < bestGap) {
        bestGap = lowest ? 0 : gap;
        best = end;
      }
      end = std::max(end, offsets[other] + aligned(requests[other].bytes));
    }
    offsets[id] = bytes == 0 ? 0 : best >= 0 ? best : end;
    if (bytes == 0)
      return;
    top = std::max(top, offsets[id] + bytes);
    index.add(id, request.first, request.last);
  }

  const std::vector<BufferRequest> &requests;
  LiveIndex index;
  std::vector<int64_t> offsets;
  std::vector<int32_t> neighbours;
  int64_t top = 0;
};

int64_t mostLive(const std::vector<BufferRequest> &requests) {
  std::map<int64_t, int64_t> change;
  for (const BufferRequest &request : requests) {
    change[request.first] += aligned(request.bytes);
    change[request.last + 1] -= aligned(request.bytes);
  }
  int64_t live = 0, most = 0;
  for (auto [time, bytes] : change)
    most = std::max(most, live += bytes);
  return most;
}

/// Orders in which buffers are placed; each is good for some programs.
enum class Order { Size, Duration, Area, Time };
constexpr Order kOrders[] = {Order::Size, Order::Area, Order::Duration, Order::Time};

std::vector<int32_t> sortedIds(const std::vector<BufferRequest> &requests, Order order, bool sharedFirst) {
  std::vector<int32_t> ids(requests.size());
  std::iota(ids.begin(), ids.end(), 0);
  auto key = [&](int32_t id) -> double {
    const BufferRequest &r = requests[id];
    double bytes = static_cast<double>(r.bytes), duration = static_cast<double>(r.last - r.first + 1);
    switch (order) {
    case Order::Size:
      return -bytes;
    case Order::Area:
      return -bytes * duration;
    case Order::Duration:
      return -duration;
    case Order::Time:
      return static_cast<double>(r.first);
    }
    return 0;
  };
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    if (sharedFirst && requests[a].shared != requests[b].shared)
      return requests[a].shared;
    double x = key(a), y = key(b);
    return x != y ? x < y : std::make_pair(-requests[a].bytes, a) < std::make_pair(-requests[b].bytes, b);
  });
  return ids;
}

BufferPlan placeAll(const std::vector<BufferRequest> &requests, int64_t times, const std::vector<int32_t> &ids,
                    bool lowest) {
  Placer placer(requests, times);
  BufferPlan plan;
  for (int32_t id : ids) {
    placer.place(id, lowest);
    if (requests[id].shared)
      plan.sharedBytes = std::max(plan.sharedBytes, placer.offsets[id] + aligned(requests[id].bytes));
  }
  plan.offsets = std::move(placer.offsets);
  plan.arenaBytes = placer.top;
  return plan;
}

bool isSmaller(const BufferPlan &a, const BufferPlan &b) {
  return std::make_pair(a.arenaBytes, a.sharedBytes) < std::make_pair(b.arenaBytes, b.sharedBytes);
}

/// Placements until one is within the limit: the other rules first, then changes of the best order, in which a buffer
/// that lies on top is placed earlier.
void squeeze(const std::vector<BufferRequest> &requests, int64_t times, int64_t limit, BufferPlan &best) {
  std::vector<int32_t> ids;
  bool lowest = false;
  int64_t current = std::numeric_limits<int64_t>::max();
  auto consider = [&](BufferPlan plan) {
    if (isSmaller(plan, best))
      best = std::move(plan);
    return best.arenaBytes <= limit;
  };
  for (bool sharedFirst : {true, false})
    for (bool first : {false, true})
      for (Order order : kOrders) {
        std::vector<int32_t> sorted = sortedIds(requests, order, sharedFirst);
        BufferPlan plan = placeAll(requests, times, sorted, first);
        if (plan.arenaBytes < current) {
          current = plan.arenaBytes;
          lowest = first;
          ids = std::move(sorted);
        }
        if (consider(std::move(plan)))
          return;
      }
  // Time for some 400,000 buffers, however many there are at once. Where no change helps for long, from a new order.
  std::mt19937 random(1);
  auto n = static_cast<int64_t>(requests.size());
  BufferPlan at = placeAll(requests, times, ids, lowest);
  int64_t idle = 0;
  for (int64_t left = std::clamp<int64_t>(400000 / n, 20, 10000); left > 0; --left) {
    std::vector<int32_t> changed = ids;
    if (++idle > 300) {
      for (size_t i = changed.size(); i > 1; --i)
        std::swap(changed[i - 1], changed[random() % i]);
      lowest = true;
      at.arenaBytes = std::numeric_limits<int64_t>::max();
      idle = 0;
    } else {
      std::vector<size_t> onTop;
      for (size_t place = 0; place < ids.size(); ++place)
        if (at.offsets[ids[place]] + aligned(requests[ids[place]].bytes) == at.arenaBytes)
          onTop.push_back(place);
      size_t from = onTop.empty() || random() % 4 == 0 ? random() % ids.size() : onTop[random() % onTop.size()];
      auto first = changed.begin() + static_cast<std::ptrdiff_t>(random() % (from + 1));
      auto moved = changed.begin() + static_cast<std::ptrdiff_t>(from);
      std::rotate(first, moved, moved + 1);
    }
    BufferPlan plan = placeAll(requests, times, changed, lowest);
    if (plan.arenaBytes > at.arenaBytes)
      continue;
    idle = plan.arenaBytes < at.arenaBytes ? 0 : idle;
    ids = std::move(changed);
    at = plan;
    if (consider(std::move(plan)))
      return;
  }
}
} // namespace

std::string check(const std::vector<BufferRequest> &requests) {
  int64_t total = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const BufferRequest &r = requests[i];
    if (r.bytes < 0 || r.first < 0 || r.last < r.first)
      return "buffer " + std::to_string(i) + " has a negative size or ends before it begins";
    if (__builtin_add_overflow(total, r.bytes, &total) || total > std::numeric_limits<int64_t>::max() / 4)
      return "the sizes of the buffers overflow";
  }
  return requests.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) ? "too many buffers" : "";
}

BufferPlan planBuffers(const std::vector<BufferRequest> &requests, int64_t limit) {
  int64_t times = 1;
  for (const BufferRequest &request : requests)
    times = std::max(times, request.last + 1);
  BufferPlan best;
  bool have = false;
  int64_t bound = mostLive(requests);
  for (Order order : kOrders) {
    BufferPlan plan = placeAll(requests, times, sortedIds(requests, order, true), false);
    if (!have || isSmaller(plan, best))
      best = std::move(plan);
    have = true;
    if (best.arenaBytes == bound)
      break;
  }
  if (limit > 0 && best.arenaBytes > limit && bound <= limit)
    squeeze(requests, times, limit, best);
  best.lowerBound = bound;
  return best;
}

std::string verify(const std::vector<BufferRequest> &requests, const BufferPlan &plan) {
  if (plan.offsets.size() != requests.size())
    return "the plan has " + std::to_string(plan.offsets.size()) + " offsets for " + std::to_string(requests.size()) +
           " buffers";
  // Sweep over time; live buffers by offset never overlap.
  struct Event {
    int64_t time;
    bool begin;
    int32_t id;
  };
  std::vector<Event> events;
  for (size_t i = 0; i < requests.size(); ++i) {
    const BufferRequest &r = requests[i];
    int64_t offset = plan.offsets[i], limit = r.shared ? plan.sharedBytes : plan.arenaBytes;
    if (offset < 0 || offset % kBufferAlignment != 0 || r.bytes > limit || offset > limit - r.bytes ||
        plan.sharedBytes > plan.arenaBytes)
      return "buffer " + std::to_string(i) + " at " + std::to_string(offset) +
             " is not aligned or not inside its part of the arena";
    if (r.bytes == 0)
      continue;
    events.push_back({r.first, true, static_cast<int32_t>(i)});
    events.push_back({r.last + 1, false, static_cast<int32_t>(i)});
  }
  std::sort(events.begin(), events.end(), [](const Event &a, const Event &b) {
    return std::make_tuple(a.time, a.begin, a.id) < std::make_tuple(b.time, b.begin, b.id);
  });
  std::map<int64_t, int32_t> live;
  auto clash = [&](int32_t a, int32_t b) {
    return "buffers " + std::to_string(a) + " and " + std::to_string(b) + " share bytes while both are alive";
  };
  for (const Event &event : events) {
    int64_t offset = plan.offsets[event.id];
    if (!event.begin) {
      live.erase(offset);
      continue;
    }
    auto next = live.lower_bound(offset);
    if (next != live.end() && next->first < offset + requests[event.id].bytes)
      return clash(next->second, event.id);
    if (next != live.begin()) {
      auto before = std::prev(next);
      if (before->first + requests[before->second].bytes > offset)
        return clash(before->second, event.id);
    }
    live[offset] = event.id;
  }
  return "";
}

} // namespace comm::solver
