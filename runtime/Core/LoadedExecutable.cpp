//===- LoadedExecutable.cpp - a .commx file in memory ---------------------===//
#include "runtime/Core/LoadedExecutable.h"
#include "comm/Proof/Certificate.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace comm::rt {
namespace {
constexpr off_t copyLimit = 1 << 20;

bool readAll(int fd, std::vector<uint8_t> &out) {
  for (size_t done = 0; done < out.size();) {
    ssize_t n = ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    done += static_cast<size_t>(n);
  }
  return true;
}
} // namespace

LoadedExecutable::~LoadedExecutable() {
  if (mapped)
    ::munmap(const_cast<uint8_t *>(mapped), mappedBytes);
}

Status LoadedExecutable::load(const std::string &path, std::unique_ptr<LoadedExecutable> &out) {
  auto bad = [&](const std::string &what) { return Status{Code::BadExecutable, path + ": " + what}; };
  out = std::make_unique<LoadedExecutable>();
  out->path = path;
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return bad(std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
    return bad("it is not a regular file");
  const uint8_t *bytes = nullptr;
  auto size = static_cast<size_t>(st.st_size);
  if (st.st_size <= copyLimit) {
    out->copied.resize(size);
    if (!readAll(fd, out->copied))
      return bad("it cannot be read to its end");
    bytes = out->copied.data();
  } else {
    void *p = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
      return {Code::OutOfMemory, path + " cannot be mapped: " + std::strerror(errno)};
    out->mapped = bytes = static_cast<const uint8_t *>(p);
    out->mappedBytes = size;
  }
  std::string error;
  if (!exe::readExecutable(bytes, size, out->exe, error, &out->data))
    return bad(error);
  out->hash = exe::storedHash(bytes, size);
  out->dropPages();
  return Status::ok();
}

void LoadedExecutable::dropPages() const {
  if (mapped)
    ::madvise(const_cast<uint8_t *>(mapped), mappedBytes, MADV_DONTNEED);
}

Status LoadedExecutable::checkProof() const {
  std::string wrong = proof::verifyAll(exe, data);
  return wrong.empty() ? Status::ok() : Status{Code::BadExecutable, path + ": " + wrong};
}

} // namespace comm::rt
