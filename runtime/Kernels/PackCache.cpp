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

struct PackCache::Impl {
  PackStore *store = nullptr;
  std::map<uint64_t, ConstantName> names;
  std::map<std::pair<uint64_t, std::string>, PackedBytes> packed;
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

PackedBytes PackCache::get(uint64_t key, const std::string &form, int64_t bytes, const PackFunction &fill,
                           bool &fresh) {
  auto found = impl->packed.find({key, form});
  fresh = found == impl->packed.end();
  if (!fresh)
    return found->second;
  static const ConstantName unknown;
  auto it = impl->names.find(key);
  const ConstantName &name = it == impl->names.end() ? unknown : it->second;
  auto loadAndFill = [&](char *out) {
    if (name.load)
      name.load();
    fill(out);
  };
  PackedBytes packed = impl->store && !name.text.empty() ? impl->store->provide(name, form, bytes, loadAndFill)
                                                         : packAlone(bytes, loadAndFill);
  return impl->packed.emplace(std::make_pair(key, form), std::move(packed)).first->second;
}

int64_t PackCache::sharedBytes() const {
  int64_t bytes = 0;
  for (const auto &[key, packed] : impl->packed)
    bytes += packed.shared() ? packed.bytes() : 0;
  return bytes;
}

PackedBytes comm::rt::packConstant(PackCache *cache, uint64_t key, const std::string &form, int64_t bytes,
                                   const PackFunction &fill, bool &fresh) {
  fresh = true;
  return cache && key != 0 ? cache->get(key, form, bytes, fill, fresh) : packAlone(bytes, fill);
}
