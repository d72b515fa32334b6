//===- RankProgram.cpp - commc-rank: one rank as a process ----------------===//
// Started by the launcher, never by hand.
//===----------------------------------------------------------------------===//
#include "runtime/Core/Engine.h"

int main(int argc, char **argv) { return comm::rt::runRank(argc, argv, comm::rt::createProcessRank); }
