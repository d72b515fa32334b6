//===- CertificateTest.cpp - a proof is compared, not believed ------------===//
#include "comm/Proof/Certificate.h"
#include "../Support/ProgramBuilder.h"
#include <functional>
#include <gtest/gtest.h>

using namespace comm;
using namespace comm::test;

namespace {
Executable proved() {
  Executable exe = makeRowParallelMatmul(2, 3, 8, 5, true);
  EXPECT_TRUE(proof::certifyAll(exe).empty());
  return exe;
}

void expectRefused(const std::function<void(Entry &)> &change, const std::string &part) {
  Executable exe = proved();
  change(exe.entries[0]);
  std::string wrong = proof::verifyAll(exe);
  EXPECT_NE(wrong.find(part), std::string::npos) << "expected '" << part << "', got '" << wrong << "'";
  EXPECT_NE(wrong.find("entry 'main'"), std::string::npos) << wrong;
}
} // namespace

TEST(Certificate, SurvivesTheFile) {
  Executable exe = proved(), back;
  EXPECT_EQ(proof::verifyAll(exe), "");
  EXPECT_EQ(exe.entries[0].certificate.order, (std::vector<int64_t>{0, 2, 4, 1, 2, 2}));
  EXPECT_EQ(exe.entries[0].certificate.matching, (std::vector<int64_t>{0, 1, 2, 1, 2}));
  std::vector<uint8_t> bytes;
  std::string error;
  ASSERT_TRUE(writeExecutable(exe, bytes, error)) << error;
  ASSERT_TRUE(readExecutable(bytes.data(), bytes.size(), back, error)) << error;
  EXPECT_EQ(proof::verifyAll(back), "");
  EXPECT_EQ(back.entries[0].certificate.order, exe.entries[0].certificate.order);
}

TEST(Certificate, EveryPartIsChecked) {
  auto certificate = [](auto change) { return [=](Entry &e) { change(e.certificate); }; };
  expectRefused(certificate([](exe::Certificate &c) { c = {}; }), "carries no certificate");
  expectRefused(certificate([](exe::Certificate &c) { c.version = 9; }), "version 9");
  expectRefused(certificate([](exe::Certificate &c) { c.order = {0, 4}; }), "no order of the 5 steps");
  expectRefused(certificate([](exe::Certificate &c) { c.order = {0, 2, 4, 1, 2, 1, 2, 1}; }), "no order");
  expectRefused(certificate([](exe::Certificate &c) { c.order = {0, INT64_MAX}; }), "no order");
  expectRefused(certificate([](exe::Certificate &c) { c.order = {-1, 5}; }), "no order");
  expectRefused(certificate([](exe::Certificate &c) { c.order.pop_back(); }), "no order");
  expectRefused(certificate([](exe::Certificate &c) { c.order = {0, 5}; }),
                "command 2 'wait' before all_reduce #0 (command 1), which must come first");
  expectRefused(certificate([](exe::Certificate &c) { c.matching[2] = 3; }), "something else about all_reduce #0");
  expectRefused(certificate([](exe::Certificate &c) { c.matching.clear(); }), "matching table has 0 numbers");
  expectRefused(certificate([](exe::Certificate &c) { c.peakBytes = 1; }), "1 bytes are alive at one time, it is");
}

TEST(Certificate, BelongsToItsProgram) {
  expectRefused([](Entry &e) { e.split.commands[0].outputs = e.split.commands[3].outputs; }, "reads bytes");
  expectRefused([](Entry &e) { std::swap(e.split.commands[2], e.split.commands[3]); }, "something else about");
  expectRefused(
      [](Entry &e) {
        e.split.commands.insert(e.split.commands.begin(),
                                {"fill", {}, {e.split.commands[3].outputs}, {{"value", 0.0}}, ""});
      },
      "something else about");
  expectRefused([](Entry &e) { e.reference.commands.clear(); }, "the unsplit program of entry 'main' is not sound");
}

TEST(Certificate, IsNotMadeForAWrongProgram) {
  Executable exe = makeRowParallelMatmul(2, 3, 8, 5, true);
  exe.entries[0].split.commands.erase(exe.entries[0].split.commands.begin() + 2);
  auto problems = proof::certifyAll(exe);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("entry 'main': every rank: all_reduce #0 (command 1)"), std::string::npos) << problems[0];
  EXPECT_EQ(exe.entries[0].certificate.version, 0);
}
