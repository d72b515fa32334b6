//===- HostileTest.cpp - odd programs end with a sentence -----------------===//
#include "SimTest.h"

namespace comm::test {
namespace {

std::string errorOf(const Program &program, sim::SimOptions options = {}) {
  sim::SimResult result;
  std::string error;
  EXPECT_FALSE(sim::simulate(program, AttrCosts(program), options, result, error));
  return error;
}

TEST(SimHostile, NothingAtAll) {
  Program empty;
  sim::SimResult r = simulateOk(empty);
  EXPECT_EQ(r.stepUs, 0);
  EXPECT_EQ(r.ranks, 1);
  EXPECT_EQ(r.critical().collectives.size(), 0u);
}

TEST(SimHostile, TokensAndOperands) {
  SimBuilder b;
  b.wait(7);
  EXPECT_NE(errorOf(b.program).find("not in flight"), std::string::npos);
  SimBuilder c;
  c.command("kernel", {99}, {0});
  EXPECT_NE(errorOf(c.program).find("operand 99"), std::string::npos);
  SimBuilder d;
  d.command("start", {d.x}, {d.y}, {{"collective", std::string("nonsense")}, {"token", int64_t(1)}});
  EXPECT_NE(errorOf(d.program).find("no known collective"), std::string::npos);
  SimBuilder e;
  e.begin(1);
  e.program.commands.back().attrs["token"] = std::string("zero");
  EXPECT_NE(errorOf(e.program).find("token"), std::string::npos);
  SimBuilder f;
  f.command("all_reduce", {}, {});
  EXPECT_NE(errorOf(f.program).find("without operands"), std::string::npos);
}

TEST(SimHostile, AxesAndGrids) {
  SimBuilder a;
  a.sync(1, {"tp", "tp"});
  EXPECT_NE(errorOf(a.program).find("twice"), std::string::npos);
  SimBuilder b;
  b.sync(1, {"up"});
  EXPECT_NE(errorOf(b.program).find("'up'"), std::string::npos);
  SimBuilder c({{"tp", 0}});
  EXPECT_NE(errorOf(c.program).find("without ranks"), std::string::npos);
  SimBuilder d({{"tp", 1 << 20}, {"dp", int64_t(1) << 60}});
  EXPECT_NE(errorOf(d.program).find("more than"), std::string::npos);
}

TEST(SimHostile, Options) {
  SimBuilder b;
  sim::SimOptions slow, jitter, nodes;
  slow.slowRanks = {{2, 1.5}};
  jitter.jitter = -1;
  nodes.ranksPerNode = 0;
  EXPECT_NE(errorOf(b.program, slow).find("one of the 2 ranks"), std::string::npos);
  EXPECT_NE(errorOf(b.program, jitter).find("jitter"), std::string::npos);
  EXPECT_NE(errorOf(b.program, nodes).find("node"), std::string::npos);
}

// A collective that is never waited for still ends; the step is over when compute is.
TEST(SimHostile, StartedAndForgotten) {
  SimBuilder b;
  b.begin(5);
  b.compute(1);
  sim::SimResult r = simulateOk(b.program);
  EXPECT_DOUBLE_EQ(r.stepUs, 1);
  EXPECT_DOUBLE_EQ(r.critical().hiddenUs, 5);
}

// Overlapping, oversized or negative views must not upset the account of memory.
TEST(SimHostile, MemoryOfOddPrograms) {
  Executable exe;
  Program p;
  EXPECT_EQ(sim::memoryUse(exe, p).total(), 0);
  p.values.push_back({Storage::Arena, 0, -64, DType::F32, {8}, ""});
  p.values.push_back({Storage::Arena, 0, 0, DType::F32, {int64_t(1) << 62}, ""});
  p.values.push_back({Storage::Weight, 12, 0, DType::F32, {8}, ""});
  p.commands.push_back({"kernel", {0, 2}, {1}, {}, ""});
  EXPECT_GE(sim::memoryUse(exe, p).live, 0);
}

TEST(SimMemory, LiveBytesBetweenWriteAndLastUse) {
  Executable exe;
  ProgramBuilder b({});
  int32_t a = b.arena({16}), c = b.arena({16}), d = b.arena({16});
  b.command("kernel", {}, {a}); // a lives to 1
  b.command("kernel", {a}, {c});
  b.command("kernel", {c}, {d}); // a is dead here
  EXPECT_EQ(sim::memoryUse(exe, b.program).live, 128);
  EXPECT_EQ(sim::memoryUse(exe, b.program).arena, 192);
}

} // namespace
} // namespace comm::test
