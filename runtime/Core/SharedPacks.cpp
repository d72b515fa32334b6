//===- SharedPacks.cpp - packed weights that ranks share ------------------===//
#include "runtime/Core/SharedPacks.h"
#include "comm/Executable/Executable.h"
#include "runtime/Transport/Shm/Futex.h"
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

namespace comm::rt {
namespace {
constexpr uint64_t magic = 0x31304b4341504d43; // "CMPACK01"
constexpr int64_t page = 4096, hugePage = int64_t(2) << 20;
constexpr int64_t fileBytes = int64_t(1) << 46; // pages that nobody writes cost nothing
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 // Linux 6.1
#endif

enum State : uint32_t { Free = 0, Placed, Filled, Failed };

struct alignas(64) Slot {
  std::atomic<uint64_t> name; ///< 0: free; whoever writes it owns the slot
  std::atomic<uint32_t> state;
  int64_t offset, bytes; ///< when placed
};
struct alignas(64) Header {
  uint64_t magic, slots;
  std::atomic<int64_t> end;
};

/// Makes huge pages of fresh memory whatever the system does by itself. A range without any page cannot be collapsed,
/// and one that is full would be copied: each huge page is begun first.
bool makeHuge(char *at, size_t bytes) {
  for (size_t i = 0; i < bytes; i += hugePage)
    static_cast<volatile char *>(at)[i] = 0;
  return ::madvise(at, bytes, MADV_COLLAPSE) == 0;
}

int64_t roundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/// Bytes of memory for a packed weight: whole huge pages where little is lost, else what is left over lies in small
/// ones.
int64_t roomFor(int64_t bytes) {
  constexpr int64_t most = 32; // a part of so many may be lost
  int64_t whole = roundUp(bytes, hugePage);
  return whole - bytes <= bytes / most ? whole : roundUp(std::max<int64_t>(bytes, 1), page);
}

struct Mapping {
  char *p;
  size_t bytes;
  Mapping(char *p, size_t bytes) : p(p), bytes(bytes) {}
  Mapping(const Mapping &) = delete;
  ~Mapping() { ::munmap(p, bytes); }
};
} // namespace

struct SharedPacks::Impl {
  ~Impl() {
    if (base)
      ::munmap(base, tableBytes);
    if (file >= 0)
      ::close(file);
  }
  Header &header() const { return *reinterpret_cast<Header *>(base); }
  Slot *slots() const { return reinterpret_cast<Slot *>(base + sizeof(Header)); }
  /// The slot of a name, and whether it is ours to fill; null when the table is full.
  Slot *claim(uint64_t name, bool &mine);
  /// A place of the file in memory, at an address that huge pages can have.
  PackedBytes map(int64_t offset, int64_t bytes, bool writable);

  int file = -1;
  char *base = nullptr;
  size_t tableBytes = 0;
  std::vector<Slot *> awaited;
};

static size_t bytesOfTable(uint64_t slots) {
  return static_cast<size_t>(roundUp(static_cast<int64_t>(sizeof(Header) + slots * sizeof(Slot)), page));
}

SharedPacks::SharedPacks() : impl(std::make_unique<Impl>()) {}
SharedPacks::~SharedPacks() = default;
int SharedPacks::fd() const { return impl->file; }

Status SharedPacks::create(int64_t names, std::unique_ptr<SharedPacks> &out) {
  auto failure = [] {
    return Status{Code::OutOfMemory, std::string("cannot make memory for packed weights: ") + std::strerror(errno)};
  };
  std::unique_ptr<SharedPacks> packs(new SharedPacks);
  Impl &impl = *packs->impl;
  struct rlimit most; // beyond it, growing a file ends the process
  if (::getrlimit(RLIMIT_FSIZE, &most) != 0 || most.rlim_cur < static_cast<rlim_t>(fileBytes))
    return {Code::OutOfMemory, "files may not be large here (ulimit -f)"};
  uint64_t slots = 64;
  while (slots < static_cast<uint64_t>(names) * 2)
    slots *= 2;
  impl.tableBytes = bytesOfTable(slots);
  impl.file = ::memfd_create("commc-packed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (impl.file < 0 || ::ftruncate(impl.file, fileBytes) != 0 ||
      ::fcntl(impl.file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return failure();
  void *p = ::mmap(nullptr, impl.tableBytes, PROT_READ | PROT_WRITE, MAP_SHARED, impl.file, 0);
  if (p == MAP_FAILED)
    return failure();
  impl.base = static_cast<char *>(p); // zeros: every slot is free
  auto *header = new (impl.base) Header{magic, slots, {}};
  int64_t first = roundUp(static_cast<int64_t>(impl.tableBytes), hugePage);
  header->end = first + hugePage;
  PackedBytes probe = impl.map(first, hugePage, true);
  if (!makeHuge(probe.data(), hugePage))
    return {Code::Unsupported, "shared memory in huge pages is not available"};
  (void)::fallocate(impl.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first, hugePage); // gives it back
  out = std::move(packs);
  return Status::ok();
}

Status SharedPacks::attach(int fd, std::unique_ptr<SharedPacks> &out) {
  Status bad{Code::Internal, "the memory for packed weights cannot be used"};
  std::unique_ptr<SharedPacks> packs(new SharedPacks);
  Impl &impl = *packs->impl;
  impl.file = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  struct stat st;
  if (impl.file < 0 || ::fstat(impl.file, &st) != 0 || st.st_size != fileBytes)
    return bad;
  Header first;
  if (::pread(impl.file, static_cast<void *>(&first), sizeof(first), 0) != sizeof(first) || first.magic != magic)
    return bad;
  impl.tableBytes = bytesOfTable(first.slots);
  void *p = ::mmap(nullptr, impl.tableBytes, PROT_READ | PROT_WRITE, MAP_SHARED, impl.file, 0);
  if (p == MAP_FAILED)
    return bad;
  impl.base = static_cast<char *>(p);
  out = std::move(packs);
  return Status::ok();
}

Slot *SharedPacks::Impl::claim(uint64_t name, bool &mine) {
  uint64_t count = header().slots;
  for (uint64_t i = 0; i < count; ++i) {
    Slot &slot = slots()[(name + i) % count];
    uint64_t found = 0;
    mine = slot.name.compare_exchange_strong(found, name);
    if (mine || found == name)
      return &slot;
  }
  return nullptr;
}

PackedBytes SharedPacks::Impl::map(int64_t offset, int64_t bytes, bool writable) {
  int64_t alignment = bytes >= hugePage ? hugePage : page;
  auto size = static_cast<size_t>(roomFor(bytes)), room = size + alignment;
  void *reserved = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED)
    throw std::bad_alloc();
  auto *first = static_cast<char *>(reserved);
  char *at = first + (alignment - reinterpret_cast<intptr_t>(first) % alignment) % alignment;
  void *p = ::mmap(at, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_FIXED, file, offset);
  if (p == MAP_FAILED) {
    ::munmap(reserved, room);
    throw std::bad_alloc();
  }
  if (at > first)
    ::munmap(first, static_cast<size_t>(at - first));
  if (char *end = first + room; at + size < end)
    ::munmap(at + size, static_cast<size_t>(end - (at + size)));
  if (alignment == hugePage)
    (void)::madvise(at, size, MADV_HUGEPAGE);
  return {std::make_shared<Mapping>(at, size), at, bytes, true};
}

PackedBytes SharedPacks::provide(const std::string &name, int64_t bytes, const PackFunction &fill) {
  std::string hash = exe::sha256(reinterpret_cast<const uint8_t *>(name.data()), name.size());
  bool mine = false;
  Slot *slot = impl->claim(std::strtoull(hash.substr(0, 16).c_str(), nullptr, 16) | 1, mine);
  if (!slot)
    return {};
  if (!mine) {
    // From its name to its place a slot has microseconds; an owner that died there has ended the group.
    for (int64_t end = monotonicNs() + 1000000000; slot->state == Free && monotonicNs() < end;)
      futexWait(slot->state, Free, end);
    uint32_t state = slot->state;
    if (state == Free || state == Failed || slot->bytes != bytes)
      return {};
    impl->awaited.push_back(slot);
    return impl->map(slot->offset, bytes, false);
  }
  auto publish = [&](uint32_t state) {
    slot->state = state;
    futexWake(slot->state);
  };
  try {
    int64_t size = roomFor(bytes);
    // A place at a border of huge pages for all, so that large ones find theirs at one.
    slot->offset = impl->header().end.fetch_add(roundUp(size, hugePage));
    slot->bytes = bytes;
    if (slot->offset > fileBytes - roundUp(size, hugePage))
      throw std::bad_alloc();
    PackedBytes packed = impl->map(slot->offset, bytes, true);
    publish(Placed);
    if (size >= hugePage)
      (void)makeHuge(packed.data(), static_cast<size_t>(size / hugePage * hugePage)); // one that is not only costs time
    fill(packed.data());
    (void)::mprotect(packed.data(), static_cast<size_t>(size), PROT_READ);
    publish(Filled);
    return packed;
  } catch (...) {
    publish(Failed);
    throw;
  }
}

Status SharedPacks::wait(int64_t timeoutMs) {
  int64_t deadline = deadlineAfter(timeoutMs);
  for (Slot *slot : impl->awaited) {
    while (slot->state == Placed && monotonicNs() < deadline)
      futexWait(slot->state, Placed, deadline);
    if (slot->state == Failed)
      return {Code::OutOfMemory, "another rank has no memory for a packed weight that all of them share"};
    if (slot->state != Filled)
      return {Code::Timeout, "another rank did not finish a packed weight within " + std::to_string(timeoutMs) + " ms"};
  }
  impl->awaited.clear();
  return Status::ok();
}

} // namespace comm::rt
