//===- SamplerTest.cpp - drawing tokens, stopping at words ----------------===//
#include "tools/commrun/Sampler.h"
#include "tools/commrun/StopText.h"
#include "tools/commrun/Tensor.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <set>

using namespace commrun;

namespace {
Sampling sampling(double temperature, uint64_t seed, int64_t topK = 0, double topP = 1) {
  return {temperature, topK, topP, seed};
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  Sampler s(sampling(0, 7));
  EXPECT_EQ(s.next({1, 5, -2, 5}), 1);
  EXPECT_EQ(s.next({-3}), 0);
  float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(s.next({1, -inf, inf}), 2);
  EXPECT_EQ(Sampler(sampling(1, 7)).next({-inf, -inf}), 0);
}

TEST(Sampler, RefusesWhatIsNoNumber) {
  Sampler s(sampling(1, 7));
  EXPECT_THROW(s.next({1, std::nanf(""), 2}), Failure);
  EXPECT_THROW(s.next({}), Failure);
}

// The generator is SplitMix64; seed 1234567 begins with 6457827717110365317 (the published sequence), u = 0.35.
TEST(Sampler, DrawsByTheDocumentedNumbers) {
  double u = static_cast<double>(6457827717110365317ull >> 11) * 0x1p-53;
  ASSERT_GT(u, 0.3);
  ASSERT_LT(u, 0.4);
  // Probabilities 0.3, 0.1, 0.6: by number the draw falls into the second token, by rank into the first.
  std::vector<float> logits = {std::log(0.3f), std::log(0.1f), std::log(0.6f)};
  EXPECT_EQ(Sampler(sampling(1, 1234567)).next(logits), 1);
  EXPECT_EQ(Sampler(sampling(1, 1234567, 2)).next(logits), 2);
}

std::vector<double> shares(Sampler sampler, const std::vector<float> &logits, int draws) {
  std::vector<double> counts(logits.size(), 0);
  for (int i = 0; i < draws; ++i)
    ++counts[static_cast<size_t>(sampler.next(logits))];
  return counts;
}

// Chi-square over 8 tokens, 7 degrees of freedom: 24.3 is passed once in a thousand by chance; the seeds are fixed.
TEST(Sampler, FollowsTheDistribution) {
  const std::vector<float> logits = {0, 1, -1, 2, 0.5f, -2, 1.5f, 0};
  const int draws = 40000;
  for (double temperature : {0.7, 1.0, 2.5})
    for (uint64_t seed : {1, 2, 3}) {
      double sum = 0, chi = 0;
      for (float l : logits)
        sum += std::exp(l / temperature);
      std::vector<double> found = shares(Sampler(sampling(temperature, seed)), logits, draws);
      for (size_t i = 0; i < logits.size(); ++i) {
        double expected = draws * std::exp(logits[i] / temperature) / sum;
        chi += (found[i] - expected) * (found[i] - expected) / expected;
      }
      EXPECT_LT(chi, 24.3) << "temperature " << temperature << " seed " << seed;
      EXPECT_GT(chi, 0.5) << "draws are not independent"; // as rare
    }
}

TEST(Sampler, TopKAndTopPKeepTheLikeliest) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};
  std::vector<double> k = shares(Sampler(sampling(1, 5, 2)), logits, 7000);
  EXPECT_EQ(k[0] + k[2], 0);
  EXPECT_NEAR(k[1] / 7000, 4.0 / 7, 0.03);
  std::vector<double> p = shares(Sampler(sampling(1, 5, 0, 0.75)), logits, 9000); // 0.4 + 0.3 < 0.75 <= + 0.2
  EXPECT_EQ(p[0], 0);
  EXPECT_NEAR(p[2] / 9000, 2.0 / 9, 0.03);
  // The share is of what topK left: 0.4 / 0.7 passes 0.5 alone.
  EXPECT_EQ(shares(Sampler(sampling(1, 5, 2, 0.5)), logits, 100)[1], 100);
  // Equal ones by number.
  EXPECT_EQ(shares(Sampler(sampling(1, 5, 1)), {1, 3, 3}, 100)[1], 100);
}

TEST(Sampler, SeedsDecide) {
  const std::vector<float> logits(100, 0.0f);
  std::set<std::vector<int64_t>> sequences;
  for (uint64_t seed : {1, 2, 3, 1, 2, 3}) {
    Sampler s(sampling(1, seed));
    std::vector<int64_t> tokens;
    for (int i = 0; i < 20; ++i)
      tokens.push_back(s.next(logits));
    sequences.insert(tokens);
  }
  EXPECT_EQ(sequences.size(), 3u);
}

std::string through(std::vector<std::string> words, const std::vector<std::string> &pieces, bool *stopped = nullptr) {
  StopText stop(std::move(words));
  std::string out;
  for (const std::string &piece : pieces)
    out += stop.append(piece);
  if (stopped)
    *stopped = stop.stopped();
  return out + (stop.stopped() ? "" : "|" + stop.end());
}

TEST(StopText, HoldsBackWhatMayBecomeAWord) {
  bool stopped;
  EXPECT_EQ(through({}, {"ab", "c"}), "abc|");
  EXPECT_EQ(through({"END"}, {"a E", "N", "D b"}, &stopped), "a ");
  EXPECT_TRUE(stopped);
  EXPECT_EQ(through({"END"}, {"a E", "N"}, &stopped), "a |EN");
  EXPECT_FALSE(stopped);
  EXPECT_EQ(through({"END"}, {"EE", "ND"}), "E");
  EXPECT_EQ(through({"aab"}, {"a", "a", "a", "b"}), "a");
  EXPECT_EQ(through({"xyz", "bc"}, {"abcxyz"}), "a"); // the first in the text
  EXPECT_EQ(through({"\n\n"}, {"one\n", "two\n", "\nthree"}), "one\ntwo");
}
} // namespace
