//===- StateUseTest.cpp - what a program does with its states -------------===//
#include "runtime/Core/StateUse.h"
#include "test/unit/Support/ProgramBuilder.h"
#include <gtest/gtest.h>

using namespace comm::test;
using comm::rt::residentStates;
using comm::rt::statesOf;

namespace {
/// The command that need not copy in the decoder, after a change; -1: there is none.
template <class Change> int32_t copyOf(const Change &change) {
  Executable exe = makeDecoder(2);
  Entry &decode = exe.entries[1];
  change(decode.split);
  auto uses = statesOf(decode, decode.split);
  EXPECT_EQ(uses.size(), 1u);
  EXPECT_EQ(uses[0].name, "past");
  return uses[0].growth.copy;
}

void setInts(Command &c, const char *name, std::vector<int64_t> values) { c.attrs[name] = std::move(values); }

// decode: past [2, 3] and x [2, 1] become present [2, 4]; a rank has one row.
TEST(StateUse, FindsWhatOnlyAppends) {
  EXPECT_EQ(copyOf([](Program &) {}), 0);
  Executable exe = makeDecoder(1); // two rows
  EXPECT_EQ(statesOf(exe.entries[1], exe.entries[1].split)[0].growth.copy, 0);
  EXPECT_EQ(statesOf(exe.entries[1], exe.entries[1].split)[0].growth.axis, 1u);
  EXPECT_EQ(statesOf(exe.entries[0], exe.entries[0].split)[0].growth.copy, -1); // nothing to copy
}

// A rank of one row: any command may write the new position itself.
TEST(StateUse, NewPositionsMayComeFromAnywhere) {
  auto filling = [](Program &p, int64_t offset, Shape shape) {
    const Value &present = p.values[p.outputs[0].value];
    p.values.push_back({Storage::Output, present.index, offset, DType::F32, std::move(shape), ""});
    p.commands[1] = {"fill", {}, {static_cast<int32_t>(p.values.size()) - 1}, {{"value", 1.0}}, ""};
  };
  EXPECT_EQ(copyOf([&](Program &p) { filling(p, 12, {1, 1}); }), 0);
  EXPECT_EQ(copyOf([&](Program &p) { filling(p, 8, {1, 1}); }), -1); // over the past
  EXPECT_EQ(copyOf([&](Program &p) { filling(p, 8, {1, 2}); }), -1); // and in part
}

TEST(StateUse, OtherUsesAreLeftAlone) {
  EXPECT_EQ(copyOf([](Program &p) { p.commands[0].attrs["out_offset"] = int64_t(1); }), -1); // further behind
  EXPECT_EQ(copyOf([](Program &p) { p.commands[1].attrs["out_offset"] = int64_t(2); }), -1); // over the past
  EXPECT_EQ(copyOf([](Program &p) { setInts(p.commands[0], "dims", {1, 2}); }), -1);         // a part of it
  EXPECT_EQ(copyOf([](Program &p) { setInts(p.commands[0], "in_strides", {3, 0}); }), -1);   // one element
  EXPECT_EQ(copyOf([](Program &p) { p.commands.push_back(p.commands[0]); }), -1);            // twice
  EXPECT_EQ(copyOf([](Program &p) { p.commands[2].inputs[0] = p.inputs[0].value; }), -1);    // read elsewhere
  EXPECT_EQ(copyOf([](Program &p) { p.commands[1] = {"fill", {}, p.commands[1].outputs, {}, ""}; }), -1); // all of it
  EXPECT_EQ(copyOf([](Program &p) { p.outputs.push_back({"same", DType::F32, {2, 3}, {}, p.inputs[0].value}); }), -1);
  EXPECT_EQ(copyOf([](Program &p) { setInts(p.commands[0], "dims", {1, INT64_MAX}); }), -1);
  EXPECT_EQ(copyOf([](Program &p) { setInts(p.commands[1], "out_strides", {INT64_MAX, -1}); }), -1);
}

TEST(StateUse, PartsStayWhereRanksHoldThemAlike) {
  Executable exe = makeDecoder(2);
  EXPECT_EQ(residentStates(exe, false), (std::map<std::string, size_t>{{"past", 16}})); // [1, 4]
  EXPECT_EQ(residentStates(exe, true), (std::map<std::string, size_t>{{"past", 32}}));
  Executable other = exe;
  other.entries[1].split.inputs[0].layout = {}; // whole before, split after
  EXPECT_TRUE(residentStates(other, false).empty());
  other = exe;
  for (Entry &e : other.entries) // split in the dimension that grows
    for (Port *port : {&e.split.inputs[0], &e.split.outputs[0]})
      port->layout = splitOn(2, 1, {"tp"});
  EXPECT_TRUE(residentStates(other, false).empty());
  other = exe;
  other.entries[1].split.grid.axes[0].name = "dp"; // entries on other grids
  EXPECT_TRUE(residentStates(other, false).empty());
}

// Three rows on two ranks: one of them fills up with a row of its own.
TEST(StateUse, FilledPartsDoNotStay) {
  Executable exe = makeDecoder(2);
  for (Entry &e : exe.entries)
    for (Port *port : {&e.split.inputs[0], &e.split.outputs[0]})
      port->shape[0] = 3;
  EXPECT_TRUE(residentStates(exe, false).empty());
}
} // namespace
