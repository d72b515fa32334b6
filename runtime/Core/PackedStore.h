//===- PackedStore.h - where packed weights come from -----------*- C++ -*-===//
// For each packed weight of a rank: memory shared with the ranks that have the same weight, or memory of its own, in
// huge pages; filled from the file that an earlier session left, or packed and then left there.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Core/Memory.h"
#include "runtime/Core/PackedFiles.h"
#include "runtime/Core/SharedPacks.h"

namespace comm::rt {

/// Bytes of packed weights, by where they came from.
struct PackedCounts {
  int64_t packed = 0; ///< here
  int64_t read = 0;   ///< from files
  int64_t kept = 0;   ///< written to files
};

class PackedStore final : public PackStore {
public:
  /// All are borrowed; `files` and `shared` may be null.
  PackedStore(PackedFiles *files, SharedPacks *shared, MemoryWatch &watch)
      : files(files), shared(shared), watch(watch) {}
  PackedBytes provide(const ConstantName &, const std::string &form, int64_t bytes, const PackFunction &fill) override;
  const PackedCounts &counts() const { return sums; }

private:
  void read(const std::string &name, char *out, int64_t bytes, const PackFunction &fill);
  PackedFiles *files;
  SharedPacks *shared;
  MemoryWatch &watch;
  PackMemory memory;
  PackedCounts sums;
};

/// Folder for the packed weights of the executable at `path`: "m.commx.packed" beside it or in `where`, when that is
/// neither "beside" nor "off". Empty when nothing is to be kept.
std::string packedFolder(const std::string &where, const std::string &path);

} // namespace comm::rt
