//===- WeightTable.h - weights, their files, the data section (private) ---===//
#ifndef COMM_LIB_EXPORT_WEIGHTTABLE_H
#define COMM_LIB_EXPORT_WEIGHTTABLE_H
#include "comm/Export/Export.h"
#include "comm/IR/CommOps.h"
#include "llvm/Support/MemoryBuffer.h"
#include <map>
#include <memory>

namespace mlir::comm {

/// Element type of the format; fails without a diagnostic for types that it lacks.
FailureOr<::comm::exe::DType> toDType(Type type);
::comm::exe::Layout toLayout(LayoutAttr layout);

/// Collects weights and constants of all functions; equal ones are one.
class WeightTable {
public:
  WeightTable(::comm::exe::Executable &exe, const ExportOptions &options) : exe(exe), options(options) {}
  /// Index in Executable::weights. Emits an error at the op and fails when the file cannot be used.
  FailureOr<int64_t> add(LoadedWeightOp op);
  FailureOr<int64_t> add(DataOp op);

private:
  struct File {
    std::unique_ptr<llvm::MemoryBuffer> bytes; ///< mapped, null when it cannot be opened
    int64_t index = -1;                        ///< in Executable::files
    std::string error;
  };
  File &open(StringRef path);
  FailureOr<int64_t> reference(LoadedWeightOp op, File &file);
  int64_t embed(const char *bytes, int64_t size);
  int64_t insert(::comm::exe::Weight weight, const std::string &key);

  ::comm::exe::Executable &exe;
  const ExportOptions &options;
  std::map<std::string, File> files;
  std::map<std::string, int64_t> known; ///< key of a weight -> index
  std::map<std::tuple<std::string, int64_t, int64_t>, int64_t>
      embedded; ///< (file, offset, bytes) -> offset in the data section
};
} // namespace mlir::comm
#endif
