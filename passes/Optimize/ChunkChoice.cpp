//===- ChunkChoice.cpp - in how many pieces rows are pipelined ------------===//
#include "passes/Optimize/ChunkChoice.h"
#include <algorithm>

namespace comm::split {

/// Nearly equal multiples of the tile; fewer than asked for when there are not so many tiles.
static std::vector<int64_t> cutRows(const ChunkRequest &r, int64_t count) {
  int64_t tile = std::max<int64_t>(r.tile, 1), tiles = (r.rows + tile - 1) / tile;
  count = std::min(count, tiles);
  std::vector<int64_t> sizes;
  for (int64_t i = 0, from = 0; i < count; ++i) {
    int64_t to = std::min(r.rows, (tiles * (i + 1) + count - 1) / count * tile); // larger ones first
    if (to > from)
      sizes.push_back(to - from);
    from = to;
  }
  return sizes;
}

double pipelineUs(const std::vector<int64_t> &chunks, const ChunkRequest &r) {
  double first = 0, second = 0; // when the two machines are free
  for (int64_t rows : chunks) {
    first += r.communicateFirst ? r.communicateUs(rows) : r.computeUs(rows);
    second = std::max(first, second) + (r.communicateFirst ? r.computeUs(rows) : r.communicateUs(rows));
  }
  return second;
}

std::vector<int64_t> chooseChunks(const ChunkRequest &r) {
  std::vector<int64_t> whole{r.rows};
  if (r.rows < std::max<int64_t>(r.minRows, 2))
    return whole;
  if (r.chunks > 0)
    return cutRows(r, r.chunks);
  if (!r.computeUs || !r.communicateUs)
    return whole;
  std::vector<int64_t> best = whole;
  double bestUs = pipelineUs(whole, r) * (1 - r.minGain);
  for (int64_t count = 2; count <= r.maxChunks; ++count) {
    std::vector<int64_t> sizes = cutRows(r, count);
    double us = pipelineUs(sizes, r);
    if (us < bestUs) {
      bestUs = us;
      best = sizes;
    }
  }
  return best;
}

double ringUs(const RingRequest &r) {
  double computed = 0, passed = 0; // when the products so far are done, when what travels is there
  for (int64_t step = 0; step < r.steps; ++step) {
    if (r.gathers) {
      computed = std::max(computed, passed) + r.computeUs;
      passed += r.passUs;
    } else {
      computed += r.computeUs;
      if (step > 0)
        computed = std::max(computed, passed) + r.addUs;
      passed = computed + r.passUs;
    }
  }
  return computed + r.finishUs;
}

} // namespace comm::split
