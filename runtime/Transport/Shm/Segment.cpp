//===- Segment.cpp - the memory that all ranks of a group share -----------===//
#include "runtime/Transport/Shm/Segment.h"
#include "runtime/Transport/Shm/Futex.h"
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>

namespace comm::rt::shm {
namespace {
constexpr uint64_t magic = 0x33304d48534d4f43; // "COMSHM03": changes with every change of the layout
constexpr int32_t maxRanks = 1024;
constexpr size_t defaultSlotBytes = 64 << 10, textBytes = 1024;
constexpr size_t page = 4096, hugePage = 2 << 20;

enum AbortState : uint32_t { running = 0, writing, stopped };

size_t roundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

/// Memory that the system says is free; SIZE_MAX when it says nothing.
size_t availableBytes() {
  size_t best = SIZE_MAX;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key, unit; meminfo >> key;) {
    size_t kib = 0;
    meminfo >> kib;
    std::getline(meminfo, unit);
    if (key == "MemAvailable:")
      best = kib * 1024;
  }
  // Inside a container. What is used there counts page cache too, so only the limit itself is a fact.
  if (size_t limit = 0; std::ifstream("/sys/fs/cgroup/memory.max") >> limit)
    best = std::min(best, limit);
  return best;
}
} // namespace

struct Segment::Header {
  uint64_t magic;
  int32_t ranks;
  uint64_t bytes, slotBytes, arenaBytes, sharedBytes;
  // Offsets of the parts.
  uint64_t controls, headers, signals, shared, slots, arenas;
  uint64_t arenaStride;
  LinkModel link;
  std::atomic<uint32_t> abortState;
  int32_t abortCode;
  char abortText[textBytes];
};

Segment::Header &Segment::header() const { return *reinterpret_cast<Header *>(base); }
int32_t Segment::ranks() const { return header().ranks; }
size_t Segment::slotBytes() const { return header().slotBytes; }
const LinkModel &Segment::link() const { return header().link; }
size_t Segment::arenaBytes() const { return header().arenaBytes; }
size_t Segment::sharedBytes() const { return header().sharedBytes; }
uint8_t *Segment::shared() const { return base + header().shared; }
uint8_t *Segment::arena(int32_t rank) const {
  return base + header().arenas + header().arenaStride * static_cast<size_t>(rank);
}
uint8_t *Segment::slot(int32_t rank, uint32_t parity) const {
  return base + header().slots + header().slotBytes * (static_cast<size_t>(rank) * 2 + parity % 2);
}
RankControl &Segment::control(int32_t rank) const {
  return reinterpret_cast<RankControl *>(base + header().controls)[rank];
}
std::atomic<uint32_t> &Segment::signals(int32_t to, int32_t from) const {
  size_t stride = roundUp(static_cast<size_t>(ranks()) * 4, 128) / 4; // a waiting rank looks at few cache lines
  return reinterpret_cast<std::atomic<uint32_t> *>(
      base + header().signals)[static_cast<size_t>(to) * stride + static_cast<size_t>(from)];
}
OpHeader &Segment::opHeader(int32_t to, int32_t from, uint32_t parity) const {
  auto n = static_cast<size_t>(ranks());
  return reinterpret_cast<OpHeader *>(
      base + header().headers)[(static_cast<size_t>(to) * n + static_cast<size_t>(from)) * 2 + parity % 2];
}

Segment::~Segment() {
  if (base)
    ::munmap(base, size);
  if (file >= 0)
    ::close(file);
}

Status Segment::map(size_t bytes) {
  void *p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  if (p == MAP_FAILED)
    return {Code::OutOfMemory,
            "cannot map " + std::to_string(bytes) + " bytes of shared memory: " + std::strerror(errno)};
  base = static_cast<uint8_t *>(p);
  size = bytes;
  return Status::ok();
}

Status Segment::create(const SegmentSizes &sizes, std::unique_ptr<Segment> &out) {
  if (sizes.ranks < 1 || sizes.ranks > maxRanks)
    return {Code::InvalidArgument, "the number of ranks must be 1 to " + std::to_string(maxRanks)};
  auto n = static_cast<size_t>(sizes.ranks);
  size_t limit = SIZE_MAX / 16 / n;
  if (sizes.arenaBytes > limit || sizes.sharedBytes > limit || sizes.slotBytes > limit)
    return {Code::OutOfMemory, "the shared memory of the ranks would not fit into the address space"};
  Header h{};
  h.magic = magic;
  h.ranks = sizes.ranks;
  // all_to_all gives every member at least one cache line of a slot.
  h.slotBytes = roundUp(std::max(sizes.slotBytes ? sizes.slotBytes : defaultSlotBytes, 64 * n), 64);
  h.arenaBytes = sizes.arenaBytes;
  h.sharedBytes = sizes.sharedBytes;
  h.link = sizes.link;
  h.controls = roundUp(sizeof(Header), 128);
  h.headers = h.controls + sizeof(RankControl) * n;
  h.signals = h.headers + sizeof(OpHeader) * n * n * 2;
  h.shared = roundUp(h.signals + roundUp(n * 4, 128) * n, page);
  h.slots = roundUp(h.shared + h.sharedBytes, page);
  h.arenas = roundUp(h.slots + h.slotBytes * n * 2, page);
  if (sizes.arenaBytes >= hugePage)
    h.arenas = roundUp(h.arenas, hugePage);
  h.arenaStride = roundUp(sizes.arenaBytes, sizes.arenaBytes >= hugePage ? hugePage : page);
  h.bytes = h.arenas + h.arenaStride * n;
  // The file takes pages when they are touched; without memory that would be a SIGBUS, so ask before.
  if (size_t available = availableBytes(); h.bytes > available)
    return {Code::OutOfMemory, std::to_string(sizes.ranks) + " ranks need " + std::to_string(h.bytes >> 20) +
                                   " MiB of shared memory; " + std::to_string(available >> 20) + " MiB are free"};

  std::unique_ptr<Segment> segment(new Segment);
  segment->file = ::memfd_create("commc-ranks", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  // Sealed, so that nobody can cut it short under the others.
  if (segment->file < 0 || ::ftruncate(segment->file, static_cast<off_t>(h.bytes)) != 0 ||
      ::fcntl(segment->file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return {Code::OutOfMemory,
            "cannot create " + std::to_string(h.bytes >> 20) + " MiB of shared memory: " + std::strerror(errno)};
  if (Status s = segment->map(h.bytes); !s)
    return s;
  if (h.arenaStride >= hugePage)
    (void)::madvise(segment->base + h.arenas, h.arenaStride * n, MADV_HUGEPAGE);
  auto *header = new (segment->base) Header;
  std::memcpy(static_cast<void *>(header), static_cast<void *>(&h), offsetof(Header, abortState));
  for (int32_t r = 0; r < sizes.ranks; ++r)
    new (&segment->control(r)) RankControl;
  out = std::move(segment);
  return Status::ok();
}

Status Segment::attach(int fd, std::unique_ptr<Segment> &out) {
  std::unique_ptr<Segment> segment(new Segment);
  segment->file = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  struct stat info;
  if (segment->file < 0 || ::fstat(segment->file, &info) != 0)
    return {Code::Internal, std::string("the shared memory of the ranks cannot be used: ") + std::strerror(errno)};
  auto bytes = static_cast<size_t>(info.st_size);
  if (bytes < sizeof(Header))
    return {Code::Internal, "the shared memory of the ranks is too small"};
  if (Status s = segment->map(bytes); !s)
    return s;
  if (segment->header().magic != magic || segment->header().bytes != bytes)
    return {Code::Internal, "the program of the ranks belongs to another version of the runtime"};
  out = std::move(segment);
  return Status::ok();
}

int64_t Segment::offsetOf(const void *p, int64_t bytes) const {
  auto address = reinterpret_cast<uintptr_t>(p), begin = reinterpret_cast<uintptr_t>(base);
  if (address < begin || address - begin > size || static_cast<uint64_t>(bytes) > size - (address - begin))
    return -1;
  return static_cast<int64_t>(address - begin);
}

void Segment::abort(const Status &why) {
  Header &h = header();
  uint32_t state = running;
  if (!h.abortState.compare_exchange_strong(state, writing)) {
    // Somebody else was first; it may have died between its two steps.
    for (int64_t end = monotonicNs() + 100000000; h.abortState == writing && monotonicNs() < end;)
      ::usleep(1000);
    if (h.abortState != writing)
      return;
  }
  h.abortCode = static_cast<int32_t>(why.code);
  std::snprintf(h.abortText, textBytes, "%s", why.text.c_str());
  h.abortState = stopped;
  for (int32_t r = 0; r < h.ranks; ++r) {
    control(r).doorbell.fetch_add(1);
    futexWake(control(r).doorbell);
  }
}

bool Segment::aborted() const { return header().abortState.load(std::memory_order_acquire) == stopped; }

Status Segment::abortStatus() const {
  if (!aborted())
    return Status::ok();
  const Header &h = header();
  return {static_cast<Code>(h.abortCode), std::string(h.abortText, ::strnlen(h.abortText, textBytes))};
}

std::string Segment::activity(int32_t rank) const {
  const OpNote &note = control(rank).note;
  if (note.completed == 0 && !note.active)
    return "before its first operation";
  char label[sizeof note.label + 1] = {};
  for (size_t i = 0; i < std::size(note.label); ++i) {
    uint64_t word = note.label[i].load(std::memory_order_relaxed);
    std::memcpy(label + i * 8, &word, 8);
  }
  std::string text = note.active ? "in " : "after ";
  text += collectiveName(static_cast<CollectiveKind>(note.kind.load())) + std::string(" #") +
          std::to_string(note.planId.load());
  return label[0] ? text + " '" + label + "'" : text;
}

} // namespace comm::rt::shm
