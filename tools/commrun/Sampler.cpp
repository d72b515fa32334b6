//===- Sampler.cpp - the next token from logits ---------------------------===//
#include "Sampler.h"
#include "Tensor.h"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace commrun {

double Sampler::draw() {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

int64_t Sampler::next(const std::vector<float> &logits) {
  if (logits.empty() || std::any_of(logits.begin(), logits.end(), [](float v) { return std::isnan(v); }))
    throw Failure{1, "E101", "the model's logits are not numbers: there is no next token"};
  auto best = std::max_element(logits.begin(), logits.end());
  if (options.temperature <= 0 || !std::isfinite(*best))
    return best - logits.begin();
  double largest = *best;
  auto weight = [&](int64_t token) {
    return std::exp((static_cast<double>(logits[static_cast<size_t>(token)]) - largest) / options.temperature);
  };
  order.resize(logits.size());
  std::iota(order.begin(), order.end(), 0);
  size_t left = options.topK > 0 ? std::min(order.size(), static_cast<size_t>(options.topK)) : order.size();
  if (left < order.size() || options.topP < 1)
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(left), order.end(),
                      [&](int64_t a, int64_t b) {
                        float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
                        return x != y ? x > y : a < b;
                      });
  weights.resize(left);
  double sum = 0;
  for (size_t i = 0; i < left; ++i)
    sum += weights[i] = weight(order[i]);
  if (options.topP < 1) {
    double enough = options.topP * sum, reached = 0;
    for (size_t i = 0; i < left; ++i)
      if ((reached += weights[i]) >= enough)
        left = i + 1;
    sum = reached;
  }
  double at = draw() * sum, passed = 0;
  for (size_t i = 0; i < left; ++i)
    if ((passed += weights[i]) > at)
      return order[i];
  return order[left - 1]; // rounding
}

} // namespace commrun
