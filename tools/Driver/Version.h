//===- Version.h - what --version prints ------------------------*- C++ -*-===//
#ifndef TOOLS_DRIVER_VERSION_H
#define TOOLS_DRIVER_VERSION_H
#include <string>
namespace commc {
std::string getVersionText();
} // namespace commc
#endif
