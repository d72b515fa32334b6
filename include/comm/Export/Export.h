//===- Export.h - form `command` -> executable ------------------*- C++ -*-===//
#ifndef COMM_EXPORT_EXPORT_H
#define COMM_EXPORT_EXPORT_H
#include "comm/Executable/Executable.h"
#include "mlir/IR/BuiltinOps.h"
#include <string>
#include <vector>

namespace mlir::comm {

/// Embed: bytes of all weights are copied into the executable. Reference: it names files that lie beside it.
enum class WeightStorage { Embed, Reference };

struct ExportOptions {
  WeightStorage weights = WeightStorage::Reference;
  std::string modelDir = ".";  ///< files of weights are relative to it
  std::string outputDir = "."; ///< where the executable will lie; referenced files must be in it or below
  /// Referenced files up to this size get a SHA-256 (each is read once); of larger ones only the length is recorded.
  int64_t maxHashBytes = int64_t(2) << 30;
  std::string modelName, modelSha256, compilerVersion, options;
};

/// Reads a module of form `command`, planned, with the native code of its kernels. Every function with `comm.entry`
/// becomes an entry, the function whose `comm.reference` names it its unsplit model (needed on more than one rank; else
/// the entry itself). The same module and options give the same executable. Emits errors and fails when something has
/// no place in an executable or a weight's file is missing or too short.
FailureOr<::comm::exe::Executable> exportExecutable(ModuleOp module, std::vector<::comm::exe::NativeObject> objects,
                                                    const ExportOptions &options);

} // namespace mlir::comm
#endif
