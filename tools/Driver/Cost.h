//===- Cost.h - commands of commc that need no model ------------*- C++ -*-===//
#ifndef TOOLS_DRIVER_COST_H
#define TOOLS_DRIVER_COST_H
namespace commc {
/// `commc cost ...`; argv[0] is "cost". An exit code; everything the user should know has been printed.
int runCost(int argc, char **argv);
/// `commc bench ...`, likewise.
int runBench(int argc, char **argv);
} // namespace commc
#endif
