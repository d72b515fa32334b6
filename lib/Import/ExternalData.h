//===- ExternalData.h - files beside a model --------------------*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_EXTERNALDATA_H
#define COMM_LIB_IMPORT_EXTERNALDATA_H
#include <cstdint>
#include <string>

namespace mlir::comm::onnx {

/// A read-only private mapping of a regular file; unmapped at the end.
class MappedFile {
public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&other) noexcept;
  ~MappedFile();
  /// Takes over `fd` (closed afterwards). False: not a regular file, or it cannot be mapped.
  bool map(int fd, std::string &error);
  const uint8_t *data() const { return base; }
  uint64_t size() const { return bytes; }
  std::string path; ///< real path

private:
  const uint8_t *base = nullptr;
  uint64_t bytes = 0;
};

/// Empty when `location` may name an external file; else what is wrong with it. Looks at the text only.
std::string checkLocation(const std::string &location);

/// Opens `location` inside the folder of `modelPath` (or inside the real folder of the model when that is a symbolic
/// link). Strict: no symbolic link and one hard link only. -1: `error` says why. `realPath` gets the path that was
/// opened.
int openExternal(const std::string &modelPath, const std::string &location, bool strict, std::string &realPath,
                 std::string &error);

} // namespace mlir::comm::onnx
#endif
