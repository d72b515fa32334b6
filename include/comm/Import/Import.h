//===- Import.h - ONNX into form `global` -----------------------*- C++ -*-===//
// open -> check -> importEntry once per entry. Bulk data stays in the files: the IR refers to it with comm.weight.
//===----------------------------------------------------------------------===//
#ifndef COMM_IMPORT_IMPORT_H
#define COMM_IMPORT_IMPORT_H
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mlir::comm {

/// One thing wrong with a model, as the user reads it.
struct Problem {
  std::string code;  ///< "E301"
  std::string what;  ///< one sentence, without full stop
  std::string where; ///< node, tensor or file; may be empty
  std::string hint;  ///< what to try; may be empty
  bool warning = false;
  /// "error[E301]: what", then indented lines "at ..." and "try: ...". No line end after the last.
  std::string str() const;
};
using Problems = std::vector<Problem>;
bool hasErrors(const Problems &problems);
/// Text from a file, fit for one line of a terminal: control characters become '?', what is long is cut.
std::string printable(llvm::StringRef text);

struct OpenOptions {
  /// External data: no symbolic link at all, one hard link only, checksum verified where given.
  bool strictExternalData = false;
  int64_t maxTensorBytes = int64_t(1) << 35; ///< largest single tensor, weights and activations alike
  int64_t maxTotalBytes = int64_t(1) << 43;  ///< all weights together, and all values of one entry together
};

/// A small array of an .npz, as it lies in the file.
struct InputArray {
  std::string descr; ///< numpy's name of the element type, "<i8"
  std::vector<int64_t> shape;
  std::string bytes; ///< little-endian, row-major
};

struct ImportOptions {
  std::map<std::string, int64_t> dims; ///< size of each symbolic dimension (`--dim name=value`)
  std::map<std::string, std::vector<int64_t>>
      inputShapes; ///< shape per graph input (`--shapes-from`); binds dimensions
  /// Values of small inputs. One that decides a shape is fixed to its value here; the others are ignored.
  std::map<std::string, InputArray> inputValues;
  std::string entryName = "main"; ///< name of the function
};

/// A graph input or output as the file declares it.
struct GraphValue {
  std::string name;
  std::string elementType;       ///< "f32", "i64", "i1", ...
  std::vector<std::string> dims; ///< a number, a dimension's name or expression, "?" when unknown
};

/// An ONNX file, read and checked once. Owns the mappings of the file and its external data.
class OnnxModel {
public:
  ~OnnxModel();
  /// Reads `path`. Null when anything is malformed; every problem found is appended. Never crashes on any bytes.
  static std::unique_ptr<OnnxModel> open(const std::string &path, const OpenOptions &options, Problems &problems);
  /// Everything that commc cannot compile, at once, grouped by operator with counts and first node. True when there is
  /// none.
  bool check(Problems &problems) const;
  std::vector<GraphValue> getInputs() const;
  std::vector<GraphValue> getOutputs() const;
  /// Appends one func.func with static shapes to `module`. On failure nothing is appended and the reasons are in
  /// `problems`. Loads its dialects.
  LogicalResult importEntry(ModuleOp module, const ImportOptions &options, Problems &problems) const;
  /// Bytes of the model file or of an external file, by the name comm.weight gives it; empty when out of bounds or
  /// unknown. Valid while this lives.
  llvm::ArrayRef<char> getBytes(llvm::StringRef file, int64_t offset, int64_t size) const;
  /// Real path of a file by the name comm.weight gives it; empty when unknown.
  std::string getFilePath(llvm::StringRef file) const;

  struct Impl; ///< lib/Import/ModelImpl.h

private:
  OnnxModel();
  std::unique_ptr<Impl> impl;
};

} // namespace mlir::comm
#endif
