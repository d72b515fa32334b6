//===- ModelImpl.h - inside OnnxModel ---------------------------*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_MODELIMPL_H
#define COMM_LIB_IMPORT_MODELIMPL_H
#include "ExternalData.h"
#include "Onnx.h"
#include "comm/Import/Import.h"

namespace mlir::comm {
struct OnnxModel::Impl {
  std::string path, fileName;
  OpenOptions options;
  onnx::Model model;
  std::map<std::string, onnx::MappedFile> files; ///< the model under its own name, external files under their location
  std::map<std::string, const onnx::Tensor *> initializers;
  std::map<std::string, int64_t> numUses; ///< of a value by nodes, and by nodes that are not Mul
  std::map<std::string, int64_t> numUsesNotMul;

  /// The bytes of a checked tensor.
  llvm::ArrayRef<char> bytesOf(const onnx::Tensor &tensor) const;
  bool mapExternal(Problems &problems);
};
} // namespace mlir::comm
#endif
