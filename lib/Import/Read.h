//===- Read.h - from bytes to onnx::Model -----------------------*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_READ_H
#define COMM_LIB_IMPORT_READ_H
#include "Onnx.h"
#include <string>
#include <vector>

namespace mlir::comm::onnx {

/// A complaint that Read and Check have: code, sentence, place, hint.
struct Complaint {
  std::string code, what, where, hint;
  bool warning = false;
};
using Complaints = std::vector<Complaint>;
bool hasErrors(const Complaints &complaints);

/// Parses a skeleton (Wire.h) of the file `fileName` with `fileSize` bytes.
bool parseSkeleton(const std::string &skeleton, const std::string &fileName, uint64_t fileSize, Model &model,
                   Complaints &complaints);

/// Versions, names, order of nodes, initializers: what must hold before anything looks at an operator.
void checkStructure(const Model &model, Complaints &complaints);

/// Replaces calls of model-local functions by their bodies and gives every node its opset version.
void inlineFunctions(Model &model, Complaints &complaints);

/// Products of rows sorted by expert, whose parts have sizes known at run time only, become one node of known shape.
void findGroupedProducts(Model &model);

/// Products with a dequantised weight become one node that keeps the integers.
void findQuantizedProducts(Model &model);

} // namespace mlir::comm::onnx
#endif
