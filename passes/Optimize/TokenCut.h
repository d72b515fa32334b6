//===- TokenCut.h - where rows are cut in two -------------------*- C++ -*-===//
// Plain data in and out.
//===----------------------------------------------------------------------===//
#ifndef PASSES_OPTIMIZE_TOKENCUT_H
#define PASSES_OPTIMIZE_TOKENCUT_H
#include <cstdint>
#include <vector>

namespace comm::split {

/// A product of `rows` x `columns` computed in tiles.
struct TiledProduct {
  int64_t columns = 0;
  int64_t tileRows = 128, tileColumns = 256;
};

struct CutRequest {
  int64_t rows = 0;
  int64_t tile = 1;    ///< cuts are multiples of it
  int64_t offset = 0;  ///< rows that the first part gets beyond half
  int64_t minRows = 2; ///< fewest rows that are cut at all
  /// Units that compute tiles side by side; 0: no wave rule (CPU cores take the next tile when they are done).
  int64_t units = 0;
  std::vector<TiledProduct> products; ///< those with most of the work
};

/// Rounds in which `units` units compute all tiles of a product.
int64_t waves(int64_t rows, const TiledProduct &product, int64_t units);
/// Rows of the first part: the multiple of the tile nearest to half (the larger of two), plus the offset. With units
/// the nearest multiple of the largest tile at which no product needs more waves in two parts than in one; a product of
/// one wave is never cut. 0: do not cut.
int64_t chooseCut(const CutRequest &request);

} // namespace comm::split
#endif
