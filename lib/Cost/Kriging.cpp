//===- Kriging.cpp - interpolation of scattered measurements --------------===//
#include "Kriging.h"
#include <algorithm>
#include <cmath>
#include <cstring>

namespace comm::cost {

void Kriging::add(const KrigingPoint &point, double value, int level) {
  rows.push_back({point, static_cast<float>(value), level});
  sum += value;
}

double Kriging::covariance(const KrigingTerm &term, const KrigingPoint &a, const KrigingPoint &b) const {
  double product = term.variance, distance = 0;
  for (int i = 0; i < model.names; ++i)
    if (a.names[i] != b.names[i] && (product *= term.across[i]) == 0)
      return 0;
  for (int i = 0; i < model.sizes; ++i) {
    double length = term.lengths[i], gap = std::fabs(static_cast<double>(a.sizes[i]) - b.sizes[i]);
    if (length < 0 || gap == 0)
      continue;
    if (length == 0)
      return 0;
    double z = 1.7320508 * gap / length;
    product *= 1 + z;
    distance += z;
  }
  return distance == 0 ? product : product * std::exp(-distance);
}

double Kriging::covariance(const KrigingPoint &a, const KrigingPoint &b) const {
  double all = 0;
  for (const KrigingTerm &term : model.terms)
    all += covariance(term, a, b);
  return all;
}

double Kriging::at(const KrigingPoint &point) const {
  std::string key(reinterpret_cast<const char *>(&point), sizeof(point));
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (auto it = remembered.find(key); it != remembered.end())
      return it->second;
  }
  double value = without(point, nullptr);
  std::lock_guard<std::mutex> lock(mutex);
  if (remembered.size() > 20000)
    remembered.clear();
  remembered[key] = value;
  return value;
}

double Kriging::without(const KrigingPoint &point, const std::function<bool(size_t)> &skip) const {
  if (rows.empty())
    return 0;
  // Cheap screening by distance in units of the first term, names by the logarithm of their factor.
  const KrigingTerm &first = model.terms[0];
  double perSize[maxSizes], perName[maxNames];
  for (int i = 0; i < model.sizes; ++i)
    perSize[i] = first.lengths[i] > 0 ? 1 / first.lengths[i] : 0;
  for (int i = 0; i < model.names; ++i)
    perName[i] = -std::log(std::max(first.across[i], 0.01)) / 2;
  std::vector<std::pair<float, uint32_t>> near;
  near.reserve(rows.size());
  for (size_t r = 0; r < rows.size(); ++r) {
    if (skip && skip(r))
      continue;
    double distance = 0;
    for (int i = 0; i < model.sizes; ++i)
      distance += std::fabs(static_cast<double>(rows[r].point.sizes[i]) - point.sizes[i]) * perSize[i];
    for (int i = 0; i < model.names; ++i)
      distance += rows[r].point.names[i] == point.names[i] ? 0 : perName[i];
    near.emplace_back(static_cast<float>(distance), static_cast<uint32_t>(r));
  }
  if (near.empty())
    return mean();
  size_t screened = std::min(model.screened, near.size());
  std::nth_element(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(screened - 1), near.end());
  near.resize(screened);
  for (auto &[alike, r] : near)
    alike = static_cast<float>(-covariance(point, rows[r].point));
  size_t count = std::min(model.neighbours, near.size());
  std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(count), near.end());

  // Covariance of the neighbours plus their noise, upper half; elimination along rows, which vectorises.
  std::vector<double> matrix(count * count), right(count);
  for (size_t i = 0; i < count; ++i) {
    const Row &a = rows[near[i].second];
    for (size_t j = i + 1; j < count; ++j)
      matrix[i * count + j] = covariance(a.point, rows[near[j].second].point);
    matrix[i * count + i] = covariance(a.point, a.point) + model.noise * std::pow(4, a.level) + 1e-9;
    right[i] = a.value - mean();
  }
  for (size_t k = 0; k < count; ++k) {
    const double *pivot = &matrix[k * count];
    double inverse = 1 / std::max(pivot[k], 1e-12);
    for (size_t i = k + 1; i < count; ++i) {
      double *row = &matrix[i * count], factor = pivot[i] * inverse;
      for (size_t j = i; j < count; ++j)
        row[j] -= factor * pivot[j];
      right[i] -= factor * right[k];
    }
  }
  for (size_t i = count; i-- > 0;) {
    double left = right[i];
    for (size_t k = i + 1; k < count; ++k)
      left -= matrix[i * count + k] * right[k];
    right[i] = left / std::max(matrix[i * count + i], 1e-12);
  }
  double value = mean();
  for (size_t i = 0; i < count; ++i)
    value -= static_cast<double>(near[i].first) * right[i];
  return value;
}

void Kriging::findOutliers(const std::vector<int> &group) {
  for (Row &row : rows)
    row.level = 0;
  for (int round = 0; round < 2; ++round) {
    std::vector<int> levels(rows.size());
    for (size_t r = 0; r < rows.size(); ++r) {
      double residual = rows[r].value - without(rows[r].point, [&](size_t other) { return group[other] == group[r]; });
      double excess = std::fabs(residual) / model.scale;
      levels[r] = excess <= 1 ? 0 : std::min(3, static_cast<int>(std::lround(std::log2(excess))));
    }
    for (size_t r = 0; r < rows.size(); ++r)
      rows[r].level = levels[r];
  }
}

} // namespace comm::cost
