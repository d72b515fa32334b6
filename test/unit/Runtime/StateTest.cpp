//===- StateTest.cpp - state that stays in the session --------------------===//
// The decoder appends x to its past and sums each row: entry 0 takes 3 columns on no past, entry 1 one column on 3.
//===----------------------------------------------------------------------===//
#include "RuntimeTest.h"
#include <cmath>
#include <tuple>

using namespace comm::test;

namespace {
using Row = std::vector<float>;

class State : public testing::TestWithParam<std::tuple<int, comm_ranks_as>> {
protected:
  void SetUp() override {
    exe = load(saveExecutable(makeDecoder(std::get<0>(GetParam())), folder / "d.commx"));
    comm_session_options o = defaults();
    o.ranks_as = std::get<1>(GetParam());
    session = open(exe, o);
    ASSERT_TRUE(session);
  }
  /// Sums of one call without a past; empty when it failed.
  Row call(int32_t entry, const Row &values) {
    Floats x = floats("x", {2, static_cast<int64_t>(values.size()) / 2}), total = floats("total", {2, 1}, NAN);
    x.data = values;
    comm_tensor in = x.view(), out = total.view();
    return comm_session_run(session.get(), entry, &in, 1, &out, 1) == COMM_OK ? total.data : Row();
  }
  /// The state as it is; empty when there is none.
  Row state(std::vector<int64_t> *dims = nullptr) {
    comm_tensor t = {};
    if (comm_session_get_state(session.get(), "past", &t) != COMM_OK)
      return {};
    Row values(t.bytes / sizeof(float));
    t.data = values.data();
    EXPECT_EQ(comm_session_get_state(session.get(), "past", &t), COMM_OK) << comm_last_error();
    EXPECT_STREQ(t.name, "past");
    EXPECT_EQ(t.dtype, COMM_F32);
    if (dims)
      dims->assign(t.dims, t.dims + t.rank);
    return values;
  }
  void mode(comm_state_mode m) { ASSERT_EQ(comm_session_keep_state(session.get(), m), COMM_OK) << comm_last_error(); }
  TemporaryFolder folder;
  ExecutableHandle exe;
  SessionHandle session;
};

// The window slides: of 4 columns the last 3 go on.
TEST_P(State, LastPositions) {
  mode(COMM_STATE_LAST);
  EXPECT_EQ(call(0, {1, 2, 3, 4, 5, 6}), (Row{6, 15}));
  EXPECT_EQ(call(1, {7, 8}), (Row{13, 23}));
  std::vector<int64_t> dims;
  EXPECT_EQ(state(&dims), (Row{1, 2, 3, 7, 4, 5, 6, 8}));
  EXPECT_EQ(dims, (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(call(1, {9, 10}), (Row{21, 29}));
  EXPECT_EQ(state(), (Row{2, 3, 7, 9, 5, 6, 8, 10}));
}

TEST_P(State, FirstPositions) {
  mode(COMM_STATE_FIRST);
  EXPECT_EQ(call(0, {1, 2, 3, 4, 5, 6}), (Row{6, 15}));
  EXPECT_EQ(call(1, {7, 8}), (Row{13, 23}));
  EXPECT_EQ(call(1, {9, 10}), (Row{15, 25}));
}

// What is not there yet is zeros; what is smaller than the input gets zeros on its open side.
TEST_P(State, MissingPositionsAreZero) {
  for (auto m : {COMM_STATE_LAST, COMM_STATE_FIRST}) {
    mode(m);
    EXPECT_EQ(call(1, {7, 8}), (Row{7, 8}));
    EXPECT_EQ(state(), (Row{0, 0, 0, 7, 0, 0, 0, 8}));
    Floats given = floats("past", {2, 2}, 1);
    comm_tensor t = given.view();
    ASSERT_EQ(comm_session_set_state(session.get(), &t), COMM_OK) << comm_last_error();
    EXPECT_EQ(state(), (Row{1, 2, 3, 4}));
    EXPECT_EQ(call(1, {7, 8}), (Row{10, 15}));
    EXPECT_EQ(state(), m == COMM_STATE_LAST ? (Row{0, 1, 2, 7, 0, 3, 4, 8}) : (Row{1, 2, 0, 7, 3, 4, 0, 8}));
  }
}

TEST_P(State, ExactRefusesAnotherSizeAndKeepsTheState) {
  mode(COMM_STATE_EXACT);
  EXPECT_EQ(call(0, {1, 2, 3, 4, 5, 6}), (Row{6, 15}));
  EXPECT_EQ(call(1, {7, 8}), (Row{13, 23}));
  EXPECT_EQ(call(1, {7, 8}), Row());
  EXPECT_EQ(
      comm_last_error(),
      std::string("state 'past' is f32[2, 4], entry 'decode' takes f32[2, 3]: keep the first or the last positions "
                  "(comm_session_keep_state), give the input, or reset the state"));
  EXPECT_EQ(state(), (Row{1, 2, 3, 7, 4, 5, 6, 8}));
  ASSERT_EQ(comm_session_reset_state(session.get()), COMM_OK);
  EXPECT_EQ(state(), Row());
  EXPECT_EQ(call(1, {7, 8}), (Row{7, 8}));
}

// Inputs that are given go before the state, outputs that are given get it too.
TEST_P(State, CallerMayTakePart) {
  mode(COMM_STATE_EXACT);
  EXPECT_EQ(call(0, {1, 2, 3, 4, 5, 6}), (Row{6, 15}));
  Floats past = floats("past", {2, 3}, 10), x = floats("x", {2, 1}, 7), present = floats("present", {2, 4}, NAN);
  comm_tensor in[] = {past.view(), x.view()}, out = present.view();
  ASSERT_EQ(comm_session_run(session.get(), 1, in, 2, &out, 1), COMM_OK) << comm_last_error();
  Row grown = {10, 11, 12, 7, 13, 14, 15, 8};
  EXPECT_EQ(present.data, grown);
  EXPECT_EQ(state(), grown);
  // Not asked for, with the input given.
  ASSERT_EQ(comm_session_run(session.get(), 1, in, 2, nullptr, 0), COMM_OK) << comm_last_error();
  EXPECT_EQ(state(), grown);
  // A call that is refused changes nothing.
  ASSERT_EQ(comm_session_run(session.get(), 1, in, 1, nullptr, 0), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(state(), grown);
}

TEST_P(State, NotKeptUnlessAsked) {
  EXPECT_EQ(call(0, {1, 2, 3, 4, 5, 6}), Row());
  EXPECT_EQ(comm_last_error(), std::string("missing inputs: 'past' f32[2, 0]"));
  Floats given = floats("past", {2, 2});
  comm_tensor t = given.view();
  EXPECT_EQ(comm_session_set_state(session.get(), &t), COMM_INVALID_ARGUMENT);
  mode(COMM_STATE_LAST);
  EXPECT_EQ(call(0, {1, 2, 3, 4, 5, 6}), (Row{6, 15}));
  mode(COMM_STATE_NONE);
  EXPECT_EQ(state(), Row());
  EXPECT_EQ(call(1, {7, 8}), Row());
}

INSTANTIATE_TEST_SUITE_P(All, State,
                         testing::Combine(testing::Values(1, 2),
                                          testing::Values(COMM_RANKS_PROCESSES, COMM_RANKS_THREADS)),
                         [](const auto &info) {
                           return std::to_string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) == COMM_RANKS_THREADS ? "Threads" : "Processes");
                         });

TEST(StateMisuse, Refused) {
  TemporaryFolder folder;
  ExecutableHandle exe = load(saveExecutable(makeDecoder(1), folder / "d.commx"));
  SessionHandle s = open(exe);
  ASSERT_TRUE(s);
  EXPECT_EQ(comm_session_keep_state(nullptr, COMM_STATE_LAST), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_reset_state(nullptr), COMM_INVALID_ARGUMENT);
  ASSERT_EQ(comm_session_keep_state(s.get(), COMM_STATE_LAST), COMM_OK);
  comm_tensor t = {};
  EXPECT_EQ(comm_session_get_state(s.get(), "past", &t), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_get_state(s.get(), nullptr, &t), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_get_state(s.get(), "past", nullptr), COMM_INVALID_ARGUMENT);
  EXPECT_EQ(comm_session_set_state(s.get(), nullptr), COMM_INVALID_ARGUMENT);
  Floats good = floats("past", {2, 2}, 1);
  auto refused = [&](comm_tensor bad, const char *why) {
    EXPECT_EQ(comm_session_set_state(s.get(), &bad), COMM_INVALID_ARGUMENT);
    EXPECT_NE(std::string(comm_last_error()).find(why), std::string::npos) << comm_last_error();
  };
  comm_tensor bad = good.view();
  bad.name = "x";
  refused(bad, "no entry has a state 'x'");
  bad = good.view();
  bad.dtype = COMM_I32;
  refused(bad, "expected the type and rank of f32[2, 0]");
  bad = good.view();
  bad.rank = 1;
  refused(bad, "expected the type and rank");
  bad = good.view();
  bad.bytes = 12;
  refused(bad, "needs 16 bytes, the buffer has 12");
  int64_t huge[] = {int64_t(1) << 40, int64_t(1) << 40};
  bad = good.view();
  bad.dims = huge;
  refused(bad, "its shape is no shape");
  comm_tensor fine = good.view();
  ASSERT_EQ(comm_session_set_state(s.get(), &fine), COMM_OK) << comm_last_error();
  char small[4];
  t.data = small;
  t.bytes = sizeof(small);
  EXPECT_EQ(comm_session_get_state(s.get(), "past", &t), COMM_INVALID_ARGUMENT);
  EXPECT_NE(std::string(comm_last_error()).find("16 bytes, the buffer has 4"), std::string::npos);
}
} // namespace
