//===- StayingStateTest.cpp - state that stays with the ranks -------------===//
// A window of 5 columns: a call appends 2 and sums each row. Long sequences of calls beside the same done by hand.
//===----------------------------------------------------------------------===//
#include "RuntimeTest.h"
#include <cmath>
#include <tuple>

using namespace comm::test;

namespace {
using Values = std::vector<float>;
constexpr int64_t rows = 4, past = 5, fresh = 2, all = past + fresh;

/// What a program does with its past besides appending to it: nothing; gives it back; holds it whole on every rank.
enum class Kind { Grows, ReadsTwice, HeldWhole };

/// present [4, 7] is past [4, 5] followed by x [4, 2], total [4, 1] the sums of its rows; picked [1] is element id of a
/// table of 3, taken at the end: another id fails a call that has written everything else. Split on the rows.
Executable makeWindow(int64_t ranks, Kind kind) {
  Executable exe;
  exe.compilerVersion = exe.modelName = "window";
  addWeight(exe, "ones", {all, 1}, Values(static_cast<size_t>(all), 1.0f));
  addWeight(exe, "table", {3}, {10, 20, 30});
  auto build = [&](std::vector<Axis> axes) {
    ProgramBuilder b(std::move(axes));
    bool split = !b.program.grid.axes.empty(), whole = split && kind == Kind::HeldWhole;
    Layout byRows = split ? splitOn(2, 0, {"tp"}) : Layout{};
    int64_t r = split ? shardRange(rows, {{"tp"}, 1}, b.program.grid, 0).local : rows;
    int32_t in = b.input("past", {rows, past}, whole ? Layout{} : byRows), x = b.input("x", {rows, fresh}, byRows),
            id = b.input("id", {1}, {}, DType::I64);
    int32_t present = b.output("present", {rows, all}, byRows), total = b.output("total", {rows, 1}, byRows),
            picked = b.output("picked", {1});
    auto strided = [&](int64_t cols, int64_t offset) {
      return Attrs{{"dims", std::vector<int64_t>{r, cols}},
                   {"in_strides", std::vector<int64_t>{cols, 1}},
                   {"out_strides", std::vector<int64_t>{all, 1}},
                   {"out_offset", offset}};
    };
    if (kind == Kind::ReadsTwice)
      b.copy(in, b.output("before", {rows, past}, byRows));
    if (whole) {
      int32_t mine = b.arena({r, past});
      b.command("shard_copy", {in}, {mine},
                {{"dim", int64_t(0)}, {"axes", std::vector<std::string>{"tp"}}, {"grain", int64_t(1)}});
      in = mine;
    }
    b.command("copy", {in}, {present}, strided(past, 0));
    b.command("copy", {x}, {present}, strided(fresh, past));
    b.command("matmul", {present, b.weight(0, {all, 1})}, {total});
    b.command("gather", {b.weight(1, {3}), id}, {picked}, {{"axis", int64_t(0)}});
    return b.program;
  };
  exe.entries.push_back({"main", build({{"tp", ranks}}), build({}), {{"past", "present"}}});
  return exe;
}

class StayingState : public testing::TestWithParam<std::tuple<int, comm_ranks_as, Kind, comm_state_mode>> {
protected:
  void SetUp() override {
    auto [ranks, as, kind, mode] = GetParam();
    exe = load(saveExecutable(makeWindow(ranks, kind), folder / "w.commx"));
    comm_session_options o = defaults();
    o.ranks_as = as;
    session = open(exe, o);
    ASSERT_TRUE(session);
    ASSERT_EQ(comm_session_keep_state(session.get(), mode), COMM_OK);
    last = mode == COMM_STATE_LAST;
  }
  static Values next(int step) {
    Values x;
    for (int64_t i = 0; i < rows * fresh; ++i)
      x.push_back(static_cast<float>(step * 10 + i));
    return x;
  }
  /// What the state is to be after appending x to what the next call takes of it.
  void append(const Values &x) {
    Values grown;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < past; ++c)
        grown.push_back(windowAt(r, c));
      for (int64_t c = 0; c < fresh; ++c)
        grown.push_back(x[static_cast<size_t>(r * fresh + c)]);
    }
    expected = grown;
  }
  float windowAt(int64_t r, int64_t c) const {
    int64_t columns = static_cast<int64_t>(expected.size()) / rows, missing = past - columns;
    int64_t from = last ? c - missing : c;
    return from < 0 || from >= columns ? 0 : expected[static_cast<size_t>(r * columns + from)];
  }
  Values window() const {
    Values w;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < past; ++c)
        w.push_back(windowAt(r, c));
    return w;
  }
  comm_status call(const Values &values, int64_t id = 1) {
    Floats x = floats("x", {rows, fresh}), total = floats("total", {rows, 1}, NAN);
    x.data = values;
    int64_t one = 1;
    comm_tensor in[] = {x.view(), {"id", COMM_I64, 1, &one, &id, sizeof(id)}}, out = total.view();
    comm_status status = comm_session_run(session.get(), 0, in, 2, &out, 1);
    totals = total.data;
    return status;
  }
  Values sums() const {
    Values s;
    for (int64_t r = 0; r < rows; ++r) {
      s.push_back(0);
      for (int64_t c = 0; c < all; ++c)
        s.back() += expected[static_cast<size_t>(r * all + c)];
    }
    return s;
  }
  Values state() {
    comm_tensor t = {};
    EXPECT_EQ(comm_session_get_state(session.get(), "past", &t), COMM_OK) << comm_last_error();
    Values values(t.bytes / sizeof(float));
    t.data = values.data();
    EXPECT_EQ(comm_session_get_state(session.get(), "past", &t), COMM_OK) << comm_last_error();
    return values;
  }
  comm_session_stats stats() {
    comm_session_stats s = {};
    s.struct_size = sizeof(s);
    EXPECT_EQ(comm_session_stats_get(session.get(), &s), COMM_OK);
    return s;
  }
  TemporaryFolder folder;
  ExecutableHandle exe;
  SessionHandle session;
  bool last = true;
  Values expected, totals;
};

// Far more calls than the memory of a window has room to slide.
TEST_P(StayingState, ManyCalls) {
  for (int step = 0; step < 40; ++step) {
    append(next(step));
    ASSERT_EQ(call(next(step)), COMM_OK) << comm_last_error();
    ASSERT_EQ(totals, sums()) << "step " << step;
    if (step % 3 == 0)
      ASSERT_EQ(state(), expected) << "step " << step;
  }
}

// The state is neither given to the ranks nor taken from them, and ranks do not cut it either.
TEST_P(StayingState, IsNotPassed) {
  bool passes = std::get<0>(GetParam()) > 1; // one rank works on the caller's buffers
  if (std::get<2>(GetParam()) == Kind::HeldWhole)
    GTEST_SKIP() << "its parts do not stay with the ranks";
  for (int step = 0; step < 4; ++step) {
    ASSERT_EQ(call(next(step)), COMM_OK) << comm_last_error();
    comm_session_stats s = stats();
    EXPECT_EQ(s.bytes_passed, passes ? rows * fresh * 4 + 8 + rows * 4 : 0); // x, id and total
    EXPECT_EQ(s.bytes_parted, 0);
  }
  ASSERT_EQ(comm_session_keep_state(session.get(), COMM_STATE_NONE), COMM_OK);
  Floats x = floats("x", {rows, fresh}), given = floats("past", {rows, past});
  int64_t one = 1, id = 0;
  Floats present = floats("present", {rows, all});
  comm_tensor in[] = {x.view(), given.view(), {"id", COMM_I64, 1, &one, &id, sizeof(id)}}, out = present.view();
  ASSERT_EQ(comm_session_run(session.get(), 0, in, 3, &out, 1), COMM_OK) << comm_last_error();
  EXPECT_EQ(stats().bytes_passed >= rows * (past + all) * 4, passes);
}

// A call that fails after it has written everything leaves the window that it was to read; the next one goes on.
TEST_P(StayingState, FailedCallIsRepeated) {
  for (int step = 0; step < 12; ++step) {
    if (step % 4 == 3) {
      ASSERT_EQ(call(Values(static_cast<size_t>(rows * fresh), -1000.0f), 7), COMM_INVALID_ARGUMENT);
      EXPECT_NE(std::string(comm_last_error()).find("7"), std::string::npos) << comm_last_error();
      expected = window();
      ASSERT_EQ(state(), expected);
    }
    append(next(step));
    ASSERT_EQ(call(next(step)), COMM_OK) << comm_last_error();
    ASSERT_EQ(totals, sums()) << "step " << step;
  }
  ASSERT_EQ(state(), expected);
}

// What the caller gives goes before what is kept, what it asks for comes besides; a failed call keeps the state.
TEST_P(StayingState, CallerTakesPart) {
  for (int step = 0; step < 3; ++step) {
    append(next(step));
    ASSERT_EQ(call(next(step)), COMM_OK) << comm_last_error();
  }
  Floats given = floats("past", {rows, past}, 100), x = floats("x", {rows, fresh}, -5),
         present = floats("present", {rows, all}, NAN);
  int64_t one = 1, id = 9;
  comm_tensor in[] = {x.view(), given.view(), {"id", COMM_I64, 1, &one, &id, sizeof(id)}}, out = present.view();
  ASSERT_EQ(comm_session_run(session.get(), 0, in, 3, &out, 1), COMM_INVALID_ARGUMENT);
  ASSERT_EQ(state(), expected);
  id = 2;
  expected = given.data;
  append(x.data);
  ASSERT_EQ(comm_session_run(session.get(), 0, in, 3, &out, 1), COMM_OK) << comm_last_error();
  EXPECT_EQ(present.data, expected);
  ASSERT_EQ(state(), expected);
  append(next(9));
  ASSERT_EQ(call(next(9)), COMM_OK) << comm_last_error();
  EXPECT_EQ(totals, sums());
  // Set and begun anew.
  comm_tensor t = given.view();
  ASSERT_EQ(comm_session_set_state(session.get(), &t), COMM_OK);
  expected = given.data;
  append(next(2));
  ASSERT_EQ(call(next(2)), COMM_OK) << comm_last_error();
  EXPECT_EQ(totals, sums());
  ASSERT_EQ(comm_session_reset_state(session.get()), COMM_OK);
  expected.clear();
  append(next(3));
  ASSERT_EQ(call(next(3)), COMM_OK) << comm_last_error();
  EXPECT_EQ(totals, sums());
}

// Tensors that lie where the ranks read and write are not passed.
TEST_P(StayingState, MemoryOfTheRanks) {
  auto memory = [&](int32_t outputs, int32_t port) {
    void *at = &port;
    EXPECT_EQ(comm_session_memory(session.get(), 0, outputs, port, &at), COMM_OK) << comm_last_error();
    return at;
  };
  EXPECT_EQ(memory(0, 0), nullptr); // past, while it is carried
  ASSERT_EQ(comm_session_keep_state(session.get(), COMM_STATE_NONE), COMM_OK);
  if (std::get<0>(GetParam()) == 1) {
    EXPECT_EQ(memory(0, 0), nullptr); // the caller's buffers are used
    return;
  }
  Floats given = floats("past", {rows, past}), x = floats("x", {rows, fresh}), present = floats("present", {rows, all}),
         total = floats("total", {rows, 1});
  int64_t one = 1, id = 2;
  comm_tensor in[] = {given.view(), x.view(), {"id", COMM_I64, 1, &one, &id, sizeof(id)}},
              out[] = {present.view(), total.view()};
  for (int32_t i = 0; i < 3; ++i) {
    std::memcpy(memory(0, i), in[i].data, in[i].bytes);
    in[i].data = memory(0, i);
  }
  for (int32_t i = 0; i < 2; ++i)
    out[i].data = memory(1, i);
  expected = given.data;
  append(x.data);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(comm_session_run(session.get(), 0, in, 3, out, 2), COMM_OK) << comm_last_error();
    EXPECT_EQ(std::memcmp(out[0].data, expected.data(), out[0].bytes), 0);
    EXPECT_EQ(std::memcmp(out[1].data, sums().data(), out[1].bytes), 0);
    EXPECT_EQ(stats().bytes_passed, 0);
  }
  void *at = nullptr;
  EXPECT_EQ(comm_session_memory(session.get(), 1, 0, 0, &at), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_memory(session.get(), 0, 0, 3, &at), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_memory(session.get(), 0, 1, -1, &at), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_memory(session.get(), 0, 0, 0, nullptr), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_memory(nullptr, 0, 0, 0, &at), COMM_INVALID_ARGUMENT);
}

std::string nameOf(const testing::TestParamInfo<StayingState::ParamType> &info) {
  const char *kinds[] = {"Grows", "ReadsTwice", "HeldWhole"};
  return std::to_string(std::get<0>(info.param)) +
         (std::get<1>(info.param) == COMM_RANKS_THREADS ? "Threads" : "Processes") +
         kinds[static_cast<int>(std::get<2>(info.param))] +
         (std::get<3>(info.param) == COMM_STATE_FIRST ? "First" : "Last");
}

INSTANTIATE_TEST_SUITE_P(All, StayingState,
                         testing::Combine(testing::Values(1, 2, 4),
                                          testing::Values(COMM_RANKS_PROCESSES, COMM_RANKS_THREADS),
                                          testing::Values(Kind::Grows, Kind::ReadsTwice, Kind::HeldWhole),
                                          testing::Values(COMM_STATE_FIRST, COMM_STATE_LAST)),
                         nameOf);
} // namespace
