//===- RandomProblem.h - small overlap problems for tests and benches -----===//
#pragma once
#include "comm/Solver/OverlapProblem.h"
#include <algorithm>
#include <limits>
#include <random>

namespace comm::solver {

/// `count` ops, about a third of them collectives, values between producers and users; integral times.
inline OverlapProblem randomProblem(std::mt19937 &random, int count, bool slow = true) {
  OverlapProblem problem;
  for (int32_t i = 0; i < count; ++i) {
    OverlapOp op;
    op.us = 1 + static_cast<int>(random() % 9);
    if (random() % 3 == 0)
      op.resource = static_cast<Resource>(1 + random() % 3);
    else if (slow) {
      op.computeRate = 0.5 + 0.1 * static_cast<double>(random() % 6);
      op.linkRate = 0.5 + 0.1 * static_cast<double>(random() % 6);
    }
    for (int edge = 0; edge < 2 && i > 0; ++edge)
      if (random() % 4 != 0)
        op.needs.push_back(std::max<int32_t>(0, i - 1 - static_cast<int32_t>(random() % 5)));
    std::sort(op.needs.begin(), op.needs.end());
    op.needs.erase(std::unique(op.needs.begin(), op.needs.end()), op.needs.end());
    problem.ops.push_back(std::move(op));
  }
  for (int32_t i = 0; i < count; ++i) {
    OverlapValue value{1 + static_cast<int64_t>(random() % 20), i, {}, false};
    for (int32_t user = i + 1; user < count; ++user) {
      const std::vector<int32_t> &needs = problem.ops[user].needs;
      if (std::find(needs.begin(), needs.end(), i) != needs.end())
        value.users.push_back(user);
    }
    value.kept = value.users.empty();
    problem.values.push_back(std::move(value));
  }
  return problem;
}

/// A transformer as tensor parallelism leaves it: per layer attention, all_reduce, norm, MLP, all_reduce, norm; with
/// `streams` independent parts of the tokens (1: nothing to hide behind but what follows).
inline OverlapProblem layeredProblem(int layers, int streams, double computeUs, double linkUs, int64_t bytes) {
  OverlapProblem problem;
  std::vector<int32_t> last(static_cast<size_t>(streams), -1), lastKey(static_cast<size_t>(streams), -1);
  auto add = [&](double us, Resource resource, std::vector<int32_t> needs, int64_t out) {
    int32_t id = static_cast<int32_t>(problem.ops.size());
    needs.erase(std::remove(needs.begin(), needs.end(), -1), needs.end());
    std::sort(needs.begin(), needs.end());
    needs.erase(std::unique(needs.begin(), needs.end()), needs.end());
    problem.ops.push_back({us, resource, needs, 0.9, 1});
    problem.values.push_back({out, id, {}, false});
    for (int32_t need : needs)
      problem.values[need].users.push_back(id);
    return id;
  };
  for (int layer = 0; layer < layers; ++layer)
    for (int s = 0; s < streams; ++s) {
      double part = 1.0 / streams;
      auto size = static_cast<int64_t>(static_cast<double>(bytes) * part);
      int32_t qkv = add(computeUs * part * 0.3, Resource::Compute, {last[s]}, 3 * size);
      int32_t attention = add(computeUs * part * 0.2, Resource::Compute, {qkv, s > 0 ? lastKey[s - 1] : -1}, size);
      lastKey[s] = qkv;
      int32_t reduce = add(linkUs * part, Resource::ScaleUp, {attention}, size);
      int32_t norm = add(computeUs * part * 0.05, Resource::Compute, {reduce, last[s]}, 2 * size);
      int32_t mlp = add(computeUs * part * 0.5, Resource::Compute, {norm}, size);
      int32_t second = add(linkUs * part, Resource::ScaleUp, {mlp}, size);
      last[s] = add(computeUs * part * 0.05, Resource::Compute, {second, norm}, 2 * size);
    }
  for (OverlapValue &value : problem.values)
    value.kept = value.users.empty();
  return problem;
}

/// Layers in which the branch that the program has first keeps bytes while the other one needs many for a short time:
/// only the second branch first needs little memory. Whoever takes what needs least now takes the wrong one.
inline OverlapProblem spendFirstProblem(int layers) {
  OverlapProblem problem;
  int32_t last = -1;
  auto add = [&](double us, Resource resource, std::vector<int32_t> needs, int64_t bytes) {
    auto id = static_cast<int32_t>(problem.ops.size());
    problem.ops.push_back({us, resource, needs, 0.9, 1});
    problem.values.push_back({bytes, id, {}, false});
    for (int32_t need : needs)
      problem.values[need].users.push_back(id);
    return id;
  };
  for (int layer = 0; layer < layers; ++layer) {
    std::vector<int32_t> needs;
    if (last >= 0)
      needs.push_back(last);
    int32_t keeps = add(10, Resource::Compute, needs, 20);
    int32_t kept = add(20, Resource::ScaleUp, {keeps}, 20);
    int32_t spends = add(30, Resource::Compute, needs, 100);
    int32_t more = add(10, Resource::Compute, {spends}, 90);
    int32_t little = add(20, Resource::ScaleUp, {more}, 5);
    last = add(5, Resource::Compute, {kept, little}, 10);
  }
  problem.values.back().kept = true;
  return problem;
}

/// Bytes that some order of the program needs: the least of `tries` orders taken at random.
inline int64_t randomPeak(const OverlapProblem &problem, std::mt19937 &random, int tries) {
  auto least = std::numeric_limits<int64_t>::max();
  auto n = static_cast<int32_t>(problem.ops.size());
  for (int i = 0; i < tries; ++i) {
    std::vector<int32_t> missing(problem.ops.size(), 0), ready;
    std::vector<std::vector<int32_t>> successors(problem.ops.size());
    for (int32_t op = 0; op < n; ++op) {
      for (int32_t need : problem.ops[op].needs)
        successors[need].push_back(op);
      missing[op] = static_cast<int32_t>(problem.ops[op].needs.size());
      if (missing[op] == 0)
        ready.push_back(op);
    }
    std::vector<Step> order;
    while (!ready.empty()) {
      std::swap(ready[random() % ready.size()], ready.back());
      int32_t op = ready.back();
      ready.pop_back();
      bool collective = problem.ops[op].isCollective();
      order.push_back({op, collective ? StepKind::Start : StepKind::Run});
      if (collective)
        order.push_back({op, StepKind::Wait});
      for (int32_t next : successors[op])
        if (--missing[next] == 0)
          ready.push_back(next);
    }
    least = std::min(least, evaluate(problem, order).peakBytes);
  }
  return least;
}

} // namespace comm::solver
