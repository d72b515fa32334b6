//===- PackCache.cpp - constants in the form that kernels read ------------===//
#include "runtime/Kernels/PackCache.h"
#include <algorithm>
#include <cstdlib>
#include <map>
#include <new>
#include <sys/mman.h>

using namespace comm::rt;

AlignedMemory::AlignedMemory(int64_t bytes) : size(bytes) {
  constexpr int64_t huge = int64_t(2) << 20;
  int64_t alignment = bytes >= huge ? huge : 64;
  if (bytes < 0 || bytes > (int64_t(1) << 46))
    throw std::bad_alloc();
  int64_t rounded = (std::max<int64_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  memory = std::aligned_alloc(size_t(alignment), size_t(rounded));
  if (!memory)
    throw std::bad_alloc();
  if (alignment == huge)
    (void)madvise(memory, size_t(rounded), MADV_HUGEPAGE); // a hint: refusal costs only time
}

AlignedMemory::~AlignedMemory() { std::free(memory); }

PackedBytes PackedBytes::allocate(int64_t bytes) {
  auto memory = std::make_shared<AlignedMemory>(bytes);
  char *data = memory->data();
  return {std::move(memory), data, bytes};
}

/// Pages that nobody writes cost nothing: a chunk may be larger than what it will hold.
class PackMemory::Chunk {
public:
  static constexpr int64_t huge = int64_t(2) << 20, least = int64_t(64) << 20;
  explicit Chunk(int64_t bytes) : size((std::max(bytes, least) + huge - 1) / huge * huge), room(size + huge) {
    base = mmap(nullptr, size_t(room), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
      throw std::bad_alloc();
    auto first = reinterpret_cast<uintptr_t>(base);
    data = static_cast<char *>(base) + (huge - int64_t(first % huge)) % huge;
    (void)madvise(data, size_t(size), MADV_HUGEPAGE); // a hint: refusal costs only time
  }
  ~Chunk() { munmap(base, size_t(room)); }
  Chunk(const Chunk &) = delete;
  Chunk &operator=(const Chunk &) = delete;
  const int64_t size;
  char *data = nullptr;

private:
  const int64_t room;
  void *base = nullptr;
};

PackedBytes PackMemory::allocate(int64_t bytes) {
  if (bytes < 0 || bytes > (int64_t(1) << 46))
    throw std::bad_alloc();
  int64_t rounded = (std::max<int64_t>(bytes, 1) + 63) / 64 * 64;
  auto place =
      std::find_if(places.begin(), places.end(), [&](const Place &p) { return p.chunk->size - p.used >= rounded; });
  if (place == places.end())
    place = places.insert(places.end(), {std::make_shared<Chunk>(rounded), 0});
  char *data = place->chunk->data + place->used;
  place->used += rounded;
  return {place->chunk, data, bytes};
}

struct PackCache::Impl {
  PackStore *store = nullptr;
  std::map<uint64_t, ConstantName> names;
  std::map<std::pair<std::vector<uint64_t>, std::string>, PackedBytes> packed;

  /// The constants behind `keys` as one.
  ConstantName nameOf(const std::vector<uint64_t> &keys) const {
    ConstantName all;
    std::vector<std::function<void()>> loads;
    for (uint64_t key : keys) {
      auto it = names.find(key);
      bool named = it != names.end() && !it->second.text.empty();
      if (key == keys.front())
        all.text = named ? it->second.text : "";
      else
        all.text = named && !all.text.empty() ? all.text + " and " + it->second.text : "";
      if (it == names.end())
        continue;
      all.sharers = key == keys.front() ? it->second.sharers : std::min(all.sharers, it->second.sharers);
      if (it->second.load)
        loads.push_back(it->second.load);
    }
    all.load = [loads = std::move(loads)] {
      for (const std::function<void()> &load : loads)
        load();
    };
    return all;
  }
};

PackCache::PackCache() : impl(std::make_unique<Impl>()) {}
PackCache::~PackCache() = default;
void PackCache::setStore(PackStore *store) { impl->store = store; }

void PackCache::describe(uint64_t key, ConstantName name) { impl->names[key] = std::move(name); }

static PackedBytes packAlone(int64_t bytes, const PackFunction &fill) {
  PackedBytes packed = PackedBytes::allocate(bytes);
  fill(packed.data());
  return packed;
}

PackedBytes PackCache::get(const std::vector<uint64_t> &keys, const std::string &form, int64_t bytes,
                           const PackFunction &fill, bool &fresh) {
  auto found = impl->packed.find({keys, form});
  fresh = found == impl->packed.end();
  if (!fresh)
    return found->second;
  ConstantName name = impl->nameOf(keys);
  auto loadAndFill = [&](char *out) {
    name.load();
    fill(out);
  };
  PackedBytes packed = impl->store && !name.text.empty() ? impl->store->provide(name, form, bytes, loadAndFill)
                                                         : packAlone(bytes, loadAndFill);
  return impl->packed.emplace(std::make_pair(keys, form), std::move(packed)).first->second;
}

int64_t PackCache::sharedBytes() const {
  int64_t bytes = 0;
  for (const auto &[key, packed] : impl->packed)
    bytes += packed.shared() ? packed.bytes() : 0;
  return bytes;
}

PackedBytes comm::rt::packConstant(PackCache *cache, const std::vector<uint64_t> &keys, const std::string &form,
                                   int64_t bytes, const PackFunction &fill, bool &fresh) {
  fresh = true;
  bool known = !keys.empty() && std::find(keys.begin(), keys.end(), uint64_t(0)) == keys.end();
  return cache && known ? cache->get(keys, form, bytes, fill, fresh) : packAlone(bytes, fill);
}
