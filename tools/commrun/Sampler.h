//===- Sampler.h - the next token from logits -------------------*- C++ -*-===//
#pragma once
#include <cstdint>
#include <vector>

namespace commrun {

struct Sampling {
  double temperature = 0; ///< 0: the token with the largest logit, of equal ones the first
  int64_t topK = 0;       ///< only so many of the most likely tokens; 0: all
  double topP = 1;        ///< of those only the fewest, most likely ones that have this share of the probability
  uint64_t seed = 0;
};

/// Draws tokens; equal logits and seeds give equal tokens. A draw takes the next number of SplitMix64 (its state begins
/// as the seed), u = its upper 53 bits / 2^53, and goes through the tokens that are left until the sum of their
/// probabilities passes u times the sum of all: in the order of falling logits, equal ones by number, where topK or
/// topP chose them, else by number. Probabilities are exp((logit - largest) / temperature) in double.
class Sampler {
public:
  explicit Sampler(const Sampling &options) : options(options), state(options.seed) {}
  /// Throws Failure when the logits are not numbers, or there are none.
  int64_t next(const std::vector<float> &logits);

private:
  double draw();
  const Sampling options;
  uint64_t state;
  std::vector<int64_t> order; ///< memory for the next draw, as the following
  std::vector<double> weights;
};

} // namespace commrun
