//===- ScheduleTest.cpp - what the checker of schedules accepts and refuses ===//
#include "comm/Proof/Schedule.h"
#include "../Support/ProgramBuilder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace comm;
using namespace comm::test;
using proof::Rule;

namespace {
std::vector<proof::Finding> check(const std::vector<const Program *> &ranks) {
  proof::Facts facts;
  return proof::checkSchedule(ranks, facts);
}

/// All of `words` stand in one finding of this rule.
void expectFinding(const std::vector<proof::Finding> &found, Rule rule, const std::vector<std::string> &words) {
  std::string all;
  for (const proof::Finding &f : found) {
    all += std::string(proof::ruleName(f.rule)) + ": " + f.text + "\n";
    if (f.rule == rule && std::all_of(words.begin(), words.end(),
                                      [&](const std::string &w) { return f.text.find(w) != std::string::npos; }))
      return;
  }
  ADD_FAILURE() << "no finding '" << proof::ruleName(rule) << "' with " << testing::PrintToString(words) << " in:\n"
                << all;
}

Attrs sum() { return {{"reduce", std::string("sum")}}; }

/// x -> partial -> all_reduce -> y with other work beside it: values x 0, a 1, sum 2, b 3, y 4, z 5.
ProgramBuilder overlapped() {
  ProgramBuilder b({{"tp", 2}});
  int32_t a = b.comm({4}), s = b.comm({4}), side = b.arena({4});
  int32_t x = b.input("x", {4}), y = b.output("y", {4}), z = b.output("z", {4});
  b.copy(x, a);
  int64_t token = b.start("all_reduce", a, s, {"tp"}, sum());
  b.copy(x, side);
  b.copy(side, z);
  b.wait(token);
  b.copy(s, y);
  b.program.commands[0].label = "first";
  b.program.commands[1].label = "reduce";
  return b;
}

/// A 2x2 grid: a reduction over rows and one over columns.
Program crossed() {
  ProgramBuilder b({{"dp", 2}, {"tp", 2}});
  int32_t a = b.comm({4}), s = b.comm({4}), t = b.comm({4}), u = b.comm({4});
  int32_t x = b.input("x", {4}), y = b.output("y", {4}), z = b.output("z", {4});
  b.copy(x, a);
  b.copy(x, t);
  b.collective("all_reduce", a, s, {"tp"}, sum());
  b.collective("all_reduce", t, u, {"dp"}, sum());
  b.copy(s, y);
  b.copy(u, z);
  b.program.commands[2].label = "rows";
  b.program.commands[3].label = "columns";
  return b.program;
}
} // namespace

TEST(Schedule, SoundProgramsPass) {
  for (bool async : {false, true})
    for (const Entry &e : makeRowParallelMatmul(3, 3, 8, 5, async).entries)
      for (const Program *p : {&e.split, &e.reference}) {
        proof::Facts facts;
        EXPECT_THAT(proof::checkSchedule(*p, facts), testing::IsEmpty());
      }
  for (const Entry &e : makeDecoder(2).entries) {
    proof::Facts facts;
    EXPECT_THAT(proof::checkSchedule(e.split, facts), testing::IsEmpty());
  }
  Program p = overlapped().program;
  proof::Facts facts;
  std::vector<int64_t> order;
  EXPECT_THAT(proof::checkSchedule(p, facts, &order), testing::IsEmpty());
  EXPECT_EQ(facts.ranks, 2);
  EXPECT_EQ(facts.collectives, 1);
  EXPECT_EQ(facts.started, 1);
  EXPECT_EQ(facts.peakBytes, 48); // a, s and side
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 6, 2, 3, 4, 5}));
  EXPECT_EQ(
      proof::factsText(facts, p.arenaBytes),
      "2 ranks: 1 collective match (1 started ahead), no deadlock (7 edges, no buffering), no race (10 accesses), at "
      "most 48 bytes of 192 bytes alive");
}

TEST(Schedule, EveryRankForItselfAgreesWithAllAlike) {
  Program p = crossed(), q = p;
  EXPECT_THAT(check({&p, &p, &p, &p}), testing::IsEmpty());
  EXPECT_THAT(check({&p, &q, &p, &q}), testing::IsEmpty());
}

TEST(Schedule, TwoCommunicatorsInOtherOrderDeadlock) {
  Program p = crossed(), q = p;
  std::swap(q.commands[2], q.commands[3]);
  EXPECT_THAT(check({&p, &p, &p, &q}), testing::IsEmpty()); // nobody waits for rank 3 in a circle
  auto found = check({&p, &q, &q, &p});
  for (const char *rank :
       {"rank 0 reaches all_reduce #1 of 'columns' (command 3) only after all_reduce #0 of 'rows' (command 2)",
        "rank 1 reaches all_reduce #0 of 'rows' (command 3) only after all_reduce #1 of 'columns' (command 2)"})
    expectFinding(found, Rule::Deadlock, {"deadlock: rank", rank});
  for (const Command *c : {&p.commands[2], &p.commands[3]}) // the same two ranks in both groups
    ASSERT_EQ(exe::collectiveOf(*c), "all_reduce");
  for (Program *program : {&p, &q})
    for (size_t i : {2, 3})
      program->commands[i].attrs["axes"] = std::vector<std::string>{"tp"};
  expectFinding(check({&p, &p, &p, &q}), Rule::Deadlock, {"rank 3 reaches", "rank 2 reaches"});
  EXPECT_THAT(check({&q, &q, &q, &q}), testing::IsEmpty()); // any order, if all have it
}

TEST(Schedule, MembersMustIssueTheSame) {
  Program p = crossed();
  auto mutant = [&](auto change) {
    Program q = p;
    change(q);
    return check({&p, &p, &q, &p});
  };
  expectFinding(mutant([](Program &q) { q.commands.erase(q.commands.begin() + 2); }), Rule::Match,
                {"rank 2", "rank 3 issues all_reduce #0 of 'rows' (command 2) over ranks [2, 3]", "never issues it"});
  expectFinding(mutant([](Program &q) { q.commands[2].attrs["axes"] = std::vector<std::string>{"dp"}; }), Rule::Match,
                {"all_reduce #0 of 'rows' (command 2) over ranks [0, 2]", "rank 0 issues", "over ranks [0, 1]"});
  expectFinding(mutant([](Program &q) { q.commands[2].attrs["reduce"] = std::string("max"); }), Rule::Match,
                {"'reduce' 'max'", "'reduce' 'sum'"});
  expectFinding(mutant([](Program &q) { q.commands[3].attrs["plan_id"] = int64_t(0); }), Rule::Match,
                {"rank 2: number 0 of the plan is issued twice, by all_reduce #0 of 'rows' (command 2) and by"});
  expectFinding(mutant([](Program &q) {
                  for (int32_t v : {q.commands[2].inputs[0], q.commands[2].outputs[0]})
                    q.values[static_cast<size_t>(v)].shape = {2};
                }),
                Rule::Match, {"rank 2 issues", "f32[2] at 0 -> f32[2] at 64", "f32[4] at 0"});
  expectFinding(mutant([](Program &q) { q.commands.insert(q.commands.begin() + 3, q.commands[2]); }), Rule::Match,
                {"issued twice, by all_reduce #0 of 'rows' (command 2) and by all_reduce #0 of 'rows' (command 3)"});
}

TEST(Schedule, TokensAreWaitedForOnce) {
  Program p = overlapped().program, q = p;
  q.commands.erase(q.commands.begin() + 4);
  expectFinding(check({&q, &q}), Rule::Token,
                {"every rank", "all_reduce #0 of 'reduce' (command 1)", "nothing waits for it"});
  q = p;
  q.commands.push_back(q.commands[4]);
  expectFinding(check({&p, &q}), Rule::Token, {"rank 1", "command 6 'wait'", "command 4 'wait' has waited already"});
}

TEST(Schedule, NothingTouchesACollectiveUnderWay) {
  Program p = overlapped().program, q = p;
  std::swap(q.commands[4], q.commands[5]); // reads the sum before its wait
  expectFinding(check({&q, &q}), Rule::Race,
                {"command 4 'copy' reads bytes [64, 80) of the arena", "all_reduce #0 of 'reduce' (command 1)",
                 "still writing", "the wait for token 0 must come before"});
  q = p;
  q.commands[2].outputs = q.commands[0].outputs; // writes what peers read
  q.commands[3].inputs = q.commands[0].outputs;
  expectFinding(check({&p, &q}), Rule::Race,
                {"rank 1: command 2 'copy' writes bytes [0, 16)", "and its peers still read them"});
}

TEST(Schedule, ResultsDoNotLieOnOperands) {
  ProgramBuilder b({});
  int32_t x = b.input("x", {4}), y = b.output("y", {4}), a = b.arena({4}), c = b.arena({4});
  b.copy(x, a);
  b.copy(a, c);
  b.copy(c, y);
  b.program.values[static_cast<size_t>(c)].offset = 8;
  expectFinding(check({&b.program}), Rule::Race,
                {"command 1 'copy' writes bytes [8, 24)", "over its own operand value"});
}

TEST(Schedule, OnlyWrittenBytesAreRead) {
  Program p = overlapped().program;
  p.commands.erase(p.commands.begin());
  expectFinding(check({&p, &p}), Rule::Unwritten, {"command 0 'start all_reduce' of 'reduce' reads bytes [0, 16)"});
}

TEST(Schedule, ABufferMayNotBeGivenAwayEarly) {
  ProgramBuilder b({});
  int32_t x = b.input("x", {4}), y = b.output("y", {4}), z = b.output("z", {4}), a = b.arena({4}), c = b.arena({4});
  b.copy(x, a);
  b.copy(x, c);
  b.copy(c, z);
  b.copy(a, y);
  Program p = b.program;
  proof::Facts facts;
  EXPECT_THAT(proof::checkSchedule(p, facts), testing::IsEmpty());
  p.values[static_cast<size_t>(c)].offset = p.values[static_cast<size_t>(a)].offset;
  expectFinding(check({&p}), Rule::Reuse,
                {"command 3 'copy' reads bytes [0, 16)", "command 1 'copy' has overwritten them with value"});
  std::swap(p.commands[1], p.commands[3]); // now the first buffer is done before the second begins
  std::swap(p.commands[2], p.commands[3]);
  EXPECT_THAT(check({&p}), testing::IsEmpty());
}

TEST(Schedule, PartsMustMakeAWhole) {
  // y [2, 6] = concat(x [2, 4], w [2, 2]) on the last dimension.
  ProgramBuilder b({});
  int32_t x = b.input("x", {2, 4}), w = b.input("w", {2, 2}), y = b.output("y", {2, 6});
  auto part = [&](int32_t from, int64_t columns, int64_t offset) {
    b.command("copy", {from}, {y},
              {{"dims", std::vector<int64_t>{2, columns}},
               {"in_strides", std::vector<int64_t>{columns, 1}},
               {"out_strides", std::vector<int64_t>{6, 1}},
               {"out_offset", offset}});
  };
  part(x, 4, 0);
  part(w, 2, 4);
  EXPECT_THAT(check({&b.program}), testing::IsEmpty());
  Program p = b.program;
  p.commands.pop_back();
  expectFinding(check({&p}), Rule::Unwritten, {"the storing of the outputs", "output 'y'", "a part only"});
  p = b.program;
  p.commands[1].attrs["out_offset"] = int64_t(3);
  expectFinding(check({&p}), Rule::Unwritten, {"a part only"});
  p.commands[1].attrs["out_offset"] = int64_t(5);
  expectFinding(check({&p}), Rule::Memory, {"command 1 'copy' writes outside of its result"});
  p = b.program;
  p.commands.push_back(p.commands[0]);
  expectFinding(check({&p}), Rule::Lost, {"command 2 'copy' overwrites", "what command 0 'copy' wrote"});
  // A fill behind the part that it should lie under.
  p = b.program;
  p.commands[1] = {"fill", {}, {y}, {{"value", 0.0}}, ""};
  expectFinding(check({&p}), Rule::Lost, {"command 1 'fill' overwrites", "what command 0 'copy' wrote"});
  std::swap(p.commands[0], p.commands[1]);
  EXPECT_THAT(check({&p}), testing::IsEmpty());
}

TEST(Schedule, AThirdBatchNeedsBuffersOfItsOwn) {
  // Dispatch and combine of batches in flight at the same time.
  ProgramBuilder b({{"ep", 2}});
  int32_t send[3], got[3], out[3], x = b.input("x", {2, 4});
  for (int i : {0, 1, 2}) {
    send[i] = b.comm({2, 4});
    got[i] = b.comm({2, 4});
    out[i] = b.output("y" + std::to_string(i), {2, 4});
  }
  std::vector<int64_t> tokens;
  for (int i : {0, 1, 2}) {
    b.copy(x, send[i]);
    tokens.push_back(b.start("all_to_all", send[i], got[i], {"ep"}));
  }
  for (int i : {0, 1, 2}) {
    b.wait(tokens[static_cast<size_t>(i)]);
    b.copy(got[i], out[i]);
  }
  Program p = b.program;
  EXPECT_THAT(check({&p, &p}), testing::IsEmpty());
  p.values[static_cast<size_t>(got[2])].offset = p.values[static_cast<size_t>(got[0])].offset;
  expectFinding(check({&p, &p}), Rule::Race,
                {"command 5 'start all_to_all' writes", "all_to_all #0 (command 1) is still writing"});
  p = b.program;
  p.values[static_cast<size_t>(send[2])].offset = p.values[static_cast<size_t>(send[0])].offset;
  expectFinding(check({&p, &p}), Rule::Race,
                {"command 4 'copy' writes", "all_to_all #0 (command 1) and its peers still read"});
}

TEST(Schedule, SendersAndReceiversAreOnePermutation) {
  ProgramBuilder b({{"pp", 3}});
  int32_t a = b.comm({4}), c = b.comm({4}), x = b.input("x", {4}), y = b.output("y", {4});
  b.copy(x, a);
  b.collective("permute", a, c, {"pp"}, {{"shift", int64_t(1)}});
  b.copy(c, y);
  Program p = b.program, q = p;
  EXPECT_THAT(check({&p, &p, &p}), testing::IsEmpty());
  q.commands[1].attrs["shift"] = int64_t(2);
  expectFinding(check({&p, &p, &q}), Rule::Match,
                {"rank 0 issues permute #0 (command 1)", "'shift' 1", "rank 2", "'shift' 2"});
}

TEST(Schedule, DustDoesNotKeepTheCheckBusy) {
  ProgramBuilder b({});
  int32_t x = b.input("x", {1}), dust = b.arena({20000}), y = b.output("y", {20000});
  for (int64_t i = 0; i < 20000; ++i) {
    Value grain = b.program.values[static_cast<size_t>(dust)];
    grain.shape = {1};
    grain.offset += 4 * i;
    b.copy(x, b.value(grain));
  }
  for (int i = 0; i < 1000; ++i)
    b.command("matmul", {dust, dust}, {});
  b.copy(dust, y);
  expectFinding(check({&b.program}), Rule::Form, {"cannot be checked", "too many pieces"});
}

TEST(Schedule, CollectivesStayInTheirPartOfTheArena) {
  Program p = crossed(), q = p;
  q.commBytes = 64;
  expectFinding(check({&q, &q, &q, &q}), Rule::Memory, {"communication part of the arena, which has 64 bytes"});
  q = p;
  q.values[1].offset += 32; // the sum at another place than on the other ranks
  q.arenaBytes = p.arenaBytes;
  expectFinding(check({&p, &q, &p, &p}), Rule::Match, {"-> f32[4] at 64", "-> f32[4] at 96"});
  q = p;
  q.values[3].offset = q.arenaBytes - 8;
  expectFinding(check({&q, &q, &q, &q}), Rule::Memory, {"ends at byte", "of the arena"});
}
