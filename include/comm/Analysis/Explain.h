//===- Explain.h - why the compiler did what it did -------------*- C++ -*-===//
#ifndef COMM_ANALYSIS_EXPLAIN_H
#define COMM_ANALYSIS_EXPLAIN_H
#include "mlir/IR/Operation.h"
#include "llvm/ADT/Twine.h"
#include <string>
#include <vector>

namespace mlir::comm {
/// Attribute of the module that collects remarks (array of strings).
inline constexpr llvm::StringLiteral kExplainAttr = "comm.explain";

/// Appends one remark to the module around `op`: "<area>  <site>: <decision>, <reason>". The site is the ONNX node name
/// when the location has one. For passes on the module or on functions run one after the other.
void explain(Operation *op, llvm::StringRef area, const llvm::Twine &text);
/// The remarks so far, in order.
std::vector<std::string> getExplanations(Operation *module);
/// ONNX node name of an op, or the op's name.
std::string getSiteName(Operation *op);
} // namespace mlir::comm
#endif
