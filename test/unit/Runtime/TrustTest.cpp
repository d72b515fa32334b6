//===- TrustTest.cpp - who may run native code ----------------------------===//
#include "RuntimeTest.h"
#include "runtime/Core/UserList.h"
#include <sys/stat.h>
#include <thread>

using namespace comm::test;
using comm::rt::UserList;

namespace {
const std::string hashA(64, 'a'), hashB(64, 'b');

struct Trust : testing::Test {
  TemporaryFolder folder;
  UserList list{"trusted"};
  std::string file = folder / "cache/commc/trusted";
};

TEST_F(Trust, ListIsPrivateAndKeepsOrder) {
  EXPECT_EQ(list.path(), file);
  EXPECT_FALSE(list.contains(hashA));
  ASSERT_TRUE(bool(list.add(hashA)));
  ASSERT_TRUE(bool(list.add(hashB)));
  ASSERT_TRUE(bool(list.add(hashA))); // once only
  EXPECT_TRUE(list.contains(hashA));
  EXPECT_TRUE(list.contains(hashB));
  EXPECT_FALSE(list.contains(std::string(63, 'a')));
  EXPECT_FALSE(list.contains(""));
  struct stat st;
  ASSERT_EQ(::stat(file.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  EXPECT_EQ(st.st_size, 130);
  ASSERT_EQ(::stat((folder / "cache/commc").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
}

// A list that others could have written grants nothing and is not extended.
TEST_F(Trust, WritableByOthers) {
  ASSERT_TRUE(bool(list.add(hashA)));
  for (mode_t mode : {0620, 0602, 0666, 0644}) {
    ASSERT_EQ(::chmod(file.c_str(), mode), 0);
    EXPECT_FALSE(list.contains(hashA)) << mode;
    EXPECT_FALSE(bool(list.add(hashB))) << mode;
  }
}

TEST_F(Trust, LinksAndFoldersAreNoLists) {
  ASSERT_TRUE(bool(list.add(hashA)));
  ASSERT_EQ(std::system(("mv " + file + " " + file + ".real && ln -s trusted.real " + file).c_str()), 0);
  EXPECT_FALSE(list.contains(hashA));
  EXPECT_FALSE(bool(list.add(hashB)));
  ASSERT_EQ(std::system(("rm " + file + " && mkdir " + file).c_str()), 0);
  EXPECT_FALSE(list.contains(hashA));
  EXPECT_FALSE(bool(list.add(hashB)));
}

TEST_F(Trust, NoPlaceForTheList) {
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  ::unsetenv("HOME");
  EXPECT_EQ(list.path(), "");
  EXPECT_FALSE(list.contains(hashA));
  EXPECT_FALSE(bool(list.add(hashA)));
  ::setenv("HOME", home.c_str(), 1);
}

TEST_F(Trust, AddedByManyAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] { EXPECT_TRUE(bool(list.add(std::string(64, static_cast<char>('0' + t % 4))))); });
  for (std::thread &t : threads)
    t.join();
  struct stat st;
  ASSERT_EQ(::stat(file.c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 4 * 65);
}

// The whole way: refused, then allowed by flag or list, and then the object itself is checked.
TEST_F(Trust, NativeCodeNeedsTrust) {
  Executable exe = makeRowParallelMatmul(1);
  for (Program *p : {&exe.entries[0].split, &exe.entries[0].reference})
    p->commands[0] = {"kernel",
                      p->commands[0].inputs,
                      p->commands[0].outputs,
                      {{"symbol", std::string("k")}, {"iterations", int64_t(1)}},
                      ""};
  exe.objects.push_back({"x86-64-v3", {1, 2, 3}});
  ExecutableHandle handle = load(saveExecutable(exe, folder / "n.commx"));
  comm_session *s = nullptr;
  comm_session_options o = defaults();
  EXPECT_EQ(comm_session_create(handle.get(), &o, &s), COMM_UNTRUSTED);
  o.trust_native = 1;
  EXPECT_EQ(comm_session_create(handle.get(), &o, &s), COMM_BAD_EXECUTABLE);
  EXPECT_NE(std::string(comm_last_error()).find("ELF"), std::string::npos) << comm_last_error();
  o.trust_native = 0;
  ASSERT_EQ(comm_trust_executable(comm_executable_hash(handle.get())), COMM_OK) << comm_last_error();
  EXPECT_EQ(comm_session_create(handle.get(), &o, &s), COMM_BAD_EXECUTABLE);
}

TEST_F(Trust, NoNativeCodeNeedsNoTrust) {
  ExecutableHandle handle = load(saveExecutable(makeRowParallelMatmul(1), folder / "m.commx"));
  EXPECT_TRUE(open(handle));
}
} // namespace
