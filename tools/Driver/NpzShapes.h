//===- NpzShapes.h - shapes of the arrays of an .npz ------------*- C++ -*-===//
#ifndef TOOLS_DRIVER_NPZSHAPES_H
#define TOOLS_DRIVER_NPZSHAPES_H
#include "comm/Import/Import.h"
#include <cstdint>
#include <map>
#include <string>
#include <vector>
namespace commc {
/// Reads the headers of all arrays and the values of small ones. False and one sentence in `error` when the file is not
/// an .npz of .npy arrays.
bool readNpzShapes(const std::string &path, std::map<std::string, std::vector<int64_t>> &shapes,
                   std::map<std::string, mlir::comm::InputArray> &values, std::string &error);
} // namespace commc
#endif
