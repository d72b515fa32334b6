//===- PackCache.h - constants in the form that kernels read ----*- C++ -*-===//
// A kernel that reads a weight in a form of its own (panels of a product, quantised blocks) packs it once, at prepare:
//   packed = packConstant(context.cache, {constantKey}, "f32 panels of 32, 512 x 100, 1", bytes, fill, fresh);
// Kernels that pack the same constant in the same form share the bytes. Behind the cache a PackStore may keep them for
// other ranks and later sessions; then `fill` is not even called.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace comm::rt {

/// Memory aligned to 64 bytes, from 2 MiB on in huge pages where the system allows. Throws std::bad_alloc.
class AlignedMemory {
public:
  explicit AlignedMemory(int64_t bytes);
  ~AlignedMemory();
  AlignedMemory(const AlignedMemory &) = delete;
  AlignedMemory &operator=(const AlignedMemory &) = delete;
  char *data() const { return static_cast<char *>(memory); }
  int64_t bytes() const { return size; }

private:
  void *memory = nullptr;
  int64_t size = 0;
};

/// A packed constant; copies share the memory, which is read-only once it is packed.
class PackedBytes {
public:
  PackedBytes() = default;
  /// `owner` keeps `data` alive. `shared`: other ranks read the same memory.
  PackedBytes(std::shared_ptr<const void> owner, char *data, int64_t bytes, bool shared = false)
      : owner(std::move(owner)), memory(data), size(bytes), isShared(shared) {}
  /// Memory of this process alone. Throws std::bad_alloc.
  static PackedBytes allocate(int64_t bytes);
  char *data() const { return memory; }
  int64_t bytes() const { return size; }
  bool shared() const { return isShared; }
  explicit operator bool() const { return owner != nullptr; }

private:
  std::shared_ptr<const void> owner;
  char *memory = nullptr;
  int64_t size = 0;
  bool isShared = false;
};

/// Memory for packed constants that live about as long as each other: they follow each other in huge pages, so that few
/// bytes are lost at their ends. Not thread-safe; what it gave out may outlive it.
class PackMemory {
public:
  /// Aligned to 64 bytes. Throws std::bad_alloc.
  PackedBytes allocate(int64_t bytes);

private:
  class Chunk;
  struct Place {
    std::shared_ptr<Chunk> chunk;
    int64_t used = 0;
  };
  std::vector<Place> places;
};

/// Writes every byte of a packed constant (also its padding: the bytes may be compared and kept). May throw
/// std::bad_alloc.
using PackFunction = std::function<void(char *out)>;

/// What is known of a constant beyond one rank.
struct ConstantName {
  /// Equal for equal bytes, in all ranks and sessions of one executable. Empty: keep nothing.
  std::string text;
  /// Ranks of the session that have these bytes too.
  int64_t sharers = 1;
  /// Completes the constant's bytes before they are packed; may be empty.
  std::function<void()> load;
};

/// Where packed constants may come from and go to.
class PackStore {
public:
  virtual ~PackStore() = default;
  /// The packed form named `form` of a constant: what was kept, or what `fill` writes. Throws std::bad_alloc.
  virtual PackedBytes provide(const ConstantName &, const std::string &form, int64_t bytes,
                              const PackFunction &fill) = 0;
};

/// Packed constants of one rank. Not thread-safe.
class PackCache {
public:
  PackCache();
  ~PackCache();
  /// Borrowed; null, as at first: every constant is packed here.
  void setStore(PackStore *store);
  /// Says what the constant behind `key` (TensorDesc::constantKey) is; before it is packed.
  void describe(uint64_t key, ConstantName name);
  /// A form that is made of several constants together has all their keys.
  PackedBytes get(const std::vector<uint64_t> &keys, const std::string &form, int64_t bytes, const PackFunction &fill,
                  bool &fresh);
  /// Bytes of all packed constants that other ranks read too.
  int64_t sharedBytes() const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// `form` names how the bytes follow from the constant, with every size and width: equal forms of equal constants are
/// equal bytes. `fresh` is false when a kernel of this rank has packed the same before. `cache` may be null and a key
/// 0: then nothing is shared. Throws std::bad_alloc.
PackedBytes packConstant(PackCache *cache, const std::vector<uint64_t> &keys, const std::string &form, int64_t bytes,
                         const PackFunction &fill, bool &fresh);

} // namespace comm::rt
