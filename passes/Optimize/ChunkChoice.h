//===- ChunkChoice.h - in how many pieces rows are pipelined ----*- C++ -*-===//
// Plain data in and out.
//===----------------------------------------------------------------------===//
#ifndef PASSES_OPTIMIZE_CHUNKCHOICE_H
#define PASSES_OPTIMIZE_CHUNKCHOICE_H
#include <cstdint>
#include <functional>
#include <vector>

namespace comm::split {

struct ChunkRequest {
  int64_t rows = 0;
  int64_t tile = 1;    ///< chunks are multiples of it, except the last
  int64_t minRows = 2; ///< fewest rows that are cut
  int64_t chunks = 0;  ///< so many; 0: what takes least
  int64_t maxChunks = 8;
  /// Microseconds of the product and of the collective on so many rows; without them nothing is chosen.
  std::function<double(int64_t rows)> computeUs, communicateUs;
  bool communicateFirst = false; ///< gather, then multiply
  double minGain = 0.03;         ///< of the time in one piece: less is not worth the noise
};

/// Two machines in a row, each working on one chunk at a time.
double pipelineUs(const std::vector<int64_t> &chunks, const ChunkRequest &request);
/// Sizes of the chunks, one entry when the whole is best.
std::vector<int64_t> chooseChunks(const ChunkRequest &request);

/// A product and a collective in ring order: as many steps as ranks, in each of which what the next one needs travels.
struct RingRequest {
  int64_t steps = 0;
  double computeUs = 0; ///< of the product of one step
  double passUs = 0;    ///< of one message to the neighbour
  double addUs = 0;     ///< scatter: of a product to the sum that came
  double finishUs = 0;  ///< gather: of putting the results into their places
  bool gathers = false; ///< shards travel; else the sum does
};
double ringUs(const RingRequest &request);

} // namespace comm::split
#endif
