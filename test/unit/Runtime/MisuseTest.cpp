//===- MisuseTest.cpp - wrong calls of the C interface --------------------===//
#include "RuntimeTest.h"

using namespace comm::test;

namespace {
struct Misuse : testing::Test {
  TemporaryFolder folder;
  ExecutableHandle exe = load(saveExecutable(makeRowParallelMatmul(1), folder / "m.commx"));
  SessionHandle session = open(exe);
  Floats x = floats("x", {3, 8}), y = floats("y", {3, 5});

  /// The run is refused as the caller's fault with a sentence that has `part`; the session still works afterwards.
  void expectRefused(std::vector<comm_tensor> in, std::vector<comm_tensor> out, const std::string &part,
                     int32_t entry = 0) {
    EXPECT_EQ(comm_session_run(session.get(), entry, in.data(), static_cast<int32_t>(in.size()), out.data(),
                               static_cast<int32_t>(out.size())),
              COMM_INVALID_ARGUMENT);
    EXPECT_NE(std::string(comm_last_error()).find(part), std::string::npos) << comm_last_error();
    comm_tensor goodIn = x.view(), goodOut = y.view();
    EXPECT_EQ(comm_session_run(session.get(), 0, &goodIn, 1, &goodOut, 1), COMM_OK) << comm_last_error();
  }
};

TEST_F(Misuse, Tensors) {
  comm_tensor t = x.view();
  expectRefused({}, {}, "missing inputs: 'x' f32[3, 8]");
  expectRefused({t, t}, {}, "given twice");
  expectRefused({t}, {y.view(), y.view()}, "given twice");
  expectRefused({t}, {t}, "no output 'x'");
  expectRefused({t}, {}, "entry 1 does not exist", 1);
  expectRefused({t}, {}, "entry -1 does not exist", -1);
  auto with = [&](auto edit) {
    comm_tensor c = x.view();
    edit(c);
    return std::vector<comm_tensor>{c};
  };
  int64_t other[] = {8, 3}, huge[] = {INT64_MAX, 8};
  expectRefused(with([](comm_tensor &c) { c.name = "z"; }), {}, "no input 'z'");
  expectRefused(with([](comm_tensor &c) { c.name = nullptr; }), {}, "no input ''");
  expectRefused(with([](comm_tensor &c) { c.dtype = COMM_F16; }), {}, "expected f32[3, 8], got f16[3, 8]");
  expectRefused(with([](comm_tensor &c) { c.dtype = static_cast<comm_dtype>(77); }), {}, "got ?[3, 8]");
  expectRefused(with([&](comm_tensor &c) { c.dims = other; }), {}, "got f32[8, 3]");
  expectRefused(with([&](comm_tensor &c) { c.dims = huge; }), {}, "expected f32[3, 8]");
  expectRefused(with([](comm_tensor &c) { c.rank = 1; }), {}, "got f32[3]");
  expectRefused(with([](comm_tensor &c) { c.rank = -1; }), {}, "dimensions are missing");
  expectRefused(with([](comm_tensor &c) { c.dims = nullptr; }), {}, "dimensions are missing");
  expectRefused(with([](comm_tensor &c) { c.bytes -= 1; }), {}, "the buffer has 95");
  expectRefused(with([](comm_tensor &c) { c.data = nullptr; }), {}, "its buffer is missing");
}

// Buffers at any address: the runtime aligns them itself.
TEST_F(Misuse, UnalignedBuffersWork) {
  comm_tensor goodIn = x.view(), goodOut = y.view();
  ASSERT_EQ(comm_session_run(session.get(), 0, &goodIn, 1, &goodOut, 1), COMM_OK);
  std::vector<char> in(x.data.size() * 4 + 1), out(y.data.size() * 4 + 3);
  std::memcpy(in.data() + 1, x.data.data(), x.data.size() * 4);
  comm_tensor tin = x.view(), tout = y.view();
  tin.data = in.data() + 1;
  tout.data = out.data() + 3;
  ASSERT_EQ(comm_session_run(session.get(), 0, &tin, 1, &tout, 1), COMM_OK) << comm_last_error();
  EXPECT_EQ(std::memcmp(out.data() + 3, y.data.data(), y.data.size() * 4), 0);
}

TEST_F(Misuse, NullHandles) {
  comm_executable *e = nullptr;
  comm_session *s = nullptr;
  comm_tensor t;
  const char *a, *b;
  comm_session_options options = defaults();
  EXPECT_EQ(comm_executable_load(nullptr, &e), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_executable_load("x", nullptr), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_create(nullptr, &options, &s), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_create(exe.get(), &options, nullptr), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_run(nullptr, 0, nullptr, 0, nullptr, 0), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_run(session.get(), 0, nullptr, 1, nullptr, 0), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_run(session.get(), 0, nullptr, -1, nullptr, 0), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_stats_get(session.get(), nullptr), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_trace(nullptr), nullptr);
  EXPECT_EQ(comm_executable_port(exe.get(), 0, 0, 1, &t), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_executable_port(exe.get(), 0, 0, 0, nullptr), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_executable_state(exe.get(), 0, 0, &a, &b), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_executable_entry_count(nullptr), 0);
  EXPECT_EQ(comm_executable_port_count(exe.get(), 7, 0), 0);
  EXPECT_STREQ(comm_executable_entry_name(exe.get(), -1), "");
  EXPECT_EQ(comm_trust_executable(nullptr), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_trust_executable("abc"), COMM_INVALID_ARGUMENT);
  EXPECT_NE(comm_last_error(), nullptr);
  comm_executable_free(nullptr);
  comm_session_free(nullptr);
}

TEST_F(Misuse, Options) {
  comm_session *s = nullptr;
  auto create = [&](auto edit) {
    comm_session_options o = defaults();
    edit(o);
    return comm_session_create(exe.get(), &o, &s);
  };
  EXPECT_EQ(create([](auto &o) { o.struct_size = 0; }), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(create([](auto &o) { o.struct_size = 1 << 20; }), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(create([](auto &o) { o.threads = -1; }), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(create([](auto &o) { o.timeout_ms = -1; }), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(create([](auto &o) { o.ranks_as = static_cast<comm_ranks_as>(9); }), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(s, nullptr);
  // An older caller's shorter struct, and none at all.
  EXPECT_EQ(create([](auto &o) { o.struct_size = offsetof(comm_session_options, trace); }), COMM_OK);
  comm_session_free(s);
  EXPECT_EQ(comm_session_create(exe.get(), nullptr, &s), COMM_OK);
  comm_session_free(s);
}

// A session keeps what it needs of its executable.
TEST_F(Misuse, ExecutableFreedBeforeSession) {
  exe.reset();
  comm_tensor in = x.view(), out = y.view();
  EXPECT_EQ(comm_session_run(session.get(), 0, &in, 1, &out, 1), COMM_OK);
}

TEST_F(Misuse, BadFiles) {
  comm_executable *e = nullptr;
  writeFile(folder / "short", "COMMX", 5);
  EXPECT_EQ(std::system(("mkfifo " + folder / "fifo").c_str()), 0);
  for (const std::string &path :
       {folder / "none", folder.path, folder / "short", folder / "fifo", std::string("/dev/zero")}) {
    EXPECT_EQ(comm_executable_load(path.c_str(), &e), COMM_BAD_EXECUTABLE) << path;
    EXPECT_NE(std::string(comm_last_error()).find(path), std::string::npos);
    EXPECT_EQ(e, nullptr);
  }
}

// What only preparing finds: an unknown op, an op that contradicts its operands.
TEST_F(Misuse, BadPrograms) {
  auto expectCreate = [&](const std::string &op, Attrs attrs, comm_status status, const std::string &part) {
    Executable bad = makeRowParallelMatmul(1);
    for (Program *p : {&bad.entries[0].split, &bad.entries[0].reference}) {
      p->commands[0].op = op;
      p->commands[0].attrs = attrs;
    }
    ExecutableHandle handle = load(saveExecutable(bad, folder / "bad.commx"));
    comm_session *s = nullptr;
    EXPECT_EQ(comm_session_create(handle.get(), nullptr, &s), status) << comm_last_error();
    EXPECT_NE(std::string(comm_last_error()).find(part), std::string::npos) << comm_last_error();
  };
  expectCreate("conv9d", {}, COMM_UNSUPPORTED, "conv9d");
  expectCreate("gather", {{"axis", int64_t(7)}}, COMM_BAD_EXECUTABLE, "proj");
  expectCreate("matmul", {{"transpose_b", int64_t(1)}}, COMM_BAD_EXECUTABLE, "proj");
}
} // namespace
