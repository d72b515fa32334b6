//===- TokenCut.cpp - where rows are cut in two ---------------------------===//
#include "passes/Optimize/TokenCut.h"
#include <algorithm>
#include <cstdlib>

namespace comm::split {

static int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t waves(int64_t rows, const TiledProduct &p, int64_t units) {
  return ceilDiv(ceilDiv(rows, p.tileRows) * ceilDiv(p.columns, p.tileColumns), units);
}

static bool keepsWaves(const CutRequest &r, int64_t cut) {
  return std::all_of(r.products.begin(), r.products.end(), [&](const TiledProduct &p) {
    int64_t whole = waves(r.rows, p, r.units);
    return whole > 1 && waves(cut, p, r.units) + waves(r.rows - cut, p, r.units) <= whole;
  });
}

int64_t chooseCut(const CutRequest &r) {
  int64_t tile = std::max<int64_t>(r.tile, 1);
  if (r.rows < std::max<int64_t>(r.minRows, 2) || r.rows <= tile)
    return 0;
  auto inside = [&](int64_t cut) { return cut > 0 && cut < r.rows ? cut : 0; };
  if (r.units <= 0)
    return inside(ceilDiv(r.rows, 2 * tile) * tile + r.offset);
  for (const TiledProduct &p : r.products)
    tile = std::max(tile, p.tileRows);
  int64_t best = 0, half = r.rows / 2 + r.offset;
  for (int64_t cut = tile; cut < r.rows; cut += tile)
    if (keepsWaves(r, cut) && (best == 0 || std::abs(cut - half) <= std::abs(best - half)))
      best = cut;
  return best;
}

} // namespace comm::split
