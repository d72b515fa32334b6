//===- MakeSamples.cpp - make-samples DIR: executables for CLI tests ------===//
#include "comm/Proof/Certificate.h"
#include "test/unit/Support/ProgramBuilder.h"
#include <cstdio>
#include <fstream>

using namespace comm::test;

namespace {
bool save(Executable exe, const std::string &path) {
  for (const std::string &problem : comm::proof::certifyAll(exe))
    std::fprintf(stderr, "%s: %s\n", path.c_str(), problem.c_str());
  std::vector<uint8_t> bytes;
  std::string error;
  if (!writeExecutable(exe, bytes, error)) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), error.c_str());
    return false;
  }
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return true;
}
} // namespace

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  std::string dir = std::string(argv[1]) + "/";
  Executable native = makeRowParallelMatmul(1);
  for (Program *p : {&native.entries[0].split, &native.entries[0].reference})
    p->commands[0] = {"kernel",
                      p->commands[0].inputs,
                      p->commands[0].outputs,
                      {{"symbol", std::string("k")}, {"iterations", int64_t(1)}},
                      ""};
  native.objects.push_back({"x86-64-v3", {1, 2, 3}});
  return save(makeRowParallelMatmul(1), dir + "matmul1.commx") &&
                 save(makeRowParallelMatmul(2), dir + "matmul2.commx") &&
                 save(makeRowParallelMatmul(4, 5, 10, 3, true), dir + "matmul4.commx") &&
                 save(makeDecoder(1), dir + "state1.commx") && save(makeDecoder(2), dir + "state2.commx") &&
                 save(native, dir + "native.commx")
             ? 0
             : 1;
}
