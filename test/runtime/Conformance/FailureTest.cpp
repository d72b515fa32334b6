//===- FailureTest.cpp - dead, stuck and disagreeing ranks ----------------===//
// Every case: the call ends in bounded time, the rank and the operation are named, the other ranks heard of it, and no
// child is left.
//===----------------------------------------------------------------------===//
#include "runtime/Transport/Shm/Futex.h"
#include "test/runtime/Conformance/Requests.h"
#include <csignal>
#include <cstring>
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;

namespace {
std::unique_ptr<RankGroup> startGroup(RanksAs as, int32_t ranks, int64_t timeoutMs) {
  RankGroupOptions options;
  options.as = as;
  options.ranks = ranks;
  options.sharedBytes = 512 * 16; // the notes of ranks
  options.arenaBytes = 4096;
  options.timeoutMs = timeoutMs;
  options.setup = std::to_string(timeoutMs) + " 4096";
  options.program = "/proc/self/exe";
  std::unique_ptr<RankGroup> group;
  Status s = RankGroup::start(options, conformanceRank(), group);
  EXPECT_TRUE(s) << s.text;
  return group;
}

int64_t milliseconds(int64_t sinceNs) { return (monotonicNs() - sinceNs) / 1000000; }
bool hasChildren() { return ::waitpid(-1, nullptr, WNOHANG) == 0; }
std::string noteOf(RankGroup &group, int rank) { return reinterpret_cast<char *>(group.shared()) + rank * 512; }
void expectText(const std::string &text, const std::vector<std::string> &parts) {
  for (const std::string &part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}
int openDescriptors() {
  int count = 0;
  DIR *dir = ::opendir("/proc/self/fd");
  while (::readdir(dir))
    ++count;
  ::closedir(dir);
  return count;
}

/// `steps` with one rank that ends or hangs: expects the code, within the time, with these words for everybody.
void loseRank(int32_t ranks, int how, int step, int64_t timeoutMs, Code code, int64_t limitMs) {
  SCOPED_TRACE(std::to_string(ranks) + " ranks, how " + std::to_string(how));
  int lost = ranks - 1;
  {
    auto group = startGroup(RanksAs::Processes, ranks, timeoutMs);
    std::vector<std::string> replies;
    int64_t begin = monotonicNs();
    Status s = group->call("steps 50 " + std::to_string(lost) + " " + std::to_string(step) + " " + std::to_string(how),
                           replies);
    EXPECT_LT(milliseconds(begin), limitMs);
    EXPECT_EQ(s.code, code) << s.text;
    std::string rank = "rank " + std::to_string(lost);
    std::vector<std::string> words = {rank,
                                      step ? "all_reduce #" + std::to_string(step - 1) : "before its first operation"};
    if (how == SIGKILL)
      words.push_back("signal 9");
    expectText(s.text, words);
    for (int r = 0; r < lost; ++r) // they returned, with the same words
      expectText(noteOf(*group, r), {std::to_string(static_cast<int>(code)) + " ", rank});
    EXPECT_FALSE(hasChildren());
    Status later = group->call("steps 1 -1 0 0", replies);
    EXPECT_EQ(later.text, s.text);
  }
  EXPECT_FALSE(hasChildren());
}

TEST(Failure, KilledRank) {
  for (int ranks : {2, 4, 8})
    loseRank(ranks, SIGKILL, 20, 60000, Code::PeerLost, 1000);
  loseRank(3, SIGKILL, 0, 60000, Code::PeerLost, 1000);
}

TEST(Failure, StoppedRank) {
  loseRank(2, SIGSTOP, 20, 300, Code::Timeout, 2500);
  loseRank(4, SIGSTOP, 0, 300, Code::Timeout, 2500);
}

TEST(Failure, EndlessLoop) { loseRank(3, 1, 7, 300, Code::Timeout, 2500); }

// A stopped rank is seen even when nobody waits for it in a collective.
TEST(Failure, StoppedOutsideOfCollectives) {
  for (int32_t ranks : {1, 2}) {
    auto group = startGroup(RanksAs::Processes, ranks, 300);
    ::kill(static_cast<pid_t>(group->processId(0)), SIGSTOP);
    std::vector<std::string> replies;
    int64_t begin = monotonicNs();
    Status s = group->call("count", replies);
    EXPECT_LT(milliseconds(begin), 2500);
    EXPECT_EQ(s.code, Code::Timeout);
    expectText(s.text, {"rank 0", "before its first operation"});
  }
  EXPECT_FALSE(hasChildren());
}

TEST(Failure, KilledWhileIdle) {
  auto group = startGroup(RanksAs::Processes, 3, 60000);
  ::kill(static_cast<pid_t>(group->processId(1)), SIGKILL);
  std::vector<std::string> replies;
  Status s = group->call("count", replies);
  EXPECT_EQ(s.code, Code::PeerLost);
  expectText(s.text, {"rank 1 was ended by signal 9"});
}

// A refusal of one rank ends the others; the same refusal by all ranks leaves the group alive.
TEST(Failure, Refusals) {
  for (RanksAs as : {RanksAs::Processes, RanksAs::Threads}) {
    auto group = startGroup(as, 3, 60000);
    std::vector<std::string> replies;
    Status all = group->call("no_such_thing", replies);
    EXPECT_EQ(all.code, Code::InvalidArgument);
    EXPECT_EQ(all.text, "unknown request no_such_thing");
    Status s = group->call("steps 5 -1 0 0", replies);
    EXPECT_TRUE(s) << s.text;
    int64_t begin = monotonicNs();
    s = group->call("steps 50 1 10 0", replies);
    EXPECT_LT(milliseconds(begin), 1000);
    EXPECT_EQ(s.code, Code::InvalidArgument);
    expectText(s.text, {"rank 1: index 7 is out of range"});
    EXPECT_FALSE(group->call("steps 5 -1 0 0", replies));
  }
}

// Another kind, count, type, reduction, position, program, group, root, partner or size on one rank: every rank fails
// before data moves, in a sentence that names both.
TEST(Failure, Mismatch) {
  for (RanksAs as : {RanksAs::Processes, RanksAs::Threads})
    for (int which = 0; which <= 10; ++which) {
      SCOPED_TRACE("mismatch " + std::to_string(which));
      auto group = startGroup(as, 2, 60000);
      std::vector<std::string> replies;
      Status s = group->call("mismatch " + std::to_string(which), replies);
      EXPECT_EQ(s.code, Code::BadExecutable) << s.text;
      expectText(s.text, {"0", "1", "#3 'layer/o_proj'"});
      for (int r = 0; r < 2 && as == RanksAs::Processes; ++r) // the host does not wait for threads
        expectText(noteOf(*group, r), {std::to_string(static_cast<int>(Code::BadExecutable)) + " "});
    }
  EXPECT_FALSE(hasChildren());
}

TEST(Failure, NothingIsLeaked) {
  {
    auto group = startGroup(RanksAs::Processes, 2, 60000);
  }
  int before = openDescriptors();
  for (int i = 0; i < 3; ++i) {
    auto group = startGroup(i % 2 ? RanksAs::Threads : RanksAs::Processes, 4, 60000);
  }
  EXPECT_EQ(openDescriptors(), before);
  EXPECT_FALSE(hasChildren());
}

// A host that is killed takes its ranks along.
TEST(Failure, HostDies) {
  int pipeEnds[2];
  ASSERT_EQ(::pipe(pipeEnds), 0);
  pid_t host = ::fork();
  if (host == 0) {
    auto group = startGroup(RanksAs::Processes, 2, 60000);
    int64_t pids[2] = {group->processId(0), group->processId(1)};
    (void)!::write(pipeEnds[1], pids, sizeof pids);
    ::raise(SIGKILL);
  }
  int64_t pids[2];
  ASSERT_EQ(::read(pipeEnds[0], pids, sizeof pids), static_cast<ssize_t>(sizeof pids));
  ::waitpid(host, nullptr, 0);
  int64_t begin = monotonicNs();
  auto alive = [](int64_t pid) { // a zombie that its new parent has not collected counts as ended
    std::string path = "/proc/" + std::to_string(pid) + "/stat", line(256, '\0');
    FILE *f = std::fopen(path.c_str(), "r");
    if (!f)
      return false;
    line.resize(std::fread(&line[0], 1, line.size(), f));
    std::fclose(f);
    size_t at = line.rfind(") ");
    return at != std::string::npos && line[at + 2] != 'Z';
  };
  while ((alive(pids[0]) || alive(pids[1])) && milliseconds(begin) < 2000)
    ::usleep(1000);
  EXPECT_FALSE(alive(pids[0]));
  EXPECT_FALSE(alive(pids[1]));
  ::close(pipeEnds[0]);
  ::close(pipeEnds[1]);
}

TEST(Failure, Start) {
  RankGroupOptions options;
  options.ranks = 2;
  options.setup = "1000 4096"; // more than there is
  options.program = "/proc/self/exe";
  std::unique_ptr<RankGroup> group;
  Status s = RankGroup::start(options, conformanceRank(), group);
  EXPECT_EQ(s.code, Code::Internal);
  expectText(s.text, {"rank ", "an arena of 4096 bytes"});

  options.program = "/nowhere/commc-rank";
  s = RankGroup::start(options, conformanceRank(), group);
  EXPECT_EQ(s.code, Code::DeviceMissing);
  expectText(s.text, {"/nowhere/commc-rank", "threads"});

  options.program = "/bin/true"; // no rank at all
  s = RankGroup::start(options, conformanceRank(), group);
  EXPECT_EQ(s.code, Code::PeerLost);
  expectText(s.text, {"ended with exit status 0 before its first operation"});

  options.program = "/proc/self/exe";
  options.arenaBytes = size_t(1) << 50;
  s = RankGroup::start(options, conformanceRank(), group);
  EXPECT_EQ(s.code, Code::OutOfMemory);
  expectText(s.text, {"MiB are free"});

  options.ranks = 0;
  EXPECT_EQ(RankGroup::start(options, conformanceRank(), group).code, Code::InvalidArgument);
  EXPECT_EQ(group, nullptr);
  EXPECT_FALSE(hasChildren());
}
} // namespace
