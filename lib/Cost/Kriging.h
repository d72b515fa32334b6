//===- Kriging.h - interpolation of scattered measurements (private) *- C++ -*-===//
// Each row is a point (a few logarithmic sizes and a few names), a value (log of measured over formula) and the
// variance of its noise. A prediction is the best linear one from the nearest rows, under a covariance that is a sum of
// terms: each says how far along which size, and across which names, values resemble each other.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace comm::cost {

constexpr int maxSizes = 7, maxNames = 8;

struct KrigingPoint {
  float sizes[maxSizes] = {};
  int32_t names[maxNames] = {};
};

struct KrigingTerm {
  double variance = 0;
  double lengths[maxSizes] = {}; ///< of Matern 3/2; 0: sizes must be equal; below 0: the size does not matter
  double across[maxNames] = {};  ///< factor when the names differ
};

struct KrigingModel {
  int sizes = 0, names = 0;
  std::vector<KrigingTerm> terms;
  double noise = 1e-3;    ///< variance of a good row
  double scale = 0.05;    ///< residuals beyond this make a row count less
  size_t neighbours = 48; ///< rows in the linear system
  size_t screened = 192;  ///< candidates by the first term, of which the neighbours are the most alike
};

class Kriging {
public:
  explicit Kriging(KrigingModel model) : model(std::move(model)) {}
  void add(const KrigingPoint &, double value, int level = 0);
  bool empty() const { return rows.empty(); }
  size_t size() const { return rows.size(); }
  /// Value at a point; the mean of all rows far from everything. Safe from several threads.
  double at(const KrigingPoint &) const;
  /// Without the rows for which `skip` holds; nothing is remembered.
  double without(const KrigingPoint &, const std::function<bool(size_t)> &skip) const;
  /// Gives rows that disagree with their neighbours (of other groups) a level: noise times 4 to the level, at most 3.
  void findOutliers(const std::vector<int> &group);
  int level(size_t row) const { return rows[row].level; }
  double value(size_t row) const { return rows[row].value; }
  const KrigingPoint &point(size_t row) const { return rows[row].point; }

private:
  struct Row {
    KrigingPoint point;
    float value;
    int level;
  };
  double covariance(const KrigingTerm &, const KrigingPoint &, const KrigingPoint &) const;
  double covariance(const KrigingPoint &, const KrigingPoint &) const;
  double mean() const { return rows.empty() ? 0 : sum / static_cast<double>(rows.size()); }

  KrigingModel model;
  std::vector<Row> rows;
  double sum = 0;
  mutable std::mutex mutex;
  mutable std::unordered_map<std::string, double> remembered;
};

} // namespace comm::cost
