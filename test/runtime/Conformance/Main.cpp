//===- Main.cpp - the suite and its ranks are one program -----------------===//
#include "runtime/Core/RankProcess.h"
#include "test/runtime/Conformance/Requests.h"
#include <cstring>
#include <gtest/gtest.h>

int main(int argc, char **argv) {
  if (argc > 1 && std::strcmp(argv[1], comm::rt::rankProtocol()) == 0)
    return comm::rt::runRank(argc, argv, comm::rt::test::conformanceRank());
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
