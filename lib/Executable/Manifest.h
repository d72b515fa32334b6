//===- Manifest.h - the JSON part of an executable (private) ----*- C++ -*-===//
#pragma once
#include "comm/Executable/Executable.h"

namespace comm::exe {

/// Lengths of the binary sections that follow the manifest, in order: objects, then data.
struct SectionSizes {
  std::vector<int64_t> objects;
  int64_t data = 0;
};

/// Canonical JSON (sorted keys, no white space): equal executables give equal text. False when a string is not UTF-8.
bool writeManifest(const Executable &, std::string &out, std::string &error);
/// Untrusted text. Depth is bounded, a key twice or a key this version does not know is refused: a newer writer raises
/// the format version instead. Fills everything but the bytes of objects and data.
bool readManifest(const char *text, size_t size, Executable &out, SectionSizes &sizes, std::string &error);

} // namespace comm::exe
