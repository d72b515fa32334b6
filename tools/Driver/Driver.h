//===- Driver.h - the commands of commc -------------------------*- C++ -*-===//
#ifndef TOOLS_DRIVER_DRIVER_H
#define TOOLS_DRIVER_DRIVER_H
#include "tools/Driver/Options.h"
namespace commc {
/// Each returns an exit code; everything the user should know has been printed.
int runCompile(const Options &options);
int runCheck(const Options &options);
int runInspect(const Options &options);

// With their own command lines; argv[0] is the name of the command.
int runSimulate(int argc, char **argv);
} // namespace commc
#endif
