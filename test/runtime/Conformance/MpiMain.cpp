//===- MpiMain.cpp - the conformance suite over MPI -----------------------===//
// mpirun -n N MpiConformance [REQUEST]: every rank runs the same requests on its own transport. Without a request: the
// whole suite, exit 0 when all is right. With one (see Requests.h): that request, exit 8 with the sentence of its
// failure.
//===----------------------------------------------------------------------===//
#include "runtime/Transport/Mpi/MpiTransport.h"
#include "test/runtime/Conformance/Cases.h"
#include "test/runtime/Conformance/Requests.h"
#include <cstdio>

using namespace comm::rt;
using namespace comm::rt::test;

namespace {
class Suite {
public:
  Status start(int64_t timeoutMs) {
    // Pieces that are small beside the sizes of the suite: streams take many of them, rings wrap.
    mpi::MpiOptions options;
    options.chunkBytes = 12000;
    options.window = 3;
    if (Status s = mpi::MpiTransport::create(options, transport); !s)
      return s;
    size_t arenaBytes = arenaFor(8 * 65600);
    notes.resize(512 * static_cast<size_t>(transport->size()));
    env.rank = transport->rank();
    env.ranks = transport->size();
    env.transport = transport.get();
    env.shared = notes.data();
    env.sharedBytes = notes.size();
    env.setup = std::to_string(timeoutMs) + " " + std::to_string(arenaBytes);
    return conformanceRank()(env, main);
  }

  bool expect(const std::string &request, const std::string &answer) {
    std::string reply;
    Status s = main->handle(request, reply);
    if (s && reply == answer)
      return true;
    std::fprintf(stderr, "rank %d, %s: %s\n", env.rank, request.c_str(), s ? reply.c_str() : s.text.c_str());
    return false;
  }

  bool all() {
    std::string first, again;
    bool ok = expect("types", "") && expect("sizes", "");
    if (env.ranks == 4)
      ok = ok && expect("axes 2 2", "");
    ok = ok && main->handle("hash", first);
    for (int i = 0; ok && i < 3; ++i)
      ok = main->handle("hash", again) && again == first;
    if (env.rank == 0)
      std::printf("%s: %d ranks, %s\n", transport->library().c_str(), env.ranks, ok ? "all passed" : "FAILED");
    return ok;
  }

  std::unique_ptr<mpi::MpiTransport> transport;
  std::unique_ptr<RankMain> main;
  RankEnvironment env;

private:
  std::vector<uint8_t> notes;
};
} // namespace

int main(int argc, char **argv) {
  Suite suite;
  if (Status s = suite.start(argc > 1 ? 700 : 60000); !s) {
    std::fprintf(stderr, "%s\n", s.text.c_str());
    return 1;
  }
  if (argc < 2)
    return suite.all() ? 0 : 1;
  std::string reply;
  Status s = suite.main->handle(argv[1], reply);
  if (!s)
    std::fprintf(stderr, "rank %d heard: %s\n", suite.env.rank, s.text.c_str());
  return s ? 0 : 8;
}
