//===- Generate.h - text from a language model ------------------*- C++ -*-===//
#pragma once
#include "Options.h"

namespace commrun {

/// Runs `commrun --generate`: text (or, without a tokenizer, token numbers) on stdout as it comes, then a line with the
/// times on stderr; with --json one object on stdout instead. The exit code. Throws Failure.
int generate(Options options);

} // namespace commrun
