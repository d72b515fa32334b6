//===- PackedTest.cpp - packed weights on disk and between ranks ----------===//
#include "RuntimeTest.h"
#include "runtime/Core/PackedStore.h"
#include <cmath>
#include <dirent.h>
#include <new>

using namespace comm::test;
using comm::rt::Code;
using comm::rt::PackedBytes;
using comm::rt::PackedFiles;
using comm::rt::SharedPacks;
using comm::rt::Status;

namespace {
constexpr int64_t size = PackedFiles::leastBytes + 40; // no multiple of a word of the checksum

std::vector<std::string> list(const std::string &folder) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR *)> dir(::opendir(folder.c_str()), ::closedir);
  for (struct dirent *entry; dir && (entry = ::readdir(dir.get()));)
    if (entry->d_name[0] != '.')
      names.push_back(entry->d_name);
  return names;
}

//===--- files ------------------------------------------------------------===//
struct Packed : testing::Test {
  TemporaryFolder folder;
  std::string kept = folder / "m.commx.packed", hash = std::string(64, 'a');
  std::vector<char> data, back;

  Packed() : data(size), back(size) {
    for (size_t i = 0; i < data.size(); ++i)
      data[i] = static_cast<char>(i * 7 + i / 256);
  }
  bool write() { return PackedFiles(kept, hash).write("w", data.data(), size); }
  bool read(const std::string &name = "w", int64_t bytes = size) {
    std::fill(back.begin(), back.end(), 0);
    return PackedFiles(kept, hash).read(name, back.data(), bytes);
  }
  std::string onlyFile() {
    std::vector<std::string> names = list(kept);
    EXPECT_EQ(names.size(), 1u);
    return names.empty() ? "" : kept + "/" + names[0];
  }
  void sh(const std::string &command) {
    EXPECT_EQ(std::system(("cd " + kept + " && " + command).c_str()), 0) << command;
  }
};

TEST_F(Packed, ThereAndBack) {
  EXPECT_FALSE(read());
  ASSERT_TRUE(write());
  ASSERT_TRUE(read());
  EXPECT_EQ(back, data);
  EXPECT_FALSE(read("v"));
  EXPECT_FALSE(read("w", size - 8));
  hash[0] = 'b';
  EXPECT_FALSE(read());
}

// One byte anywhere, a file of another length, of another kind: as if there were none, and the next write replaces it.
TEST_F(Packed, DamageIsNotRead) {
  ASSERT_TRUE(write());
  std::string file = onlyFile();
  for (const char *damage :
       {"printf x | dd of=$(ls) bs=1 seek=4 conv=notrunc", "printf x | dd of=$(ls) bs=1 seek=17 conv=notrunc",
        "printf x | dd of=$(ls) bs=1 seek=26 conv=notrunc", "printf x | dd of=$(ls) bs=1 seek=60 conv=notrunc",
        "printf x | dd of=$(ls) bs=1 seek=100 conv=notrunc", "printf x | dd of=$(ls) bs=1 seek=300 conv=notrunc",
        "printf x | dd of=$(ls) bs=1 seek=65830 conv=notrunc", "truncate -s -1 *", "truncate -s +1 *",
        "truncate -s 100 *", "truncate -s 0 *", "chmod g+w *", "f=$(ls); mv $f ../other; ln -s ../other $f",
        "f=$(ls); rm $f; mkfifo $f"}) {
    sh(std::string("{ ") + damage + "; } 2>/dev/null");
    EXPECT_FALSE(read()) << damage;
    ASSERT_TRUE(write()) << damage;
    ASSERT_TRUE(read()) << damage;
    EXPECT_EQ(onlyFile(), file);
  }
}

// A folder that came with a download was not written by this user's runtime.
TEST_F(Packed, OthersFilesAreNotRead) {
  ASSERT_TRUE(write());
  EXPECT_EQ(std::system(("rm " + folder / "cache/commc/packed-secret").c_str()), 0);
  EXPECT_FALSE(read());
  ASSERT_TRUE(write());
  EXPECT_TRUE(read());
}

TEST_F(Packed, WhereNothingCanBeWritten) {
  writeFile(kept, "", 0); // a file where the folder should be
  EXPECT_FALSE(write());
  EXPECT_FALSE(read());
  EXPECT_FALSE(PackedFiles("", hash).write("w", data.data(), size));
  EXPECT_FALSE(PackedFiles(folder / "no/such/folder", hash).write("w", data.data(), size));
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  ::setenv("HOME", "relative", 1); // no place for a secret
  EXPECT_FALSE(PackedFiles(folder / "x", hash).write("w", data.data(), size));
  EXPECT_TRUE(list(folder / "x").empty());
}

TEST_F(Packed, SmallPartsAreNotWorthAFile) {
  EXPECT_FALSE(PackedFiles(kept, hash).write("w", data.data(), PackedFiles::leastBytes - 1));
  EXPECT_TRUE(list(kept).empty());
}

TEST_F(Packed, OldExecutablesAreClearedAway) {
  ASSERT_TRUE(write());
  sh("touch notes.txt 1-0-aaaa.panels.tmp && touch -d '2 days ago' 2-0-aaaa.panels.tmp");
  hash[0] = 'b';
  ASSERT_TRUE(write());
  std::vector<std::string> names = list(kept);
  std::sort(names.begin(), names.end());
  ASSERT_EQ(names.size(), 3u); // an unfinished file may be another session's
  EXPECT_EQ(names[0], "1-0-aaaa.panels.tmp");
  EXPECT_EQ(names[1].substr(0, 2), "ba");
  EXPECT_EQ(names[2], "notes.txt");
}

//===--- between ranks ----------------------------------------------------===//
TEST(SharedPacks, OneFillsAllRead) {
  std::unique_ptr<SharedPacks> host, first, second;
  ASSERT_TRUE(bool(SharedPacks::create(4, host)));
  ASSERT_TRUE(bool(SharedPacks::attach(host->fd(), first)));
  ASSERT_TRUE(bool(SharedPacks::attach(host->fd(), second)));
  auto unused = [](char *) { ADD_FAILURE() << "packed twice"; };
  for (int64_t bytes : {int64_t(1), int64_t(5000), (int64_t(2) << 20) + 4}) {
    std::string name = std::to_string(bytes);
    PackedBytes mine = first->provide(name, bytes, [&](char *out) { std::fill_n(out, bytes, 'm'); });
    PackedBytes theirs = second->provide(name, bytes, unused);
    ASSERT_TRUE(mine && theirs && mine.shared() && theirs.shared());
    EXPECT_NE(mine.data(), theirs.data());
    EXPECT_EQ(std::string(theirs.data(), static_cast<size_t>(bytes)), std::string(static_cast<size_t>(bytes), 'm'));
  }
  EXPECT_FALSE(second->provide("1", 2, unused)); // the same name for something else
  EXPECT_TRUE(bool(first->wait(1000)));
  EXPECT_TRUE(bool(second->wait(1000)));
}

TEST(SharedPacks, GoesOnWhileAnotherFills) {
  std::unique_ptr<SharedPacks> first, second;
  ASSERT_TRUE(bool(SharedPacks::create(4, first)));
  ASSERT_TRUE(bool(SharedPacks::attach(first->fd(), second)));
  PackedBytes seen;
  auto slow = [&](char *out) {
    seen = second->provide("w", 8, [](char *) { ADD_FAILURE() << "packed twice"; }); // returns at once
    EXPECT_EQ(second->wait(1).code, Code::Timeout);
    std::fill_n(out, 8, 'w');
  };
  ASSERT_TRUE(bool(first->provide("w", 8, slow)));
  ASSERT_TRUE(bool(second->wait(0)));
  EXPECT_EQ(std::string(seen.data(), 8), "wwwwwwww");
}

TEST(SharedPacks, FailuresAreTold) {
  std::unique_ptr<SharedPacks> first, second, none;
  ASSERT_TRUE(bool(SharedPacks::create(4, first)));
  ASSERT_TRUE(bool(SharedPacks::attach(first->fd(), second)));
  auto fails = [&](char *) {
    EXPECT_TRUE(bool(second->provide("w", 8, [](char *) {})));
    throw std::bad_alloc();
  };
  EXPECT_THROW(first->provide("w", 8, fails), std::bad_alloc);
  EXPECT_EQ(second->wait(1000).code, Code::OutOfMemory);
  EXPECT_FALSE(bool(SharedPacks::attach(0, none)));
  // A full table: later ones are packed by each rank for itself.
  int full = 0;
  for (int i = 0; i < 100; ++i)
    full += !first->provide("n" + std::to_string(i), 8, [](char *out) { std::fill_n(out, 8, 'n'); });
  EXPECT_EQ(full, 100 - 64 + 1);
}

//===--- sessions ---------------------------------------------------------===//
/// Four rows on each of two ranks, the whole weight on both.
Executable makeReplicated(int64_t k, int64_t n) {
  Executable exe = makeRowParallelMatmul(1, 8, k, n);
  exe.weights[0].layout = {};
  ProgramBuilder b({{"dp", 2}});
  int32_t x = b.input("x", {8, k}, splitOn(2, 0, {"dp"})), y = b.output("y", {8, n}, splitOn(2, 0, {"dp"}));
  b.command("matmul", {x, b.weight(0, {k, n})}, {y});
  exe.entries[0].split = b.program;
  ProgramBuilder whole({});
  int32_t a = whole.input("x", {8, k}), c = whole.output("y", {8, n});
  whole.command("matmul", {a, whole.weight(0, {k, n})}, {c});
  exe.entries[0].reference = whole.program;
  return exe;
}

struct PackedSession : testing::Test {
  TemporaryFolder folder;
  std::string path = folder / "m.commx", kept = path + ".packed";
  comm_session_options options = defaults();

  /// One run; the same result every time.
  comm_session_stats run(const ExecutableHandle &e, int64_t m, int64_t k, int64_t n) {
    comm_session_stats stats = {};
    SessionHandle s = open(e, options);
    if (!s)
      return stats;
    Floats x = floats("x", {m, k}, -4), y = floats("y", {m, n}, NAN);
    comm_tensor in = x.view(), out = y.view();
    EXPECT_EQ(comm_session_run(s.get(), 0, &in, 1, &out, 1), COMM_OK) << comm_last_error();
    if (result.empty())
      result = y.data;
    EXPECT_EQ(y.data, result);
    EXPECT_FALSE(std::isnan(y.data[0]));
    stats.struct_size = sizeof(stats);
    EXPECT_EQ(comm_session_stats_get(s.get(), &stats), COMM_OK);
    return stats;
  }
  std::vector<float> result;
};

TEST_F(PackedSession, SecondStartReads) {
  for (comm_ranks_as as : {COMM_RANKS_PROCESSES, COMM_RANKS_THREADS})
    for (int64_t ranks : {1, 2}) {
      options.ranks_as = as;
      result.clear();
      EXPECT_EQ(std::system(("rm -rf " + kept).c_str()), 0);
      ExecutableHandle e = load(saveExecutable(makeRowParallelMatmul(ranks, 3, 512, 160), path));
      comm_session_stats first = run(e, 3, 512, 160);
      EXPECT_EQ(first.weight_bytes_packed, 512 * 160 * 4);
      EXPECT_EQ(first.weight_bytes_kept, 512 * 160 * 4);
      EXPECT_EQ(first.weight_bytes_read, 0);
      EXPECT_EQ(first.weight_bytes_shared, 0);
      EXPECT_EQ(static_cast<int64_t>(list(kept).size()), ranks);
      comm_session_stats second = run(e, 3, 512, 160);
      EXPECT_EQ(second.weight_bytes_packed, 0);
      EXPECT_EQ(second.weight_bytes_kept, 0);
      EXPECT_EQ(second.weight_bytes_read, 512 * 160 * 4);
      EXPECT_EQ(second.weight_bytes, first.weight_bytes);
    }
}

TEST_F(PackedSession, DamageIsPackedAnew) {
  ExecutableHandle e = load(saveExecutable(makeRowParallelMatmul(2, 3, 512, 160), path));
  run(e, 3, 512, 160);
  std::vector<std::string> names = list(kept);
  ASSERT_EQ(names.size(), 2u);
  EXPECT_EQ(std::system(("truncate -s 1000 " + kept + "/" + names[0]).c_str()), 0);
  comm_session_stats stats = run(e, 3, 512, 160);
  EXPECT_EQ(stats.weight_bytes_packed, 256 * 160 * 4);
  EXPECT_EQ(stats.weight_bytes_kept, 256 * 160 * 4);
  EXPECT_EQ(stats.weight_bytes_read, 256 * 160 * 4);
  EXPECT_EQ(run(e, 3, 512, 160).weight_bytes_read, 512 * 160 * 4);
}

TEST_F(PackedSession, WhereTheCallerWants) {
  ExecutableHandle e = load(saveExecutable(makeRowParallelMatmul(2, 3, 512, 160), path));
  options.packed_cache = "off";
  EXPECT_EQ(run(e, 3, 512, 160).weight_bytes_kept, 0);
  EXPECT_EQ(::access(kept.c_str(), F_OK), -1);
  EXPECT_EQ(std::system(("mkdir " + folder / "elsewhere").c_str()), 0);
  std::string place = folder / "elsewhere";
  options.packed_cache = place.c_str();
  EXPECT_EQ(run(e, 3, 512, 160).weight_bytes_kept, 512 * 160 * 4);
  EXPECT_EQ(list(place + "/m.commx.packed").size(), 2u);
  EXPECT_EQ(::access(kept.c_str(), F_OK), -1);
  options.packed_cache = "beside";
  options.reference = 1; // only for comparison
  EXPECT_EQ(run(e, 3, 512, 160).weight_bytes_kept, 0);
  EXPECT_EQ(::access(kept.c_str(), F_OK), -1);
}

TEST_F(PackedSession, RanksShareWhatTheyAllHave) {
  constexpr int64_t k = 1024, n = 640, bytes = k * n * 4; // more than a huge page
  for (comm_ranks_as as : {COMM_RANKS_PROCESSES, COMM_RANKS_THREADS})
    for (const char *cache : {"off", "beside", "beside"}) {
      options.ranks_as = as;
      options.packed_cache = cache;
      ExecutableHandle e = load(saveExecutable(makeReplicated(k, n), path));
      comm_session_stats stats = run(e, 8, k, n);
      EXPECT_EQ(stats.weight_bytes_shared, bytes);
      EXPECT_EQ(stats.weight_bytes, bytes);
      EXPECT_EQ(stats.weight_bytes_packed + stats.weight_bytes_read, bytes); // once for both
    }
  EXPECT_EQ(list(kept).size(), 1u);
}
} // namespace
