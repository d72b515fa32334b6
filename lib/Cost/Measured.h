//===- Measured.h - the built-in measured tables (private) ------*- C++ -*-===//
// Measured rows as points over the formulas: which pool a question belongs to, which of its numbers are sizes and which
// are names, and how alike rows are (the constants in MeasuredModels.cpp).
//===----------------------------------------------------------------------===//
#pragma once
#include "Kriging.h"
#include "comm/Cost/Rows.h"
#include <map>
#include <memory>
#include <set>

namespace comm::cost {

/// Pools of rows that know of each other.
class Measured {
public:
  /// A row with `latencyUs`; its system must be a preset.
  void add(RowKind, const Row &, int level);
  /// The pool that answers a row of this system, or null.
  const Kriging *pool(RowKind, const Row &, const std::string &system) const;
  std::map<std::string, std::unique_ptr<Kriging>> &pools() { return all; }
  /// Whether rows of a measuring run of this name are here (collectives).
  bool hasRun(const std::string &table) const { return runs.count(table) > 0; }

  /// Reads the text of one table (TableText.cpp), of one system or of all ("") only. False and a sentence on error.
  bool addTable(const std::string &text, const std::string &system, std::string &error);

  /// Where rows of this kind, system and op are kept.
  static std::string poolKey(RowKind, const Row &, const std::string &system);
  static KrigingPoint pointOf(RowKind, const Row &, const std::string &system);
  static KrigingModel modelOf(RowKind);
  static double formulaUs(const Topology &, RowKind, const Row &);
  /// The measured system that speaks for one that was not measured; empty: nobody does.
  static std::string standIn(RowKind, const std::string &system);
  /// Whether collectives of this system, or of its family, were measured.
  static bool hasCollectives(const std::string &system);
  /// A preset, looked up once.
  static const Topology &preset(const std::string &name);

private:
  std::map<std::string, std::unique_ptr<Kriging>> all;
  std::set<std::string> runs;
};

/// log(measured / formula) by the tables built into the library, which are parsed when first asked for. False: no rows.
bool builtInLogRatio(const Topology &, RowKind, const Row &, double &logRatio);

/// Text of a table: series of rows that differ in one column. `rows` of one kind; `level` of each.
std::string writeTable(RowKind, const std::vector<Row> &rows, const std::vector<int> &levels,
                       const std::string &notice);

} // namespace comm::cost
