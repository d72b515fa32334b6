//===- ChoiceTest.cpp - where rows are cut, in how many chunks ------------===//
#include "passes/Optimize/ChunkChoice.h"
#include "passes/Optimize/TokenCut.h"
#include <gtest/gtest.h>
#include <numeric>

using namespace comm::split;

namespace {
CutRequest wavesOf(int64_t rows, int64_t columns) {
  CutRequest r;
  r.rows = rows;
  r.units = 132;
  r.products = {{columns, 128, 256}};
  return r;
}

TEST(TokenCut, CutsAtTheTileNearestToHalf) {
  CutRequest r;
  r.tile = 64;
  for (auto [rows, offset, expected] : {std::array<int64_t, 3>{128, 0, 64},
                                        {129, 0, 128},
                                        {192, 0, 128},
                                        {512, 0, 256},
                                        {512, 64, 320},
                                        {512, 256, 0},
                                        {64, 0, 0},
                                        {65, 0, 64},
                                        {1, 0, 0}}) {
    r.rows = rows;
    r.offset = offset;
    EXPECT_EQ(chooseCut(r), expected) << rows << " + " << offset;
  }
}

TEST(TokenCut, LeavesFewRowsWhole) {
  CutRequest r;
  r.rows = 255;
  r.minRows = 256;
  EXPECT_EQ(chooseCut(r), 0);
  r.rows = 256;
  EXPECT_EQ(chooseCut(r), 128);
}

// 300 tiles on 132 units are 3 rounds: 150 + 150 would take 4, 132 + 168 three.
TEST(TokenCut, NeverAddsRounds) {
  TiledProduct p{7168, 128, 256};
  EXPECT_EQ(waves(1536, p, 132), 3);
  EXPECT_EQ(waves(768, p, 132) * 2, 4);
  EXPECT_EQ(waves(1024, p, 132) + waves(512, p, 132), 3);
  EXPECT_EQ(chooseCut(wavesOf(1536, 7168)), 1024) << "offset 256 from half";
  EXPECT_EQ(waves(4096, p, 132), 7);
  EXPECT_EQ(waves(2048, p, 132) * 2, 8);
  EXPECT_EQ(chooseCut(wavesOf(4096, 7168)), 2304) << "offset 256 from half";
  EXPECT_EQ(chooseCut(wavesOf(1024, 7168)), 512) << "half fits";
  EXPECT_EQ(chooseCut(wavesOf(128, 7168)), 0) << "one round is never cut";
  EXPECT_EQ(chooseCut(wavesOf(512, 256)), 0) << "one round is never cut";
}

ChunkRequest linear(int64_t rows, double computePerRow, double communicatePerRow, double fixed) {
  ChunkRequest r;
  r.rows = rows;
  r.computeUs = [=](int64_t n) { return fixed + computePerRow * static_cast<double>(n); };
  r.communicateUs = [=](int64_t n) { return fixed + communicatePerRow * static_cast<double>(n); };
  return r;
}

TEST(ChunkChoice, CutsWhereBothHalvesAreLong) {
  ChunkRequest r = linear(1024, 1, 1, 10);
  std::vector<int64_t> sizes = chooseChunks(r);
  EXPECT_GT(sizes.size(), 2u);
  EXPECT_EQ(std::accumulate(sizes.begin(), sizes.end(), int64_t(0)), 1024);
  EXPECT_LT(pipelineUs(sizes, r), 0.75 * pipelineUs({1024}, r));
}

// The arm that does nothing: short products, dear pieces, communication that is nothing or everything, no predictions.
TEST(ChunkChoice, LeavesWholeWhatDoesNotGain) {
  EXPECT_EQ(chooseChunks(linear(1024, 1, 1, 2000)).size(), 1u);
  EXPECT_EQ(chooseChunks(linear(1024, 1, 0.001, 20)).size(), 1u);
  EXPECT_EQ(chooseChunks(linear(1024, 0.001, 1, 20)).size(), 1u);
  ChunkRequest none;
  none.rows = 1024;
  EXPECT_EQ(chooseChunks(none).size(), 1u);
  ChunkRequest few = linear(64, 1, 1, 0);
  few.minRows = 128;
  few.chunks = 4;
  EXPECT_EQ(chooseChunks(few).size(), 1u);
}

TEST(ChunkChoice, KeepsToTiles) {
  ChunkRequest r;
  r.rows = 200;
  r.tile = 64;
  r.chunks = 3;
  EXPECT_EQ(chooseChunks(r), (std::vector<int64_t>{128, 64, 8}));
  r.chunks = 100;
  EXPECT_EQ(chooseChunks(r), (std::vector<int64_t>{64, 64, 64, 8}));
  r.chunks = 1;
  EXPECT_EQ(chooseChunks(r), (std::vector<int64_t>{200}));
}
RingRequest ring(int64_t steps, double computeUs, double passUs, bool gathers) {
  RingRequest r;
  r.steps = steps;
  r.computeUs = computeUs;
  r.passUs = passUs;
  r.addUs = 1;
  r.finishUs = 5;
  r.gathers = gathers;
  return r;
}

// By hand: messages under products, products under messages, and one step.
TEST(RingChoice, TimeOfTheSteps) {
  EXPECT_DOUBLE_EQ(ringUs(ring(4, 10, 3, true)), 4 * 10 + 5) << "the messages are hidden";
  EXPECT_DOUBLE_EQ(ringUs(ring(4, 3, 10, true)), 3 * 10 + 3 + 5) << "the products are";
  EXPECT_DOUBLE_EQ(ringUs(ring(1, 3, 10, true)), 3 + 5);
  RingRequest sum = ring(3, 10, 3, false);
  sum.finishUs = 0;
  EXPECT_DOUBLE_EQ(ringUs(sum), 10 + 2 * (10 + 1));
  sum.computeUs = 3, sum.passUs = 10;
  EXPECT_DOUBLE_EQ(ringUs(sum), 3 + 2 * (10 + 1));
}
} // namespace
