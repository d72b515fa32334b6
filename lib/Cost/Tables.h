//===- Tables.h - measured rows over the formulas (private) -----*- C++ -*-===//
// A row keeps log(measured / formula). Between rows this ratio is interpolated, and the formula of the asked size is
// multiplied by it: shapes that nobody measured still follow the formula.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Cost/CostModel.h"
#include <array>
#include <map>
#include <vector>

namespace comm::cost {

/// log ratio over log2 of a size; linear between points, constant outside.
class Curve {
public:
  void add(double size, double logRatio);
  bool empty() const { return points.empty(); }
  double at(double size) const;

private:
  std::map<double, std::pair<double, int>> points; // equal sizes: sum and count, their mean answers
};

/// log ratio over points in a few logarithmic dimensions: the nearest rows, weighted by distance.
class Cloud {
public:
  using Point = std::array<double, 4>;
  void add(const Point &, double logRatio);
  bool empty() const { return rows.empty(); }
  double at(const Point &) const;

private:
  std::vector<std::pair<Point, double>> rows;
};

struct CollectiveKey {
  std::string op, library, algorithm;
  int64_t ranks = 0;
  bool graph = false;
  bool operator<(const CollectiveKey &other) const;
};

/// Rows of tuning files. Lookup functions return the factor on the formula, 0 where there is no row.
struct Tuning {
  std::map<CollectiveKey, Curve> collectives;
  std::map<std::string, Cloud> gemms, attentions; // by element type
  std::map<std::string, Curve> memory;            ///< by kind; one without rows is taken for a copy
  double chunkOverheadUs = -1;                    // below zero: not measured

  double collective(const Topology &, const CollectiveQuery &) const;
  double gemm(const GemmQuery &) const;
  double attention(const AttentionQuery &) const;
  double memoryBound(const MemoryQuery &) const;
};

/// Reads a tuning file: changes fields of the device in `topology` first, then adds rows. Nothing is changed on error.
bool readTuning(const std::string &path, Topology &topology, Tuning &tuning, std::string &hash, std::string &error);

} // namespace comm::cost
