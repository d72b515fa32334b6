//===- Npz.cpp - archives of arrays ---------------------------------------===//
#include "Npz.h"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

namespace commrun {
namespace {
constexpr zip_uint64_t maxArrayBytes = zip_uint64_t(1) << 36; // 64 GiB: a small archive must not name all memory

struct Discard {
  void operator()(zip_t *z) const { zip_discard(z); }
  void operator()(zip_file_t *f) const { zip_fclose(f); }
  void operator()(FILE *f) const { std::fclose(f); }
};

[[noreturn]] void fail(const std::string &path, const std::string &why) { throw Failure{2, "E202", path + ": " + why}; }

std::vector<uint8_t> readMember(zip_t *archive, zip_uint64_t index, const std::string &what) {
  zip_stat_t st;
  if (zip_stat_index(archive, index, 0, &st) != 0 || !(st.valid & ZIP_STAT_SIZE) || st.size > maxArrayBytes)
    fail(what, "its size is unknown or above 64 GiB");
  std::unique_ptr<zip_file_t, Discard> file(zip_fopen_index(archive, index, 0));
  if (!file)
    fail(what, zip_strerror(archive));
  // Grows with what is really there: a directory may claim any size.
  std::vector<uint8_t> bytes;
  constexpr size_t step = 16 << 20;
  while (bytes.size() < st.size) {
    size_t old = bytes.size(), n = std::min<size_t>(step, static_cast<size_t>(st.size) - old);
    bytes.resize(old + n);
    zip_int64_t got = zip_fread(file.get(), bytes.data() + old, n);
    if (got <= 0)
      fail(what, "it is truncated or damaged");
    bytes.resize(old + static_cast<size_t>(got));
  }
  char extra;
  if (zip_fread(file.get(), &extra, 1) != 0) // also checks the CRC
    fail(what, "it is longer than the archive says, or damaged");
  return bytes;
}
} // namespace

TensorMap readNpz(const std::string &path) {
  int code = 0;
  std::unique_ptr<zip_t, Discard> archive(zip_open(path.c_str(), ZIP_RDONLY, &code));
  if (!archive) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    std::string text = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail(path, text);
  }
  TensorMap out;
  for (zip_int64_t i = 0, n = zip_get_num_entries(archive.get(), 0); i < n; ++i) {
    const char *raw = zip_get_name(archive.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
    std::string name = raw ? raw : "";
    if (name.size() < 5 || name.compare(name.size() - 4, 4, ".npy") != 0)
      fail(path, "member '" + name + "' is not a .npy array");
    name.resize(name.size() - 4);
    std::string what = path + ", array '" + name + "'";
    std::vector<uint8_t> bytes = readMember(archive.get(), static_cast<zip_uint64_t>(i), what);
    if (!out.emplace(name, parseNpy(bytes.data(), bytes.size(), what)).second)
      fail(what, "it appears twice");
  }
  return out;
}

std::shared_ptr<const Tensor> readNpy(const std::string &path) {
  std::unique_ptr<FILE, Discard> file(std::fopen(path.c_str(), "rbe"));
  struct stat st;
  if (!file || ::fstat(fileno(file.get()), &st) != 0)
    fail(path, std::strerror(errno));
  if (!S_ISREG(st.st_mode))
    fail(path, "it is not a regular file");
  std::vector<uint8_t> bytes(static_cast<size_t>(st.st_size));
  if (std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size())
    fail(path, "it cannot be read to its end");
  return parseNpy(bytes.data(), bytes.size(), path);
}

void writeNpz(const std::string &path, const TensorMap &tensors) {
  std::string temporary = path + ".tmp" + std::to_string(::getpid());
  int code = 0;
  std::unique_ptr<zip_t, Discard> archive(zip_open(temporary.c_str(), ZIP_CREATE | ZIP_EXCL, &code));
  if (!archive)
    fail(temporary, "it cannot be created");
  std::vector<std::vector<uint8_t>> members; // zip_close reads them
  for (const auto &[name, tensor] : tensors) {
    members.push_back(formatNpy(*tensor));
    zip_source_t *source = zip_source_buffer(archive.get(), members.back().data(), members.back().size(), 0);
    zip_int64_t index = source ? zip_file_add(archive.get(), (name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8) : -1;
    if (index < 0) {
      zip_source_free(source);
      fail(path, zip_strerror(archive.get()));
    }
    zip_set_file_compression(archive.get(), static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
    zip_file_set_dostime(archive.get(), static_cast<zip_uint64_t>(index), 0, 33,
                         0); // 1980-01-01: no clock in the bytes
  }
  if (zip_close(archive.get()) != 0) {
    std::string why = zip_strerror(archive.get());
    ::unlink(temporary.c_str());
    fail(path, why);
  }
  (void)archive.release(); // closed
  if (tensors.empty() || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::string why = tensors.empty() ? "there is nothing to write" : std::strerror(errno);
    ::unlink(temporary.c_str());
    fail(path, why);
  }
}

} // namespace commrun
