//===- RuntimeTest.h - files and calls for the runtime's tests --*- C++ -*-===//
#pragma once
#include "comm-c/runtime.h"
#include "comm/Proof/Certificate.h"
#include "test/unit/Support/ProgramBuilder.h"
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <memory>
#include <unistd.h>

namespace comm::test {

/// An empty folder for one test; also the user's cache while it lives.
class TemporaryFolder {
public:
  TemporaryFolder() {
    char name[] = "/tmp/comm-test-XXXXXX";
    path = ::mkdtemp(name);
    ::setenv("XDG_CACHE_HOME", (path + "/cache").c_str(), 1);
    ::setenv("COMM_RANK_PROGRAM", TEST_RANK_PROGRAM, 1); // it lies elsewhere than the test
    EXPECT_EQ(std::system(("mkdir -p " + path + "/cache").c_str()), 0);
  }
  ~TemporaryFolder() { EXPECT_EQ(std::system(("rm -rf " + path).c_str()), 0); }
  std::string operator/(const std::string &name) const { return path + "/" + name; }
  std::string path;
};

inline void writeFile(const std::string &path, const void *bytes, size_t size) {
  std::ofstream(path, std::ios::binary).write(static_cast<const char *>(bytes), static_cast<std::streamsize>(size));
}

/// With the certificates of its entries; what cannot be proved is saved without one. Samples whose unsplit program is a
/// stand-in that gives something else get one of which nothing is known.
inline std::string saveExecutable(Executable exe, const std::string &path) {
  proof::certifyAll(exe);
  for (Entry &entry : exe.entries)
    if (proof::certifyEqual(exe, entry).verdict == proof::Equality::Wrong) {
      Command unknown{"kernel", {}, {}, {{"symbol", std::string("elsewhere")}, {"iterations", int64_t(1)}}, ""};
      for (const Port &port : entry.reference.outputs)
        unknown.outputs.push_back(port.value);
      entry.reference.commands = {unknown};
    }
  std::vector<uint8_t> bytes;
  std::string error;
  EXPECT_TRUE(writeExecutable(exe, bytes, error)) << error;
  writeFile(path, bytes.data(), bytes.size());
  return path;
}

struct Deleter {
  void operator()(comm_executable *e) const { comm_executable_free(e); }
  void operator()(comm_session *s) const { comm_session_free(s); }
};
using ExecutableHandle = std::unique_ptr<comm_executable, Deleter>;
using SessionHandle = std::unique_ptr<comm_session, Deleter>;

inline ExecutableHandle load(const std::string &path) {
  comm_executable *e = nullptr;
  EXPECT_EQ(comm_executable_load(path.c_str(), &e), COMM_OK) << comm_last_error();
  return ExecutableHandle(e);
}

inline comm_session_options defaults() {
  comm_session_options o = {};
  o.struct_size = sizeof(o);
  o.timeout_ms = 20000;
  return o;
}

inline SessionHandle open(const ExecutableHandle &exe, comm_session_options options = defaults()) {
  comm_session *s = nullptr;
  EXPECT_EQ(comm_session_create(exe.get(), &options, &s), COMM_OK) << comm_last_error();
  return SessionHandle(s);
}

/// A named f32 tensor with memory.
struct Floats {
  std::string name;
  std::vector<int64_t> dims;
  std::vector<float> data;
  comm_tensor view() {
    return {name.c_str(), COMM_F32,    static_cast<int32_t>(dims.size()),
            dims.data(),  data.data(), data.size() * sizeof(float)};
  }
};
inline Floats floats(const std::string &name, std::vector<int64_t> dims, float first = 0, float step = 1) {
  Floats f{name, std::move(dims), {}};
  f.data.resize(static_cast<size_t>(numElements(f.dims)));
  for (size_t i = 0; i < f.data.size(); ++i)
    f.data[i] = first + step * static_cast<float>(i % 11);
  return f;
}

} // namespace comm::test
