//===- NpzShapes.cpp - shapes of the arrays of an .npz --------------------===//
#include "tools/Driver/NpzShapes.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <memory>
#include <zip.h>

/// Larger arrays have a shape only: they do not list sizes.
constexpr int64_t kMaxValues = 256;
constexpr size_t kMaxValueBytes = 4096 + kMaxValues * 8;

/// Element type, shape tuple and values of a version 1, 2 or 3 .npy header.
static bool parseHeader(llvm::StringRef bytes, mlir::comm::InputArray &array) {
  std::vector<int64_t> &shape = array.shape;
  if (bytes.size() < 12 || !bytes.starts_with("\x93NUMPY"))
    return false;
  auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[i])); };
  bool wide = byte(6) >= 2;
  size_t length = byte(8) | byte(9) << 8 | (wide ? byte(10) << 16 | byte(11) << 24 : 0), start = wide ? 12 : 10;
  llvm::StringRef header = bytes.substr(start, length);
  size_t at = header.find("'shape':");
  size_t open = at == llvm::StringRef::npos ? at : header.find('(', at);
  size_t close = open == llvm::StringRef::npos ? open : header.find(')', open);
  if (header.size() < length || close == llvm::StringRef::npos)
    return false;
  size_t descr = header.find("'descr':"), quote = header.find('\'', descr == llvm::StringRef::npos ? descr : descr + 8);
  size_t endQuote = quote == llvm::StringRef::npos ? quote : header.find('\'', quote + 1);
  if (endQuote != llvm::StringRef::npos && !header.contains("'fortran_order': True")) {
    array.descr = header.slice(quote + 1, endQuote).str();
    array.bytes = bytes.drop_front(start + length).str();
  }
  llvm::SmallVector<llvm::StringRef> numbers;
  header.slice(open + 1, close).split(numbers, ',', -1, false);
  for (llvm::StringRef number : numbers) {
    number = number.trim();
    int64_t size;
    if (number.empty())
      continue;
    if (number.getAsInteger(10, size) || size < 0)
      return false;
    shape.push_back(size);
  }
  return true;
}

bool commc::readNpzShapes(const std::string &path, std::map<std::string, std::vector<int64_t>> &shapes,
                          std::map<std::string, mlir::comm::InputArray> &values, std::string &error) {
  int code = 0;
  std::unique_ptr<zip_t, decltype(&zip_discard)> archive(zip_open(path.c_str(), ZIP_RDONLY, &code), zip_discard);
  if (!archive) {
    zip_error_t why;
    zip_error_init_with_code(&why, code);
    error = "cannot read '" + path + "': " + zip_error_strerror(&why);
    zip_error_fini(&why);
    return false;
  }
  for (zip_int64_t i = 0, n = zip_get_num_entries(archive.get(), 0); i < n; ++i) {
    llvm::StringRef name = zip_get_name(archive.get(), i, 0);
    std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(zip_fopen_index(archive.get(), i, 0), zip_fclose);
    std::vector<char> buffer(kMaxValueBytes);
    zip_int64_t got = file ? zip_fread(file.get(), buffer.data(), buffer.size()) : -1;
    mlir::comm::InputArray array;
    if (!name.consume_back(".npy") || got < 0 || !parseHeader(llvm::StringRef(buffer.data(), got), array)) {
      error = "'" + path + "' holds '" + name.str() + "', which is not a .npy array";
      return false;
    }
    shapes[name.str()] = array.shape;
    int64_t elements = 1;
    for (int64_t size : array.shape)
      elements = elements > kMaxValues ? elements : elements * size;
    if (static_cast<size_t>(got) < buffer.size() && !array.descr.empty() && elements <= kMaxValues)
      values[name.str()] = std::move(array);
  }
  return true;
}
