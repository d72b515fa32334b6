//===- PackedFiles.h - packed weights kept on disk --------------*- C++ -*-===//
// A folder with one file per packed weight: a header, then the bytes. A file counts only when this user's runtime wrote
// it for the same executable and release, and when its bytes still have their checksum: anything else is as if it were
// not there. Files are written under another name and renamed, so that readers, other ranks and other sessions see all
// or nothing; whoever is last wins, with equal bytes.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <string>

namespace comm::rt {

class PackedFiles {
public:
  /// `folder` is made when the first file is written; `executable` is the hash of the executable.
  PackedFiles(std::string folder, std::string executable);
  /// Fills `out` with what was kept as `name`. False when there is nothing that counts; `out` may then hold anything.
  bool read(const std::string &name, char *out, int64_t bytes) const;
  /// Keeps `bytes`. False when they are too few to be worth a file, when the disk would become too full, or when
  /// nothing can be written there; that costs only time.
  bool write(const std::string &name, const char *data, int64_t bytes);
  const std::string &path() const { return folder; }
  /// Smaller parts are packed faster than a file is opened.
  static constexpr int64_t leastBytes = 64 << 10;

private:
  std::string fileOf(const std::string &name) const;
  /// Makes the folder and clears away what belongs to other executables.
  bool prepareFolder();
  std::string folder, executable, secret;
  bool prepared = false, writable = true;
};

/// Of packed bytes, by words: finds damage, not malice.
class PackedChecksum {
public:
  void add(const char *data, int64_t bytes); ///< a multiple of 32 bytes in all calls but the last
  uint64_t value() const;

private:
  uint64_t lanes[4] = {1, 2, 3, 4};
};

} // namespace comm::rt
