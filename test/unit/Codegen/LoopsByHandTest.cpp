//===- LoopsByHandTest.cpp - compiled loops give what loops by hand give --===//
// Every case of bench/kernels, in one piece and in two.
//===----------------------------------------------------------------------===//
#include "bench/kernels/LoopCases.h"
#include <gtest/gtest.h>

using namespace comm::bench;

TEST(LoopsByHand, Agree) {
  if (!handLoopsRunHere())
    GTEST_SKIP() << "built on a machine with wider vectors";
  std::vector<LoopCase> cases = loopCases();
  ASSERT_FALSE(cases.empty());
  for (const LoopCase &one : cases) {
    SCOPED_TRACE(one.name);
    CompiledLoop loop;
    std::string error;
    ASSERT_TRUE(loop.make(one.text, error)) << error;
    LoopBuffers buffers(loop);
    EXPECT_NE(buffers.difference(), ""); // nothing is computed yet
    loop.run(buffers.compiled(), 0, loop.iterations() / 2);
    loop.run(buffers.compiled(), loop.iterations() / 2, loop.iterations());
    one.hand(one.shape, buffers.hand(), 0, one.handRows);
    EXPECT_EQ(buffers.difference(), "");
  }
}
