//===- Weights.h - one rank's part of every weight --------------*- C++ -*-===//
#pragma once
#include "runtime/Transport/Transport.h"
#include <functional>
#include <map>
#include <memory>

namespace comm::rt {

/// The weight files beside an executable, mapped read-only. Opening them checks that each is a regular file inside the
/// executable's folder (links may lead to the folder of the real executable: caches of downloads are made of them) and
/// has the length that the executable says; `checkHashes` also compares SHA-256 where the executable has one. A file
/// whose hash was right once is not hashed again until its inode, size or time changes.
class WeightFiles {
public:
  ~WeightFiles();
  static Status open(const exe::Executable &, const std::string &executablePath, bool checkHashes,
                     std::unique_ptr<WeightFiles> &out);
  const uint8_t *bytes(size_t file) const { return maps[file].bytes; }
  /// As LoadedExecutable::dropPages.
  void dropPages() const;

private:
  struct Map {
    const uint8_t *bytes = nullptr;
    size_t size = 0;
  };
  Status openOne(const exe::WeightFile &, const std::string &executablePath, bool checkHashes);
  std::vector<Map> maps;
};

/// A rank's local weights: slices, then the layout, zero-filled. What is contiguous in its file is used in place, the
/// rest is copied on first use. One thread at a time.
class WeightStore {
public:
  /// All arguments are borrowed. `files` may be null when the executable has none.
  WeightStore(const exe::Executable &exe, exe::DataView data, const WeightFiles *files)
      : exe(exe), data(data), files(files) {}

  /// The bytes of value-local weight `index` for `rank` of `grid`; alive until release() of the same key. `later`: only
  /// their place; what has to be copied is there after load() or keep().
  Status local(int64_t index, const exe::Grid &grid, int64_t rank, const uint8_t *&out, bool later = false);
  void load(int64_t index, const exe::Grid &grid);
  /// Names the bytes at `offset` of a local weight for all ranks and sessions of the executable: equal names are equal
  /// bytes.
  std::string name(int64_t index, const exe::Grid &grid, int64_t rank, int64_t offset) const;
  /// Ranks that have the same local weight.
  int64_t sharers(int64_t index, const exe::Grid &grid) const;
  /// Equal for equal bytes at `offset` of a local weight; never 0.
  uint64_t contentKey(int64_t index, const exe::Grid &grid, int64_t offset);
  /// Marks a local weight as read during runs.
  void keep(int64_t index, const exe::Grid &grid);
  /// Frees a local weight unless it is kept.
  void release(int64_t index, const exe::Grid &grid);
  /// Bytes of kept local weights, in place or copied.
  int64_t keptBytes() const;

private:
  /// Copies are mapped by themselves: what is freed between packed weights goes back to the system.
  struct Unmap {
    size_t bytes;
    void operator()(uint8_t *p) const;
  };
  struct Local {
    const uint8_t *bytes = nullptr;
    std::function<void()> copy; ///< into `owned`; empty when that is done or not needed
    std::unique_ptr<uint8_t, Unmap> owned{nullptr, Unmap{0}};
    int64_t size = 0;
    bool kept = false;
  };
  /// Which part of the stored tensor a rank has, and in what shape.
  struct Window {
    std::vector<int64_t> start, count;
    exe::Shape shape;
    bool filled = false; ///< the shape is larger than what there is: zeros follow
  };
  Window windowOf(int64_t index, const exe::Grid &grid, int64_t rank) const;
  using Key = std::pair<int64_t, std::string>;
  Key keyOf(int64_t index, const exe::Grid &grid) const;

  const exe::Executable &exe;
  exe::DataView data;
  const WeightFiles *files;
  std::map<Key, Local> locals;
  std::map<std::pair<Key, int64_t>, uint64_t> contentKeys;
};

} // namespace comm::rt
