//===- commc.cpp - ONNX in, one program for N ranks out -------------------===//
#include "tools/Driver/Cost.h"
#include "tools/Driver/Driver.h"
#include <cstring>

int main(int argc, char **argv) {
  if (argc > 1 && !std::strcmp(argv[1], "simulate"))
    return commc::runSimulate(argc - 1, argv + 1);
  if (argc > 1 && !std::strcmp(argv[1], "cost"))
    return commc::runCost(argc - 1, argv + 1);
  if (argc > 1 && !std::strcmp(argv[1], "bench"))
    return commc::runBench(argc - 1, argv + 1, commc::compileBenchKernels);
  commc::Options options;
  int code = commc::parseOptions(argc, argv, options);
  if (code >= 0)
    return code;
  switch (options.command) {
  case commc::Command::Check:
    return commc::runCheck(options);
  case commc::Command::Inspect:
    return commc::runInspect(options);
  case commc::Command::Compile:
    return commc::runCompile(options);
  }
  return commc::kInternal;
}
