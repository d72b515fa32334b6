//===- LoadedExecutable.h - a .commx file in memory -------------*- C++ -*-===//
#pragma once
#include "runtime/Transport/Transport.h"
#include <memory>

namespace comm::rt {

/// A checked executable and the bytes it came from. Immutable, so several sessions and threads may share it.
class LoadedExecutable {
public:
  ~LoadedExecutable();
  /// Small files are read, large ones mapped: ranks of one machine then share the pages.
  static Status load(const std::string &path, std::unique_ptr<LoadedExecutable> &out);
  /// Checks the certificates of all entries. Ranks that were started by a caller who has done so only compare the hash.
  Status checkProof() const;

  /// Gives the pages of a mapped file back to the system's cache, as after weights have been packed; they stay
  /// readable.
  void dropPages() const;

  exe::Executable exe;
  exe::DataView data;
  std::string path, hash;

private:
  std::vector<uint8_t> copied;
  const uint8_t *mapped = nullptr;
  size_t mappedBytes = 0;
};

} // namespace comm::rt
