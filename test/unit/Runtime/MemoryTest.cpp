//===- MemoryTest.cpp - what does not fit is refused before it starts -----===//
#include "runtime/Core/Memory.h"
#include "RuntimeTest.h"
#include "runtime/Kernels/PackCache.h"
#include <cstring>
#include <new>
#include <sys/mman.h>

using namespace comm::test;
using comm::rt::Code;

namespace {
#if defined(__SANITIZE_THREAD__)
constexpr bool shadowed = true; ///< every byte that is touched takes others beside it
#elif defined(__has_feature)
constexpr bool shadowed = __has_feature(thread_sanitizer);
#else
constexpr bool shadowed = false;
#endif

TEST(Memory, LimitIsPlausible) {
  int64_t limit = comm::rt::memoryLimit();
  EXPECT_GT(limit, int64_t(64) << 20);
  EXPECT_LT(limit, int64_t(1) << 50);
}

TEST(Memory, SaysHowMuchIsMissing) {
  EXPECT_TRUE(bool(comm::rt::requireMemory(100, "arenas", 100)));
  EXPECT_TRUE(bool(comm::rt::requireMemory(100, "arenas", 0))); // unknown
  comm::rt::Status s = comm::rt::requireMemory(int64_t(300) << 20, "arenas", int64_t(200) << 20);
  EXPECT_EQ(s.code, Code::OutOfMemory);
  EXPECT_EQ(s.text, "arenas need 300 MiB, this machine has at most 200 MiB");
}

// What was touched counts, what was only asked for does not; the most stays.
TEST(Memory, WatchSeesWhatIsTouched) {
  if (shadowed)
    GTEST_SKIP() << "the thread sanitizer's own memory counts, too";
  constexpr size_t bytes = size_t(32) << 20;
  comm::rt::MemoryWatch watch(comm::rt::residentBytes()), never(-1);
  auto *p = static_cast<char *>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(static_cast<void *>(p), MAP_FAILED);
  watch.look();
  EXPECT_LT(watch.peak(), int64_t(bytes) / 2);
  std::memset(p, 1, bytes);
  watch.look();
  never.look();
  ::munmap(p, bytes);
  watch.look();
  EXPECT_NEAR(static_cast<double>(watch.peak()), static_cast<double>(bytes), 8e6);
  EXPECT_EQ(never.peak(), 0);
}

// Packed weights follow each other; large ones have memory of their own.
TEST(Memory, PacksFollowEachOther) {
  comm::rt::PackedBytes first, second, large, small;
  {
    comm::rt::PackMemory memory;
    first = memory.allocate(100);
    large = memory.allocate(int64_t(100) << 20);
    second = memory.allocate(int64_t(5) << 20);
    small = memory.allocate(0);
    EXPECT_THROW((void)memory.allocate(-1), std::bad_alloc);
    EXPECT_THROW((void)memory.allocate(int64_t(1) << 60), std::bad_alloc);
  }
  EXPECT_EQ(second.data(), first.data() + 128);
  EXPECT_EQ(small.data(), second.data() + second.bytes());
  for (const comm::rt::PackedBytes &p : {first, second, large, small}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p.data()) % 64, 0u);
    std::memset(p.data(), 1, static_cast<size_t>(p.bytes())); // outlives what gave it
  }
}

// An arena of 32 TiB, on one rank and on two.
TEST(Memory, HugeArenaIsRefused) {
  TemporaryFolder folder;
  for (int64_t ranks : {1, 2}) {
    Executable exe = makeRowParallelMatmul(ranks);
    exe.entries[0].split.arenaBytes = exe.entries[0].reference.arenaBytes = int64_t(1) << 45;
    ExecutableHandle e = load(saveExecutable(exe, folder / "huge.commx"));
    comm_session *s = nullptr;
    EXPECT_EQ(comm_session_create(e.get(), nullptr, &s), COMM_OUT_OF_MEMORY);
    EXPECT_NE(std::string(comm_last_error()).find("33554432 MiB") != std::string::npos ||
                  std::string(comm_last_error()).find("67108864 MiB") != std::string::npos,
              false)
        << comm_last_error();
  }
}
} // namespace
