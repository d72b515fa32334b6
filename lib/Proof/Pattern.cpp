//===- Pattern.cpp - which bytes a strided write touches ------------------===//
#include "Pattern.h"
#include <algorithm>

namespace comm::proof {
namespace {
using Intervals = std::vector<std::pair<int64_t, int64_t>>;

/// All runs of a pattern that meet [begin, end); false when there are more than the budget allows.
bool expand(const Pattern &p, int64_t begin, int64_t end, int64_t &budget, Intervals &out) {
  int64_t runs = 1;
  for (auto [count, stride] : p.dims)
    if (__builtin_mul_overflow(runs, count, &runs) || runs > budget)
      return false;
  budget -= runs;
  std::vector<int64_t> index(p.dims.size(), 0);
  int64_t at = p.base;
  for (int64_t i = 0; i < runs; ++i) {
    if (at < end && at + p.run > begin)
      out.emplace_back(at, at + p.run);
    for (size_t d = p.dims.size(); d-- > 0;) {
      at += p.dims[d].second;
      if (++index[d] < p.dims[d].first)
        break;
      at -= p.dims[d].first * p.dims[d].second;
      index[d] = 0;
    }
  }
  return true;
}

bool fills(Intervals &intervals, int64_t begin, int64_t end) {
  std::sort(intervals.begin(), intervals.end());
  for (auto [from, to] : intervals) {
    if (from > begin)
      break;
    begin = std::max(begin, to);
  }
  return begin >= end;
}
} // namespace

int64_t Pattern::end() const {
  int64_t last = base + run;
  for (auto [count, stride] : dims)
    last += (count - 1) * stride;
  return last;
}

Pattern makePattern(int64_t base, int64_t width, std::vector<std::pair<int64_t, int64_t>> dims) {
  Pattern p{base, width, {}};
  for (auto [count, stride] : dims)
    if (count <= 0)
      return {base, 0, {}};
  // A dimension that stays where it is adds nothing.
  dims.erase(std::remove_if(dims.begin(), dims.end(), [](auto d) { return d.first == 1 || d.second == 0; }),
             dims.end());
  std::sort(dims.begin(), dims.end(), [](auto a, auto b) { return a.second > b.second; });
  while (!dims.empty() && dims.back().second == p.run) {
    p.run *= dims.back().first;
    dims.pop_back();
  }
  for (auto d : dims)
    if (!p.dims.empty() && p.dims.back().second == d.first * d.second)
      p.dims.back() = {p.dims.back().first * d.first, d.second};
    else
      p.dims.push_back(d);
  return p;
}

bool covers(std::vector<Pattern> patterns, int64_t begin, int64_t end, int64_t &budget) {
  // While all repeat with one period that divides the range, one period says it all.
  for (;;) {
    if (patterns.empty() || patterns[0].dims.empty())
      break;
    auto [count, stride] = patterns[0].dims[0];
    bool same = stride > 0 && stride * count == end - begin;
    for (const Pattern &p : patterns)
      same &= !p.dims.empty() && p.dims[0] == patterns[0].dims[0] && p.base >= begin && p.base < begin + stride;
    if (!same)
      break;
    for (Pattern &p : patterns)
      p.dims.erase(p.dims.begin());
    end = begin + stride;
  }
  Intervals intervals;
  for (const Pattern &p : patterns)
    if (p.run > 0 && !expand(p, begin, end, budget, intervals))
      return false;
  return fills(intervals, begin, end);
}

} // namespace comm::proof
