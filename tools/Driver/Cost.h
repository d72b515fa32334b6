//===- Cost.h - commands of commc that need no model ------------*- C++ -*-===//
#ifndef TOOLS_DRIVER_COST_H
#define TOOLS_DRIVER_COST_H
#include "comm/Executable/Executable.h"
#include <string>
#include <vector>

namespace commc {
/// `commc cost ...`; argv[0] is "cost". An exit code; everything the user should know has been printed.
int runCost(int argc, char **argv);

/// A native kernel on `rows` x `columns` floats: "loop" (silu(a) * b) or "norm" (a + b and its rms_norm).
struct BenchKernel {
  std::string kind;
  int64_t rows = 0, columns = 0;
  std::string symbol{}; ///< filled by the compiler, as the next one
  int64_t iterations = 0;
};
using CompileBenchKernels = bool (*)(std::vector<BenchKernel> &, std::vector<comm::exe::NativeObject> &,
                                     std::string &error);
/// The one that there is; it needs the compiler, which the bench else does not.
bool compileBenchKernels(std::vector<BenchKernel> &, std::vector<comm::exe::NativeObject> &, std::string &error);
/// `commc bench ...`, likewise.
int runBench(int argc, char **argv, CompileBenchKernels compile);
} // namespace commc
#endif
