//===- GenerateFlags.h - the flags of --generate ----------------*- C++ -*-===//
#pragma once
#include "GenerateOptions.h"
#include <CLI/CLI.hpp>

namespace commrun {

/// Adds the flags; after parsing, says what they ask for.
class GenerateFlags {
public:
  explicit GenerateFlags(CLI::App &app);
  /// Nothing without --generate. Throws Failure for flags that do not go together.
  std::optional<GenerateOptions> read(const CLI::App &app) const;

private:
  bool on = false;
  std::string prompt;
  GenerateOptions options;
};

} // namespace commrun
