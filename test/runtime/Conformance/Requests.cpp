//===- Requests.cpp - what the test asks of its ranks ---------------------===//
#include "test/runtime/Conformance/Requests.h"
#include "runtime/Core/CommThread.h"
#include "test/runtime/Conformance/Cases.h"
#include <csignal>
#include <cstring>
#include <iterator>
#include <numeric>
#include <sstream>
#include <tuple>
#include <unistd.h>

namespace comm::rt::test {
namespace {
constexpr exe::DType allTypes[] = {exe::DType::F32, exe::DType::F16, exe::DType::BF16, exe::DType::F64, exe::DType::I64,
                                   exe::DType::I32, exe::DType::I16, exe::DType::I8,   exe::DType::U64, exe::DType::U32,
                                   exe::DType::U16, exe::DType::U8,  exe::DType::Bool};

class ConformanceRank final : public RankMain {
public:
  explicit ConformanceRank(const RankEnvironment &env) : env(env), budget{std::stoll(env.setup), env.callerSpinNs} {}

  Status start(size_t arenaBytes) {
    bytes = arenaBytes;
    void *p = nullptr;
    Status s = env.transport->allocateArena(arenaBytes, p);
    arena = static_cast<uint8_t *>(p);
    return s;
  }

  Status handle(const std::string &request, std::string &reply) override {
    std::istringstream words(request);
    std::string name;
    words >> name;
    std::vector<int64_t> numbers{std::istream_iterator<int64_t>(words), {}};
    CaseRunner runner(*env.transport, arena, bytes);
    if (name == "types")
      reply = types(runner);
    else if (name == "sizes")
      reply = sizes(runner);
    else if (name == "axes")
      reply = axes(runner, numbers);
    else if (name == "hash" || name == "count") {
      reply = mixed(runner);
      if (reply.empty())
        reply = std::to_string(name == "hash" ? static_cast<int64_t>(runner.resultHash()) : runner.collectives());
    } else if (name == "huge")
      reply = huge();
    else if (name == "steps")
      return steps(numbers);
    else if (name == "mismatch")
      return mismatch(numbers[0]);
    else
      return {Code::InvalidArgument, "unknown request " + name};
    return Status::ok();
  }

private:
  std::vector<int32_t> world() const {
    std::vector<int32_t> all(static_cast<size_t>(env.ranks));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  std::string runAll(CaseRunner &runner, const std::vector<Case> &cases) {
    for (Case c : cases) {
      c.planId = plan++;
      if (std::string wrong = runner.run(c, budget); !wrong.empty()) {
        env.transport->abort({Code::Internal, wrong});
        return wrong;
      }
    }
    return "";
  }

  std::string types(CaseRunner &runner) {
    for (exe::DType t : allTypes)
      for (int64_t count : {0, 1, 7, 1021})
        for (Placement p : {Placement::Arena, Placement::Private, Placement::InPlace})
          if (std::string w = runAll(runner, allKinds(t, count, p, world(), true)); !w.empty())
            return w;
    return "";
  }

  std::string sizes(CaseRunner &runner) {
    // The last one makes a few MiB in all, whatever the number of ranks.
    using P = Placement;
    const std::tuple<exe::DType, int64_t, std::vector<Placement>> sizes[] = {
        {exe::DType::F32, 65539, {P::Arena, P::InPlace, P::MixedResult}},
        {exe::DType::BF16, 20011, {P::Arena, P::Private, P::InPlace, P::MixedResult, P::MixedBoth}},
        {exe::DType::U8, 65537, {P::Private}},
        {exe::DType::I64, (sanitized ? 40009 : 400009) / env.ranks / env.ranks, {P::Arena, P::InPlace}}};
    for (const auto &[type, count, placements] : sizes)
      for (Placement p : placements)
        if (std::string w = runAll(runner, allKinds(type, count, p, world(), false)); !w.empty())
          return w;
    return "";
  }

  std::string axes(CaseRunner &runner, const std::vector<int64_t> &sizes) {
    exe::Grid grid;
    for (size_t i = 0; i < sizes.size(); ++i)
      grid.axes.push_back({std::string(1, static_cast<char>('a' + i)), sizes[i]});
    // Groups take turns, so that neighbours are at different operations most of the time.
    for (int64_t count : {1, 7, 1021, sanitized ? 9001 : 40009, 3})
      for (const std::vector<std::string> &axes :
           std::vector<std::vector<std::string>>{{"a"}, {"b"}, {"b", "a"}, {"a"}, {"a"}, {"b"}})
        for (Placement p : {Placement::Arena, Placement::MixedBoth}) {
          // Ranks of one group are at the same position; others need not be.
          if (std::string w = runAll(runner, allKinds(exe::DType::F32, count, p, grid.members(env.rank, axes), false));
              !w.empty())
            return w;
        }
    return "";
  }

  std::string mixed(CaseRunner &runner) {
    std::vector<Case> cases;
    for (int64_t count : {5, 10007})
      for (exe::DType t : {exe::DType::F32, exe::DType::F16})
        for (const Case &c : allKinds(t, count, Placement::Arena, world(), true))
          cases.push_back(c);
    return runAll(runner, cases);
  }

  /// Broadcast from private memory, through the slots, and from the arena, in place.
  std::string huge() {
    const int64_t count = (int64_t(1) << 31) + 1;
    const int64_t marks[] = {0, 1, (int64_t(1) << 31) - 1, int64_t(1) << 31};
    std::unique_ptr<uint8_t, void (*)(void *)> own(nullptr, std::free);
    if (env.rank == 0)
      own.reset(static_cast<uint8_t *>(std::malloc(static_cast<size_t>(count))));
    Collective c;
    c.kind = CollectiveKind::Broadcast;
    c.dtype = exe::DType::U8;
    c.group = world();
    c.count = count;
    c.out = arena;
    for (uint8_t fill : {uint8_t(1), uint8_t(2)}) {
      uint8_t *in = fill == 1 ? own.get() : arena;
      if (env.rank == 0) {
        if (!in)
          return "no memory";
        std::memset(in, fill, static_cast<size_t>(count));
        for (int64_t m : marks)
          in[m] = static_cast<uint8_t>(100 + fill + m % 7);
      }
      c.in = in;
      c.planId = plan++;
      if (Status s = env.transport->run(c, budget); !s)
        return s.text;
      for (int64_t m : marks) {
        if (arena[m] != 100 + fill + m % 7)
          return "byte " + std::to_string(m) + " is wrong";
        arena[m] = fill;
      }
      if (std::memcmp(arena, arena + 1, static_cast<size_t>(count) - 1) != 0)
        return "bytes differ, fill " + std::to_string(fill);
    }
    return "";
  }

  Status steps(const std::vector<int64_t> &n) {
    float in = 1, out = 0;
    for (int64_t step = 0; step < n[0]; ++step) {
      if (env.rank == n[1] && step == n[2]) {
        if (n[3] == 9 || n[3] == 19)
          ::kill(::getpid(), static_cast<int>(n[3]));
        else if (n[3] == 0)
          return {Code::InvalidArgument, "index 7 is out of range"};
        else
          for (;;)
            ::usleep(1000);
      }
      Collective c;
      c.group = world();
      c.in = &in;
      c.out = &out;
      c.count = 1;
      c.planId = step;
      c.label = "layer/o_proj";
      if (Status s = env.transport->run(c, budget); !s) {
        note(s);
        return s;
      }
    }
    return Status::ok();
  }

  /// Leaves a failure where the host can read it after the end of this rank.
  void note(const Status &s) {
    char *text = reinterpret_cast<char *>(env.shared) + env.rank * 512;
    std::snprintf(text, 512, "%d %s", static_cast<int>(s.code), s.text.c_str());
  }

  Status mismatch(int64_t which) {
    std::vector<float> in(64, 1.0f), out(64, 7.0f);
    Collective c;
    c.group = world();
    c.in = in.data();
    c.out = out.data();
    c.count = 4;
    c.planId = 3;
    c.program = 1;
    c.label = "layer/o_proj";
    bool other = env.rank == 1;
    if (other && which == 0)
      c.kind = CollectiveKind::AllGather;
    else if (other && which == 1)
      c.count = 5;
    else if (other && which == 2)
      c.dtype = exe::DType::I32;
    else if (other && which == 3)
      c.reduce = ReduceKind::Max;
    else if (other && which == 4)
      c.planId = 4;
    else if (other && which == 5)
      c.program = 2;
    else if (other && which == 6)
      std::swap(c.group[0], c.group[1]);
    else if (which == 7) {
      c.kind = CollectiveKind::Broadcast;
      c.root = other ? 1 : 0;
    } else if (which == 8) {
      c.kind = CollectiveKind::Permute;
      c.peer = other ? -1 : (env.rank + 1) % env.ranks;
      c.from = other ? -1 : (env.rank + env.ranks - 1) % env.ranks;
    } else if (which == 9) {
      c.kind = CollectiveKind::AllToAllV;
      c.sendCounts.assign(c.group.size(), other ? 2 : 1);
      c.recvCounts.assign(c.group.size(), 1);
      c.recvCounts[static_cast<size_t>(env.rank)] = c.sendCounts[0];
      c.sendDispls.assign(c.group.size(), 0);
      c.recvDispls.assign(c.group.size(), 0);
    } else if (which == 10)
      c.kind = CollectiveKind::Send, c.peer = env.rank ^ 1;
    Status s = env.transport->run(c, budget);
    note(s);
    for (float x : out)
      if (x != 7.0f)
        return {Code::Internal, "data moved"};
    return s;
  }

  const RankEnvironment env;
  const WaitBudget budget;
  uint8_t *arena = nullptr;
  size_t bytes = 0;
  int64_t plan = 0;
};
} // namespace

RankMainFactory conformanceRank() {
  return [](const RankEnvironment &env, std::unique_ptr<RankMain> &out) {
    // setup: timeout in ms, bytes of arena
    std::istringstream words(env.setup);
    int64_t timeoutMs = 0;
    size_t arenaBytes = 0;
    words >> timeoutMs >> arenaBytes;
    auto rank = std::make_unique<ConformanceRank>(env);
    Status s = rank->start(arenaBytes);
    out = std::move(rank);
    return s;
  };
}

} // namespace comm::rt::test
