//===- CompileSummary.h - what commc says about an executable ---*- C++ -*-===//
#ifndef TOOLS_DRIVER_COMPILESUMMARY_H
#define TOOLS_DRIVER_COMPILESUMMARY_H
#include "comm/Executable/Executable.h"
#include "tools/Driver/Options.h"

namespace commc {
/// On standard output, as text or, with --json, as one object: plan, predictions, memory; the decisions with --explain.
/// `bytes`: of the file.
void printCompileSummary(const Options &options, const ::comm::exe::Executable &executable, const std::string &path,
                         uint64_t bytes);
} // namespace commc
#endif
