//===- UserList.h - small per-user lists of facts ---------------*- C++ -*-===//
// One line per fact in $XDG_CACHE_HOME/commc/<name> (else ~/.cache/commc/<name>), readable and writable by the user
// alone. A file that belongs to somebody else, or that others may write, counts as empty: it must not be able to grant
// anything.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Transport/Transport.h"

namespace comm::rt {

class UserList {
public:
  explicit UserList(std::string name) : name(std::move(name)) {}
  /// The file, or "" when neither XDG_CACHE_HOME nor HOME is set to an absolute path.
  std::string path() const;
  bool contains(const std::string &line) const;
  /// The oldest line, "" when there is none.
  std::string first() const;
  /// Appends the line unless it is there; makes the folder (0700) and the file (0600).
  Status add(const std::string &line) const;

private:
  std::string name;
};

/// Hashes of executables whose native code may run.
UserList trustedExecutables();
/// "<sha256> <device> <inode> <size> <mtime>" of weight files whose hash was computed and right: large files are hashed
/// once.
UserList verifiedFiles();

} // namespace comm::rt
