//===- MemoryTest.cpp - what does not fit is refused before it starts -----===//
#include "runtime/Core/Memory.h"
#include "RuntimeTest.h"

using namespace comm::test;
using comm::rt::Code;

namespace {
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
