//===- ColumnChain.cpp - steps that run range of columns by range of columns -===//
#include "runtime/Core/ColumnChain.h"
#include <numeric>

namespace comm::rt {
namespace {
constexpr size_t mostSteps = 64;
constexpr int64_t widestStep = 256; ///< so that the ranges of threads stay even

/// The longest chain that begins at `first`; count 0: none.
ColumnChain chainFrom(const std::vector<ColumnStep> &steps, const std::vector<ChainStep> &plain, size_t first,
                      int64_t threads) {
  ColumnChain best, chain{first, 0, 1, threads};
  bool product = false;
  int64_t fewest = INT64_MAX;
  for (size_t last = first, end = std::min(steps.size(), first + mostSteps); last < end; ++last) {
    const ColumnStep &s = steps[last];
    chain.step = std::lcm(chain.step, s.step);
    fewest = std::min(fewest, s.rows);
    if (s.rows == 0 || chain.step > widestStep || (fewest + chain.step - 1) / chain.step < threads ||
        !partsAreApart(plain, first, last, [](const ChainStep &step) { return step.rows; }))
      break;
    product |= s.productRows > 0;
    chain.count = last + 1 - first;
    if (product && chain.count > 1)
      best = chain;
  }
  return best;
}
} // namespace

std::vector<ColumnChain> findColumnChains(const std::vector<ColumnStep> &steps, int64_t threads) {
  std::vector<ChainStep> plain(steps.begin(), steps.end());
  std::vector<ColumnChain> chains;
  for (size_t i = 0; i < steps.size();) {
    ColumnChain chain = chainFrom(steps, plain, i, std::max<int64_t>(1, threads));
    if (chain.count)
      chains.push_back(chain);
    i += std::max<size_t>(chain.count, 1);
  }
  return chains;
}

} // namespace comm::rt
