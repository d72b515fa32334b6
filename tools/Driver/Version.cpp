//===- Version.cpp - what --version prints --------------------------------===//
#include "tools/Driver/Version.h"
#include "llvm/Config/llvm-config.h"

std::string commc::getVersionText() {
  return std::string("commc ") + COMM_VERSION + " (LLVM " + LLVM_VERSION_STRING + ")";
}
