//===- SharedPacks.h - packed weights that ranks share ----------*- C++ -*-===//
// One anonymous memory file for the ranks of a machine. The rank that asks first for a name owns it: it says where the
// bytes will lie, then writes them. The others map the place at once and go on to their next weight, which they may own
// in turn, so that the ranks divide the packing among themselves; wait() returns when all bytes are there.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Kernels/PackCache.h"
#include "runtime/Transport/Transport.h"
#include <vector>

namespace comm::rt {

class SharedPacks {
public:
  ~SharedPacks();
  /// For at most `names` different names. Fails where memory files cannot be made, or only of small pages, which runs
  /// would feel: then every rank packs for itself.
  static Status create(int64_t names, std::unique_ptr<SharedPacks> &out);
  /// `fd` of another rank's or the host's; borrowed for the call.
  static Status attach(int fd, std::unique_ptr<SharedPacks> &out);
  int fd() const;

  /// Bytes named `name`: written by `fill` here, or by another rank. Null when they cannot be shared: no place is left
  /// or the name stands for another size. Throws what `fill` throws.
  PackedBytes provide(const std::string &name, int64_t bytes, const PackFunction &fill);
  /// Until every place that was handed out is filled, by whomever.
  Status wait(int64_t timeoutMs);

private:
  SharedPacks();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

} // namespace comm::rt
