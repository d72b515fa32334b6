//===- SharedRun.cpp - what a session and its ranks share -----------------===//
#include "runtime/Core/SharedRun.h"
#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace comm::rt {
namespace {
constexpr size_t line = 64, page = 4096;
size_t alignUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

/// Gives every port of every entry a place; entries overlap, they never run at the same time.
size_t placePorts(const exe::Executable &exe, bool outputs, bool reference, size_t begin,
                  std::vector<std::vector<size_t>> &out) {
  size_t end = begin;
  for (const exe::Entry &e : exe.entries) {
    const exe::Program &p = programOf(e, reference);
    size_t at = begin;
    out.emplace_back();
    for (const exe::Port &port : outputs ? p.outputs : p.inputs) {
      out.back().push_back(at);
      at = alignUp(at + static_cast<size_t>(exe::byteSize(port.dtype, port.shape)), line);
    }
    end = std::max(end, at);
  }
  return alignUp(end, page);
}
} // namespace

SharedLayout::SharedLayout(const exe::Executable &exe, const EngineOptions &options) {
  auto count = static_cast<size_t>(programOf(exe.entries[0], options.reference).grid.ranks());
  ranks = alignUp(sizeof(SharedHeader), line);
  trace = alignUp(ranks + count * sizeof(SharedRank), page);
  for (const exe::Entry &e : exe.entries)
    traceCapacity = std::max(traceCapacity, 2 * static_cast<int64_t>(programOf(e, options.reference).commands.size()));
  if (!options.trace)
    traceCapacity = 0;
  traceStride = alignUp(static_cast<size_t>(traceCapacity) * sizeof(TraceEvent), page);
  size_t begin = trace + count * traceStride;
  begin = placePorts(exe, false, options.reference, begin, inputs);
  total = placePorts(exe, true, options.reference, begin, outputs);
}

SharedRun::~SharedRun() {
  if (memory)
    ::munmap(memory, layout.total);
}

Status SharedRun::create() {
  void *p = ::mmap(nullptr, layout.total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return {Code::OutOfMemory, "no shared memory for inputs and outputs (" + std::to_string(layout.total) +
                                   " bytes): " + std::strerror(errno)};
  memory = static_cast<uint8_t *>(p); // zero pages are the initial state of every field
  return Status::ok();
}

void waitForChange(const std::atomic<uint32_t> &word, uint32_t seen, int64_t timeoutMs) {
  // Ranks usually answer within microseconds; when cores are scarce spinning would take theirs.
  static const int spins = std::thread::hardware_concurrency() > 2 ? 2000 : 50;
  for (int i = 0; i < spins; ++i)
    if (word.load(std::memory_order_acquire) != seen)
      return;
  timespec t{timeoutMs / 1000, timeoutMs % 1000 * 1000000};
  ::syscall(SYS_futex, reinterpret_cast<const uint32_t *>(&word), FUTEX_WAIT, seen, &t, nullptr, 0);
}

void wakeAll(std::atomic<uint32_t> &word) {
  ::syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

namespace {
void reportStatus(SharedRank &report, const Status &s) {
  report.code = static_cast<int32_t>(s.code);
  std::snprintf(report.text, sizeof(report.text), "%s", s.text.c_str());
}

void answer(SharedHeader &header, std::atomic<uint32_t> &word, uint32_t value) {
  word.store(value, std::memory_order_release);
  header.arrived.fetch_add(1, std::memory_order_release);
  wakeAll(header.arrived);
}

Status prepareRank(const LoadedExecutable &loaded, const WeightFiles *files, const NativeCode *native,
                   const EngineOptions &options, SharedRun &run, int64_t index, Transport &transport, CommQueue &comm,
                   std::unique_ptr<Rank> &rank) {
  if (loaded.hash != run.header().hash)
    return {Code::BadExecutable, "rank " + std::to_string(index) + " has loaded another executable (" + loaded.hash +
                                     ") than the session (" + run.header().hash + ")"};
  void *arena = nullptr;
  if (Status s = transport.allocateArena(static_cast<size_t>(arenaBytes(loaded.exe, options.reference)), arena); !s)
    return s;
  return Rank::create(loaded, files, native, {options.reference, options.computeThreads}, index,
                      static_cast<uint8_t *>(arena), &comm, rank);
}
} // namespace

void serveRank(const LoadedExecutable &loaded, const WeightFiles *files, const NativeCode *native,
               const EngineOptions &options, SharedRun &run, int64_t index, Transport &transport, CommQueue &comm) {
  SharedHeader &header = run.header();
  SharedRank &report = run.rank(index);
  std::unique_ptr<Rank> rank;
  Status s = prepareRank(loaded, files, native, options, run, index, transport, comm, rank);
  reportStatus(report, s);
  report.weightBytes = s ? rank->weightBytes() : 0;
  answer(header, report.prepared, 1);
  uint32_t epoch = 0;
  while (s) {
    while (header.epoch.load(std::memory_order_acquire) == epoch && !header.stop.load(std::memory_order_acquire))
      waitForChange(header.epoch, epoch, 1000);
    if (header.stop.load(std::memory_order_acquire))
      return;
    ++epoch;
    auto entry = static_cast<size_t>(header.entry);
    std::vector<const void *> in;
    std::vector<void *> out;
    for (size_t offset : run.layout.inputs[entry])
      in.push_back(run.at(offset));
    for (size_t offset : run.layout.outputs[entry])
      out.push_back(run.at(offset));
    TraceBuffer trace{run.trace(index), run.layout.traceCapacity, 0};
    RunCounters counters;
    counters.progress = &report.progress;
    counters.command = &report.command;
    int64_t sentBefore = transport.bytesSent();
    s = rank->run(entry, in, out, counters, options.trace ? &trace : nullptr);
    report.waitNs = counters.waitNs;
    report.collectives = counters.collectives;
    report.planned = rank->plannedCollectives(entry);
    report.bytesSent = transport.bytesSent() - sentBefore;
    report.traceCount = trace.count;
    reportStatus(report, s);
    if (!s) // peers that wait for this rank are told why
      transport.abort("rank " + std::to_string(index) + ": " + s.text);
    answer(header, report.done, epoch);
  }
}

} // namespace comm::rt
