//===- BenchSchedule.cpp - how far the scheduler is from the optimum ------===//
// bench_schedule [graphs per family]: makespan of solve() above that of solveExact() on small graphs, with and without
// a memory limit; how many graphs are refused although an order within the limit is known; the scheduling time of 32
// and 80 layers. Prints tables; no file is written.
//===----------------------------------------------------------------------===//
#include "RandomProblem.h"
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

using namespace comm::solver;

namespace {
struct Family {
  std::string name;
  std::function<OverlapProblem(std::mt19937 &)> make;
};

double percentile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
}

/// A layer or two of a model with the shares of compute and communication drawn at random.
OverlapProblem modelPiece(std::mt19937 &random, int layers, int streams) {
  double compute = 20 + static_cast<double>(random() % 200), link = 1 + static_cast<double>(random() % 100);
  return layeredProblem(layers, streams, compute, link, 1000);
}

void gap(const Family &family, int count) {
  std::mt19937 random(11);
  std::vector<double> gaps;
  int optimal = 0, infeasible = 0;
  double start = 0, end = 0;
  for (int i = 0; i < count; ++i) {
    OverlapProblem problem = family.make(random);
    OverlapSchedule found = solve(problem), best = solveExact(problem, 14);
    if (best.status != OverlapStatus::Ok || found.status != OverlapStatus::Ok) {
      infeasible += best.status == OverlapStatus::Ok;
      continue;
    }
    start += evaluate(problem, programOrder(problem)).makespanUs - best.times.makespanUs;
    end += found.times.makespanUs - best.times.makespanUs;
    gaps.push_back(100 * (found.times.makespanUs / best.times.makespanUs - 1));
    optimal += gaps.back() < 1e-6;
  }
  double mean = 0;
  for (double g : gaps)
    mean += g / static_cast<double>(gaps.size());
  std::printf("%-34s %6zu %7.1f %7.2f %7.2f %7.2f %7.2f %9.1f %8d\n", family.name.c_str(), gaps.size(),
              100.0 * optimal / static_cast<double>(gaps.size()), mean, percentile(gaps, 0.5), percentile(gaps, 0.9),
              percentile(gaps, 1), start > 0 ? 100 * (1 - end / start) : 100.0, infeasible);
}

/// Graphs too large for the exact search, under the least that random orders need.
void refusals(int ops, int count) {
  std::mt19937 random(12);
  int refused = 0;
  double saved = 0, ms = 0;
  for (int i = 0; i < count; ++i) {
    OverlapProblem problem = randomProblem(random, ops);
    problem.memoryLimit = randomPeak(problem, random, 1000);
    auto begin = std::chrono::steady_clock::now();
    OverlapSchedule schedule = solve(problem);
    ms += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    refused += schedule.status != OverlapStatus::Ok;
    problem.memoryLimit = 1;
    saved += 1 - static_cast<double>(solve(problem).times.peakBytes) /
                     static_cast<double>(evaluate(problem, programOrder(problem)).peakBytes);
  }
  std::printf(
      "random, %d ops, the least of 1000 random orders: %d of %d refused, %.1f ms each; the smallest peak found "
      "is %.0f %% below the program's\n",
      ops, refused, count, ms / count, 100 * saved / count);
}

void speed(const char *name, int layers, OverlapProblem problem, double part) {
  auto program = static_cast<double>(evaluate(problem, programOrder(problem)).peakBytes);
  problem.memoryLimit = static_cast<int64_t>(part * program);
  auto begin = std::chrono::steady_clock::now();
  OverlapSchedule schedule = solve(problem);
  double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  std::string limit = part > 0 ? std::to_string(part).substr(0, 4) + " of the program's memory" : "no limit";
  std::printf("%s, %d layers, %zu ops, %s: %s, %.1f ms; makespan %.2f of the bound, %.1f %% hidden, peak %lld bytes\n",
              name, layers, problem.ops.size(), limit.c_str(),
              schedule.status == OverlapStatus::Ok ? "scheduled" : "no order", ms,
              schedule.times.makespanUs / lowerBoundUs(problem),
              100 * schedule.times.hiddenUs / (schedule.times.hiddenUs + schedule.times.exposedUs),
              static_cast<long long>(schedule.times.peakBytes));
}
} // namespace

int main(int argc, char **argv) {
  int count = argc > 1 ? std::atoi(argv[1]) : 200;
  std::printf("gap of the list scheduler to the optimum in %%, and how much of what the optimum gains over the program "
              "order it finds\n%-34s %6s %7s %7s %7s %7s %7s %9s %8s\n",
              "family", "graphs", "optimal", "mean", "median", "p90", "worst", "of gain %", "refused");
  auto sized = [](int ops) { return [ops](std::mt19937 &random) { return randomProblem(random, ops); }; };
  auto limited = [](OverlapProblem problem, double part) {
    OverlapTimes program = evaluate(problem, programOrder(problem));
    problem.memoryLimit = static_cast<int64_t>(part * static_cast<double>(program.peakBytes));
    return problem;
  };
  std::vector<Family> families{
      {"random, 8 ops", sized(8)},
      {"random, 12 ops", sized(12)},
      {"random, 12 ops, program's memory", [&](std::mt19937 &r) { return limited(randomProblem(r, 12), 1); }},
      {"random, 12 ops, 0.9 of it", [&](std::mt19937 &r) { return limited(randomProblem(r, 12), 0.9); }},
      {"two layers, one stream", [](std::mt19937 &r) { return modelPiece(r, 2, 1); }},
      {"one layer, two streams", [](std::mt19937 &r) { return modelPiece(r, 1, 2); }},
      {"the same, program's memory", [&](std::mt19937 &r) { return limited(modelPiece(r, 1, 2), 1); }},
  };
  for (const Family &family : families)
    gap(family, count);
  for (int ops : {30, 60, 120})
    refusals(ops, std::max(1, count / 4));
  for (int layers : {32, 80})
    for (double part : {0.0, 1.5, 1.0, 0.9, 0.8})
      speed("two streams", layers, layeredProblem(layers, 2, 100, 40, 1000), part);
  for (int layers : {32, 80})
    for (double part : {0.0, 1.0, 0.96})
      speed("a branch that spends first", layers, spendFirstProblem(layers), part);
}
