//===- GenerateOptions.h - what --generate is asked for ---------*- C++ -*-===//
#pragma once
#include "Sampler.h"
#include <optional>
#include <string>
#include <vector>

namespace commrun {

struct GenerateOptions {
  std::optional<std::string> prompt;
  std::vector<int64_t> promptIds; ///< instead of a text
  std::string tokenizer;          ///< tokenizer.json or its folder; may be empty with promptIds
  std::string python;             ///< interpreter of the tokenizer; empty: found
  int64_t maxTokens = 64;
  Sampling sampling;
  std::vector<int64_t> eos; ///< instead of what the files beside the tokenizer say
  bool ignoreEos = false;
  std::vector<std::string> stop; ///< texts
};

} // namespace commrun
