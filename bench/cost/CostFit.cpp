//===- CostFit.cpp - tables of the cost model from measurements, and their error ===//
// cost-fit write DATA OUT    reads collectives.csv, gemm.csv, attention.csv, moe.csv of DATA and writes the tables of
//                            lib/Cost/tables; the same bytes for the same input
// cost-fit errors DATA       leaves rows out, fits on the others, prints median and 90th percentile of |error| in %
// What is left out mirrors how such tables are asked: a fifth of what was measured (for all runs and libraries alike),
// weight shapes with all their rows, and whole systems.
//===----------------------------------------------------------------------===//
#include "lib/Cost/Measured.h"
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>

using namespace comm::cost;

namespace {

const std::pair<const char *, RowKind> files[] = {{"collectives", RowKind::Collective},
                                                  {"gemm", RowKind::Gemm},
                                                  {"attention", RowKind::Attention},
                                                  {"moe", RowKind::Moe}};

std::vector<Row> load(const std::string &folder, const std::string &name) {
  std::ifstream file(folder + "/" + name + ".csv");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  RowTable table;
  std::vector<std::string> problems;
  if (!readRows(text, table, problems)) {
    for (const std::string &problem : problems)
      std::cerr << folder << "/" << name << ".csv: " << problem << "\n";
    std::exit(3);
  }
  return table.rows;
}

/// What was measured, without who measured it.
std::string identity(RowKind kind, const Row &row) {
  std::string id = row.system;
  auto add = [&](int64_t value) { id += "," + std::to_string(value); };
  switch (kind) {
  case RowKind::Collective:
    id += row.collective.op;
    add(row.collective.ranks);
    add(row.collective.bytes);
    break;
  case RowKind::Gemm:
    id += row.gemm.dtype;
    add(row.gemm.m);
    add(row.gemm.n);
    add(row.gemm.k);
    break;
  case RowKind::Attention:
    for (int64_t v : {row.attention.batch, row.attention.newTokens, row.attention.pastTokens, row.attention.heads,
                      row.attention.kvHeads, row.attention.headDim, row.attention.window})
      add(v);
    break;
  case RowKind::Moe:
    for (int64_t v :
         {row.moe.tokens, row.moe.hidden, row.moe.inter, row.moe.topk, row.moe.experts, row.moe.tp, row.moe.ep})
      add(v);
    id += row.moe.dtype;
    break;
  }
  return id;
}

std::string shape(const Row &row) { return std::to_string(row.gemm.n) + "x" + std::to_string(row.gemm.k); }

uint64_t hashOf(const std::string &text) {
  uint64_t hash = 1469598103934665603ull;
  for (unsigned char c : text)
    hash = (hash ^ c) * 1099511628211ull;
  hash ^= hash >> 29;
  return hash * 0x9e3779b97f4a7c15ull >> 20;
}

/// Levels of the rows: how far they disagree with what was measured around them.
std::vector<int> outliers(RowKind kind, const std::vector<Row> &rows) {
  Measured measured;
  std::map<std::string, std::vector<int>> groups;
  std::map<std::string, std::vector<size_t>> origin;
  std::map<std::string, int> codes;
  for (size_t r = 0; r < rows.size(); ++r) {
    measured.add(kind, rows[r], 0);
    std::string key = Measured::poolKey(kind, rows[r], rows[r].system);
    groups[key].push_back(codes.emplace(identity(kind, rows[r]), static_cast<int>(codes.size())).first->second);
    origin[key].push_back(r);
  }
  std::vector<int> levels(rows.size());
  for (auto &[key, pool] : measured.pools()) {
    pool->findOutliers(groups[key]);
    for (size_t i = 0; i < origin[key].size(); ++i)
      levels[origin[key][i]] = pool->level(i);
  }
  return levels;
}

struct Errors {
  std::map<std::string, std::vector<double>> groups;
  void add(const std::string &group, double predicted, double measured) {
    groups[group].push_back(std::fabs(predicted / measured - 1) * 100);
  }
  void print() {
    for (auto &[name, list] : groups) {
      std::sort(list.begin(), list.end());
      std::printf("%-52s %6zu rows  %5.2f / %5.1f\n", name.c_str(), list.size(), list[list.size() / 2],
                  list[list.size() * 9 / 10]);
    }
    std::fflush(stdout);
  }
};

using Pick = std::function<bool(const Row &)>;
using Name = std::function<std::vector<std::string>(const Row &)>;

/// Fits without the rows that `hold` picks and predicts those that `ask` picks.
void leaveOut(RowKind kind, const std::vector<Row> &rows, const Pick &hold, const Pick &ask, const Name &name,
              Errors &errors, const std::map<std::string, std::string> &speaksFor = {}) {
  std::vector<Row> kept;
  for (const Row &row : rows)
    if (!hold(row))
      kept.push_back(row);
  std::vector<int> levels = outliers(kind, kept);
  Measured measured;
  for (size_t r = 0; r < kept.size(); ++r)
    measured.add(kind, kept[r], levels[r]);
  for (const Row &row : rows) {
    if (!ask(row))
      continue;
    std::string system = row.system;
    if (auto it = speaksFor.find(system); it != speaksFor.end())
      system = it->second;
    const auto &pools = measured.pools();
    auto pool = pools.find(Measured::poolKey(kind, row, system));
    double ratio = pool == pools.end() ? 0 : pool->second->at(Measured::pointOf(kind, row, system));
    double us = Measured::formulaUs(Measured::preset(row.system), kind, row) * std::exp(ratio);
    for (const std::string &group : name(row))
      errors.add(group, us, row.latencyUs);
  }
}

std::vector<std::string> groupsOf(RowKind kind, const Row &row) {
  switch (kind) {
  case RowKind::Collective: {
    const CollectiveQuery &q = row.collective;
    bool library = q.library == "nccl" || q.library == "oneccl";
    std::string what = library ? "library" : q.graph ? "framework, graph" : "framework, eager";
    return {"collective " + what, "collective " + what + ", " + row.system,
            "collective " + what + ", " + q.op + " n=" + std::to_string(q.ranks)};
  }
  case RowKind::Gemm:
    return {"gemm", "gemm " + row.system + " " + row.gemm.framework + " " + row.gemm.dtype};
  case RowKind::Attention:
    return {"attention", std::string("attention ") + (row.attention.pastTokens > 0 ? "generation " : "context ") +
                             row.system + " " + row.attention.kernel};
  case RowKind::Moe:
    return {"moe", "moe " + row.system + " " + row.moe.framework + " " + row.moe.dtype, "moe " + row.moe.kernel,
            "moe " + row.moe.distribution};
  }
  return {};
}

int errors(const std::string &folder, const std::string &only, const std::string &system) {
  for (const auto &[name, kind] : files) {
    if (!only.empty() && only != name)
      continue;
    std::vector<Row> rows = load(folder, name);
    if (!system.empty())
      rows.erase(std::remove_if(rows.begin(), rows.end(), [&](const Row &row) { return row.system != system; }),
                 rows.end());
    Errors found;
    RowKind k = kind;
    auto hold = [&](const Row &row) { return hashOf(identity(k, row)) % 5 == 0; };
    leaveOut(kind, rows, hold, hold, [&](const Row &row) { return groupsOf(k, row); }, found);
    if (kind == RowKind::Gemm) {
      std::vector<std::string> shapes;
      for (const Row &row : rows)
        shapes.push_back(shape(row));
      auto heldShape = [&](const Row &row) { return hashOf(shape(row)) % 6 == 0; };
      leaveOut(
          kind, rows, heldShape, heldShape,
          [](const Row &row) {
            return std::vector<std::string>{"gemm, unseen weights", "gemm, unseen weights, " + row.system + " " +
                                                                        row.gemm.framework + " " + row.gemm.dtype};
          },
          found);
    }
    if (kind == RowKind::Collective)
      for (const char *system : {"gb300", "b300_sxm"})
        leaveOut(
            kind, rows, [&](const Row &row) { return row.system == system; },
            [&](const Row &row) { return row.system == system; },
            [&](const Row &row) {
              bool library = row.collective.library == "nccl";
              return std::vector<std::string>{std::string("collective, unseen system ") + system +
                                              (library                ? ", library"
                                               : row.collective.graph ? ", graph"
                                                                      : ", eager")};
            },
            found);
    found.print();
  }
  return 0;
}

int write(const std::string &folder, const std::string &out) {
  std::ifstream noticeFile(out + "/NOTICE");
  std::string notice((std::istreambuf_iterator<char>(noticeFile)), {});
  for (const auto &[name, kind] : files) {
    std::vector<Row> rows = load(folder, name);
    std::string text = writeTable(kind, rows, outliers(kind, rows), notice);
    std::ofstream(out + "/" + name + ".txt") << text;
    std::printf("%s.txt: %zu rows, %zu bytes\n", name, rows.size(), text.size());
  }
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  if (argc == 4 && !std::strcmp(argv[1], "write"))
    return write(argv[2], argv[3]);
  if (argc >= 3 && argc <= 5 && !std::strcmp(argv[1], "errors"))
    return errors(argv[2], argc > 3 ? argv[3] : "", argc > 4 ? argv[4] : "");
  std::cerr << "cost-fit write DATA OUT | cost-fit errors DATA [collectives|gemm|attention|moe [SYSTEM]]\n";
  return 2;
}
