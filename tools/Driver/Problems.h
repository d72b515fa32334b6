//===- Problems.h - problems of the importer on the terminal ----*- C++ -*-===//
#ifndef TOOLS_DRIVER_PROBLEMS_H
#define TOOLS_DRIVER_PROBLEMS_H
#include "comm/Import/Import.h"
#include "tools/Driver/Options.h"
namespace commc {
int exitCodeOf(const mlir::comm::Problems &problems);
void printProblems(const mlir::comm::Problems &problems, bool quiet);
mlir::comm::OpenOptions getOpenOptions(const Options &options);
} // namespace commc
#endif
